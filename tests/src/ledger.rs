//! What the database of a home says while no daemon runs there.

use std::collections::HashMap;

use anyhow::{Context, Result};
use store::task::{Filter, Task, TaskId};

use crate::daemon::Home;

/// All tasks of some agents, and how often each was put down as ended.
pub struct Ledger {
    /// In the order of their acceptance.
    pub tasks: Vec<Task>,
    /// The events `task.done` and `task.failed` of each task.
    pub ends: HashMap<TaskId, u32>,
}

impl Ledger {
    /// Reads it.
    pub fn read(home: &Home, agents: &[&str]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let backend = store::open_sqlite(&home.path().join("openclaw.db")).await?;
            let mut tasks = backend.tasks(&Filter { limit: u32::MAX, ..Filter::default() }).await?;
            tasks.retain(|task| agents.contains(&task.queue.as_str()));
            tasks.reverse();
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
            Ok(Self { tasks, ends })
        })
    }

    /// The task with this text.
    pub fn task(&self, text: &str) -> Result<&Task> {
        let found = self.tasks.iter().find(|task| task.payload["text"] == text);
        found.with_context(|| format!("no task `{text}`"))
    }
}
