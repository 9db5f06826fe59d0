//! What follows from what was found, look by look: whom to restart, what to tell, what is over. No clock, no call.
//!
//! ```text
//!           found                   CONFIRM times, and something may help        not well at VERIFY looks since
//!  (none) ────────▶ Suspected ─┬─────────────────────────────────────▶ Acted ───────────────────────────────┐
//!    ▲                 │       └─▶ else ───────────────▶ Raised ◀──────────────────────── (louder) ──────────┘
//!    │ not found CLEAR │                                    │ nothing worse than good to know is found of
//!    └─ looks in a row ┘                                    │ its subject CLEAR looks in a row: over
//! ```
//!
//! What is found once may be chance, so the operator hears of what lasts or comes back; what is over must stay over for a
//! while. Looks are counted by subject: one that is ill in another word each time is ill all the same.

use std::collections::{BTreeMap, BTreeSet};

use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::context::{AlertLevel, CallError, CallErrorKind};
use serde::{Deserialize, Serialize};

use crate::findings::{Area, Finding, Remedy, Severity};
use crate::uptime::Uptime;

/// Looks at which something must be found: with one each 20 s it is told within 40 s of its beginning.
pub const CONFIRM: u32 = 2;
/// The same before an act, which has a price, where the looks were not in a row.
pub const FLUTTERS: u32 = 3;
/// Looks after an act by which it must have helped: a start may take ten seconds, and a proof five more.
pub const VERIFY: u32 = 3;
/// Looks in a row without it after which something is over: a value at the edge is one alarm. What comes back sooner has
/// lasted, also before it was told.
pub const CLEAR: u32 = 3;
/// The same for what happened in one moment: five minutes without another.
pub const CLEAR_EVENT: u32 = 15;
/// Looks after which something that is not seen any more is over: an hour.
pub const GONE: u32 = 180;
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
    /// What the operator could not be told, by the alert's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub untold: BTreeMap<String, Action>,
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
            untold: BTreeMap::new(),
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
        /// Looks since then at which its subject was not well, or not to be seen.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl Action {
    /// The alert that is raised or resolved.
    pub fn alert(&self) -> Option<&str> {
        match self {
            Self::Raise { key, .. } | Self::Resolve { key, .. } => Some(key),
            Self::Act { .. } | Self::Note { .. } => None,
        }
    }
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

/// The next state, and what is to be done. `found` is all that this look at `now` found, `there` the components and units that
/// it saw.
pub fn decide(
    before: &LastCheck,
    found: &[Finding],
    there: &BTreeSet<String>,
    limits: Limits,
    now: DateTime<Utc>,
) -> (LastCheck, Vec<Action>) {
    let mut turn = Turn { before, found, there, next: before.clone(), actions: Vec::new(), limits, now };
    turn.next.at = now;
    turn.next.findings = found.to_vec();
    // By a clock that was set back since, some were done later than now.
    let lately = |at: &DateTime<Utc>| (TimeDelta::zero()..HOUR).contains(&(now - *at));
    turn.next.acts.retain(lately);
    turn.next.moves.retain(lately);
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
    cases.retain(|_, case| is_found(case) || turn.missed(case));
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

struct Turn<'a> {
    before: &'a LastCheck,
    found: &'a [Finding],
    there: &'a BTreeSet<String>,
    next: LastCheck,
    actions: Vec<Action>,
    limits: Limits,
    now: DateTime<Utc>,
}

