//! Where breakers stand is kept by the store: a daemon that starts anew asks nobody whom it was to leave alone.

use std::collections::BTreeMap;

use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use store::backend::MemoryChange;
use tokio::time::sleep;

use crate::Handle;
use crate::exchange::Candidate;
use crate::policy::Gate;
use crate::settlement::AGAIN;

/// Where they are kept: in the memory of one agent, under the name of one process, whose calls they judge.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// Whose memory.
    pub agent: AgentName,
    /// Tells the process from all others of the database, also in its next life.
    pub process: String,
}

/// A breaker, and of which server it is.
#[derive(Serialize, Deserialize)]
struct Kept {
    base_url: String,
    gate: Gate,
}

impl Handle {
    /// Takes up where an earlier life left each breaker.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recall(&self) -> Result<(), store::Error> {
        let set = self.0.set();
        let mut known = BTreeMap::new();
        for candidate in set.chat.iter().chain(&set.search) {
            let Some(text) = self.0.store.recall(&self.0.keeper.agent, &self.key(candidate)).await? else {
                continue;
            };
            match serde_json::from_str::<Kept>(&text) {
                Ok(kept) => {
                    // Of another server it says nothing.
                    if kept.base_url == candidate.provider.base_url {
                        let (rules, now) = (&set.described.failover.breaker, self.0.clock.steady());
                        candidate.state().gate = kept.gate.taken_up(rules, now);
                    }
                    known.insert(candidate.name.clone(), text);
                }
                Err(error) => {
                    tracing::warn!(provider = %candidate.name, %error, "where its breaker stood does not read");
                }
            }
        }
        *self.0.kept.lock().await = Some(known);
        Ok(())
    }

    /// Keeps where each stands now, durable when this returns.
    ///
    /// # Errors
    /// As of any change of the store's.
    pub async fn keep(&self) -> Result<(), store::Error> {
        let set = self.0.set();
        let mut kept = self.0.kept.lock().await;
        // Where nothing could be read, anything may stand there.
        let was_read = kept.is_some();
        for candidate in set.chat.iter().chain(&set.search) {
            let mut gate = candidate.state().gate.clone();
            let known = kept.as_ref().and_then(|kept| kept.get(&candidate.name));
            if known.is_none() && was_read && gate == Gate::default() {
                continue;
            }
            // As the wall clock has it, by which the next life begins.
            gate.shift(self.0.clock.step());
            let value = Kept { base_url: candidate.provider.base_url.clone(), gate };
            let value =
                serde_json::to_string(&value).map_err(|error| store::Error::Database(error.to_string()))?;
            if known == Some(&value) {
                continue;
            }
            let (agent, key) = (self.0.keeper.agent.clone(), self.key(candidate));
            let change = MemoryChange::Set { agent, key, value: value.clone() };
            self.0.store.remember(change).await?;
            kept.get_or_insert_default().insert(candidate.name.clone(), value);
        }
        Ok(())
    }

    /// Keeps each change, for ever.
    pub async fn keep_on(self) {
        let mut changes = self.changes();
        // Its sender is the handle's own.
        while changes.changed().await.is_ok() {
            while let Err(error) = self.keep().await {
                tracing::debug!(%error, "where the breakers stand is not kept yet");
                sleep(AGAIN).await;
            }
        }
    }

    fn key(&self, candidate: &Candidate) -> String {
        format!("breaker:{}:{}", self.0.keeper.process, candidate.name)
    }
}
