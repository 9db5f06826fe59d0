//! The task: a message, a tick, later a mission step. One row of `task_queue`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A task's identity: a UUID v7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new one, later than all before it in this process.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl From<Uuid> for TaskId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<TaskId> for Uuid {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl Default for TaskId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no task's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no task's id: copy one, such as 01a1fb4d-96cf-7061-9233-e37030140f8b, from `openclaw tasks list`")]
pub struct BadTaskId;

impl FromStr for TaskId {
    type Err = BadTaskId;

    fn from_str(text: &str) -> Result<Self, BadTaskId> {
        text.parse().map(Self).map_err(|_| BadTaskId)
    }
}

/// Where a task is in its life.
///
/// ```text
/// queued ⇄ leased ─▶ done
///   │         └────▶ failed (the dead letter)
///   └─▶ cancelled      retry: failed | cancelled ─▶ queued
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for its time, its session or a worker.
    Queued,
    /// A worker owns it.
    Leased,
    /// Ended well.
    Done,
    /// Ended badly: the dead letter.
    Failed,
    /// Ended by a person.
    Cancelled,
}

impl TaskState {
    /// As the database and JSON have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to it by itself.
    pub const fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TaskState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Queued, Self::Leased, Self::Done, Self::Failed, Self::Cancelled];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            format!("`{text}` is no state of a task: use queued, leased, done, failed or cancelled")
        })
    }
}

/// A task to be stored.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its identity.
    pub id: TaskId,
    /// The agent that is to do it.
    pub queue: AgentName,
    /// What the agent is called with: `message` or `tick`.
    pub kind: String,
    /// JSON text.
    pub payload: String,
    /// Tasks of one session run in order, one at a time.
    pub session: Option<String>,
    /// A second submission with the same key to the same queue returns the first one's task.
    pub dedupe_key: Option<String>,
    /// Higher first; within a session the order of submission wins.
    pub priority: i32,
    /// Tries before it is a dead letter.
    pub max_attempts: u32,
    /// Not before this.
    pub run_at: Option<DateTime<Utc>>,
    /// Who sent it.
    pub source: String,
}

/// What became of a submission: durable when this is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The task: the submitted one, or the earlier one with the same dedupe key.
    pub id: TaskId,
    /// Whether it was there before.
    pub existing: bool,
}

/// A task in the hands of a worker.
#[derive(Clone, Debug)]
pub struct LeasedTask {
    /// Which.
    pub id: TaskId,
    /// The fencing token: a completion with an older one is refused.
    pub token: i64,
    /// The agent.
    pub queue: AgentName,
    /// What the agent is called with.
    pub kind: String,
    /// JSON text.
    pub payload: String,
    /// Its session.
    pub session: Option<String>,
    /// Who sent it.
    pub source: String,
    /// 1 for the first try.
    pub attempts: u32,
    /// Tries before it is a dead letter.
    pub max_attempts: u32,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

/// How a try ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Well: the result as JSON text, and work for others that is stored with it.
    Done {
        /// JSON text.
        result: String,
        /// Stored in the same transaction.
        follow_ups: Vec<NewTask>,
    },
    /// Badly: tried again then, or not at all.
    Failed {
        /// What failed, in a sentence.
        error: String,
        /// None: a dead letter.
        retry_at: Option<DateTime<Utc>>,
    },
    /// Not tried, or not to its end, for no fault of its own: the try does not count.
    Released,
}

/// The end of a try, to be stored under its lease.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Which.
    pub id: TaskId,
    /// Under which lease.
    pub token: i64,
    /// The agent.
    pub agent: AgentName,
    /// What the agent was called with.
    pub kind: String,
    /// Which try.
    pub attempts: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// How long the handler took.
    pub duration: Duration,
    /// Whether the next task of its session may have waited for it.
    pub in_session: bool,
}

impl Completion {
    /// The end of this try.
    #[must_use]
    pub fn of(task: LeasedTask, outcome: Outcome, duration: Duration) -> Self {
        let LeasedTask { id, token, queue: agent, kind, attempts, session, .. } = task;
        Self { id, token, agent, kind, attempts, outcome, duration, in_session: session.is_some() }
    }

    /// A task that goes back untried.
    pub(crate) fn released(task: LeasedTask) -> Self {
        Self::of(task, Outcome::Released, Duration::ZERO)
    }

    /// Whether another task can be claimed after it that could not before.
    pub(crate) fn frees(&self) -> bool {
        self.in_session || !matches!(self.outcome, Outcome::Done { .. })
    }
}

/// A task that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub id: TaskId,
    /// How.
    pub state: TaskState,
    /// JSON text.
    pub result: Option<String>,
    /// What failed.
    pub error: Option<String>,
    /// After how many tries.
    pub attempts: u32,
    /// From acceptance to the end.
    pub duration: Duration,
}

/// A row of `task_queue`, for people.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// Which.
    pub id: TaskId,
    /// The agent.
    pub queue: String,
    /// What the agent is called with.
    pub kind: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// Its session.
    pub session: Option<String>,
    /// Its dedupe key.
    pub dedupe_key: Option<String>,
    /// Higher first.
    pub priority: i32,
    /// Tries so far.
    pub attempts: u32,
    /// Tries before it is a dead letter.
    pub max_attempts: u32,
    /// Not before this.
    pub run_at: DateTime<Utc>,
    /// What was asked.
    pub payload: serde_json::Value,
    /// What was answered.
    pub result: Option<serde_json::Value>,
    /// What failed last.
    pub error: Option<String>,
    /// Who sent it.
    pub source: String,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Only of this agent.
    pub queue: Option<String>,
    /// Only in this state.
    pub state: Option<TaskState>,
    /// Only of this session.
    pub session: Option<String>,
    /// At most this many, newest first.
    pub limit: u32,
}
