//! SQLite: one connection that writes, a few that read, and nobody else beside the daemon.

pub(crate) mod dialect;
mod list;
mod pipeline;
#[cfg(test)]
mod plans;
mod shared;
mod statements;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Turn;
use sqlx::ConnectOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use tokio::sync::{Mutex, MutexGuard};

use self::pipeline::Pipeline;
use crate::alert::{Alert, Level};
use crate::backend::{Applied, Backend, Batch, Claimant, Depth, Event, Heartbeat};
use crate::ledger::{Call, Usage};
use crate::mission::Mission;
use crate::tally::Count;
use crate::task::{Filter, NewTask, Task, TaskId};
use crate::transaction::{self, Moment};
use crate::{Error, stamp};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Rows on their way from the database's thread, more than a batch returns: at sqlx's 50 that thread stops in the
/// middle of a transaction until it is listened to.
const ROWS: usize = 4096;

/// Readers at the most: people and agents that look something up.
const READERS: u32 = 2;
/// Nobody waits longer for one that is free.
const FREE: Duration = Duration::from_secs(3);
/// How long another program may hold the file locked before that is told: below what callers wait for.
const LOCKED: Duration = Duration::from_secs(2);

/// An open database.
pub(crate) struct Sqlite {
    pub(crate) writer: Mutex<SqliteConnection>,
    pub(crate) readers: SqlitePool,
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
            .busy_timeout(LOCKED)
            .pragma("temp_store", "memory")
            .row_buffer_size(ROWS)
            .disable_statement_logging();
        let mut writer = options.clone().create_if_missing(true).connect().await.map_err(refused)?;
        MIGRATIONS.run(&mut writer).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => Error::Newer { path: shown.clone(), version },
            other => Error::Open { path: shown.clone(), reason: other.to_string() },
        })?;
        let readers =
            SqlitePoolOptions::new().max_connections(READERS).min_connections(0).acquire_timeout(FREE);
        let readers = readers.connect_lazy_with(options.read_only(true));
        Ok(Self { writer: Mutex::new(writer), readers })
    }

    /// The connection that writes, for what the engine asks besides: it must not wait for somebody's long list.
    async fn writer(&self) -> Result<MutexGuard<'_, SqliteConnection>, Error> {
        if self.readers.is_closed() {
            return Err(Error::Closed);
        }
        Ok(self.writer.lock().await)
    }

    /// By a connection for lookups: one that is not to be had is wanted by too many, or made in vain.
    async fn read<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match work.await {
            Err(Error::Busy) if !self.crowded() => Err(Error::Locked),
            done => done,
        }
    }
}

