//! Everything an OpenClaw agent needs.
//!
//! An agent is a struct with `impl Agent`, in a crate of `crate-type = ["cdylib"]`. This is a whole one:
//!
//! ```
//! use openclaw_agent_api::prelude::*;
//!
//! struct Echo;
//!
//! impl Agent for Echo {
//!     fn describe() -> Manifest {
//!         Manifest::new("Repeats what it is told.").command("/echo TEXT", "says TEXT again")
//!     }
//!
//!     fn create(_settings: Value) -> Result<Self> {
//!         Ok(Echo)
//!     }
//!
//!     fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
//!         ctx.info(format!("{} bytes", message.text.len()));
//!         Ok(Reply::text(format!("you said: {}", message.text)))
//!     }
//! }
//!
//! export_agent!(Echo);
//! ```
//!
//! The agent's name and version are those of its Cargo package. It runs in a process of its own, holds no keys
//! and opens no sockets: what it may know or do beyond its own memory goes through [`Context`](context::Context), and the operator
//! grants each of those doors by name in `openclaw.toml`.
//!
//! | module | what is in it |
//! |---|---|
//! | [`agent`] | the [`Agent`](agent::Agent) trait, messages, replies, errors |
//! | [`context`] | what an agent may ask of the daemon |
//! | [`manifest`] | what an agent says of itself |
//! | [`testkit`] | running an agent in a unit test, with no daemon |
//! | [`abi`] | the frozen binary interface; authors never touch it |

pub mod abi;
pub mod agent;
pub mod context;
#[doc(hidden)]
pub mod export;
pub mod manifest;
pub mod name;
pub mod testkit;

pub use chrono;
pub use name::AgentName;
pub use serde_json;

/// One `use` for an agent's source file.
pub mod prelude {
    pub use crate::agent::{Agent, AgentError, Message, Reply, Result};
    pub use crate::context::Context;
    pub use crate::export_agent;
    pub use crate::manifest::{Manifest, every};
    pub use serde_json::{Value, json};
}

/// The text limit of one frame between supervisor and host, in bytes; a larger reply or call is refused.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;
