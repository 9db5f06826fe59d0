//! What follows from what was found, look by look: whom to restart, what to tell, what is over. No clock, no call.
//!
//! ```text
//!           found                   twice in a row, and something may help          still there after VERIFY looks
//!  (none) ────────▶ Suspected ─┬─────────────────────────────────────▶ Acted ───────────────────────────────┐
//!    ▲                 │       └─▶ else ───────────────▶ Raised ◀──────────────────────── (louder) ──────────┘
//!    └── not found ────┘                                    │ not found CLEAR looks in a row: over
//! ```
//!
//! What is found once may be chance, so the operator hears of what lasts; what is over must stay over for a while.

use std::collections::BTreeMap;

use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::context::{AlertLevel, CallError, CallErrorKind};
use serde::{Deserialize, Serialize};

use crate::findings::{Area, Finding, Remedy, Severity};
use crate::uptime::Uptime;

/// Looks in a row at which something must be found: with one each 20 s it is told within 40 s of its beginning.
pub const CONFIRM: u32 = 2;
/// Looks after an act by which it must have helped: a start may take ten seconds, and a proof five more.
pub const VERIFY: u32 = 3;
/// Looks in a row without it after which something is over: a value at the edge is one alarm.
pub const CLEAR: u32 = 3;
/// The same for what happened in one moment: five minutes without another.
pub const CLEAR_EVENT: u32 = 15;
/// The window in which acts are counted.
const HOUR: TimeDelta = TimeDelta::hours(1);
/// The most cases at once: a machine on which more is wrong has one trouble, not hundreds.
const CASES: usize = 200;

/// What a look leaves for the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What it found.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// How often each component had been restarted.
    #[serde(default)]
    pub restarts: BTreeMap<String, u64>,
    /// What is going on, by the alert's key.
    #[serde(default)]
    pub cases: BTreeMap<String, Case>,
    /// When agents and units were restarted in the last hour.
    #[serde(default)]
    pub acts: Vec<DateTime<Utc>>,
    /// When breakers were opened and closed in the last hour.
    #[serde(default)]
    pub moves: Vec<DateTime<Utc>>,
    /// How the components were, day by day.
    #[serde(default)]
    pub uptime: Uptime,
}

impl LastCheck {
    /// Before the first look.
    pub fn none(at: DateTime<Utc>) -> Self {
        Self {
            at,
            findings: Vec::new(),
            restarts: BTreeMap::new(),
            cases: BTreeMap::new(),
            acts: Vec::new(),
            moves: Vec::new(),
            uptime: Uptime::default(),
        }
    }
}

/// Something that is found look after look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// As it was found last.
    pub finding: Finding,
    /// Found first.
    pub since: DateTime<Utc>,
    /// Looks in a row at which it was not found.
    #[serde(default)]
    pub missing: u32,
    /// How far it is.
    pub phase: Phase,
}

/// How far a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It may be chance.
    Suspected {
        /// Found so often.
        looks: u32,
    },
    /// The agent or unit was restarted, or a breaker moved; whether that helped is seen at the next looks.
    Acted {
        /// Looks since then at which it was still found.
        looks: u32,
    },
    /// The operator was told, so loud.
    Raised {
        /// How loud.
        level: AlertLevel,
    },
    /// It is only good to know: the log has it.
    Noted,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The operator is told.
    Raise {
        /// The alert.
        key: String,
        /// How loud.
        level: AlertLevel,
        /// In a sentence.
        text: String,
    },
    /// The alert is over.
    Resolve {
        /// The alert.
        key: String,
        /// In a sentence.
        text: String,
    },
    /// An agent or a unit is restarted, or a breaker is opened or closed.
    Act {
        /// Which of them.
        remedy: Remedy,
        /// Who.
        subject: String,
        /// Why.
        reason: String,
    },
    /// The log has it.
    Note {
        /// In a sentence.
        text: String,
    },
}

/// How much may be done in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Restarts.
    pub restarts: u32,
    /// Breakers opened and closed.
    pub breakers: u32,
}