/// All of it in one transaction, or nothing of it.
///
/// By hand, since SQLite itself ends the transaction when the disk is full, and sqlx's own count of open transactions
/// does not survive that: its connection would never write again.
async fn transaction<T>(
    db: &mut SqliteConnection,
    work: impl AsyncFnOnce(&mut Pipeline<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let done = async {
        let mut statements = Pipeline::new(&mut *db);
        statements.add("begin immediate");
        let done = work(&mut statements).await?;
        statements.add("commit").rows().await?;
        Ok(done)
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
        let db = &mut *self.writer.lock().await;
        transaction(db, async |db| transaction::apply(db, batch, claimant, &Moment::own(now)).await).await
    }

    async fn recover(&self, claimant: &Claimant, now: DateTime<Utc>) -> Result<u64, Error> {
        let db = &mut *self.writer.lock().await;
        transaction(db, async |db| transaction::free(db, claimant, now).await).await
    }

    async fn set_back(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Error> {
        // What is in work may come back.
        let sql = "update task_queue set run_at = $1
                   where state in ('queued', 'leased') and run_at > $1 and (run_at <= $2 or attempts > 0)";
        let db = &mut *self.writer().await?;
        sqlx::query(sql).bind(stamp(now)).bind(stamp(before)).execute(&mut *db).await?;
        // Somebody waits for an alert that is late by a day; one that comes early is looked at and waits on.
        let sql = "update alerts set due_at = $1 where due_at > $1";
        sqlx::query(sql).bind(stamp(now)).execute(db).await?;
        Ok(())
    }

    async fn next_due(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        shared::next_due(&mut *self.writer().await?, after).await
    }

    async fn depths(&self) -> Result<Vec<(String, Depth)>, Error> {
        shared::depths(&mut *self.writer().await?).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        shared::task(&mut *self.writer().await?, id).await
    }

    async fn stored(&self, tasks: &[&NewTask]) -> Result<Vec<TaskId>, Error> {
        transaction::stored(&mut Pipeline::new(&mut *self.writer().await?), tasks).await
    }

    async fn tasks(&self, filter: &Filter) -> Result<Vec<Task>, Error> {
        self.read(list::tasks(&self.readers, filter)).await
    }

    async fn records(&self) -> Result<Vec<(String, String)>, Error> {
        self.read(shared::records(&self.readers)).await
    }

    async fn events(&self, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error> {
        self.read(shared::events(&self.readers, agent, kind, limit)).await
    }

    async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error> {
        self.read(shared::events_after(&self.readers, id, limit)).await
    }

    async fn last_event(&self) -> Result<i64, Error> {
        self.read(shared::last_event(&self.readers)).await
    }

    async fn alerts(&self, limit: u32) -> Result<Vec<Alert>, Error> {
        self.read(shared::alerts(&self.readers, limit)).await
    }

    async fn missions(&self, limit: u32) -> Result<Vec<Mission>, Error> {
        shared::missions(&self.readers, limit).await
    }

    async fn open_alerts(&self) -> Result<Vec<(Level, u64)>, Error> {
        self.read(shared::open_alerts(&self.readers)).await
    }

    async fn alerts_due(&self, by: DateTime<Utc>) -> Result<Vec<Alert>, Error> {
        self.read(shared::alerts_due(&self.readers, by)).await
    }

    async fn next_alert(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.read(shared::next_alert(&self.readers)).await
    }

    async fn alerts_arrived(&self) -> Result<Vec<(i64, DateTime<Utc>)>, Error> {
        self.read(shared::alerts_arrived(&self.readers)).await
    }

    async fn heartbeats(&self, agent: &AgentName, limit: u32) -> Result<Vec<Heartbeat>, Error> {
        self.read(shared::heartbeats(&self.readers, agent, limit)).await
    }

    async fn last_heartbeats(&self) -> Result<Vec<Heartbeat>, Error> {
        self.read(shared::last_heartbeats(&self.readers)).await
    }

    async fn agents_since(&self, since: DateTime<Utc>) -> Result<Vec<String>, Error> {
        self.read(shared::agents_since(&self.readers, since)).await
    }

    async fn recall(&self, agent: &AgentName, key: &str) -> Result<Option<String>, Error> {
        self.read(shared::recall(&self.readers, agent, key)).await
    }

    async fn keys(&self, agent: &AgentName, prefix: &str, limit: u32) -> Result<Vec<String>, Error> {
        self.read(shared::keys(&self.readers, agent, prefix, limit)).await
    }

    async fn memory_keys(&self, agent: &AgentName) -> Result<u32, Error> {
        self.read(shared::memory_keys(&self.readers, agent)).await
    }

    async fn turns(&self, agent: &AgentName, session: &str, limit: u32) -> Result<Vec<Turn>, Error> {
        self.read(shared::turns(&self.readers, agent, session, limit)).await
    }

    async fn usage(&self, periods: &[String]) -> Result<Vec<Usage>, Error> {
        self.read(shared::usage(&self.readers, periods)).await
    }

    async fn asked(&self, agent: &AgentName, day: NaiveDate) -> Result<Vec<Count>, Error> {
        self.read(shared::asked(&self.readers, agent, day)).await
    }

    async fn calls(&self, agent: Option<&AgentName>, limit: u32) -> Result<Vec<Call>, Error> {
        self.read(shared::calls(&self.readers, agent, limit)).await
    }

    fn crowded(&self) -> bool {
        self.readers.num_idle() == 0 && self.readers.size() >= READERS
    }

    async fn close(&self) {
        self.readers.close().await;
        // The engine is the only writer and has ended, so nothing is lost if this fails: the log is replayed.
        let _ = sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut *self.writer.lock().await).await;
    }
}
