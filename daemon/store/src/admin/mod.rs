//! What an operator does with a database while no daemon need run: look at it, bring it up to date, check it, copy it.

mod cell;
mod check;
mod copy;
mod raw;
mod status;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;

use self::raw::Raw;
use crate::backend::Backend;
use crate::{Error, Server, open_postgres, open_sqlite};
pub use check::Finding;
pub use copy::{Copied, Progress};
pub use status::{Status, TableStatus};

/// Where a database is.
#[derive(Clone)]
pub enum Database {
    /// A file, one daemon's own.
    Sqlite(PathBuf),
    /// A server, which several daemons may share.
    Postgres(Server),
}

impl Database {
    /// As people are told of it.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("SQLite at {}", path.display()),
            Self::Postgres(server) => server.shown(),
        }
    }

    /// Opens or makes the database and brings it to this binary's form.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Away`], [`Error::Refused`]; [`Error::Newer`] when a newer OpenClaw wrote it.
    pub async fn open(&self) -> Result<Arc<dyn Backend>, Error> {
        match self {
            Self::Sqlite(path) => open_sqlite(path).await,
            Self::Postgres(server) => open_postgres(server.clone()).await,
        }
    }

    /// Brings it to this binary's form; answers the migrations that were run.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        let before = match Raw::open(self).await {
            Ok(mut raw) => raw.migration().await?,
            // A file that is not there yet.
            Err(Error::Open { .. }) => None,
            Err(error) => return Err(error),
        };
        self.open().await?.close().await;
        let new = status::migrations(self).iter().filter(|migration| Some(migration.version) > before);
        Ok(new.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect())
    }
}
