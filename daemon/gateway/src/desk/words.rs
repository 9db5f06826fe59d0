//! What is asked for, and what is answered.

use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use store::task::{TaskId, TaskState};
use supervisor::library::{Entry, Hash};
use utoipa::ToSchema;

/// What can be done to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Bring it up.
    Start,
    /// Bring it down, and leave it so.
    Stop,
    /// A new host.
    Restart,
    /// Leave it alone for a while.
    OpenBreaker,
    /// Bring it up, as if nothing had been wrong.
    CloseBreaker,
}

/// What another process is to do to an agent that it leads.
#[derive(Clone, Debug)]
pub enum Order {
    /// Start, stop or restart it, open or close its breaker.
    Act {
        /// Which of these.
        action: Action,
        /// Why, for the history.
        reason: Option<String>,
    },
    /// Run the file that the agents folder has.
    Reload,
    /// Run an older library again.
    Rollback {
        /// How its hash begins; the last good one by default.
        to: Option<String>,
    },
}

/// A message to an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// To whom.
    pub agent: String,
    /// What is said.
    #[serde(default)]
    pub text: String,
    /// Structured input beside the text.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// Messages of one session are handled in order.
    #[serde(default)]
    pub session: Option<String>,
    /// A second message with the same key is the first one.
    #[serde(default)]
    pub key: Option<String>,
    /// Higher first.
    #[serde(default)]
    pub priority: i32,
    /// Wait so long for the answer, in milliseconds; none: do not wait.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What became of a message: `openclaw send --json`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    /// Its task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// Where the task is in its life.
    pub state: String,
    /// The agent's reply.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// What failed.
    pub error: Option<String>,
    /// Tries so far.
    pub attempts: u32,
    /// From acceptance to the end, or until now.
    pub duration_ms: f64,
}

impl Sent {
    /// Whether nothing more will happen to it by itself.
    pub fn has_ended(&self) -> bool {
        self.state.parse().is_ok_and(TaskState::ended)
    }
}

/// What became of an agent: `openclaw agents start --json`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Settled {
    /// Which.
    #[schema(value_type = String)]
    pub name: AgentName,
    /// Its state now.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// What came of a reload: `openclaw agents reload --json`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// Which.
    #[schema(value_type = String)]
    pub name: AgentName,
    /// Its state now.
    pub state: String,
    /// What was done.
    pub verdict: String,
    /// The hash that it runs.
    #[schema(value_type = Option<String>)]
    pub sha256: Option<Hash>,
    /// The version that it runs.
    pub version: Option<String>,
    /// Why it is in its state.
    pub reason: String,
}

/// A library that is kept: `openclaw agents libraries --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// What is known of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whether it is what the agent runs.
    pub running: bool,
}
