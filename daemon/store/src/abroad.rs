//! What happened here that another process may wait for: tasks of agents that run elsewhere, and ends that are awaited
//! elsewhere. A hint: whoever is not told finds it with the next poll.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use openclaw_agent_api::AgentName;
use tokio::sync::Notify;

/// The agents whose tasks changed; bounded by how many there are.
#[derive(Default)]
pub(crate) struct Abroad {
    agents: Mutex<BTreeSet<AgentName>>,
    wake: Notify,
}

impl Abroad {
    pub fn changed(&self, agent: &AgentName) {
        let mut agents = self.lock();
        if !agents.contains(agent) {
            agents.insert(agent.clone());
            self.wake.notify_one();
        }
    }

    /// All since the last time; waits until there are some. Safe to cancel.
    pub async fn next(&self) -> BTreeSet<AgentName> {
        loop {
            let agents = std::mem::take(&mut *self.lock());
            if !agents.is_empty() {
                return agents;
            }
            self.wake.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<AgentName>> {
        // Each change is one insertion, so a poisoned lock is still good.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
