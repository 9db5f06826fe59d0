//! What an agent may ask of the daemon.
//!
//! Every method but `log` and `now` needs a grant in the agent's `grants = […]`: `memory` grants all of memory,
//! `supervisor.status` just that one. Without it the answer is [`CallError`] with [`CallErrorKind::NotGranted`].

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::abi::methods;
use crate::agent::Reply;
use crate::name::AgentName;

/// The other end of [`Context`]: the host in a real agent, a script in the test kit.
pub trait Host: Send + Sync {
    /// Carries out `method` and answers its JSON.
    fn call(&self, method: &str, payload: Value) -> Result<Value, CallError>;
}

/// A call that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// What an agent can do about it.
    pub kind: CallErrorKind,
    /// What failed, why, and what to do.
    pub message: String,
    /// Before then it fails again, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<DateTime<Utc>>,
}

/// What an agent can do about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallErrorKind {
    /// The operator has not granted it: do without.
    NotGranted,
    /// Nothing is configured that could carry it out: do without, and say so.
    NotConfigured,
    /// What the operator allows of it is used up until [`retry_at`](CallError::retry_at): do without until then.
    OverBudget,
    /// Too many calls: not before [`retry_at`](CallError::retry_at).
    TooSoon,
    /// The call itself is wrong.
    Invalid,
    /// It failed, or took too long: a retry may help.
    Failed,
}

impl CallError {
    /// An error of the given kind.
    pub fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_at: None }
    }

    /// The same, with when it is worth another try.
    #[must_use]
    pub fn until(self, retry_at: Option<DateTime<Utc>>) -> Self {
        Self { retry_at, ..self }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something happened.
    Info,
    /// For the author.
    Debug,
}

/// How much an alert matters to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertLevel {
    /// Listed alone.
    Info,
    /// In the next summary.
    Warning,
    /// A message at once, and louder until somebody acknowledges it.
    Critical,
}

/// What has a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// An agent: while it is open it has no process, and its tasks wait.
    Agent,
    /// A provider: while it is open calls pass it over, and others may answer.
    Provider,
}

/// Work for another agent, committed in the same transaction as the sender's own completion: it is submitted once
/// if the sender's task succeeds, and not at all otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FollowUp {
    /// Who is to do it.
    pub agent: AgentName,
    /// What is said to it.
    pub text: String,
    /// Structured input beside the text.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// The session it is ordered by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who spoke: `user`, `assistant`, …
    pub role: String,
    /// What was said.
    pub text: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A search result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The page's title.
    pub title: String,
    /// Its address.
    pub url: String,
    /// An excerpt.
    #[serde(default)]
    pub snippet: String,
}

/// What came back from `fetch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// The mission's id.
    pub id: String,
    /// `proposed`, or what was decided on it: `approved`, `rejected`.
    pub status: String,
    /// It was proposed before, and nothing was changed.
    pub known: bool,
}

/// The daemon, as one call of an agent sees it.
pub struct Context<'h> {
    host: &'h dyn Host,
    task_id: Option<String>,
    follow_ups: Mutex<Vec<FollowUp>>,
}

impl<'h> Context<'h> {
    /// A context on behalf of `task_id`. The SDK makes these; authors are handed one.
    pub fn new(host: &'h dyn Host, task_id: Option<String>) -> Self {
        Self { host, task_id, follow_ups: Mutex::default() }
    }

    /// Any method by its name: the door for what this SDK has no function for.
    ///
    /// # Errors
    /// Those of the method; see [`CallErrorKind`].
    pub fn call(&self, method: &str, mut payload: Value) -> Result<Value, CallError> {
        if let (Value::Object(fields), Some(task)) = (&mut payload, &self.task_id) {
            fields.insert("task_id".into(), json!(task));
        }
        self.host.call(method, payload)
    }

    fn typed<T: DeserializeOwned>(&self, method: &str, payload: Value) -> Result<T, CallError> {
        let answer = self.call(method, payload)?;
        serde_json::from_value(answer).map_err(|error| {
            CallError::new(CallErrorKind::Failed, format!("the answer to `{method}` does not fit: {error}"))
        })
    }

    /// A line in the agent's log: `openclaw agents logs NAME`.
    pub fn log(&self, level: Level, text: impl Into<String>) {
        // A log that cannot be written must not fail the work; the host counts what it drops.
        let _ = self.call(methods::LOG, json!({"level": level, "text": text.into()}));
    }

