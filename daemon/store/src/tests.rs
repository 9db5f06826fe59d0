//! The store over real SQLite and real PostgreSQL. Time is real where the engine's clock matters, and passed in where only the
//! database's does.

mod admin;
mod alerts;
mod away;
mod bounds;
mod credit;
pub(crate) mod database;
mod dedupe;
mod disk;
mod ends;
mod heartbeats;
mod leases;
mod ledger;
mod missions;
mod model;
mod odd;
mod prune;
mod records;
mod recovery;
mod sessions;
mod several;
mod tally;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::database::{Database, On, on_both};
use crate::backend::{Applied, Backend, Batch, Claimant};
use crate::sqlite::Sqlite;
use crate::task::{Completion, Ended, LeasedTask, NewTask, Outcome, Submitted, TaskId, TaskState};
use crate::{Clock, Consumer, Error, Options, Redact, Store};

/// No condition here takes a tenth of it.
const BOUND: Duration = Duration::from_secs(20);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, what).await.expect("it happens in time")
}

fn options() -> Options {
    let hour = Duration::from_secs(3600);
    Options {
        installation: "test".into(),
        lease: hour,
        max_queued: 1000,
        keep: 24 * hour,
        keep_rows: 1000,
        clock: Clock::new(),
        redact: Redact::default(),
        cooldown: hour,
    }
}

fn agent(name: &str) -> AgentName {
    name.parse().expect("an agent's name")
}

/// A task of `milkbot`.
fn task() -> NewTask {
    NewTask {
        id: TaskId::new(),
        queue: agent("milkbot"),
        kind: "message".into(),
        payload: r#"{"text":"hello"}"#.into(),
        session: None,
        dedupe_key: None,
        priority: 0,
        max_attempts: 3,
        run_at: None,
        source: "test".into(),
    }
}

fn of_session(session: &str) -> NewTask {
    NewTask { session: Some(session.into()), ..task() }
}

fn keyed(key: &str) -> NewTask {
    NewTask { dedupe_key: Some(key.into()), ..task() }
}

fn ends(task: &LeasedTask, outcome: Outcome) -> Completion {
    Completion::of(task.clone(), outcome, Duration::from_millis(5))
}

fn done(task: &LeasedTask, result: &str) -> Completion {
    followed(task, result, Vec::new())
}

fn followed(task: &LeasedTask, result: &str, follow_ups: Vec<NewTask>) -> Completion {
    ends(task, Outcome::Done { result: result.into(), follow_ups })
}

fn fails(task: &LeasedTask, retry_at: Option<DateTime<Utc>>) -> Completion {
    ends(task, Outcome::Failed { error: "it broke".into(), retry_at })
}

/// A store over a database of its own.
struct Rig {
    database: Database,
    backend: Arc<dyn Backend>,
    store: Store,
    engine: JoinHandle<()>,
}

impl Rig {
    async fn new(on: On) -> Self {
        Self::with(on, options()).await
    }

    async fn with(on: On, options: Options) -> Self {
        Self::open(Database::new(on).await, options).await
    }

    async fn open(database: Database, options: Options) -> Self {
        let backend = database.open().await.expect("it opens");
        let (store, engine) = Store::start(backend.clone(), options).await.expect("it starts");
        Self { database, backend, store, engine }
    }

    /// The process dies between two transactions; another one starts.
    async fn crash(self, options: Options) -> Self {
        Self::open(self.end().await, options).await
    }

    /// Nobody has the database any more.
    async fn end(self) -> Database {
        let Self { database, backend, store, engine } = self;
        engine.abort();
        let _ = engine.await;
        drop((backend, store));
        database
    }

    fn consumer(&self, credit: u32) -> Consumer {
        let consumer = self.store.consumer(agent("milkbot"));
        consumer.credit(credit);
        consumer
    }

    async fn submit(&self, task: NewTask) -> TaskId {
        within(self.store.submit(task)).await.expect("it is stored").id
    }

    async fn state(&self, id: TaskId) -> TaskState {
        self.store.task(id).await.expect("it is there").state
    }

    /// What came before has had its turn, and what that turn made claimable another one.
    async fn settle(&self) {
        flush(&self.store).await;
        flush(&self.store).await;
    }

    /// What a query for one number says.
    async fn number(&self, sql: &str) -> i64 {
        self.database.number(sql).await
    }
}

/// What came before has been tried: an answer comes with the turn, also when there is nothing to renew.
async fn flush(store: &Store) {
    within(store.renew(Vec::new())).await;
}

/// The task, once it has ended.
async fn ended(store: &Store, id: TaskId) -> Ended {
    within(async {
        loop {
            if let Some(ended) = store.task(id).await.expect("it is there").ended() {
                return ended;
            }
            flush(store).await;
        }
    })
    .await
}

async fn next(consumer: &mut Consumer) -> LeasedTask {
    within(consumer.next()).await.expect("the store is open")
}

/// A database without an engine, whose clock the test turns.
struct Bare {
    database: Database,
    backend: Arc<dyn Backend>,
    claimant: Claimant,
    now: DateTime<Utc>,
}

impl Bare {
    async fn new(on: On) -> Self {
        let database = Database::new(on).await;
        let backend = database.open_turned().await;
        let claimant =
            Claimant { installation: "test".into(), life: Uuid::now_v7(), lease: Duration::from_secs(30) };
        Self { database, backend, claimant, now: Utc::now() }
    }

    fn later(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    async fn apply(&self, batch: Batch) -> Applied {
        self.backend.apply(&batch, &self.claimant, self.now).await.expect("it is carried out")
    }

    async fn submit(&self, submissions: Vec<NewTask>) -> Vec<Submitted> {
        self.apply(Batch { submissions, ..Batch::default() }).await.submitted
    }

    async fn claim(&self, most: u32) -> Vec<LeasedTask> {
        self.apply(Batch { claims: vec![(agent("milkbot"), most)], ..Batch::default() }).await.claimed
    }

    async fn complete(&self, completions: Vec<Completion>) -> Applied {
        self.apply(Batch { completions, ..Batch::default() }).await
    }

    async fn number(&self, sql: &str) -> i64 {
        self.database.number(sql).await
    }
}

fn ids<'a>(tasks: impl IntoIterator<Item = &'a LeasedTask>) -> Vec<TaskId> {
    tasks.into_iter().map(|task| task.id).collect()
}

/// Takes all credit back; answers what was leased and not received.
async fn withdraw(consumer: &mut Consumer) -> Vec<LeasedTask> {
    // An error says that the store is closed: what it had leased was received, or is there.
    let _ = within(consumer.take_back()).await;
    std::iter::from_fn(|| consumer.try_next()).collect()
}

/// Two JSON texts say the same: a database may write it in its own way.
fn same(a: &str, b: &str) -> bool {
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    a == b || (value(a).is_some() && value(a) == value(b))
}