impl Turn<'_> {
    fn found(&mut self, case: &Case) -> Phase {
        let (finding, key) = (&case.finding, case.finding.key());
        match case.phase {
            Phase::Suspected { .. } => {
                let (looks, is_sure) = self.suspicion(finding);
                if is_sure { self.confirmed(case, looks) } else { Phase::Suspected { looks } }
            }
            Phase::Acted { looks } => self.not_helped(case, looks),
            Phase::Noted if finding.severity == Severity::Info => Phase::Noted,
            Phase::Noted => self.confirmed(case, CONFIRM),
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

    /// At how many looks, with this one, its subject was found to be ill, and whether that is no chance.
    fn suspicion(&self, finding: &Finding) -> (u32, bool) {
        let same = |other: &Finding| {
            other.key() == finding.key() || other.is_ill() && finding.is_ill() && other.is_about(finding)
        };
        let (mut looks, mut in_a_row) = (0, false);
        for case in self.before.cases.values().filter(|case| same(&case.finding)) {
            in_a_row |= case.missing == 0;
            if let Phase::Suspected { looks: so_far } = case.phase {
                looks = looks.max(so_far);
            }
        }
        let looks = looks + 1;
        let enough = match finding.remedy {
            _ if finding.is_event() => 1,
            Some(_) if !in_a_row => FLUTTERS,
            _ => CONFIRM,
        };
        (looks, looks >= enough)
    }

    /// What else is found to be ill of what this is about.
    fn trouble(&self, finding: &Finding) -> Option<&Finding> {
        self.found.iter().find(|other| other.is_ill() && other.is_about(finding))
    }

    fn is_there(&self, finding: &Finding) -> bool {
        self.there.contains(&finding.subject)
    }

    /// Whether a component or a unit that something was found of is not seen any more.
    fn is_gone(&self, finding: &Finding) -> bool {
        matches!(finding.area, Area::Team | Area::Units) && !self.is_there(finding)
    }

    /// A look after an act at which its subject is not well.
    fn not_helped(&mut self, case: &Case, looks: u32) -> Phase {
        if looks + 1 < VERIFY {
            return Phase::Acted { looks: looks + 1 };
        }
        let finding = &case.finding;
        let how = match self.trouble(finding) {
            _ if !self.is_there(finding) => ", and cannot see whether that helped".to_owned(),
            Some(other) if other.key() != finding.key() => format!(", and that did not help: {}", other.text),
            _ => ", and that did not help".to_owned(),
        };
        let level = in_vain(finding);
        let text = format!("{}; I {}{how}", finding.text, did(finding));
        self.actions.push(Action::Raise { key: finding.key(), level, text });
        Phase::Raised { level }
    }

    fn confirmed(&mut self, case: &Case, looks: u32) -> Phase {
        let (finding, key) = (&case.finding, case.finding.key());
        let mut text = finding.text.clone();
        let is_under_way =
            |action: &Action| matches!(action, Action::Act { subject, .. } if *subject == finding.subject);
        match finding.remedy {
            // Found in two ways: one act is for both.
            Some(_) if self.actions.iter().any(is_under_way) => {
                return Phase::Acted { looks: 0 };
            }
            // It is seen first whether the last act helped; and nobody is restarted unseen.
            Some(remedy) if !self.is_there(finding) || !remedy.is_breaker() && self.is_restarted(finding) => {
                return Phase::Suspected { looks };
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

    /// Whether it was restarted for something else, and that is still to be judged.
    fn is_restarted(&self, finding: &Finding) -> bool {
        self.before.cases.values().any(|case| {
            let remedy = case.finding.remedy.is_some_and(|remedy| !remedy.is_breaker());
            remedy && matches!(case.phase, Phase::Acted { .. }) && case.finding.is_about(finding)
        })
    }

    /// Whether the case goes on, although it was not found.
    fn missed(&mut self, case: &mut Case) -> bool {
        let key = case.finding.key();
        let is_left_alone = case.finding.remedy == Some(Remedy::OpenBreaker);
        let is_ill = self.trouble(&case.finding).is_some();
        match case.phase {
            Phase::Acted { .. }
                if case.finding.remedy == Some(Remedy::CloseBreaker) && self.is_open(case) =>
            {
                let level = in_vain(&case.finding);
                let text = format!("{}; I closed its breaker, and it opened again", case.finding.text);
                self.actions.push(Action::Raise { key, level, text });
                (case.phase, case.missing) = (Phase::Raised { level }, 0);
                return true;
            }
            // One that is left alone need not be well.
            Phase::Acted { looks } if is_ill && !is_left_alone || !self.is_there(&case.finding) => {
                (case.phase, case.missing) = (self.not_helped(case, looks), 0);
                return true;
            }
            // Gone is not well; but one that was taken out of the team stays gone.
            Phase::Raised { .. } if self.is_gone(&case.finding) && case.missing < GONE => {
                case.missing += 1;
                return true;
            }
            // It has another word now, and is not over.
            Phase::Raised { .. } if is_ill && case.finding.is_ill() => {
                case.missing = 0;
                return true;
            }
            _ => case.missing += 1,
        }
        let clear = if case.finding.is_event() { CLEAR_EVENT } else { CLEAR };
        match case.phase {
            _ if case.missing < clear => return true,
            Phase::Suspected { .. } => {}
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

    fn is_open(&self, case: &Case) -> bool {
        let mut about = self.found.iter().filter(|other| other.is_about(&case.finding));
        about.any(|other| other.problem == "breaker_open")
    }
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
