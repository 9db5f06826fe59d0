//! What an agent may ask for and how often, what it has asked for, and what is told of that. It outlives the agent's hosts: a
//! restart gives nobody its rates anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use limits::Rates;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::methods;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use serde_json::json;
use store::backend::{CALLED, NewEvent, REFUSED};
use store::ledger::ABANDONED;
use store::tally::{Asked, Tally};
use store::{Clock, Store};

use crate::grants;

/// Between two events of one method and one outcome: an agent may knock in a loop.
const TOLD_AGAIN: TimeDelta = TimeDelta::minutes(1);
/// The longest name of a method that is shown, in characters: agents write it.
const SHOWN: usize = 60;
/// What there is no method of is counted as.
const UNKNOWN: &str = "unknown";
/// Of one agent, for all its hosts.
pub struct Admission {
    agent: AgentName,
    grants: Vec<String>,
    store: Store,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    rates: Rates,
    /// What the store has not been told yet.
    counted: Tally,
    /// By method and outcome.
    told: HashMap<(&'static str, &'static str), Told>,
}

/// When something was last told of, and what has come since.
#[derive(Default)]
struct Told {
    at: Option<DateTime<Utc>>,
    since: u32,
    error: Option<CallError>,
}

impl Told {
    /// Of how many is to be told now, if it is; `all`: nothing is told later.
    fn due(&mut self, all: bool, now: DateTime<Utc>) -> Option<u32> {
        if self.since == 0 || !all && self.at.is_some_and(|at| now - at < TOLD_AGAIN) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl Admission {
    /// Of an agent with these grants, which has asked for nothing yet.
    pub fn new(
        agent: AgentName,
        grants: Vec<String>,
        rates: settings::Rates,
        store: Store,
        clock: Clock,
    ) -> Self {
        let state = State { rates: Rates::new(rates), counted: Tally::new(), told: HashMap::new() };
        Self { agent, grants, store, clock, state: Mutex::new(state) }
    }

    /// Whether a method is granted.
    ///
    /// # Errors
    /// [`CallErrorKind::NotGranted`].
    pub fn granted(&self, method: &str) -> Result<(), CallError> {
        if grants::allows(&self.grants, method) {
            return Ok(());
        }
        let (name, shown) = (&self.agent, shown(method));
        let text =
            format!("`{name}` is not granted `{shown}`: add it to agents.{name}.grants if you want that");
        Err(CallError::new(CallErrorKind::NotGranted, text))
    }

    /// Takes so many calls of a method, or none.
    ///
    /// # Errors
    /// [`CallErrorKind::TooSoon`], with when there are so many; [`CallErrorKind::Invalid`] where there never are.
    pub fn take(&self, method: &str, times: u32) -> Result<(), CallError> {
        let taken = self.state().rates.take(method, times, self.clock.steady());
        taken.map_err(|exceeded| {
            let name = &self.agent;
            let text = format!("{exceeded}: wait, or write another rate into agents.{name}.rates");
            let kind = if exceeded.until.is_some() { CallErrorKind::TooSoon } else { CallErrorKind::Invalid };
            CallError::new(kind, text).until(exceeded.until.map(|until| until + self.clock.step()))
        })
    }

    /// So many calls of a method have ended: they are counted, and told of. The first at once, and those that follow within a
    /// minute together.
    pub fn ended(&self, method: &str, times: u32, error: Option<&CallError>) {
        self.note(known(method), times, error.map_or("ok", outcome), error);
    }

    fn note(&self, method: &'static str, times: u32, outcome: &'static str, error: Option<&CallError>) {
        self.count(method, times, outcome);
        let mut state = self.state();
        let told = state.told.entry((method, outcome)).or_default();
        told.since = told.since.saturating_add(times);
        told.error = error.cloned();
        self.tell(&mut state, false);
    }

    /// Tells what is due to be told.
    fn tell(&self, state: &mut State, all: bool) {
        let (steady, at) = (self.clock.steady(), self.clock.now());
        for (&(method, outcome), told) in &mut state.told {
            let Some(times) = told.due(all, steady) else { continue };
            let error = told.error.as_ref();
            let payload = json!({
                "method": method, "outcome": outcome, "times": times, "message": error.map(|error| &error.message),
                "retry_at": error.and_then(|error| error.retry_at),
            });
            let kind = if error.is_some_and(|error| is_shut(error.kind)) { REFUSED } else { CALLED };
            let (agent, payload) = (self.agent.clone(), payload.to_string());
            self.store.event(NewEvent { agent, kind, payload, at });
        }
    }

    /// A call was under way when its host ended: it may have been carried out.
    pub fn abandoned(&self, method: &str) {
        self.note(known(method), 1, ABANDONED, None);
    }

    /// Leaves what was counted with the store. Answers whether there is something that is to be told later; with `all`, nothing is.
    pub fn leave(&self, all: bool) -> bool {
        let mut state = self.state();
        self.tell(&mut state, all);
        let (counted, left) =
            (std::mem::take(&mut state.counted), state.told.values().any(|told| told.since > 0));
        drop(state);
        self.store.count(counted);
        left
    }

    fn count(&self, method: &'static str, times: u32, outcome: &'static str) {
        let (day, agent) = (self.clock.now().date_naive(), self.agent.clone());
        let mut state = self.state();
        let count = state.counted.entry(Asked { day, agent, method, outcome }).or_default();
        *count = count.saturating_add(times);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole: a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refused before anything happened.
const fn is_shut(kind: CallErrorKind) -> bool {
    matches!(kind, CallErrorKind::NotGranted | CallErrorKind::OverBudget | CallErrorKind::TooSoon)
}

/// What came of a call, in a word: as the agent reads it, but that too much under way is told apart from too soon.
fn outcome(error: &CallError) -> &'static str {
    match error.kind {
        CallErrorKind::NotGranted => "not_granted",
        CallErrorKind::NotConfigured => "not_configured",
        CallErrorKind::OverBudget => "over_budget",
        CallErrorKind::TooSoon if error.retry_at.is_none() => "too_many",
        CallErrorKind::TooSoon => "too_soon",
        CallErrorKind::Invalid => "invalid",
        CallErrorKind::Failed => "failed",
    }
}

/// A method as it is counted: what agents make up is all one.
fn known(method: &str) -> &'static str {
    methods::GRANTED.into_iter().find(|known| *known == method).unwrap_or(UNKNOWN)
}

fn shown(method: &str) -> String {
    method.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_told_of_once_a_minute_with_how_often_it_was() {
        let mut told = Told::default();
        let mut due = |more, seconds| {
            told.since += more;
            told.due(false, DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds))
        };
        assert_eq!(due(1, 0), Some(1));
        assert_eq!((due(1, 0), due(1, 59)), (None, None));
        assert_eq!(due(1, 60), Some(3));
        assert_eq!((due(0, 120), due(1, 121)), (None, Some(1)));
        // What is left of a burst is told without another call.
        assert_eq!((due(5, 122), due(0, 181)), (None, Some(5)));
        // Nor is what a host leaves behind when it ends.
        assert_eq!(due(2, 182), None);
        assert_eq!(told.due(true, DateTime::UNIX_EPOCH + TimeDelta::seconds(183)), Some(2));
    }

    #[test]
    fn a_name_that_an_agent_made_up_is_shown_in_part() {
        let name = "x\n".repeat(1 << 20);
        assert!(shown(&name).len() < 200 && shown(&name).starts_with("x\\n"));
    }
}
