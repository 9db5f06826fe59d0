//! A reload: a new library takes over while the old one serves. In any doubt the old one goes on.
//!
//! ```text
//!  Candidate ─▶ Waiting ─▶ Canary ── CanaryReady ─▶ Snapshot ─▶ Restore ── Restored ─▶ swapped, on probation
//!               (budget)      │                        │           │                     │ crash, trip │ stable
//!                             └────── failed, too late ┴───────────┘                     ▼             ▼
//!                               the canary ends, the old one goes on               rolled back       good
//! ```
//!
//! An agent that has no host at the time takes the candidate as it is, and is on probation from its next start on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decide::{SUPERVISOR, Turn};
use super::{Action, Probe, Record, State, StopReason, Time};
use crate::alerts::Level;
use crate::library::{Hash, Verdict};
use limits::humantime;

/// Which libraries an agent runs and ran. Outlives the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Installed {
    /// What its hosts are started from.
    pub current: Option<Hash>,
    /// What it goes back to, that which ran last first: all since the last one that had proved itself, and that.
    pub previous: Vec<Hash>,
    /// Set until the current one has proved itself.
    pub probation: Option<Probation>,
}

impl Installed {
    /// Only those of which that is so.
    pub fn keep(&mut self, have: impl Fn(&Hash) -> bool) {
        self.previous.retain(&have);
        if self.current.take_if(|hash| !have(hash)).is_some() {
            self.probation = None;
        }
    }
}

/// How long a library must still prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probation {
    /// From when it is ready for the first time.
    Ahead,
    /// Until then.
    Until(Time),
}

/// A library that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub to: Hash,
    /// Who wants it.
    pub actor: String,
    /// A person does, who need not wait for the restart budget.
    pub by_hand: bool,
    /// Set for a rollback.
    pub back: Option<Back>,
}

/// A rollback that somebody asked for: it is to succeed, even without the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// Why the current one is left.
    pub why: String,
    /// Whether what it goes back to has proved itself before.
    pub proved: bool,
}

/// A reload under way. It is not saved: a daemon that ends in it begins anew with the file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// What is to take over.
    pub candidate: Candidate,
    /// Its version, once it has said so.
    pub version: Option<String>,
    /// How far it is.
    pub phase: Phase,
}

/// How far a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// For the restart budget, which all agents share.
    Waiting {
        /// When there is some.
        until: Time,
    },
    /// The new host is on its way; the old one serves.
    Canary {
        /// It must be ready by then.
        deadline: Time,
    },
    /// The old one gets no more tasks, and says what it knows.
    Snapshot {
        /// It must have said it by then.
        deadline: Time,
    },
    /// The new one is told that.
    Restore {
        /// It must have taken it by then.
        deadline: Time,
    },
}

/// The longest that an agent's tasks wait for a snapshot and its restoring: each is milliseconds' work.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Libraries that are remembered for going back.
const FALLBACKS: usize = 3;

impl Phase {
    const fn due(mut self) -> Time {
        *self.time()
    }

    /// When it is due.
    pub(super) const fn time(&mut self) -> &mut Time {
        match self {
            Self::Waiting { until: at }
            | Self::Canary { deadline: at }
            | Self::Snapshot { deadline: at }
            | Self::Restore { deadline: at } => at,
        }
    }

    /// For status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Canary { .. } => "canary",
            Self::Snapshot { .. } | Self::Restore { .. } => "handing over",
        }
    }
}

impl Record {
    /// Whether a candidate would be taken now; else it is to be offered again after the next transition.
    pub const fn takes_candidate(&self) -> bool {
        self.reload.is_none()
            && !matches!(
                self.state,
                State::Starting { .. }
                    | State::Draining { .. }
                    | State::HalfOpen { probe: Probe::Starting { .. } }
            )
    }

    /// How many tasks it may have at once: none while it hands over.
    pub fn limit(&self, concurrency: u32) -> u32 {
        let phase = self.reload.as_ref().map(|reload| reload.phase);
        match phase {
            Some(Phase::Snapshot { .. } | Phase::Restore { .. }) => 0,
            _ => self.state.limit(concurrency),
        }
    }

