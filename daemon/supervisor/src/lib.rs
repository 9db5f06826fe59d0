//! Keeps agents alive: policy, driver, host process, wire protocol.
//!
//! ```text
//!  Handle ─▶ Supervisor (owns every Record; asks policy::decide) ─▶ orders ─▶ instance (one per host)
//!                 ▲                                                             │    │ socketpair: wire
//!                 └──────────────────── reports ────────────────────────────────┘    ▼
//!                                                                              host (child process)
//! ```

pub mod admission;
pub mod alerts;
pub mod capabilities;
pub mod grants;
mod handle;
pub mod host;
pub mod instance;
pub mod known;
pub mod library;
pub mod logs;
mod manifest_check;
pub mod orphans;
pub mod policy;
pub mod process;
pub mod record;
pub mod replay;
pub mod sandbox;
pub mod sentence;
mod status;
pub mod submission;
mod supervisor;
mod throttle;
pub mod wire;

pub use handle::{Error, Handle};
pub use known::Known;
pub use status::{AgentStatus, Health, LibraryStatus};
pub use supervisor::{Options, Supervisor};
