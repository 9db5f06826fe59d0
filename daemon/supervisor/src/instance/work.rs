//! What one host has in work: which tasks, under which leases, until when; and how each end is put down.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::agent::{AgentError, ErrorClass};
use openclaw_agent_api::context::{CallError, CallErrorKind, FollowUp};
use openclaw_agent_api::export::Answered;
use serde::Serialize;
use serde_json::value::RawValue;
use settings::{Supervision, Tasks};
use store::Store;
use store::task::{Completion, LeasedTask, NewTask, Outcome, TaskId};
use tokio::time::Instant;

use super::calls::Calls;
use crate::known::Known;
use crate::policy::Call;
use crate::policy::retry::retry_at;
use crate::submission::{Draft, Payload};

/// The most work that one task may hand over.
const FOLLOW_UPS: usize = 100;
/// The longest error of a task that is stored, in characters.
const ERROR: usize = 2000;

/// A task's message, as the agent API has it, without reading `data`.
#[derive(Serialize)]
struct Message<'t> {
    task_id: TaskId,
    text: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: &'t Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: &'t Option<String>,
    source: &'t str,
    attempt: u32,
    accepted_at: DateTime<Utc>,
    timeout_ms: u128,
}

/// What ends tasks needs to know.
#[derive(Clone)]
pub struct Rules {
    pub agent: AgentName,
    pub config: Supervision,
    pub tasks: Tasks,
    /// The agents that work can be handed to.
    pub known: Known,
    pub store: Store,
}

struct Running {
    task: LeasedTask,
    since: Instant,
    /// It has run out of time.
    hung: bool,
}

/// Tasks in work.
pub struct Work {
    rules: Rules,
    running: HashMap<TaskId, Running>,
}

impl Work {
    pub fn new(rules: Rules) -> Self {
        Self { rules, running: HashMap::new() }
    }

    /// The message that carries a task, with the time that there is for it.
    ///
    /// # Errors
    /// When the row's payload is not ours.
    pub fn message(&self, task: &LeasedTask) -> Result<Box<RawValue>, serde_json::Error> {
        let payload: Payload = serde_json::from_str(&task.payload)?;
        serde_json::value::to_raw_value(&Message {
            task_id: task.id,
            text: &payload.text,
            data: &payload.data,
            session: &task.session,
            source: &task.source,
            attempt: task.attempts,
            accepted_at: task.created_at,
            timeout_ms: self.rules.config.handler_timeout.as_millis(),
        })
    }