impl LastCheck {
    /// When what is like this remedy was done in the last hour.
    fn done(&mut self, remedy: Remedy) -> &mut Vec<DateTime<Utc>> {
        if remedy.is_breaker() { &mut self.moves } else { &mut self.acts }
    }
}

/// The next state, and what is to be done. `found` is all that this look at `now` found.
pub fn decide(
    before: &LastCheck,
    found: &[Finding],
    limits: Limits,
    now: DateTime<Utc>,
) -> (LastCheck, Vec<Action>) {
    let mut turn = Turn { next: before.clone(), actions: Vec::new(), limits, now };
    turn.next.at = now;
    turn.next.findings = found.to_vec();
    turn.next.acts.retain(|at| now - *at < HOUR);
    turn.next.moves.retain(|at| now - *at < HOUR);
    let mut cases = std::mem::take(&mut turn.next.cases);
    let acted = cases.values().filter(|case| matches!(case.phase, Phase::Acted { .. }));
    let acted: Vec<_> = acted.map(|case| case.finding.subject.clone()).collect();
    // A restart of our own is no news.
    for finding in found.iter().filter(|finding| !finding.is_event() || !acted.contains(&finding.subject)) {
        let key = finding.key();
        if cases.len() >= CASES && !cases.contains_key(&key) {
            continue;
        }
        let case = cases.entry(key).or_insert_with(|| Case {
            finding: finding.clone(),
            since: now,
            missing: 0,
            phase: Phase::Suspected { looks: 0 },
        });
        case.finding = finding.clone();
        case.missing = 0;
        case.phase = turn.found(case);
    }
    let is_found = |case: &Case| found.iter().any(|finding| finding.key() == case.finding.key());
    cases.retain(|_, case| is_found(case) || turn.missed(case, found));
    turn.next.cases = cases;
    (turn.next, turn.actions)
}

/// Something that was decided at this look and not carried out: of each case that it was for, the operator is told instead.
pub fn not_done(state: &mut LastCheck, remedy: Remedy, subject: &str, why: &CallError) -> Vec<Action> {
    // One of no known end may be carried out yet, and counts.
    if why.kind != CallErrorKind::Failed {
        state.done(remedy).pop();
    }
    let now = Phase::Acted { looks: 0 };
    let cases = state
        .cases
        .iter_mut()
        .filter(|(_, case)| case.finding.subject == subject && case.phase == now && case.missing == 0);
    cases
        .map(|(key, case)| {
            let level = level(&case.finding);
            case.phase = Phase::Raised { level };
            let (what, _) = remedy.words();
            let text = format!("{}; I could not {what}: {}", case.finding.text, why.message);
            Action::Raise { key: key.clone(), level, text }
        })
        .collect()
}

struct Turn {
    next: LastCheck,
    actions: Vec<Action>,
    limits: Limits,
    now: DateTime<Utc>,
}

impl Turn {
    fn found(&mut self, case: &Case) -> Phase {
        let (finding, key) = (&case.finding, case.finding.key());
        match case.phase {
            Phase::Suspected { looks } if looks + 1 < confirm(finding) => {
                Phase::Suspected { looks: looks + 1 }
            }
            Phase::Suspected { .. } => self.confirmed(case),
            Phase::Acted { looks } if looks + 1 < VERIFY => Phase::Acted { looks: looks + 1 },
            Phase::Acted { .. } => {
                let level = in_vain(finding);
                let text = format!("{}; I {}, and that did not help", finding.text, did(finding));
                self.actions.push(Action::Raise { key, level, text });
                Phase::Raised { level }
            }
            Phase::Noted if finding.severity == Severity::Info => Phase::Noted,
            Phase::Noted => self.confirmed(case),
            Phase::Raised { level: told } => {
                let level = level(finding);
                let again = finding.is_event();
                if level > told || again {
                    self.actions.push(Action::Raise { key, level, text: finding.text.clone() });
                }
                Phase::Raised { level: level.max(told) }
            }
        }
    }

