//! The trait an author implements, and what goes in and out of it.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::manifest::Manifest;

/// A result whose error tells the daemon what to do next.
pub type Result<T, E = AgentError> = std::result::Result<T, E>;

/// An agent. Methods take `&self` and are called from up to `concurrency` threads at once; two messages of one
/// session never overlap.
pub trait Agent: Send + Sync + Sized + 'static {
    /// What the agent says of itself. Must not block or fail: it is called before anything is checked.
    fn describe() -> Manifest;

    /// Makes the agent from `[agents.NAME.settings]`, already checked against the manifest's schema. An error is a
    /// refusal: it is shown to the operator and not tried again.
    fn create(settings: Value) -> Result<Self>;

    /// Answers a message. The time it may take is [`Message::time`]; past it the host is ended.
    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply>;

    /// Called once before the first message, within `start_timeout`. An error ends the start and is retried.
    fn start(&self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// A schedule of the manifest is due.
    fn tick(&self, ctx: &Context, schedule: &str) -> Result<()> {
        let _ = (ctx, schedule);
        Ok(())
    }

    /// The state in memory, for a successor.
    fn snapshot(&self) -> Result<Value> {
        Ok(Value::Null)
    }

    /// Takes over a predecessor's [`snapshot`](Agent::snapshot).
    fn restore(&self, snapshot: Value) -> Result<()> {
        let _ = snapshot;
        Ok(())
    }

    /// The last call before the process ends.
    fn stop(&self, ctx: &Context) {
        let _ = ctx;
    }
}

/// A message to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The task that carries it: the same on a retry, so a good key for effects that must happen once.
    pub task_id: String,
    /// What was said.
    #[serde(default)]
    pub text: String,
    /// Structured input beside the text.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// Messages of one session are handled in order, one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who sent it: `cli`, `agent:milkbot`, `schedule`, …
    #[serde(default)]
    pub source: String,
    /// 1 for the first try.
    #[serde(default)]
    pub attempt: u32,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// `handler_timeout`, in milliseconds; see [`time`](Message::time).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// The time of a message that does not say it: the default `handler_timeout`.
const TIME: Duration = Duration::from_secs(120);

impl Message {
    /// How long its handler may take from its call on; past it the host is ended.
    pub fn time(&self) -> Duration {
        self.timeout_ms.map_or(TIME, Duration::from_millis)
    }

    /// The text split as `/command` and the rest; none when it does not begin with a slash.
    pub fn command(&self) -> Option<(&str, &str)> {
        let text = self.text.trim();
        if !text.starts_with('/') {
            return None;
        }
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Some((name, rest.trim()))
    }
}

/// An agent's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// For people.
    #[serde(default)]
    pub text: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Reply {
    /// An answer for people.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), data: Value::Null }
    }

    /// Adds an answer for programs.
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

/// Why an agent could not answer. Any `std::error::Error` becomes one of class [`Failed`](ErrorClass::Failed) by `?`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentError {
    /// What follows from it.
    pub class: ErrorClass,
    /// What failed and why, in a sentence.
    pub message: String,
}

/// What follows from an agent's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The agent's own failure: retried, and counted by its breaker.
    Failed,
    /// The sender's mistake: not retried, not counted.
    Invalid,
    /// The agent panicked: counted, the host is ended, the task retried.
    Panic,
}

impl AgentError {
    /// The agent's own failure; the task is retried.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Failed, message: message.into() }
    }

    /// The sender's mistake; the task ends at once as failed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Invalid, message: message.into() }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// As in anyhow: not an Error itself, so that every Error can become one.
impl<E: std::error::Error> From<E> for AgentError {
    fn from(error: E) -> Self {
        Self::failed(error.to_string())
    }
}
