//! What can go wrong, and what each database's errors mean.

use std::io::ErrorKind;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::task::{TaskId, TaskState};

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
    /// Nobody serves it: it says that it is starting or stopping, or nothing listens at its address on this machine. Nobody
    /// else reaches it either.
    #[error(
        "the database is down ({0}): nothing was stored and results wait; try again, service resumes by itself"
    )]
    Down(String),
    /// It is there, and all our connections for lookups are busy.
    #[error("the database is too busy to look anything up: all connections for that are in use; try again")]
    Busy,
    /// Another program has locked the file.
    #[error(
        "another program holds the database's file locked: nothing was stored and results wait; find it with `fuser -v` and \
         end it, service resumes by itself"
    )]
    Locked,
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
    /// Somebody copies it.
    #[error(
        "{0} is being copied by `openclaw db copy`: nothing was stored; try again when that has ended, with the `url` in \
         [database] that is to be used from then on"
    )]
    Copying(String),
    /// A copy that was not made.
    #[error("{0}")]
    Copy(String),
    /// Another transaction was in the way, and this one was undone: it is tried again.
    #[error("the database failed: {0}")]
    InTheWay(String),
    /// The connection broke while it was to commit, or the database keeps the store for longer than anybody should wait.
    #[error(
        "the database did not answer ({0}): what was sent may or may not be stored; send it again with the same key"
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
        id: TaskId,
        /// Its state.
        state: TaskState,
        /// Why that matters, and what to do.
        why: &'static str,
    },
    /// The daemon ends.
    #[error("the store is closed: the daemon is stopping")]
    Closed,
}

impl Error {
    /// Whether the connection is of no more use. One that is read-only stays so, also when the database no longer is.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Down(_) | Self::Refused(_) | Self::ReadOnly(_) | Self::Closed)
    }

    fn of_sqlite(code: u32, error: &sqlx::Error) -> Self {
        // The primary result code is the low byte: 13 is SQLITE_FULL. A full disk that strikes in the write-ahead
        // log's index is SQLITE_IOERR_SHMSIZE.
        // 5 and 6 are SQLITE_BUSY and SQLITE_LOCKED.
        match code & 0xff {
            13 => Self::Full,
            _ if code == 4874 => Self::Full,
            5 | 6 => Self::Locked,
            _ => Self::Database(error.to_string()),
        }
    }

    /// After the table of SQLSTATEs: <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
    fn of_postgres(error: &PgDatabaseError) -> Self {
        let told = error.message().to_owned();
        match error.code() {
            "53100" => Self::Full,
            "25006" => Self::ReadOnly(told),
            // Authentication, no such database, no such schema, no right to it.
            "28P01" | "28000" | "3D000" | "3F000" | "42501" => Self::Refused(told),
            // Serialization, deadlock, a row that another transaction was quicker to insert.
            "40001" | "40P01" | "23505" => Self::InTheWay(told),
            // Too slow: a statement or a lock took too long. The connection is as good as before.
            "57014" | "55P03" => Self::Database(told),
            // It is starting, and nobody is in. While it is stopping, others may be in still, and do as before. Where it speaks
            // another language it is taken for the latter.
            "57P03" if ["starting up", "recovery"].iter().any(|why| told.contains(why)) => Self::Down(told),
            code if code.starts_with("08") || code.starts_with("53") || code.starts_with("57P") => {
                Self::Away(told)
            }
            _ if matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic) => Self::Away(told),
            _ => Self::Database(told),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let database = error.as_database_error();
        if let Some(error) = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
            return Self::of_postgres(error);
        }
        let code = database.and_then(|e| e.code()).and_then(|c| c.parse::<u32>().ok());
        match (code, &error) {
            (Some(code), _) => Self::of_sqlite(code, &error),
            (_, sqlx::Error::PoolClosed) => Self::Closed,
            (_, sqlx::Error::PoolTimedOut) => Self::Busy,
            (_, sqlx::Error::Io(error)) => match error.kind() {
                ErrorKind::ConnectionRefused => {
                    Self::Down(format!("{error}: nothing listens there, or a firewall rejects us"))
                }
                ErrorKind::NotFound => Self::Down(error.to_string()),
                _ => Self::Away(error.to_string()),
            },
            (_, sqlx::Error::Protocol(why)) => Self::Away(why.clone()),
            (_, sqlx::Error::Tls(why)) => Self::Refused(format!("no TLS ({why})")),
            _ => Self::Database(error.to_string()),
        }
    }
}