    /// Something happened.
    pub fn info(&self, text: impl Into<String>) {
        self.log(Level::Info, text);
    }

    /// Something is odd.
    pub fn warn(&self, text: impl Into<String>) {
        self.log(Level::Warn, text);
    }

    /// Something failed.
    pub fn error(&self, text: impl Into<String>) {
        self.log(Level::Error, text);
    }

    /// The time; a test kit may stop it.
    pub fn now(&self) -> DateTime<Utc> {
        self.typed(methods::NOW, json!({})).unwrap_or_else(|_| Utc::now())
    }

    /// Durable memory, this agent's own. Needs `memory`.
    pub fn memory(&self) -> Memory<'_> {
        Memory { ctx: self }
    }

    /// Tells whoever listens on the bus. Needs `publish`. `kind` says what happened, `data` the rest.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`], or `Failed` when the bus is away.
    pub fn publish(&self, kind: &str, data: Value) -> Result<(), CallError> {
        self.call(methods::PUBLISH, json!({"type": kind, "data": data})).map(drop)
    }

    /// Asks the configured language model. Needs `ask`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotConfigured`] when there is none, or it refuses our key; `OverBudget` and `TooSoon` with their
    /// `retry_at`; `Failed` when no provider has answered; so for `converse`, `search` and `fetch`.
    pub fn ask(&self, prompt: &str) -> Result<String, CallError> {
        self.typed(methods::ASK, json!({"prompt": prompt}))
    }

    /// Continues a conversation: turns as `(role, text)`, oldest first, with the roles `system`, `user` and `assistant`. What
    /// does not fit into the model's context is left out, the oldest first; `system` turns and the last one stay. Needs `ask`.
    ///
    /// # Errors
    /// As [`ask`](Context::ask); `Invalid` when the turns that must stay do not fit.
    pub fn converse(&self, turns: &[(&str, &str)]) -> Result<String, CallError> {
        let messages: Vec<_> = turns.iter().map(|(role, text)| json!({"role": role, "text": text})).collect();
        self.typed(methods::ASK, json!({"messages": messages}))
    }

    /// The same for whoever waits no longer than `within`: what is tried, and how often, keeps to that. Needs `ask`.
    ///
    /// # Errors
    /// As [`converse`](Context::converse).
    pub fn converse_within(&self, turns: &[(&str, &str)], within: Duration) -> Result<String, CallError> {
        let messages: Vec<_> = turns.iter().map(|(role, text)| json!({"role": role, "text": text})).collect();
        self.typed(methods::ASK, json!({"messages": messages, "within_ms": millis(within)}))
    }

    /// Searches the web. Needs `search`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotConfigured`] when there is no search provider.
    pub fn search(&self, query: &str) -> Result<Vec<Hit>, CallError> {
        self.typed(methods::SEARCH, json!({"query": query}))
    }

    /// The same for whoever waits no longer than `within`, with all search engines that are tried. Needs `search`.
    ///
    /// # Errors
    /// As [`search`](Context::search).
    pub fn search_within(&self, query: &str, within: Duration) -> Result<Vec<Hit>, CallError> {
        self.typed(methods::SEARCH, json!({"query": query, "within_ms": millis(within)}))
    }

    /// GETs a page from a host the operator allowed. Needs `fetch`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`] for another host.
    pub fn fetch(&self, url: &str) -> Result<Page, CallError> {
        self.typed(methods::FETCH, json!({"url": url}))
    }

    /// Sends a message to the operators' chats; stored when this returns, and with the same key once. Needs `notify`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotConfigured`] when there is no bot, or no chat; `Invalid` for a text of more than 16,000 characters.
    pub fn notify(&self, key: &str, text: &str) -> Result<(), CallError> {
        self.call(methods::NOTIFY, json!({"key": key, "text": text})).map(drop)
    }

    /// Proposes a mission: its `title` of at most 500 characters, its `id`, and whatever else there is to say of it. The same `id`
    /// again is the first one, however that was decided. Needs `missions`.
    ///
    /// # Errors
    /// `Invalid` without a `title`; `Failed` where too many wait for a decision.
    pub fn propose_mission(&self, mission: Value) -> Result<Proposed, CallError> {
        self.typed(methods::MISSIONS_PROPOSE, json!({"mission": mission}))
    }

    /// The newest missions, as `openclaw missions list --json` shows them. Needs `missions.list`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`], or `Failed` when the store is away.
    pub fn missions(&self, limit: u32) -> Result<Value, CallError> {
        self.call(methods::MISSIONS_LIST, json!({"limit": limit}))
    }

    /// What a person decided whose message is being handled: `approved` or `rejected`, of the mission whose id begins so.
    /// Answers the mission as it is then; what the same person decided so before, by this agent, is well. Needs `missions.decide`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`] when it was no operator who said so; `Invalid` when there is no such mission, or it is
    /// decided already, or past its time.
    pub fn decide_mission(&self, id: &str, verdict: &str, reason: &str) -> Result<Value, CallError> {
        self.call(methods::MISSIONS_DECIDE, json!({"id": id, "verdict": verdict, "reason": reason}))
    }

    /// Hands work to another agent without waiting. It is submitted when this task succeeds, exactly once.
    /// Needs `task`.
    pub fn hand_over(&self, follow_up: FollowUp) {
        self.lock().push(follow_up);
    }

    /// Hands work to another agent and waits for its answer. A retry of this task finds the same work again
    /// instead of doing it twice. Needs `task`.
    ///
    /// # Errors
    /// `Failed` when it took longer than `timeout` or ended in an error; `Invalid` for an unknown agent.
    pub fn run(&self, agent: &str, text: &str, timeout: Duration) -> Result<Reply, CallError> {
        let payload = json!({"agent": agent, "text": text, "timeout_ms": timeout.as_millis() as u64});
        self.typed(methods::TASK_RUN, payload)
    }

    /// The newest tasks of all agents, as `openclaw tasks list --json` shows them. Needs `task`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`], or `Failed` when the store is away.
    pub fn tasks(&self, limit: u32) -> Result<Value, CallError> {
        self.call(methods::TASK_LIST, json!({"limit": limit}))
    }

    /// The team, as `openclaw status --json` shows it. Needs `supervisor.status`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`].
    pub fn status(&self) -> Result<Value, CallError> {
        self.call(methods::SUPERVISOR_STATUS, json!({}))
    }

    /// Restarts another agent: at a tick, or for a message of an operator. Needs `supervisor.restart`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`], also for anybody else's message; `Invalid` for an unknown agent.
    pub fn restart(&self, agent: &str, reason: &str) -> Result<(), CallError> {
        self.call(methods::SUPERVISOR_RESTART, json!({"agent": agent, "reason": reason})).map(drop)
    }

    /// CPU, memory, disk and load of this machine. Needs `system.resources`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`], or `Failed` when `/proc` cannot be read.
    pub fn resources(&self) -> Result<Value, CallError> {
        self.call(methods::SYSTEM_RESOURCES, json!({}))
    }

    /// openclaw's units, as systemd has them. Needs `system.services`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotConfigured`] where the daemon is not run by systemd.
    pub fn services(&self) -> Result<Value, CallError> {
        self.call(methods::SYSTEM_SERVICES, json!({}))
    }

    /// Has systemd restart one of openclaw's own services. It is done when `services` shows it. Needs `system.restart`.
    ///
    /// # Errors
    /// As [`restart`](Context::restart); [`CallErrorKind::NotConfigured`] where systemd does not run this daemon; `Invalid` for a
    /// unit that is none of ours, or this one; `TooSoon` after six in an hour; `Failed` when systemd refuses.
    pub fn restart_unit(&self, unit: &str, reason: &str) -> Result<(), CallError> {
        self.call(methods::SYSTEM_RESTART, json!({"unit": unit, "reason": reason})).map(drop)
    }

    /// What the heartbeat bridge thought of each agent last: `[{agent, status, at}]`, with the status `fresh`, `late`, `down` or
    /// `unknown`. Needs `supervisor.heartbeats`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`], or `Failed` when the store is away.
    pub fn heartbeats(&self) -> Result<Value, CallError> {
        self.call(methods::SUPERVISOR_HEARTBEATS, json!({}))
    }

    /// How each budget of provider calls stands: `[{budget, period, used, limit, percent, until}]`. Needs `supervisor.budgets`.
    ///
    /// # Errors
    /// As [`heartbeats`](Context::heartbeats).
    pub fn budgets(&self) -> Result<Value, CallError> {
        self.call(methods::SUPERVISOR_BUDGETS, json!({}))
    }

    /// Opens a breaker for the longest that it may be open: what it belongs to is left alone, and is tried again by itself then.
    /// Nothing happens where it is open, or an agent is down; `supervisor.status` shows it. Needs `breaker.open`.
    ///
    /// # Errors
    /// As [`restart`](Context::restart); `Invalid` for an unknown name; `TooSoon` after twelve in an hour.
    pub fn open_breaker(&self, scope: Scope, name: &str, reason: &str) -> Result<(), CallError> {
        self.call(methods::BREAKER_OPEN, json!({"scope": scope, "name": name, "reason": reason})).map(drop)
    }

    /// Closes a breaker for good: an agent is started, a provider is asked again. Needs `breaker.close`.
    ///
    /// # Errors
    /// As [`open_breaker`](Context::open_breaker).
    pub fn close_breaker(&self, scope: Scope, name: &str, reason: &str) -> Result<(), CallError> {
        self.call(methods::BREAKER_CLOSE, json!({"scope": scope, "name": name, "reason": reason})).map(drop)
    }

    /// Tells the operator. `key` (1 to 100 bytes) is this agent's own name for what is wrong: raised again, it is the same
    /// alert, which is counted and not repeated. Needs `alert`.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`]; `Invalid` for a bad key or an empty text.
    pub fn raise(&self, key: &str, level: AlertLevel, text: &str) -> Result<(), CallError> {
        self.call(methods::ALERT_RAISE, json!({"key": key, "level": level, "text": text})).map(drop)
    }

    /// What was raised under `key` is over; where nothing was, nothing happens. Needs `alert`.
    ///
    /// # Errors
    /// As [`raise`](Context::raise).
    pub fn resolve(&self, key: &str, text: &str) -> Result<(), CallError> {
        self.call(methods::ALERT_RESOLVE, json!({"key": key, "text": text})).map(drop)
    }

    /// What [`hand_over`](Context::hand_over) collected; the SDK sends it with the reply.
    #[doc(hidden)]
    pub fn take_follow_ups(&self) -> Vec<FollowUp> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<FollowUp>> {
        // A push cannot leave the list half-made, so a poisoned lock is still good.
        self.follow_ups.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Durable memory: keys and conversations of one agent.
pub struct Memory<'c> {
    ctx: &'c Context<'c>,
}