    pub fn len(&self) -> u32 {
        self.running.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub fn begin(&mut self, task: LeasedTask, now: Instant) {
        self.running.insert(task.id, Running { task, since: now, hung: false });
    }

    /// Whether it is in work.
    pub fn has(&self, id: &TaskId) -> bool {
        self.running.contains_key(id)
    }

    /// The session of one that is in work.
    pub fn session(&self, id: &TaskId) -> Option<String> {
        self.running.get(id)?.task.session.clone()
    }

    /// The leases to renew.
    pub fn leases(&self) -> Vec<(TaskId, i64)> {
        self.running.values().map(|running| (running.task.id, running.task.token)).collect()
    }

    /// Since when the oldest runs, and which it is.
    pub fn oldest(&self) -> Option<(TaskId, Instant)> {
        self.running.values().min_by_key(|r| r.since).map(|running| (running.task.id, running.since))
    }

    /// When the oldest that still has time runs out of it.
    pub fn deadline(&self) -> Option<Instant> {
        let timely = self.running.values().filter(|running| !running.hung);
        timely.map(|running| running.since + self.rules.config.handler_timeout).min()
    }

    /// Marks those out of time; answers one of them.
    pub fn overdue(&mut self, now: Instant) -> Option<TaskId> {
        let limit = self.rules.config.handler_timeout;
        let mut found = None;
        for running in self.running.values_mut().filter(|r| !r.hung && now >= r.since + limit) {
            running.hung = true;
            found = Some(running.task.id);
        }
        found
    }

    /// Whether a handler is out of time.
    pub fn any_overdue(&self) -> bool {
        self.running.values().any(|running| running.hung)
    }

    /// A task that is in work here already, under a lease that was lost while this daemon stood still, goes on under
    /// the new one. Answers a task that is not.
    pub fn adopt(&mut self, task: LeasedTask) -> Option<LeasedTask> {
        match self.running.get_mut(&task.id) {
            Some(running) => {
                running.task = task;
                None
            }
            None => Some(task),
        }
    }

    /// A handler has ended. Answers what the breaker should count, if anything.
    pub fn done(
        &mut self,
        id: TaskId,
        outcome: Result<Box<RawValue>, AgentError>,
        took: Duration,
        calls: &mut Calls,
        now: DateTime<Utc>,
    ) -> Option<Call> {
        // One that is not in work was cut off meanwhile, and has been put down as that.
        let running = self.running.remove(&id)?;
        let outcome = outcome.map_err(|error| AgentError { message: short(error.message), ..error });
        let accepted = outcome.and_then(|answer| self.accept(&running.task, &answer, calls, now));
        let (outcome, call) = match accepted {
            Ok(outcome) if took >= self.rules.config.breaker.slow_call => (outcome, Some(Call::Slow)),
            Ok(outcome) => (outcome, Some(Call::Ok)),
            Err(error) if error.class == ErrorClass::Invalid => {
                (Outcome::Failed { error: error.message, retry_at: None }, None)
            }
            Err(error) => (self.failed(&running.task, error.message, now), Some(Call::Failed)),
        };
        self.complete(running.task, outcome, took);
        call
    }

    /// A task that could not even be sent.
    pub fn unsent(&self, task: LeasedTask, error: String) {
        self.complete(task, Outcome::Failed { error, retry_at: None }, Duration::ZERO);
    }

    /// The host is gone. Those that hung failed; so did all others if `blame` says why they could have been the
    /// cause; else they go back untried.
    pub fn abandon(&mut self, blame: Option<&str>, hang: &str, now: DateTime<Utc>) {
        for (_, running) in std::mem::take(&mut self.running) {
            let took = running.since.elapsed();
            let outcome = match (running.hung, blame) {
                (true, _) => self.failed(&running.task, hang.to_owned(), now),
                (false, Some(why)) => self.failed(&running.task, why.to_owned(), now),
                (false, None) => Outcome::Released,
            };
            self.complete(running.task, outcome, took);
        }
    }

    fn failed(&self, task: &LeasedTask, error: String, now: DateTime<Utc>) -> Outcome {
        let retry_at = retry_at(task.attempts, task.max_attempts, &self.rules.tasks, fastrand::f64(), now);
        Outcome::Failed { error, retry_at }
    }

    fn complete(&self, task: LeasedTask, outcome: Outcome, duration: Duration) {
        self.rules.store.complete(Completion::of(task, outcome, duration));
    }

    /// Turns an agent's answer into what is stored.
    fn accept(
        &self,
        task: &LeasedTask,
        answer: &RawValue,
        calls: &mut Calls,
        now: DateTime<Utc>,
    ) -> Result<Outcome, AgentError> {
        let answered: Answered = serde_json::from_str(answer.get())
            .map_err(|error| AgentError::failed(format!("the agent's answer is no reply: {error}")))?;
        let result = serde_json::to_string(&answered.reply)?;
        let limit = self.rules.tasks.max_payload;
        if result.len() as u64 > limit.bytes() {
            let size = result.len();
            return Err(AgentError::invalid(format!(
                "the reply of {size} bytes is over tasks.max_payload, {limit}"
            )));
        }
        let many = answered.follow_ups.len();
        if many == 0 {
            return Ok(Outcome::Done { result, follow_ups: Vec::new() });
        }
        if let Err(error) = calls.may_hand_over(many as u32) {
            return self.not_handed_over(task, error, now);
        }
        let follow_ups = self.follow_ups(task.id, answered.follow_ups);
        let refused = |error: &AgentError| CallError::new(CallErrorKind::Invalid, error.message.clone());
        calls.handed_over(many as u32, follow_ups.as_ref().err().map(refused).as_ref());
        Ok(Outcome::Done { result, follow_ups: follow_ups? })
    }

    fn follow_ups(&self, parent: TaskId, work: Vec<FollowUp>) -> Result<Vec<NewTask>, AgentError> {
        if work.len() > FOLLOW_UPS {
            let many = work.len();
            return Err(AgentError::invalid(format!(
                "work was handed over {many} times: {FOLLOW_UPS} is the most"
            )));
        }
        work.into_iter().enumerate().map(|(index, work)| self.follow_up(parent, index, work)).collect()
    }

    /// Nothing of the result is stored without what was handed over: it is tried again when that may be, if so.
    fn not_handed_over(
        &self,
        task: &LeasedTask,
        error: CallError,
        now: DateTime<Utc>,
    ) -> Result<Outcome, AgentError> {
        let what = format!("work was not handed over: {}", error.message);
        match (self.failed(task, what.clone(), now), error.retry_at) {
            (Outcome::Failed { error, retry_at: Some(at) }, Some(until)) => {
                Ok(Outcome::Failed { error, retry_at: Some(at.max(until)) })
            }
            (failed, Some(_)) => Ok(failed),
            _ => Err(AgentError::invalid(what)),
        }
    }

    fn follow_up(&self, parent: TaskId, index: usize, work: FollowUp) -> Result<NewTask, AgentError> {
        let Rules { agent, known, tasks, .. } = &self.rules;
        if known.get(work.agent.as_str()).is_none() {
            return Err(AgentError::invalid(format!(
                "work was handed to `{}`, which is no agent here",
                work.agent
            )));
        }
        let data = (!work.data.is_null()).then(|| serde_json::value::to_raw_value(&work.data)).transpose()?;
        let draft = Draft {
            to: work.agent,
            payload: Payload { text: work.text, data },
            session: work.session,
            key: Some(format!("{parent}:{index}")),
            priority: 0,
            source: format!("agent:{agent}"),
        };
        draft.task(tasks).map_err(AgentError::invalid)
    }
}

/// What an agent says of its failure is stored with each try.
fn short(mut error: String) -> String {
    if let Some((end, _)) = error.char_indices().nth(ERROR) {
        error.truncate(end);
        error.push('…');
    }
    error
}
