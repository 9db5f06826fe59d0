//! What may become a task, whoever sends it: one place for the limits.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::kinds;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use settings::Tasks;
use store::task::{NewTask, TaskId};

/// The longest session or key, in bytes: a longer one is somebody's mistake.
const KEY: usize = 256;

/// What a message's row holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Payload {
    /// What was said.
    #[serde(default)]
    pub text: String,
    /// Structured input beside the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// A message on its way to become a task.
pub struct Draft {
    /// To whom.
    pub to: AgentName,
    /// What.
    pub payload: Payload,
    /// Messages of one session are handled in order.
    pub session: Option<String>,
    /// A second message with the same key is the first one.
    pub key: Option<String>,
    /// Higher first.
    pub priority: i32,
    /// Who sends it.
    pub source: String,
}

impl Draft {
    /// The task.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence; nothing has been stored.
    pub fn task(self, tasks: &Tasks) -> Result<NewTask, String> {
        for (what, text) in [("session", &self.session), ("key", &self.key)] {
            if text.as_ref().is_some_and(|text| text.len() > KEY || text.is_empty()) {
                return Err(format!("a {what} has 1 to {KEY} bytes: nothing was stored"));
            }
            if text.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
                return Err(format!("a {what} has no control characters: nothing was stored"));
            }
        }
        if self.payload.text.is_empty() && self.payload.data.is_none() {
            return Err("there is nothing to say, neither text nor data: nothing was stored".into());
        }
        let payload = serde_json::to_string(&self.payload).map_err(|error| error.to_string())?;
        let (size, limit) = (payload.len(), tasks.max_payload);
        if size as u64 > limit.bytes() {
            return Err(format!(
                "the message of {size} bytes is over tasks.max_payload, {limit}: nothing was stored; send less, or raise it"
            ));
        }
        Ok(NewTask {
            id: TaskId::new(),
            queue: self.to,
            kind: kinds::MESSAGE.into(),
            payload,
            session: self.session,
            dedupe_key: self.key,
            priority: self.priority,
            max_attempts: tasks.max_attempts,
            run_at: None,
            source: self.source,
        })
    }
}