impl Memory<'_> {
    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`], or `Failed` when the store is away; so for all of memory.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CallError> {
        self.ctx.typed(methods::MEMORY_GET, json!({"key": key}))
    }

    /// Keeps `value` under `key` (at most 256 bytes); durable when this returns.
    ///
    /// # Errors
    /// As [`get`](Memory::get); `Invalid` when key or value is too large.
    pub fn set<T: Serialize>(&self, key: &str, value: &T) -> Result<(), CallError> {
        let value = serde_json::to_value(value).map_err(|error| {
            CallError::new(CallErrorKind::Invalid, format!("`{key}` is no JSON: {error}"))
        })?;
        self.ctx.call(methods::MEMORY_SET, json!({"key": key, "value": value})).map(drop)
    }

    /// Forgets `key`.
    ///
    /// # Errors
    /// As [`get`](Memory::get).
    pub fn delete(&self, key: &str) -> Result<(), CallError> {
        self.ctx.call(methods::MEMORY_DELETE, json!({"key": key})).map(drop)
    }

    /// The keys that begin with `prefix`, in order, at most 1,000.
    ///
    /// # Errors
    /// As [`get`](Memory::get).
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, CallError> {
        self.ctx.typed(methods::MEMORY_LIST, json!({"prefix": prefix}))
    }

    /// Adds a turn to the conversation `session`.
    ///
    /// # Errors
    /// As [`get`](Memory::get).
    pub fn remember(&self, session: &str, role: &str, text: &str) -> Result<(), CallError> {
        self.ctx
            .call(methods::MEMORY_REMEMBER, json!({"session": session, "role": role, "text": text}))
            .map(drop)
    }

    /// The last `limit` turns of the conversation `session`, oldest first.
    ///
    /// # Errors
    /// As [`get`](Memory::get).
    pub fn turns(&self, session: &str, limit: u32) -> Result<Vec<Turn>, CallError> {
        self.ctx.typed(methods::MEMORY_TURNS, json!({"session": session, "limit": limit}))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
