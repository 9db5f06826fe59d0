//! What the database of a home says while no daemon runs there.

use std::collections::HashMap;

use anyhow::{Context, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use store::task::{Task, TaskId};
use store::{Server, open_postgres, open_sqlite};

use crate::daemon::Home;

/// Of all tasks, in the order of their acceptance.
const IDS: &str = "select cast(id as text) from task_queue order by seq";
/// What is recorded of tries, of each task: with success, and in all.
const OUTCOMES: &str = "select cast(task_id as text), \
    cast(sum(case when success then 1 else 0 end) as bigint), cast(count(*) as bigint) \
    from ops_outcomes where task_id is not null group by task_id";

/// All tasks of some agents, and how often each was put down as ended.
pub struct Ledger {
    /// In the order of their acceptance.
    pub tasks: Vec<Task>,
    /// The events `task.done` and `task.failed` of each task.
    pub ends: HashMap<TaskId, u32>,
    /// The recorded outcomes of each task.
    pub outcomes: HashMap<TaskId, Outcomes>,
}

/// The outcomes of one task's tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// That succeeded.
    pub succeeded: i64,
    /// Of all tries.
    pub all: i64,
}

impl Ledger {
    /// Reads that of a home's own file.
    pub fn read(home: &Home, agents: &[&str]) -> Result<Self> {
        Self::of(home, None, agents)
    }

    /// Reads that of a home which is on a server, or on its own file.
    pub fn of(home: &Home, url: Option<&str>, agents: &[&str]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let file = home.path().join("openclaw.db");
            let backend = match url {
                None => open_sqlite(&file).await?,
                Some(url) => open_postgres(Server::new(url, None)?).await?,
            };
            let (ids, outcomes) = match url {
                None => {
                    let mut db = SqliteConnectOptions::new().filename(&file).connect().await?;
                    (
                        sqlx::query_scalar(IDS).fetch_all(&mut db).await?,
                        sqlx::query_as(OUTCOMES).fetch_all(&mut db).await?,
                    )
                }
                Some(url) => {
                    let mut db = PgConnection::connect(url).await?;
                    (
                        sqlx::query_scalar(IDS).fetch_all(&mut db).await?,
                        sqlx::query_as(OUTCOMES).fetch_all(&mut db).await?,
                    )
                }
            };
            let (ids, outcomes): (Vec<String>, Vec<(String, i64, i64)>) = (ids, outcomes);
            // One by one: a list of all has a bound.
            let mut tasks = Vec::new();
            for id in ids {
                tasks.push(backend.task(id.parse()?).await?.context("a task that is listed")?);
            }
            tasks.retain(|task| agents.contains(&task.queue.as_str()));
            let mut ends = HashMap::new();
            for agent in agents {
                for kind in ["task.done", "task.failed"] {
                    for event in backend.events(&agent.parse()?, kind, u32::MAX).await? {
                        let id = event.payload["task_id"].as_str().context("an event's task")?.parse()?;
                        *ends.entry(id).or_default() += 1;
                    }
                }
            }
            backend.close().await;
            let outcomes = outcomes
                .into_iter()
                .map(|(id, succeeded, all)| Ok((id.parse()?, Outcomes { succeeded, all })));
            let outcomes = outcomes.collect::<Result<_>>()?;
            Ok(Self { tasks, ends, outcomes })
        })
    }

    /// What is told of an agent in a home's own file, of one kind: the payloads, newest first.
    pub fn events(home: &Home, agent: &str, kind: &str) -> Result<Vec<serde_json::Value>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let backend = open_sqlite(&home.path().join("openclaw.db")).await?;
            let events = backend.events(&agent.parse()?, kind, u32::MAX).await?;
            backend.close().await;
            Ok(events.into_iter().map(|event| event.payload).collect())
        })
    }

    /// The task with this text.
    pub fn task(&self, text: &str) -> Result<&Task> {
        let found = self.tasks.iter().find(|task| task.payload["text"] == text);
        found.with_context(|| format!("no task `{text}`"))
    }
}