    /// When something about its library is due.
    pub(super) fn library_due(&self) -> Option<Time> {
        let reload = self.reload.as_ref().map(|reload| reload.phase.due());
        let probation = match self.library.probation {
            Some(Probation::Until(at)) if self.state.is_ready() => Some(at),
            _ => None,
        };
        [reload, probation].into_iter().flatten().min()
    }
}

impl Turn<'_, '_> {
    pub(super) fn candidate(&mut self, candidate: Candidate) {
        if !self.record.takes_candidate() || self.record.library.current.as_ref() == Some(&candidate.to) {
            return;
        }
        match self.record.state.clone() {
            State::Ready { .. } | State::HalfOpen { .. } => self.canary(candidate, None),
            State::Stopped { why: StopReason::NotStarted | StopReason::FellWith { .. } } => {
                self.adopt_resting(candidate, "when its turn comes");
            }
            State::Stopped { .. } => self.adopt_resting(candidate, "when it is started"),
            State::Backoff { .. } | State::Refused { .. } if candidate.by_hand => {
                let actor = candidate.actor.clone();
                let reason = self.adopt(candidate, None);
                self.spawn(&actor, reason);
            }
            State::Backoff { attempt, .. } => {
                let reason = self.adopt(candidate, None);
                self.take_and_spawn(attempt, reason);
            }
            State::Refused { .. } => {
                let reason = self.adopt(candidate, None);
                self.record.attempt = 0;
                self.take_and_spawn(0, reason);
            }
            State::Open { until } => {
                let actor = if candidate.by_hand { candidate.actor.clone() } else { SUPERVISOR.to_owned() };
                let reason = self.adopt(candidate, None);
                self.note(self.record.state.name(), &actor, reason);
                self.probe(&actor, "one start with the new library".into());
                // Without a token of the budget it is the next probe's.
                if matches!(self.record.state, State::Open { .. }) {
                    self.record.state = State::Open { until };
                }
            }
            State::Starting { .. } | State::Draining { .. } => {}
        }
    }

    fn canary(&mut self, candidate: Candidate, version: Option<String>) {
        // Whoever goes back has waited long enough.
        let token = if candidate.back.is_some() { Ok(()) } else { self.ctx.budget.take(self.ctx.now) };
        let (phase, reason) = match token {
            Ok(()) => {
                self.actions.push(Action::Canary(candidate.to.clone()));
                let deadline = self.ctx.now + self.ctx.config.start_timeout;
                (Phase::Canary { deadline }, format!("reload: canary of {} started", candidate.to.short()))
            }
            Err(until) => {
                let waiting = "too many agents restart at once";
                (Phase::Waiting { until }, format!("reload: {} waits: {waiting}", candidate.to.short()))
            }
        };
        let actor = candidate.actor.clone();
        self.record.reload = Some(Reload { candidate, version, phase });
        self.note(self.record.state.name(), &actor, reason);
    }

    pub(super) fn canary_ready(&mut self, version: Option<String>) {
        let deadline = self.ctx.now + HAND_OVER;
        if let Some(reload @ Reload { phase: Phase::Canary { .. }, .. }) = &mut self.record.reload {
            reload.phase = Phase::Snapshot { deadline };
            reload.version = version;
            let reason = format!("reload: {} is ready, and takes over", reload.candidate.to.short());
            self.actions.push(Action::HandOver);
            self.note(self.record.state.name(), SUPERVISOR, reason);
        }
    }

    pub(super) fn snapshot(&mut self, outcome: Result<(), String>) {
        let deadline = self.ctx.now + HAND_OVER;
        let Some(reload @ Reload { phase: Phase::Snapshot { .. }, .. }) = &mut self.record.reload else {
            return;
        };
        match outcome {
            Ok(()) => {
                reload.phase = Phase::Restore { deadline };
                self.actions.push(Action::Restore);
            }
            // Whoever is left may be broken: that must not keep anybody from leaving it.
            Err(why) if reload.candidate.back.is_some() => {
                self.swap(&format!(", without its state: no snapshot ({why})"));
            }
            // The old one's fault, so the new one is not held to be bad.
            Err(why) => {
                let way = "to go on without its state, stop, reload and start it";
                self.reload_failed(&format!("the old one gives no snapshot ({why}): {way}"), false);
            }
        }
    }

