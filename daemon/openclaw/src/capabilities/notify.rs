//! `notify`: what an agent has to say to the operators without having been asked.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::CallError;
use serde::Deserialize;
use serde_json::Value;

use super::{Doors, failed, invalid, not_configured};

/// The longest key, in bytes.
const KEY: usize = 100;
/// The longest text, in characters: four messages of Telegram's.
const TEXT: usize = 16_000;

#[derive(Deserialize)]
pub struct Notify {
    key: String,
    text: String,
}

impl Doors {
    /// A message to each chat that is told of alerts, stored when this returns; the same key again is the first one.
    pub async fn notify(&self, agent: &AgentName, call: Notify) -> Result<Value, CallError> {
        if !(1..=KEY).contains(&call.key.len()) {
            return Err(invalid(format!("a message's key has 1 to {KEY} bytes")));
        }
        if call.text.trim().is_empty() || call.text.chars().count() > TEXT {
            return Err(invalid(format!("a message has 1 to {TEXT} characters")));
        }
        if self.chats.is_empty() {
            return Err(not_configured(
                "nobody can be told: there is no bot, or neither telegram.operators nor alerts.chats names a chat",
            ));
        }
        for chat in &self.chats {
            let key = format!("notify:{agent}:{}:{chat}", call.key);
            for task in gateway::telegram::notice(*chat, &call.text, Some(&key)) {
                self.store.submit(task).await.map_err(|error| failed(&error))?;
            }
        }
        Ok(Value::Null)
    }
}
