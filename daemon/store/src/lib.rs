//! Durable truth: the task queue, agents' memory and state, events.
//!
//! ```text
//!  submit ─┐                                   ┌─▶ Consumer (a leased task per credit)
//!  complete┼─▶ [bounded channel] ─▶ engine ────┼─▶ replies, once their transaction is committed
//!  credit ─┘                         │ ▲       └─▶ watchers of ended tasks
//!                              one Batch, one transaction
//!                                    ▼ │
//!                                 Backend (SQLite, PostgreSQL)
//! ```
//!
//! The engine owns everything in memory (credits, watchers, results that wait for a full disk) and turns what
//! arrives meanwhile into one [`Batch`](backend::Batch). A [`Backend`](backend::Backend) owns the database and
//! carries a batch out as one transaction. [`Store`] is the handle that others hold.

mod abroad;
pub mod admin;
pub mod alert;
pub mod backend;
pub mod clock;
mod engine;
mod error;
pub mod failpoint;
mod handle;
mod inbox;
mod lanes;
pub mod ledger;
pub mod mission;
mod postgres;
mod shared;
mod sqlite;
pub mod tally;
pub mod task;
#[cfg(test)]
mod tests;
mod transaction;
mod watchers;

pub use admin::Database;
pub use engine::{Health, Options, Redact, Turn};
pub use error::Error;
pub use handle::{Consumer, Posted, Store};
pub use postgres::{Server, open_postgres};
pub use sqlite::open_sqlite;

pub use clock::Clock;

use chrono::{DateTime, SecondsFormat, Utc};

/// The form in which the database keeps a time: text order is time order.
pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
