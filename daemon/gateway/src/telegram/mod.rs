//! Telegram: people talk with the team through a bot.
//!
//! ```text
//!  getUpdates ─┐                      ┌─ an agent's queue: message ─ … ─▶ its end ─┐
//!              ├─▶ receive: update,   │                                            ▼
//!  webhook ────┘   pairing, routing ──┼─ telegram-replies: owed ─ waits for it ─▶ telegram: send ─▶ sendMessage
//!                  (all durable       ├─ telegram-files: file ─ fetches it ─▶ message, owed
//!                  before the offset  └─ telegram: direct ─ the daemon does it ─▶ send
//!                  moves)
//! ```
//!
//! A reply is a durable task from the moment at which the message is: whenever the daemon dies, what is owed is sent after the
//! next start. It is sent once, but for a death (or a cut connection) between Telegram's taking it and our knowing so: then it
//! is sent again, since a second answer is less of an evil than none.
//!
//! Pure: `update` (what is said), `pairing` (who may), `direct` (what the daemon does itself), `text` (formatting,
//! splitting), `retry`, `health`, `moves` (groups with a new id). The rest drives.

mod api;
mod direct;
mod error;
mod health;
mod jobs;
mod menu;
mod moves;
mod pairing;
mod poll;
mod receive;
mod retry;
mod service;
mod shared;
mod tasks;
mod text;
mod update;
mod uploads;
mod webhook;
mod worker;

pub use error::Error;
pub use health::{Health, Verdict};
pub use pairing::{Approved, Pending};
pub use service::{Handle, Options, Service, Stand};
pub use shared::notice;
pub use tasks::Queue;
pub use update::Person;
