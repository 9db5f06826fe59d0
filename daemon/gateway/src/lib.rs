//! How the team is reached from outside: HTTP.
//!
//! ```text
//!  open ─▶ a bound listener, before any work starts
//!  Service::new(Options) ─▶ (Service, Handle)      Service::run(whole) ─▶ a task per connection ─▶ http::answer
//!                                 └─ stop, finish: the drain                                          │
//!                                                          Whole: what the daemon knows of itself ◀───┘
//! ```

mod error;
pub mod http;
mod listen;
pub mod readiness;
mod service;
pub mod tokens;
mod whole;

pub use error::Error;
pub use listen::{adopt, bind};
pub use service::{Handle, Health, Options, Service};
pub use tokens::Tokens;
pub use whole::{Part, PartKind, Whole};
