//! `memory`: durable keys and conversations, each agent's own.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::CallError;
use serde::Deserialize;
use serde_json::Value;
use store::backend::{KEPT_TURNS, MemoryChange};

use super::{Doors, failed, invalid};

/// The longest key or session, in bytes.
const KEY: usize = 256;
/// The most keys that one agent may keep.
const KEPT_KEYS: u32 = 10_000;
/// The most keys of one answer.
const KEYS: u32 = 1000;

#[derive(Deserialize)]
pub struct Key {
    key: String,
}

#[derive(Deserialize)]
pub struct Entry {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
pub struct Prefix {
    prefix: String,
}

#[derive(Deserialize)]
pub struct Turn {
    session: String,
    role: String,
    text: String,
}

#[derive(Deserialize)]
pub struct Conversation {
    session: String,
    limit: u32,
}

impl Doors {
    pub async fn recall(&self, agent: &AgentName, call: Key) -> Result<Value, CallError> {
        let value = self.store.recall(agent, &call.key).await.map_err(|error| failed(&error))?;
        value.map_or(Ok(Value::Null), |json| serde_json::from_str(&json).map_err(|error| failed(&error)))
    }

    pub async fn keep(&self, agent: &AgentName, call: Entry) -> Result<Value, CallError> {
        checked(&call.key)?;
        let value = call.value.to_string();
        self.small_enough(value.len())?;
        let kept = self.store.memory_keys(agent).await.map_err(|error| failed(&error))?;
        if kept >= KEPT_KEYS
            && self.store.recall(agent, &call.key).await.map_err(|error| failed(&error))?.is_none()
        {
            return Err(invalid(format!("{kept} keys are kept already, the most there may be: delete some")));
        }
        self.change(MemoryChange::Set { agent: agent.clone(), key: call.key, value }).await
    }

    pub async fn forget(&self, agent: &AgentName, call: Key) -> Result<Value, CallError> {
        self.change(MemoryChange::Delete { agent: agent.clone(), key: call.key }).await
    }

    pub async fn keys(&self, agent: &AgentName, call: Prefix) -> Result<Value, CallError> {
        let keys = self.store.keys(agent, &call.prefix, KEYS).await.map_err(|error| failed(&error))?;
        Ok(keys.into())
    }

    pub async fn remember(&self, agent: &AgentName, call: Turn) -> Result<Value, CallError> {
        checked(&call.session)?;
        checked(&call.role)?;
        self.small_enough(call.text.len())?;
        let Turn { session, role, text } = call;
        self.change(MemoryChange::Remember { agent: agent.clone(), session, role, text }).await
    }

    pub async fn turns(&self, agent: &AgentName, call: Conversation) -> Result<Value, CallError> {
        let limit = call.limit.min(KEPT_TURNS);
        let turns = self.store.turns(agent, &call.session, limit).await.map_err(|error| failed(&error))?;
        serde_json::to_value(turns).map_err(|error| failed(&error))
    }

    async fn change(&self, change: MemoryChange) -> Result<Value, CallError> {
        self.store.remember(change).await.map_err(|error| failed(&error))?;
        Ok(Value::Null)
    }

    pub(super) fn small_enough(&self, size: usize) -> Result<(), CallError> {
        let limit = self.tasks.max_payload;
        if size as u64 <= limit.bytes() {
            return Ok(());
        }
        Err(invalid(format!("{size} bytes are over tasks.max_payload, {limit}: nothing was kept")))
    }
}

fn checked(key: &str) -> Result<(), CallError> {
    if (1..=KEY).contains(&key.len()) { Ok(()) } else { Err(invalid(format!("a key has 1 to {KEY} bytes"))) }
}
