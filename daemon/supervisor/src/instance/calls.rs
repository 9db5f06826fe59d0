//! What one host asks the daemon for: let in, carried out on the side, answered, counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::methods;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use serde_json::Value;
use serde_json::value::RawValue;
use store::clock::Clock;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::{Assignment, Surroundings};
use crate::admission::Admission;
use crate::capabilities::SharedCapabilities;

/// Calls of one host that are carried out at once; beyond it they are refused.
const CALLS: usize = 256;
/// How long counts wait for others: a daemon that is killed loses no more.
const COUNTED: Duration = Duration::from_secs(2);

/// When it is looked again whether there is something to be told.
const AGAIN: Duration = Duration::from_secs(30);

/// What came of a call.
pub type Answer = Result<Value, CallError>;

/// The calls of one host.
pub struct Calls {
    agent: AgentName,
    admission: Arc<Admission>,
    capabilities: SharedCapabilities,
    clock: Clock,
    running: JoinSet<Answer>,
    /// What those are: the host's number, and the method.
    under_way: HashMap<Id, (u64, String)>,
    /// When the store is to be told of what was counted.
    leave_at: Option<Instant>,
}

impl Calls {
    pub fn new(assignment: &Assignment, around: &Surroundings) -> Self {
        Self {
            agent: assignment.name.clone(),
            admission: assignment.admission.clone(),
            capabilities: around.capabilities.clone(),
            clock: around.clock,
            running: JoinSet::new(),
            under_way: HashMap::new(),
            leave_at: None,
        }
    }

    /// Begins a call; answers at once what needs no work.
    pub fn begin(&mut self, call: u64, method: String, payload: &RawValue) -> Option<Answer> {
        if method == methods::NOW {
            return Some(Ok(serde_json::json!(self.clock.now())));
        }
        match self.admit(&method, payload) {
            Ok(payload) => {
                let (capabilities, agent, asked) =
                    (self.capabilities.clone(), self.agent.clone(), method.clone());
                let work = async move { capabilities.call(&agent, &asked, payload).await };
                self.under_way.insert(self.running.spawn(work).id(), (call, method));
                None
            }
            Err(error) => Some(self.ended(&method, Err(error))),
        }
    }

    /// The next call that has been carried out, with its answer; never, while none is under way. Safe to cancel.
    pub async fn next(&mut self) -> (u64, Answer) {
        while let Some(ended) = self.running.join_next_with_id().await {
            let (id, answer) = ended.unwrap_or_else(|error| (error.id(), Err(self.broken(&error))));
            if let Some((call, method)) = self.under_way.remove(&id) {
                return (call, self.ended(&method, answer));
            }
        }
        std::future::pending().await
    }

    /// Whether so much work may be handed over with a result.
    ///
    /// # Errors
    /// As of any call; that is counted.
    pub fn may_hand_over(&mut self, times: u32) -> Result<(), CallError> {
        let method = methods::TASK_SUBMIT;
        let admitted = self.admission.granted(method).and_then(|()| self.admission.take(method, times));
        if let Err(error) = &admitted {
            self.handed_over(times, Some(error));
        }
        admitted
    }

    /// So much work was handed over, or why it was not.
    pub fn handed_over(&mut self, times: u32, error: Option<&CallError>) {
        self.counted();
        self.admission.ended(methods::TASK_SUBMIT, times, error);
    }

    /// When to call [`leave`](Self::leave), if there is anything to leave.
    pub fn leave_at(&self) -> Option<Instant> {
        self.leave_at
    }

    /// Leaves what was counted with the store.
    pub fn leave(&mut self) {
        let more = self.admission.leave(false);
        self.leave_at = more.then(|| Instant::now() + AGAIN);
    }

    /// The host has ended.
    pub fn end(mut self) {
        for (_, method) in self.under_way.drain().map(|(_, call)| call) {
            self.admission.abandoned(&method);
        }
        self.admission.leave(true);
    }

    /// Whether it may be carried out, before anything happens.
    fn admit(&self, method: &str, payload: &RawValue) -> Result<Value, CallError> {
        self.admission.granted(method)?;
        if self.running.len() >= CALLS {
            let text = format!("`{}` has {CALLS} calls under way: wait for one to end", self.agent);
            return Err(CallError::new(CallErrorKind::TooSoon, text));
        }
        let payload = serde_json::from_str(payload.get())
            .map_err(|error| CallError::new(CallErrorKind::Invalid, error.to_string()))?;
        self.admission.take(method, 1)?;
        Ok(payload)
    }

    fn ended(&mut self, method: &str, answer: Answer) -> Answer {
        self.counted();
        self.admission.ended(method, 1, answer.as_ref().err());
        answer
    }

    fn counted(&mut self) {
        let soon = Instant::now() + COUNTED;
        self.leave_at = Some(self.leave_at.map_or(soon, |at| at.min(soon)));
    }

    /// A call panicked; the agent that waits for it is told.
    fn broken(&self, error: &JoinError) -> CallError {
        tracing::error!(agent = %self.agent, %error, "a defect of the daemon");
        CallError::new(CallErrorKind::Failed, "the daemon failed at it; its log says more")
    }
}
