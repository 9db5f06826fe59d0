//! Where breakers stand is kept by the store: a daemon that starts anew asks nobody whom it was to leave alone.

use openclaw_agent_api::AgentName;
use store::backend::MemoryChange;
use tokio::time::sleep;

use crate::Handle;
use crate::exchange::Candidate;
use crate::policy::Gate;
use crate::settlement::AGAIN;

impl Handle {
    /// Takes up where an earlier life left each breaker, in the memory of `agent`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recall(&self, agent: &AgentName) -> Result<(), store::Error> {
        let set = self.0.set();
        let mut kept = self.0.kept.lock().await;
        for candidate in set.chat.iter().chain(&set.search) {
            let Some(text) = self.0.store.recall(agent, &key(candidate)).await? else { continue };
            match serde_json::from_str::<Gate>(&text) {
                Ok(gate) => {
                    let now = self.0.clock.steady();
                    candidate.state().gate = gate.taken_up(&set.described.failover.breaker, now);
                    kept.insert(candidate.name.clone(), text);
                }
                Err(error) => {
                    tracing::warn!(provider = %candidate.name, %error, "where its breaker stood does not read");
                }
            }
        }
        Ok(())
    }

    /// Keeps where each stands now, durable when this returns.
    ///
    /// # Errors
    /// As of any change of the store's.
    pub async fn keep(&self, agent: &AgentName) -> Result<(), store::Error> {
        let set = self.0.set();
        let mut kept = self.0.kept.lock().await;
        for candidate in set.chat.iter().chain(&set.search) {
            let mut gate = candidate.state().gate.clone();
            let known = kept.get(&candidate.name);
            if known.is_none() && gate == Gate::default() {
                continue;
            }
            // As the wall clock has it, by which the next life begins.
            gate.shift(self.0.clock.step());
            let value =
                serde_json::to_string(&gate).map_err(|error| store::Error::Database(error.to_string()))?;
            if known == Some(&value) {
                continue;
            }
            let change =
                MemoryChange::Set { agent: agent.clone(), key: key(candidate), value: value.clone() };
            self.0.store.remember(change).await?;
            kept.insert(candidate.name.clone(), value);
        }
        Ok(())
    }

    /// Keeps each change, for ever.
    pub async fn keep_on(self, agent: AgentName) {
        let mut changes = self.changes();
        // Its sender is the handle's own.
        while changes.changed().await.is_ok() {
            while let Err(error) = self.keep(&agent).await {
                tracing::debug!(%error, "where the breakers stand is not kept yet");
                sleep(AGAIN).await;
            }
        }
    }
}

fn key(candidate: &Candidate) -> String {
    format!("breaker:{}", candidate.name)
}
