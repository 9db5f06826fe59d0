//! The operator's socket: frames as on the wire to hosts, one JSON object each. Requests carry a number that comes
//! back with the answer, so that many can be under way on one connection.

pub mod client;
pub mod server;

use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use store::task::{Filter, TaskId};
use supervisor::library::{Entry, Hash};

use crate::exit::Failure;

/// Client → daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request<A = Ask> {
    /// Comes back with the answer.
    pub id: u64,
    /// What to do.
    pub ask: A,
}

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The whole as it stands.
    Status,
    /// Deliver a message.
    Send(Message),
    /// Start, stop or restart an agent, and wait until it has settled.
    Agent {
        /// Which.
        name: String,
        /// What to do.
        action: Action,
        /// Why, for the history.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Run the file that the agents folder has for an agent now, and wait for the verdict.
    Reload {
        /// Which.
        name: String,
    },
    /// Run an older library again.
    Rollback {
        /// Which.
        name: String,
        /// How its hash begins; the last good one by default.
        #[serde(default)]
        to: Option<String>,
    },
    /// The libraries that are kept of an agent.
    Libraries {
        /// Which.
        name: String,
    },
    /// The last alerts, newest first.
    Alerts {
        /// How many.
        limit: u32,
    },
    /// The last transitions of an agent, newest first.
    History {
        /// Which.
        name: String,
        /// How many.
        limit: u32,
    },
    /// What was thought of an agent, wherever it runs, newest first.
    Heartbeats {
        /// Which.
        name: String,
        /// How many.
        limit: u32,
    },
    /// Tasks, newest first.
    Tasks(Filter),
    /// One task.
    Task {
        /// Which.
        id: TaskId,
    },
    /// Queue a failed or cancelled task anew.
    Retry {
        /// Which.
        id: TaskId,
    },
    /// Cancel a queued task.
    Cancel {
        /// Which.
        id: TaskId,
    },
}

impl Ask {
    /// The agent that it is about, where only the process that leads it can answer.
    pub fn about(&self) -> Option<&str> {
        match self {
            Self::Agent { name, .. }
            | Self::Reload { name }
            | Self::Rollback { name, .. }
            | Self::Libraries { name } => Some(name),
            Self::Status
            | Self::Send(_)
            | Self::Alerts { .. }
            | Self::History { .. }
            | Self::Heartbeats { .. }
            | Self::Tasks(_)
            | Self::Task { .. }
            | Self::Retry { .. }
            | Self::Cancel { .. } => None,
        }
    }
}

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
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Its task.
    pub task_id: TaskId,
    /// Where the task is in its life.
    pub state: String,
    /// The agent's reply.
    pub result: Option<Value>,
    /// What failed.
    pub error: Option<String>,
    /// Tries so far.
    pub attempts: u32,
    /// From acceptance to the end, or until now.
    pub duration_ms: f64,
}

/// What became of an agent: `openclaw agents start --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settled {
    /// Which.
    pub name: AgentName,
    /// Its state now.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// What came of a reload: `openclaw agents reload --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// Which.
    pub name: AgentName,
    /// Its state now.
    pub state: String,
    /// What was done.
    pub verdict: String,
    /// The hash that it runs.
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

/// Daemon → client.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The request's number; 0 when it could not be read.
    pub id: u64,
    /// What came of it.
    pub result: Result<Box<RawValue>, Failure>,
}