    /// The new one has been told what the old one knew; `late` when it has not answered.
    pub(super) fn restored(&mut self, outcome: Result<(), String>, late: bool) {
        let Some(Reload { phase: Phase::Restore { .. }, candidate, .. }) = &self.record.reload else {
            return;
        };
        match outcome {
            Ok(()) => self.swap(""),
            // An older version need not understand a newer one's state.
            Err(why) if candidate.back.is_some() => self.swap(&format!(", without its state: {why}")),
            Err(why) => self.reload_failed(&format!("it does not take the old one's snapshot: {why}"), !late),
        }
    }

    /// The canary is gone, or will be.
    pub(super) fn canary_ended(&mut self, why: &str, to_blame: bool) {
        if self.record.reload.is_some() {
            self.reload_failed(why, to_blame);
        }
    }

    fn swap(&mut self, how: &str) {
        let Some(reload) = self.record.reload.take() else { return };
        let (now, actor) = (self.ctx.now, reload.candidate.actor.clone());
        let reason = format!("{}{how}", self.adopt(reload.candidate, reload.version.as_deref()));
        self.begin_probation();
        match &mut self.record.state {
            State::Ready { since } | State::HalfOpen { probe: Probe::Running { since } } => *since = now,
            _ => {}
        }
        self.record.since = now;
        self.actions.push(Action::Swap { deadline: now + self.ctx.drain_timeout });
        self.actions.push(Action::Limit(self.record.limit(self.ctx.config.concurrency)));
        self.actions.push(Action::Alert(Level::Info, reason.clone()));
        self.note(self.record.state.name(), &actor, reason);
    }

    /// Its next host is of this library. Answers the sentence that says so.
    fn adopt(&mut self, candidate: Candidate, version: Option<&str>) -> String {
        let Candidate { to, back, .. } = candidate;
        let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
        let library = &mut self.record.library;
        let was = library.current.replace(to.clone());
        let from = was.as_ref().map(|was| format!("; was {}", was.short())).unwrap_or_default();
        if back.as_ref().is_some_and(|back| back.proved) {
            // What ran before that is still further back.
            let known = library.previous.iter().position(|hash| *hash == to);
            library.previous.drain(..known.map_or(library.previous.len(), |at| at + 1));
            library.probation = None;
        } else {
            if library.probation.is_none() {
                library.previous.clear();
            }
            library.previous.retain(|hash| *hash != to);
            library.previous.splice(0..0, was.clone());
            library.previous.truncate(FALLBACKS);
            library.probation = Some(Probation::Ahead);
        }
        self.record.breaker.forget_calls();
        let reason = match (back, was) {
            (Some(Back { why, .. }), Some(was)) => {
                let reason = format!("it was left: {why}");
                self.actions.push(Action::Judge { hash: was, verdict: Verdict::Left { reason } });
                format!("rollback: {why}; back to {}{version}", to.short())
            }
            _ => format!("reload: now {}{version}{from}", to.short()),
        };
        self.actions.push(Action::Answer(Ok(reason.clone())));
        reason
    }

    fn adopt_resting(&mut self, candidate: Candidate, when: &str) {
        let actor = candidate.actor.clone();
        let first = self.record.library.current.is_none();
        let reason = format!("{}, {when}", self.adopt(candidate, None));
        // The first library of all replaces nothing.
        if !first {
            self.note(self.record.state.name(), &actor, reason);
        }
    }

    /// It has become ready with a library that must still prove itself: from now on, however long it was down.
    pub(super) fn begin_probation(&mut self) {
        if self.record.library.probation.is_some() {
            self.record.library.probation = Some(Probation::Until(self.ctx.now + self.ctx.config.probation));
        }
    }