    fn confirmed(&mut self, case: &Case) -> Phase {
        let (finding, key) = (&case.finding, case.finding.key());
        let mut text = finding.text.clone();
        let is_under_way =
            |action: &Action| matches!(action, Action::Act { subject, .. } if *subject == finding.subject);
        match finding.remedy {
            // Found in two ways: one act is for both.
            Some(_) if self.actions.iter().any(is_under_way) => {
                return Phase::Acted { looks: 0 };
            }
            Some(remedy) if (self.next.done(remedy).len() as u64) < u64::from(self.limit(remedy)) => {
                self.next.done(remedy).push(self.now);
                let (subject, reason) = (finding.subject.clone(), finding.text.clone());
                self.actions.push(Action::Act { remedy, subject, reason });
                return Phase::Acted { looks: 0 };
            }
            Some(remedy) if remedy.is_breaker() => {
                text += &format!("; I may move {} breakers an hour, and have", self.limit(remedy));
            }
            Some(remedy) => {
                text += &format!("; I may restart {} agents and units an hour, and have", self.limit(remedy));
            }
            None if finding.severity == Severity::Info => {
                self.actions.push(Action::Note { text });
                return Phase::Noted;
            }
            None => {}
        }
        let level = level(finding);
        self.actions.push(Action::Raise { key, level, text });
        Phase::Raised { level }
    }

    fn limit(&self, remedy: Remedy) -> u32 {
        if remedy.is_breaker() { self.limits.breakers } else { self.limits.restarts }
    }

    /// Whether the case goes on, although it was not found.
    fn missed(&mut self, case: &mut Case, found: &[Finding]) -> bool {
        case.missing += 1;
        let key = case.finding.key();
        let opened =
            |other: &Finding| other.subject == case.finding.subject && other.problem == "breaker_open";
        if let (Phase::Acted { .. }, Some(Remedy::CloseBreaker)) = (case.phase, case.finding.remedy)
            && found.iter().any(opened)
        {
            let level = in_vain(&case.finding);
            let text = format!("{}; I closed its breaker, and it opened again", case.finding.text);
            self.actions.push(Action::Raise { key, level, text });
            (case.phase, case.missing) = (Phase::Raised { level }, 0);
            return true;
        }
        let clear = if case.finding.is_event() { CLEAR_EVENT } else { CLEAR };
        match case.phase {
            Phase::Suspected { .. } => return false,
            _ if case.missing < clear => return true,
            Phase::Acted { .. } => {
                let how = match case.finding.remedy {
                    Some(Remedy::OpenBreaker) => "left alone",
                    _ => "well",
                };
                let text = format!("{}; I {}, and it is {how} since", case.finding.text, did(&case.finding));
                self.actions.push(Action::Note { text });
            }
            Phase::Raised { .. } => {
                let text = format!("no longer: {}", case.finding.text);
                self.actions.push(Action::Resolve { key, text });
            }
            Phase::Noted => {
                self.actions.push(Action::Note { text: format!("no longer: {}", case.finding.text) });
            }
        }
        false
    }
}

fn confirm(finding: &Finding) -> u32 {
    if finding.is_event() { 1 } else { CONFIRM }
}

/// What was done about it.
fn did(finding: &Finding) -> &'static str {
    finding.remedy.map_or("did what I could", |remedy| remedy.words().1)
}

/// How loud it is said that nothing helped.
fn in_vain(finding: &Finding) -> AlertLevel {
    if finding.severity == Severity::Info { AlertLevel::Warning } else { AlertLevel::Critical }
}

/// How loud: what the daemon alerts of by itself is said quietly, so that nobody is woken twice for one thing.
fn level(finding: &Finding) -> AlertLevel {
    let told_by_the_daemon = matches!(finding.area, Area::Budgets | Area::Heartbeats)
        || matches!(finding.problem.as_str(), "breaker_open" | "refused")
        || finding.subject == "bus";
    match finding.severity {
        Severity::Info => AlertLevel::Info,
        Severity::Critical if !told_by_the_daemon => AlertLevel::Critical,
        Severity::Warn | Severity::Critical => AlertLevel::Warning,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
