//! The one decision: what happened, what follows.

use std::time::Duration;

use settings::{Restart, Supervision};

use super::{
    Action, Budget, Call, Desired, Event, Exit, ExitClass, Next, Opened, Probe, Record, State, StopReason,
    Time, Transition,
};
use crate::sentence::sentence;
use limits::humantime;

/// What a decision depends on beside the record.
pub struct Context<'c> {
    /// The agent's own.
    pub config: &'c Supervision,
    /// All agents'.
    pub budget: &'c mut Budget,
    /// The time.
    pub now: Time,
    /// 0 to 1, from whoever has a source of chance.
    pub jitter: f64,
    /// How long handlers may take to end.
    pub drain_timeout: Duration,
    /// Others that start before it fall with it: it waits for its turn.
    pub others_first: bool,
}

/// After SIGKILL is due: how long until the kill is tried again.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// Decides.
pub fn decide(record: &mut Record, event: Event, ctx: &mut Context<'_>) -> Vec<Action> {
    let mut turn = Turn { record, ctx, actions: Vec::new() };
    turn.handle(event);
    turn.actions
}

/// When [`Event::Due`] must come next.
pub fn next_due(record: &Record, config: &Supervision) -> Option<Time> {
    [state_due(record, config), record.library_due()].into_iter().flatten().min()
}

fn state_due(record: &Record, config: &Supervision) -> Option<Time> {
    match &record.state {
        State::Starting { deadline }
        | State::Draining { deadline, .. }
        | State::HalfOpen { probe: Probe::Starting { deadline } } => Some(*deadline),
        State::Backoff { until, .. } | State::Open { until } => Some(*until),
        State::HalfOpen { probe: Probe::Running { since } } => Some(*since + config.backoff.reset_after),
        State::Ready { since } if record.attempt > 0 || record.breaker.trips > 0 => {
            Some(*since + config.backoff.reset_after)
        }
        State::Ready { .. } | State::Stopped { .. } | State::Refused { .. } => None,
    }
}

pub(super) struct Turn<'t, 'c> {
    pub(super) record: &'t mut Record,
    pub(super) ctx: &'t mut Context<'c>,
    pub(super) actions: Vec<Action>,
}

pub(super) const SUPERVISOR: &str = "supervisor";
/// A reason is a sentence, whoever gave it.
pub const REASON: usize = 400;

