//! What one host asks the daemon for: let in, carried out on the side, answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use limits::Bucket;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::methods;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use serde_json::Value;
use serde_json::value::RawValue;
use store::Store;
use store::backend::{NewEvent, REFUSED};
use store::clock::Clock;
use tokio::task::{Id, JoinError, JoinSet};

use super::{Assignment, Surroundings};
use crate::capabilities::SharedCapabilities;
use crate::grants;

/// Refused calls of one agent that are told of in a minute.
const REFUSALS: u32 = 20;
/// Calls of one agent that are carried out at once; beyond it they are refused.
const CALLS: usize = 256;

/// What came of a call.
pub type Answer = Result<Value, CallError>;

/// The calls of one host.
pub struct Calls {
    agent: AgentName,
    grants: Vec<String>,
    capabilities: SharedCapabilities,
    store: Store,
    clock: Clock,
    running: JoinSet<(u64, Answer)>,
    /// The host's numbers of those.
    numbers: HashMap<Id, u64>,
    /// Refused calls that may be told of.
    refusals: Bucket,
}

impl Calls {
    pub fn new(assignment: &Assignment, around: &Surroundings) -> Self {
        Self {
            agent: assignment.name.clone(),
            grants: assignment.grants.clone(),
            capabilities: Arc::clone(&around.capabilities),
            store: around.store.clone(),
            clock: around.clock,
            running: JoinSet::new(),
            numbers: HashMap::new(),
            refusals: Bucket::new(REFUSALS, Duration::from_secs(60) / REFUSALS, around.clock.now()),
        }
    }

    /// Begins a call; answers what needs no work at once.
    pub fn begin(&mut self, call: u64, method: String, payload: &RawValue) -> Option<Answer> {
        if method == methods::NOW {
            return Some(Ok(serde_json::json!(self.clock.now())));
        }
        if let Err(error) = self.admit(&method) {
            self.refused(&error);
            return Some(Err(error));
        }
        let payload: Value = match serde_json::from_str(payload.get()) {
            Ok(payload) => payload,
            Err(error) => return Some(Err(CallError::new(CallErrorKind::Invalid, error.to_string()))),
        };
        let (capabilities, agent) = (self.capabilities.clone(), self.agent.clone());
        let work = async move { (call, capabilities.call(&agent, &method, payload).await) };
        self.numbers.insert(self.running.spawn(work).id(), call);
        None
    }

    /// The next call that has been carried out, with its answer; never, while none is under way. Safe to cancel.
    pub async fn next(&mut self) -> (u64, Answer) {
        while let Some(ended) = self.running.join_next_with_id().await {
            let ended = match ended {
                Ok((id, ended)) => {
                    self.numbers.remove(&id);
                    Some(ended)
                }
                Err(error) => self.broken(&error),
            };
            if let Some((call, answer)) = ended {
                if let Err(error) = &answer {
                    self.refused(error);
                }
                return (call, answer);
            }
        }
        std::future::pending().await
    }

    fn admit(&self, method: &str) -> Result<(), CallError> {
        let name = &self.agent;
        if !grants::allows(&self.grants, method) {
            let text = format!(
                "`{name}` is not granted `{method}`: add it to agents.{name}.grants if you want that"
            );
            return Err(CallError::new(CallErrorKind::NotGranted, text));
        }
        if self.running.len() >= CALLS {
            let text = format!("`{name}` has {CALLS} calls under way: wait for one to end");
            return Err(CallError::new(CallErrorKind::TooSoon, text));
        }
        Ok(())
    }

    /// A call panicked; the agent that waits for it is told.
    fn broken(&mut self, error: &JoinError) -> Option<(u64, Answer)> {
        tracing::error!(agent = %self.agent, %error, "a defect of the daemon");
        let call = self.numbers.remove(&error.id())?;
        Some((call, Err(CallError::new(CallErrorKind::Failed, "the daemon failed at it; its log says more"))))
    }

    /// A shut door is an event: so many a minute, since an agent may knock in a loop.
    fn refused(&mut self, error: &CallError) {
        let now = self.clock.now();
        let shut = matches!(
            error.kind,
            CallErrorKind::NotGranted | CallErrorKind::OverBudget | CallErrorKind::TooSoon
        );
        if !shut || self.refusals.take(now).is_err() {
            return;
        }
        if let Ok(payload) = serde_json::to_string(error) {
            self.store.event(NewEvent { agent: self.agent.clone(), kind: REFUSED, payload, at: now });
        }
    }
}