    pub(super) fn library_due(&mut self) {
        let now = self.ctx.now;
        if let Some(reload) = self.record.reload.clone()
            && reload.phase.due() <= now
        {
            let late = humantime(HAND_OVER);
            match reload.phase {
                Phase::Waiting { .. } => self.canary(reload.candidate, reload.version),
                Phase::Canary { .. } => {
                    let limit = humantime(self.ctx.config.start_timeout);
                    self.reload_failed(&format!("start timeout: not ready within {limit}"), true);
                }
                Phase::Snapshot { .. } => self.snapshot(Err(format!("none within {late}"))),
                Phase::Restore { .. } => self.restored(Err(format!("not done within {late}")), true),
            }
        }
        if let Some(Probation::Until(at)) = self.record.library.probation
            && at <= now
            && self.record.state.is_ready()
        {
            self.record.library.probation = None;
            if let Some(current) = self.record.library.current.clone() {
                let reason = format!("reload: probation of {} passed", current.short());
                self.actions.push(Action::Judge { hash: current, verdict: Verdict::Good });
                self.note(self.record.state.name(), SUPERVISOR, reason);
            }
        }
    }

    fn reload_failed(&mut self, why: &str, to_blame: bool) {
        let Some(reload) = self.record.reload.take() else { return };
        let to = reload.candidate.to;
        self.actions.push(Action::EndCanary);
        if matches!(reload.phase, Phase::Snapshot { .. } | Phase::Restore { .. }) {
            self.actions.push(Action::Limit(self.record.limit(self.ctx.config.concurrency)));
        }
        let stays = self.record.library.current.as_ref().map_or("the old one", |hash| hash.short());
        let reason = format!("reload: {} failed: {why}; {stays} goes on", to.short());
        self.actions.push(Action::Alert(Level::Warning, reason.clone()));
        self.actions.push(Action::Answer(Err(reason.clone())));
        if to_blame {
            let verdict = Verdict::Bad { reason: why.into() };
            self.actions.push(Action::Judge { hash: to, verdict });
        }
        self.note(self.record.state.name(), SUPERVISOR, reason);
    }

    /// Nobody wants it any more.
    pub(super) fn withdraw(&mut self, why: &str) {
        if self.record.reload.is_some() {
            self.reload_failed(why, false);
        }
    }

    /// What served is about to stop: a reload of it can wait.
    pub(super) fn break_off(&mut self) {
        if let Some(reload) = self.record.reload.take() {
            self.actions.push(Action::EndCanary);
            self.actions.push(Action::Postpone);
            let reason = format!("reload: {} broken off: the running one stops", reload.candidate.to.short());
            self.note(self.record.state.name(), SUPERVISOR, reason);
        }
    }

    /// What it goes back to if it fails now.
    pub(super) fn fallback(&self) -> Option<&Hash> {
        if self.ctx.config.probation.is_zero() {
            return None;
        }
        self.record.library.probation.and(self.record.library.previous.first())
    }

    /// Fails on probation: its predecessor starts at once. A host that still lives ends beside it.
    /// `to_blame`: not for what the configuration or the operator can mend.
    pub(super) fn roll_back(&mut self, why: &str, lives: bool, to_blame: bool) {
        let (Some(back), Some(bad)) = (self.fallback().cloned(), self.record.library.current.clone()) else {
            return;
        };
        let library = &mut self.record.library;
        library.previous.remove(0);
        let reason =
            format!("rollback: {} failed on probation: {why}; back to {}", bad.short(), back.short());
        library.current = Some(back);
        // It has not proved itself either, if there is still something to go back to.
        library.probation = (!library.previous.is_empty()).then_some(Probation::Ahead);
        self.record.breaker.forget_calls();
        self.record.restarts += 1;
        if to_blame {
            let verdict = Verdict::Bad { reason: why.into() };
            self.actions.push(Action::Judge { hash: bad, verdict });
        }
        self.actions.push(Action::Alert(Level::Warning, reason.clone()));
        if lives {
            self.actions.push(Action::Retire { deadline: self.ctx.now + self.ctx.drain_timeout });
        }
        if self.ctx.others_first && !lives {
            let why = StopReason::FellWith { name: "itself".into() };
            self.change(State::Stopped { why }, SUPERVISOR, reason);
        } else {
            self.spawn(SUPERVISOR, reason);
        }
    }
}