impl Turn<'_, '_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Start { actor } => self.start(&actor),
            Event::Turn => self.turn(),
            Event::Stop { actor } => {
                self.record.desired = Desired::Down { actor: actor.clone() };
                let reason = format!("stopped by {actor}");
                self.stop(StopReason::Operator { actor: actor.clone() }, &actor, reason);
            }
            Event::Shutdown => self.stop(StopReason::Shutdown, SUPERVISOR, "the daemon stops".into()),
            Event::Restart { actor, reason } => self.restart(&actor, reason),
            Event::OpenBreaker { actor, reason } => self.open_breaker(&actor, &reason),
            Event::CloseBreaker { actor, reason } => self.close_breaker(&actor, &reason),
            Event::HostReady => self.ready(),
            Event::HostExited { exit } => self.exited(exit),
            Event::Refused { why } => self.refused(why),
            Event::Hang { what } => self.kill(ExitClass::Hang, what),
            Event::Due => self.due(),
            Event::TaskEnded { call } => self.task_ended(call),
            Event::Candidate(candidate) => self.candidate(candidate),
            Event::Withdraw { why } => self.withdraw(&why),
            Event::CanaryReady { version } => self.canary_ready(version),
            Event::CanaryEnded { why, to_blame } => self.canary_ended(&sentence(&why, REASON), to_blame),
            Event::Snapshot { outcome } => self.snapshot(outcome),
            Event::Restored { outcome } => self.restored(outcome, false),
            Event::StandBy { why } => self.stand_by(why),
            Event::SiblingFell { name } => {
                if matches!(
                    self.record.state,
                    State::Starting { .. } | State::Ready { .. } | State::HalfOpen { .. }
                ) {
                    let reason = format!("it falls with `{name}`");
                    self.drain(Next::Stopped { why: StopReason::FellWith { name } }, SUPERVISOR, reason);
                }
            }
        }
    }

    /// At once: there is no time for a drain. What was in work is done again by whoever leads now.
    fn stand_by(&mut self, why: String) {
        let stop = StopReason::StandsBy { why };
        let reason = stop.to_string();
        match &mut self.record.state {
            State::Draining { next, .. } => {
                *next = Next::Stopped { why: stop };
                self.note("draining", SUPERVISOR, reason);
                self.actions.push(Action::Kill);
            }
            State::Starting { .. } | State::Ready { .. } | State::HalfOpen { .. } => {
                let deadline = self.ctx.now + self.ctx.config.kill_grace + KILL_AGAIN;
                self.change(
                    State::Draining { deadline, next: Next::Stopped { why: stop } },
                    SUPERVISOR,
                    reason,
                );
                self.actions.push(Action::Kill);
            }
            State::Stopped { .. } | State::Backoff { .. } | State::Open { .. } | State::Refused { .. } => {
                self.change(State::Stopped { why: stop }, SUPERVISOR, reason);
            }
        }
    }

    fn turn(&mut self) {
        match &self.record.state {
            // What failed before a start of the daemon still counts.
            State::Stopped { why: StopReason::NotStarted } => self.spawn("boot", "started at boot".into()),
            State::Stopped { why: StopReason::FellWith { name } } => {
                let reason = format!("restarted after the fall of `{name}`");
                self.take_and_spawn(self.record.attempt.max(1), reason);
            }
            _ => {}
        }
    }

    fn start(&mut self, actor: &str) {
        self.record.desired = Desired::Up;
        let reason = format!("started by {actor}");
        match &mut self.record.state {
            // Its turn has come, after a start of the daemon too: what failed before still counts.
            State::Stopped { why: StopReason::NotStarted } => self.spawn(actor, reason),
            State::Stopped { .. } | State::Refused { .. } | State::Backoff { .. } => {
                self.record.attempt = 0;
                self.spawn(actor, reason);
            }
            State::Open { .. } => self.probe(actor, reason),
            State::Draining { next, .. } if !matches!(next, Next::Start) => {
                *next = Next::Start;
                self.note("draining", actor, format!("to be started again by {actor}"));
            }
            State::Starting { .. }
            | State::Ready { .. }
            | State::HalfOpen { .. }
            | State::Draining { .. } => {}
        }
    }

    fn stop(&mut self, why: StopReason, actor: &str, reason: String) {
        match &mut self.record.state {
            State::Starting { .. } | State::Ready { .. } | State::HalfOpen { .. } => {
                self.drain(Next::Stopped { why }, actor, reason);
            }
            // An open breaker outlives the daemon.
            State::Draining { next: Next::Open { .. }, .. } if why == StopReason::Shutdown => {}
            State::Draining { next: Next::Stopped { why: same }, .. } if *same == why => {}
            State::Draining { next, .. } => {
                *next = Next::Stopped { why };
                self.note("draining", actor, reason);
            }
            State::Stopped { .. } | State::Refused { .. } if why == StopReason::Shutdown => {}
            // The wait goes on in the record, so that a restart of the daemon does not cut it short.
            State::Backoff { .. } | State::Open { .. } if why == StopReason::Shutdown => {}
            State::Backoff { .. } | State::Open { .. } | State::Refused { .. } | State::Stopped { .. } => {
                if !matches!(&self.record.state, State::Stopped { why: now } if *now == why) {
                    self.change(State::Stopped { why }, actor, reason);
                }
            }
        }
    }

    fn restart(&mut self, actor: &str, reason: String) {
        match self.record.state {
            State::Starting { .. } | State::Ready { .. } | State::HalfOpen { .. } => {
                self.record.desired = Desired::Up;
                self.drain(Next::Start, actor, reason);
            }
            _ => self.start(actor),
        }
    }

    /// Who is down, refused or open already is left alone as it is.
    fn open_breaker(&mut self, actor: &str, why: &str) {
        let holds = matches!(
            self.record.state,
            State::Starting { .. }
                | State::Ready { .. }
                | State::HalfOpen { .. }
                | State::Backoff { .. }
                | State::Draining { next: Next::Start, .. }
        );
        if !holds {
            return;
        }
        self.record.attempt = 0;
        let opened = self.by(actor, why);
        let until = self.record.breaker.hold(&self.ctx.config.breaker, opened);
        let reason = self.opening(until, why);
        match &mut self.record.state {
            State::Backoff { .. } => self.change(State::Open { until }, actor, reason),
            State::Draining { next, .. } => {
                *next = Next::Open { until };
                self.note("draining", actor, reason);
            }
            _ => self.drain(Next::Open { until }, actor, reason),
        }
    }

    fn close_breaker(&mut self, actor: &str, why: &str) {
        let reason = format!("the breaker is closed: {why}");
        match &mut self.record.state {
            State::Open { .. } => {
                self.record.breaker.close();
                self.probe(actor, reason);
            }
            State::HalfOpen { probe } => {
                let next = match *probe {
                    Probe::Starting { deadline } => State::Starting { deadline },
                    Probe::Running { since } => State::Ready { since },
                };
                self.record.breaker.close();
                self.change(next, actor, reason);
            }
            State::Draining { next: next @ Next::Open { .. }, .. } => {
                *next = Next::Start;
                self.record.breaker.close();
                self.note("draining", actor, reason);
            }
            _ => {}
        }
    }

    fn ready(&mut self) {
        let now = self.ctx.now;
        if self.record.state.has_host() {
            self.begin_probation();
        }
        match self.record.state {
            State::Starting { .. } => self.change(State::Ready { since: now }, SUPERVISOR, "ready".into()),
            State::HalfOpen { probe: Probe::Starting { .. } } => {
                let stable = humantime(self.ctx.config.backoff.reset_after);
                let reason = format!("ready, one task at a time; the breaker closes after {stable}");
                self.change(State::HalfOpen { probe: Probe::Running { since: now } }, SUPERVISOR, reason);
            }
            _ => self.actions.push(Action::Limit(self.record.limit(self.ctx.config.concurrency))),
        }
    }

    fn exited(&mut self, exit: Exit) {
        match self.record.state.clone() {
            State::Draining { next: Next::Stopped { why }, .. } => {
                let reason = why.to_string();
                self.gone(exit);
                self.change(State::Stopped { why }, SUPERVISOR, reason);
            }
            State::Draining { next: Next::Start, .. } => {
                self.gone(exit);
                self.record.restarts += 1;
                self.spawn(SUPERVISOR, "its predecessor has ended".into());
            }
            State::Draining { next: Next::Open { until }, .. } => {
                // A probe that was killed ended by what it was killed for.
                let since = self.record.since;
                let killed = |last: &Exit| {
                    last.at == since && matches!(last.class, ExitClass::Hang | ExitClass::StartTimeout)
                };
                if !self.record.last_exit.as_ref().is_some_and(killed) {
                    self.gone(exit);
                }
                let opened = self.record.breaker.opened.clone();
                let (actor, reason) = match opened {
                    Some(Opened { actor, reason, .. }) => (actor, self.opening(until, &reason)),
                    // By a daemon that did not keep it.
                    None => (SUPERVISOR.into(), "its host has ended".into()),
                };
                self.change(State::Open { until }, &actor, reason);
            }
            State::Draining { next: Next::Failed { exit: cause }, .. } => {
                // Half-open, it would have been drained to `Next::Open`, unless `restart` was `never` then.
                self.failed(Exit { at: exit.at, ..cause }, self.record.breaker.trips > 0);
            }
            State::HalfOpen { .. } => self.failed(exit, true),
            State::Starting { .. } | State::Ready { .. } => self.failed(exit, false),
            State::Stopped { .. } | State::Backoff { .. } | State::Open { .. } | State::Refused { .. } => {}
        }
    }

    /// A host is gone that was told to go.
    fn gone(&mut self, exit: Exit) {
        self.record.last_exit = Some(exit);
    }

    /// A host is gone by its own fault.
    fn failed(&mut self, exit: Exit, probing: bool) {
        let config = self.ctx.config;
        self.record.last_exit = Some(exit.clone());
        // An end without a fault counts as any other restart does.
        let faultless = matches!(exit.class, ExitClass::Clean | ExitClass::NotStarted);
        if !faultless && self.fallback().is_some() {
            self.roll_back(&exit.to_string(), false, true);
            self.actions.push(Action::Fell);
            return;
        }
        let leave = match config.restart {
            Restart::Always => false,
            Restart::OnFailure => exit.class == ExitClass::Clean,
            Restart::Never => true,
        };
        if leave {
            // As in OTP: who may end does not take its group along.
            let reason = format!("{exit}; `restart` leaves it so");
            self.change(State::Stopped { why: StopReason::Finished { exit } }, SUPERVISOR, reason);
            return;
        }
        if probing {
            self.open(format!("the probe failed: {exit}"));
        } else if let Some(why) = self.record.breaker.restart(&config.breaker, self.ctx.now) {
            let why = format!("{why}, the last after {exit}");
            if self.fallback().is_some() && exit.class != ExitClass::NotStarted {
                self.roll_back(&why, false, true);
            } else {
                self.open(why);
            }
        } else {
            self.back_off(&exit);
        }
        self.actions.push(Action::Fell);
    }

    fn back_off(&mut self, exit: &Exit) {
        self.record.attempt = self.record.attempt.saturating_add(1);
        let attempt = self.record.attempt;
        let pause = self.pause(attempt);
        if pause.is_zero() && self.ctx.others_first {
            let name = "itself".to_owned();
            let reason = format!("{exit}; those before it in its group start first");
            self.change(State::Stopped { why: StopReason::FellWith { name } }, SUPERVISOR, reason);
        } else if pause.is_zero() {
            self.take_and_spawn(attempt, format!("restarted at once after {exit}"));
        } else {
            let until = self.ctx.now + pause;
            let reason = format!("{exit}; restart {attempt} in a row comes in {}", humantime(rounded(pause)));
            self.change(State::Backoff { until, attempt }, SUPERVISOR, reason);
        }
    }

    /// A restart takes a token of the budget that all agents share.
    pub(super) fn take_and_spawn(&mut self, attempt: u32, reason: String) {
        match self.ctx.budget.take(self.ctx.now) {
            Ok(()) => {
                self.record.restarts += 1;
                self.spawn(SUPERVISOR, reason);
            }
            Err(until) => {
                let reason = "too many agents restart at once: it waits for its turn".into();
                self.change(State::Backoff { until, attempt }, SUPERVISOR, reason);
            }
        }
    }

    /// The first restart in a row is immediate.
    fn pause(&self, attempt: u32) -> Duration {
        let backoff = &self.ctx.config.backoff;
        let Some(exponent) = attempt.checked_sub(2) else { return Duration::ZERO };
        let grown = backoff.initial.as_secs_f64() * backoff.factor.powi(exponent.min(1000) as i32);
        let varied =
            grown.min(backoff.max.as_secs_f64()) * (1.0 + backoff.jitter * (2.0 * self.ctx.jitter - 1.0));
        Duration::try_from_secs_f64(varied).unwrap_or(backoff.max)
    }

    fn open(&mut self, reason: String) {
        let until = self.opened(&reason);
        self.change(State::Open { until }, SUPERVISOR, self.opening(until, &reason));
    }

    fn opened(&mut self, why: &str) -> Time {
        self.record.attempt = 0;
        let opened = self.by(SUPERVISOR, why);
        self.record.breaker.open(&self.ctx.config.breaker, opened)
    }

    fn by(&self, actor: &str, why: &str) -> Opened {
        Opened { at: self.ctx.now, actor: actor.into(), reason: sentence(why, REASON) }
    }

    fn opening(&self, until: Time, reason: &str) -> String {
        let pause = (until - self.ctx.now).to_std().unwrap_or_default();
        format!("the breaker is open for {}: {reason}", humantime(rounded(pause)))
    }

    fn refused(&mut self, why: String) {
        let why = sentence(&why, REASON);
        if !self.record.state.has_host() {
            return;
        }
        self.record.last_exit = Some(Exit::new(ExitClass::Refused, why.clone(), self.ctx.now));
        match self.record.state.clone() {
            State::Draining { next: Next::Stopped { why: stopped }, .. } => {
                self.change(State::Stopped { why: stopped }, SUPERVISOR, why);
            }
            _ if self.fallback().is_some() => self.roll_back(&why, false, false),
            _ => self.change(State::Refused { why: why.clone() }, SUPERVISOR, why),
        }
    }

    fn kill(&mut self, class: ExitClass, what: String) {
        if matches!(self.record.state, State::Starting { .. } | State::Ready { .. } | State::HalfOpen { .. })
        {
            let probing = matches!(self.record.state, State::HalfOpen { .. });
            let exit = Exit::new(class, what, self.ctx.now);
            let reason = format!("{exit}; it is killed");
            let opens = probing && self.ctx.config.restart != Restart::Never && self.fallback().is_none();
            let next = if opens {
                self.record.last_exit = Some(exit.clone());
                Next::Open { until: self.opened(&exit.to_string()) }
            } else {
                Next::Failed { exit }
            };
            let fell = matches!(next, Next::Open { .. });
            let deadline = self.ctx.now + self.ctx.config.kill_grace + KILL_AGAIN;
            self.change(State::Draining { deadline, next }, SUPERVISOR, reason);
            self.actions.push(Action::Kill);
            // Others fell when their host has ended; for a probe that is decided now.
            if fell {
                self.actions.push(Action::Fell);
            }
        }
    }

    fn drain(&mut self, next: Next, actor: &str, reason: String) {
        // One that is not ready yet has nothing to finish, and may hang at it.
        if !self.record.state.is_ready() {
            let deadline = self.ctx.now + self.ctx.config.kill_grace + KILL_AGAIN;
            self.change(State::Draining { deadline, next }, actor, reason);
            self.actions.push(Action::Kill);
            return;
        }
        let deadline = self.ctx.now + self.ctx.drain_timeout;
        self.change(State::Draining { deadline, next }, actor, reason);
        self.actions.push(Action::Drain { deadline });
    }

    fn due(&mut self) {
        let now = self.ctx.now;
        self.library_due();
        if state_due(self.record, self.ctx.config).is_none_or(|at| at > now) {
            return;
        }
        match self.record.state.clone() {
            State::Starting { .. } | State::HalfOpen { probe: Probe::Starting { .. } } => {
                let limit = humantime(self.ctx.config.start_timeout);
                self.kill(ExitClass::StartTimeout, format!("not ready within {limit}"));
            }
            State::Backoff { .. } if self.ctx.others_first => {
                let name = "itself".to_owned();
                let reason = "those before it in its group start first".into();
                self.change(State::Stopped { why: StopReason::FellWith { name } }, SUPERVISOR, reason);
            }
            State::Backoff { attempt, .. } => {
                self.take_and_spawn(attempt, format!("restart {attempt} in a row"));
            }
            State::Open { .. } => self.probe(SUPERVISOR, "one start to see whether it is well again".into()),
            State::HalfOpen { probe: Probe::Running { since } } => {
                self.record.attempt = 0;
                self.record.breaker.close();
                let reason = "a stable run: the breaker is closed".into();
                self.change(State::Ready { since }, SUPERVISOR, reason);
            }
            State::Ready { .. } => {
                self.record.attempt = 0;
                self.record.breaker.trips = 0;
                self.note("ready", SUPERVISOR, "a stable run: restarts are counted anew".into());
            }
            State::Draining { next, .. } => {
                self.record.state =
                    State::Draining { deadline: now + self.ctx.config.kill_grace + KILL_AGAIN, next };
                self.actions.push(Action::Kill);
            }
            State::Stopped { .. } | State::Refused { .. } => {}
        }
    }

    fn task_ended(&mut self, call: Call) {
        let trip = self.record.breaker.call(call, &self.ctx.config.breaker, self.ctx.now);
        match (&self.record.state, trip, call) {
            (State::Ready { .. }, Some(why), _) => self.trip(&why),
            (State::HalfOpen { .. }, _, Call::Failed) => self.trip("the probe's task failed"),
            (State::HalfOpen { .. }, Some(why), Call::Slow) => self.trip(&why),
            _ => {}
        }
    }

    fn trip(&mut self, why: &str) {
        if self.fallback().is_some() {
            return self.roll_back(why, true, true);
        }
        let until = self.opened(why);
        let reason = self.opening(until, why);
        self.drain(Next::Open { until }, SUPERVISOR, reason);
    }

    pub(super) fn spawn(&mut self, actor: &str, reason: String) {
        let deadline = self.ctx.now + self.ctx.config.start_timeout;
        // A breaker that has not closed for good stays half-open whoever starts the host.
        let state = if self.record.breaker.trips > 0 {
            State::HalfOpen { probe: Probe::Starting { deadline } }
        } else {
            State::Starting { deadline }
        };
        self.change(state, actor, reason);
        self.actions.push(Action::Spawn);
    }

    /// The probe of an open breaker is a restart like any other for the budget.
    pub(super) fn probe(&mut self, actor: &str, reason: String) {
        if actor == SUPERVISOR
            && let Err(until) = self.ctx.budget.take(self.ctx.now)
        {
            self.record.state = State::Open { until };
            return;
        }
        self.record.restarts += 1;
        self.spawn(actor, reason);
    }

    pub(super) fn change(&mut self, to: State, actor: &str, reason: String) {
        let concurrency = self.ctx.config.concurrency;
        let before = self.record.limit(concurrency);
        if !to.is_ready() {
            self.break_off();
        }
        let left = std::mem::replace(&mut self.record.state, to);
        self.record.since = self.ctx.now;
        self.note(left.name(), actor, reason);
        let limit = self.record.limit(concurrency);
        if before != limit {
            self.actions.push(Action::Limit(limit));
        }
    }

    pub(super) fn note(&mut self, from: &str, actor: &str, reason: String) {
        let to = self.record.state.name().into();
        let (from, actor, at) = (from.into(), actor.into(), self.ctx.now);
        let reason = sentence(&reason, REASON);
        self.actions.push(Action::Note(Transition { from, to, actor, reason, at }));
    }
}

fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
