//! How the team is reached from outside: HTTP and Telegram.
//!
//! ```text
//!  open ─▶ a bound listener, before any work starts
//!  Service::new(Options) ─▶ (Service, Handle)      Service::run(whole) ─▶ a task per connection ─▶ http::answer
//!                                 └─ stop, finish: the drain                                          │
//!                                                          Whole: what the daemon knows of itself ◀───┘
//! ```

pub mod alerts;
pub mod desk;
mod error;
pub mod http;
mod listen;
pub mod readiness;
pub mod routing;
mod service;
pub mod status;
pub mod telegram;
pub mod tokens;
mod whole;

pub use error::Error;
pub use listen::{adopt, bind, bind_guarded};
pub use service::{Handle, Health, Options, Service};
pub use tokens::Tokens;
pub use whole::Whole;
