//! Durable truth: the task queue, agents' memory and state, events.
//!
//! ```text
//!  submit ─┐                                   ┌─▶ Consumer (a leased task per credit)
//!  complete┼─▶ [bounded channel] ─▶ engine ────┼─▶ replies, once their transaction is committed
//!  credit ─┘                         │ ▲       └─▶ watchers of ended tasks
//!                              one Batch, one transaction
//!                                    ▼ │
//!                                 Backend (SQLite; PostgreSQL is to be the second)
//! ```
//!
//! The engine owns everything in memory (credits, watchers, results that wait for a full disk) and turns what
//! arrives meanwhile into one [`Batch`](backend::Batch). A [`Backend`](backend::Backend) owns the database and
//! carries a batch out as one transaction. [`Store`] is the handle that others hold.

pub mod backend;
pub mod clock;
mod engine;
mod handle;
mod inbox;
mod lanes;
mod shared;
mod sqlite;
pub mod task;
#[cfg(test)]
mod tests;
mod transaction;
mod watchers;

pub use engine::{Health, Options};
pub use handle::{Consumer, Posted, Store};
pub use sqlite::open_sqlite;

pub use clock::Clock;

use chrono::{DateTime, SecondsFormat, Utc};

/// The form in which the database keeps a time: text order is time order.
pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// What a store refuses or cannot do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No room on the disk.
    #[error(
        "the disk of the database is full: nothing was stored; free some space, service resumes by itself"
    )]
    Full,
    /// The database answers, but not well.
    #[error("the database failed: {0}")]
    Database(String),
    /// It cannot be reached: down, restarting, cut off, or it takes no more connections.
    #[error(
        "the database is away ({0}): nothing was stored and results wait; try again, service resumes by itself"
    )]
    Away(String),
    /// It is there, and all our connections to it are busy.
    #[error("the database is too busy to answer: all connections to it are in use; try again")]
    Busy,
    /// It lets us in, but not to write.
    #[error(
        "the database is read-only ({0}): nothing was stored; make it writable, or name its primary in `url`"
    )]
    ReadOnly(String),
    /// It does not let us in.
    #[error(
        "the database refuses us: {0}; check `url` in [database], its user and database, and \
         OPENCLAW_DATABASE_PASSWORD"
    )]
    Refused(String),
    /// The connection broke while it was to commit.
    #[error(
        "the database did not answer the commit ({0}): what was sent may or may not be stored; send it again with the \
         same key"
    )]
    Doubtful(String),
    /// It cannot be opened.
    #[error("cannot open the database {path}: {reason}")]
    Open {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A newer OpenClaw wrote it.
    #[error("the database {path} is of a newer OpenClaw (migration {version}): update this binary")]
    Newer {
        /// Which.
        path: String,
        /// The migration that this binary does not know.
        version: i64,
    },
    /// Too many tasks wait for one agent.
    #[error(
        "{waiting} tasks wait for `{queue}` already, the most that `tasks.max_queued` allows: nothing was stored"
    )]
    QueueFull {
        /// The agent.
        queue: String,
        /// How many wait.
        waiting: u32,
    },
    /// There is no such task.
    #[error("there is no task {0}; `openclaw tasks list` shows what there is")]
    NoSuchTask(String),
    /// The task is in a state in which this cannot be done.
    #[error("task {id} is {state}: {why}")]
    WrongState {
        /// Which.
        id: task::TaskId,
        /// Its state.
        state: task::TaskState,
        /// Why that matters, and what to do.
        why: &'static str,
    },
    /// The daemon ends.
    #[error("the store is closed: the daemon is stopping")]
    Closed,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // SQLite's primary result code is the low byte: 13 is SQLITE_FULL. A full disk that strikes in the
        // write-ahead log's index is SQLITE_IOERR_SHMSIZE.
        let code = error.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<u32>().ok());
        match (code, &error) {
            (Some(code), _) if code & 0xff == 13 || code == 4874 => Self::Full,
            (_, sqlx::Error::PoolClosed) => Self::Closed,
            _ => Self::Database(error.to_string()),
        }
    }
}
