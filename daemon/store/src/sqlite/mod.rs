//! SQLite: one connection that writes, a few that read, and nobody else beside the daemon.

mod apply;
mod complete;
mod lease;
mod order;
#[cfg(test)]
mod plans;
mod prune;
mod read;
mod record;
mod session;
mod submit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Turn;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};
use tokio::sync::Mutex;

use crate::Error;
use crate::backend::{Applied, Backend, Batch, Claimant, Depth, Event};
use crate::task::{Filter, NewTask, Task, TaskId};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Rows on their way from the database's thread, more than a batch returns: at sqlx's 50 that thread stops in the
/// middle of a transaction until it is listened to.
const ROWS: usize = 4096;

/// An open database.
pub(crate) struct Sqlite {
    pub(crate) writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

/// Opens or makes the database and brings it to this binary's form.
///
/// # Errors
/// [`Error::Open`]; [`Error::Newer`] when a newer OpenClaw wrote it.
pub async fn open_sqlite(path: &Path) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(Sqlite::open(path).await?))
}

impl Sqlite {
    /// As [`open_sqlite`].
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let refused = |error: sqlx::Error| Error::Open { path: shown.clone(), reason: error.to_string() };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk when it returns: accepted work is never bought off.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("temp_store", "memory")
            .row_buffer_size(ROWS)
            .disable_statement_logging();
        let mut writer = options.clone().create_if_missing(true).connect().await.map_err(refused)?;
        MIGRATIONS.run(&mut writer).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => Error::Newer { path: shown.clone(), version },
            other => Error::Open { path: shown.clone(), reason: other.to_string() },
        })?;
        let readers = SqlitePoolOptions::new().max_connections(2).min_connections(0);
        let readers = readers.connect_lazy_with(options.read_only(true));
        Ok(Self { writer: Mutex::new(writer), readers })
    }
}

/// All of the batch in one transaction, or nothing of it.
///
/// By hand, since SQLite itself ends the transaction when the disk is full, and sqlx's own count of open transactions
/// does not survive that: its connection would never write again.
async fn transaction(
    db: &mut SqliteConnection,
    batch: &Batch,
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<Applied, Error> {
    let done = async {
        sqlx::query("begin immediate").execute(&mut *db).await?;
        let applied = apply::apply(db, batch, claimant, now).await?;
        sqlx::query("commit").execute(&mut *db).await?;
        Ok(applied)
    }
    .await;
    if done.is_err() {
        // Refused when SQLite has rolled back already, which is as well.
        let _ = sqlx::query("rollback").execute(&mut *db).await;
    }
    done
}

#[async_trait]
impl Backend for Sqlite {
    async fn apply(&self, batch: &Batch, claimant: &Claimant, now: DateTime<Utc>) -> Result<Applied, Error> {
        transaction(&mut *self.writer.lock().await, batch, claimant, now).await
    }

    async fn recover(&self, claimant: &Claimant, now: DateTime<Utc>) -> Result<u64, Error> {
        lease::recover(&mut *self.writer.lock().await, claimant, now).await
    }

    async fn next_due(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        // Not by a reader: the engine must not wait for somebody's long list.
        read::next_due(&mut *self.writer.lock().await, after).await
    }

    async fn depths(&self) -> Result<Vec<(String, Depth)>, Error> {
        read::depths(&self.readers).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        read::task(&self.readers, id).await
    }

    async fn stored(&self, tasks: &[&NewTask]) -> Result<Vec<TaskId>, Error> {
        submit::stored(&mut *self.writer.lock().await, tasks).await
    }

    async fn tasks(&self, filter: &Filter) -> Result<Vec<Task>, Error> {
        read::tasks(&self.readers, filter).await
    }

    async fn records(&self) -> Result<Vec<(String, String)>, Error> {
        read::records(&self.readers).await
    }

    async fn events(&self, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error> {
        read::events(&self.readers, agent, kind, limit).await
    }

    async fn alerts(&self, limit: u32) -> Result<Vec<Event>, Error> {
        read::alerts(&self.readers, limit).await
    }

    async fn recall(&self, agent: &AgentName, key: &str) -> Result<Option<String>, Error> {
        read::recall(&self.readers, agent, key).await
    }

    async fn keys(&self, agent: &AgentName, prefix: &str, limit: u32) -> Result<Vec<String>, Error> {
        read::keys(&self.readers, agent, prefix, limit).await
    }

    async fn memory_keys(&self, agent: &AgentName) -> Result<u32, Error> {
        read::memory_keys(&self.readers, agent).await
    }

    async fn turns(&self, agent: &AgentName, session: &str, limit: u32) -> Result<Vec<Turn>, Error> {
        read::turns(&self.readers, agent, session, limit).await
    }

    async fn close(&self) {
        self.readers.close().await;
        // The engine is the only writer and has ended, so nothing is lost if this fails: the log is replayed.
        let _ = sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut *self.writer.lock().await).await;
    }
}

fn id(row: &SqliteRow, column: usize) -> Result<TaskId, Error> {
    row.get::<&str, _>(column)
        .parse()
        .map_err(|_| Error::Database("a row of task_queue has a broken id".into()))
}

fn to_json<T: serde::Serialize + ?Sized>(rows: &T) -> String {
    // Vectors of strings, numbers and ids: nothing here can fail to serialize.
    serde_json::to_string(rows).unwrap_or_default()
}
