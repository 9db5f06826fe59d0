//! What holds whatever happens.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::TimeDelta;
use proptest::collection::vec;
use proptest::prelude::*;
use settings::{Restart, Supervision};

use super::*;
use crate::policy::*;

/// How far the clock goes before the next thing happens.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Forward(u64),
    /// To the next moment that something is due; a day if nothing is.
    ToDue,
    Back(u64),
}

/// What happens.
#[derive(Clone, Debug)]
enum Happening {
    Told(Event),
    /// The host, if there is one, ends so.
    Ends(ExitClass),
    /// The host, if there is one, refuses, and ends.
    Refuses,
    /// The canary, if there is one, ends, and may be to blame.
    CanaryEnds(bool),
    /// The daemon is killed and started again: hosts do not outlive it.
    Reboot,
}

fn clock(goes_back: bool) -> BoxedStrategy<Clock> {
    let forward = prop_oneof![
        4 => 0..100u64,
        4 => 0..3_000u64,
        1 => 0..200_000u64,
    ];
    let forward = forward.prop_map(Clock::Forward);
    if goes_back {
        prop_oneof![5 => forward, 4 => Just(Clock::ToDue), 1 => (0..10_000_000u64).prop_map(Clock::Back)]
            .boxed()
    } else {
        prop_oneof![5 => forward, 4 => Just(Clock::ToDue)].boxed()
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    use ExitClass::*;
    let call = prop_oneof![Just(Call::Ok), Just(Call::Slow), Just(Call::Failed)];
    prop_oneof![
        30 => Just(Happening::Told(DUE)),
        20 => Just(Happening::Told(READY)),
        25 => prop::sample::select(vec![Clean, Error, Signal, Panic, OutOfMemory]).prop_map(Happening::Ends),
        2 => Just(Happening::Refuses),
        6 => Just(Happening::Told(start())),
        2 => Just(Happening::Told(stop())),
        2 => Just(Happening::Told(restart())),
        2 => Just(Happening::Told(open_breaker())),
        2 => Just(Happening::Told(close_breaker())),
        1 => Just(Happening::Told(SHUTDOWN)),
        4 => Just(Happening::Told(hang())),
        10 => call.prop_map(|call| Happening::Told(task(call))),
        3 => Just(Happening::Told(sibling())),
        1 => Just(Happening::Told(Event::StandBy { why: "lost".into() })),
        6 => Just(Happening::Told(TURN)),
        2 => Just(Happening::Reboot),
        6 => prop::sample::select(vec!['a', 'b', 'c']).prop_map(|letter| Happening::Told(candidate(letter))),
        1 => prop::sample::select(vec!['a', 'b', 'c']).prop_map(|letter| Happening::Told(back_to(letter))),
        2 => Just(Happening::Told(Event::Withdraw { why: "no".into() })),
        6 => Just(Happening::Told(CANARY_READY)),
        6 => any::<bool>().prop_map(|well| Happening::Told(Event::Snapshot { outcome: outcome(well) })),
        6 => any::<bool>().prop_map(|well| Happening::Told(Event::Restored { outcome: outcome(well) })),
        3 => any::<bool>().prop_map(Happening::CanaryEnds),
    ]
}

fn outcome(well: bool) -> Result<(), String> {
    if well { Ok(()) } else { Err("no".into()) }
}

fn configured() -> impl Strategy<Value = Supervision> {
    let restart = prop::sample::select(vec![
        Restart::Always,
        Restart::Always,
        Restart::Always,
        Restart::OnFailure,
        Restart::Never,
    ]);
    (restart, 1..5u32, 1..6u32, 0..2_000u64, 0.0..=1.0f64, 1..20_000u64, 1..20u32).prop_map(
        |(restart, concurrency, intensity, initial, jitter, open, min_calls)| {
            let mut config = Supervision { restart, concurrency, ..Supervision::default() };
            config.backoff.initial = Duration::from_millis(initial);
            config.backoff.jitter = jitter;
            config.breaker.intensity = intensity;
            config.breaker.open = Duration::from_millis(open);
            config.breaker.min_calls = min_calls;
            config
        },
    )
}

/// What is known apart from the policy.
struct World {
    config: Supervision,
    record: Record,
    budget: Budget,
    began: Time,
    now: Time,
    /// The clock only goes forward, and the budget is [`CAPACITY`] and [`REFILL`].
    steady: bool,
    jitter: f64,
    alive: bool,
    canary: bool,
    /// What the last [`Action::Limit`] said.
    limit: u32,
    /// Starts that a failure caused.
    caused: u64,
    /// Failures since the breaker was open.
    failures: VecDeque<Time>,
}

const CAPACITY: u32 = 2;
const REFILL: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(10);

impl World {
    fn new(config: Supervision, steady: bool, jitter: f64) -> Self {
        let began = at(0.0);
        Self {
            budget: Budget::new(CAPACITY, REFILL, began),
            record: Record::new(began),
            now: began,
            alive: false,
            canary: false,
            limit: 0,
            caused: 0,
            failures: VecDeque::new(),
            config,
            began,
            steady,
            jitter,
        }
    }

    fn next_due(&self) -> Option<Time> {
        next_due(&self.record, &self.config)
    }

    fn step(&mut self, clock: Clock, happening: Happening) -> Result<(), TestCaseError> {
        self.now = match clock {
            Clock::Forward(millis) => self.now + Duration::from_millis(millis),
            Clock::Back(millis) => self.now - Duration::from_millis(millis),
            Clock::ToDue => match self.next_due() {
                Some(due) => due.max(self.now),
                None => self.now + Duration::from_secs(24 * 3600),
            },
        };
        match happening {
            Happening::Told(event) => self.tell(event)?,
            Happening::Ends(class) if self.alive => {
                self.alive = false;
                self.tell(Event::HostExited { exit: Exit::new(class, "detail", self.now) })?;
            }
            Happening::Refuses if self.alive => {
                self.alive = false;
                self.tell(refused())?;
            }
            Happening::CanaryEnds(to_blame) if self.canary => {
                self.canary = false;
                self.tell(Event::CanaryEnded { why: "it ended".into(), to_blame })?;
            }
            Happening::Ends(_) | Happening::Refuses | Happening::CanaryEnds(_) => {}
            Happening::Reboot => {
                self.record = saved_and_read(&self.record)?.restored(&self.config, self.now);
                // Full again, as the daemon's is.
                self.budget = Budget::new(CAPACITY, REFILL, self.now);
                (self.began, self.caused) = (self.now, 0);
                (self.alive, self.canary, self.limit) = (false, false, 0);
            }
        }
        self.check()
    }

    /// A wall clock that is set, and moves the record with it, changes no decision.
    fn same_by_another_clock(&self, event: Event) -> Result<(), TestCaseError> {
        let decided = |by: TimeDelta| {
            let (mut record, mut budget) = (self.record.clone(), self.budget.clone());
            record.shift(by);
            budget.shift(by);
            let moved = |mut event| {
                if let Event::HostExited { exit } = &mut event {
                    exit.at += by;
                }
                event
            };
            let mut ctx = Context {
                config: &self.config,
                budget: &mut budget,
                now: self.now + by,
                jitter: self.jitter,
                drain_timeout: DRAIN,
                others_first: false,
            };
            let actions = decide(&mut record, moved(event.clone()), &mut ctx);
            let due = next_due(&record, &self.config).map(|at| at - by);
            record.shift(-by);
            (record, actions.len(), due)
        };
        let by = TimeDelta::milliseconds(31_536_000_123);
        prop_assert_eq!(decided(by), decided(TimeDelta::zero()));
        prop_assert_eq!(decided(-by), decided(TimeDelta::zero()));
        Ok(())
    }

    /// What holds of every decision.
    fn tell(&mut self, event: Event) -> Result<(), TestCaseError> {
        let before = self.record.clone();
        self.same_by_another_clock(event.clone())?;
        let mut ctx = Context {
            config: &self.config,
            budget: &mut self.budget,
            now: self.now,
            jitter: self.jitter,
            drain_timeout: DRAIN,
            others_first: false,
        };
        let actions = decide(&mut self.record, event.clone(), &mut ctx);
        // A new library is a reason to try that somebody gave.
        let operator = matches!(
            event,
            Event::Start { .. }
                | Event::StandBy { .. }
                | Event::Stop { .. }
                | Event::Restart { .. }
                | Event::CloseBreaker { .. }
                | Event::Candidate(_)
        );
        let (was, is) = (&before.library, &self.record.library);
        let rolled_back =
            !operator && is.current != was.current && is.current.as_ref() == was.previous.first();

        let mut notes = Vec::new();
        for action in &actions {
            match action {
                Action::Spawn => {
                    prop_assert!(!self.alive, "two hosts");
                    self.alive = true;
                    let planned = matches!(
                        before.state,
                        State::Draining { next: Next::Start, .. }
                            | State::Stopped { why: StopReason::NotStarted }
                    );
                    self.caused += u64::from(!operator && !planned && !rolled_back);
                }
                Action::Limit(limit) => self.limit = *limit,
                Action::Note(note) => {
                    prop_assert_eq!(&note.from, before.state.name());
                    prop_assert_eq!(note.at, self.now);
                    notes.push(note.to.as_str());
                }
                Action::Kill | Action::Drain { .. } => prop_assert!(self.alive, "nobody to stop"),
                Action::Fell => prop_assert!(!operator),
                Action::Canary(_) => {
                    prop_assert!(self.alive && !self.canary, "two canaries, or one alone");
                    self.canary = true;
                }
                Action::EndCanary => self.canary = false,
                Action::HandOver => {
                    prop_assert!(self.alive && self.canary);
                    self.limit = 0;
                }
                Action::Restore => prop_assert!(self.alive && self.canary),
                Action::Swap { .. } => {
                    prop_assert!(self.alive && self.canary, "nobody to take over");
                    self.canary = false;
                }
                Action::Retire { .. } => {
                    prop_assert!(self.alive);
                    self.alive = false;
                }
                Action::Judge { hash, verdict } => {
                    let good = matches!(verdict, crate::library::Verdict::Good);
                    prop_assert!(good || is.current.as_ref() != Some(hash), "what runs is {:?}", verdict);
                }
                Action::Answer(_) | Action::Postpone | Action::Alert(..) => {}
            }
        }
        prop_assert!(notes.last().is_none_or(|last| *last == self.record.state.name()));
        if before.state.name() != self.record.state.name() {
            prop_assert!(!notes.is_empty(), "every change is noted");
            prop_assert_eq!(self.record.since, self.now);
        }

        self.check_open(&before.state, operator)?;
        self.check_intensity(&before.state, &event, rolled_back)?;
        prop_assert!(self.record.restarts >= before.restarts);
        Ok(())
    }

    /// Open is left at its time, or by a person.
    fn check_open(&self, before: &State, operator: bool) -> Result<(), TestCaseError> {
        if let State::Open { until } = before {
            let left = !matches!(self.record.state, State::Open { .. });
            prop_assert!(!left || operator || self.now >= *until, "left before {}", until);
        }
        Ok(())
    }

    /// More failures than `intensity` in `period` leave it open.
    fn check_intensity(
        &mut self,
        before: &State,
        event: &Event,
        rolled_back: bool,
    ) -> Result<(), TestCaseError> {
        // A failure on probation is the library's, not the agent's.
        let failed = !rolled_back
            && matches!(event, Event::HostExited { .. })
            && matches!(
                before,
                State::Starting { .. }
                    | State::Ready { .. }
                    | State::Draining { next: Next::Failed { .. }, .. }
            );
        let (now, period) = (self.now, self.config.breaker.period);
        if failed && !matches!(self.record.state, State::Stopped { .. }) {
            self.failures.push_back(now);
        }
        self.failures.retain(|at| (now - *at).to_std().is_ok_and(|passed| passed < period));
        let opened = matches!(
            self.record.state,
            State::Open { .. } | State::HalfOpen { .. } | State::Draining { next: Next::Open { .. }, .. }
        );
        if opened {
            self.failures.clear();
        }
        prop_assert!(self.failures.len() <= self.config.breaker.intensity as usize, "it should be open");
        Ok(())
    }

    /// What holds at every moment.
    fn check(&self) -> Result<(), TestCaseError> {
        let state = &self.record.state;
        prop_assert_eq!(state.has_host(), self.alive, "{:?}", state);
        let step = self.record.reload.as_ref().map(|reload| reload.phase);
        let handing_over = matches!(step, Some(Phase::Snapshot { .. } | Phase::Restore { .. }));
        let limit = if handing_over { 0 } else { state.limit(self.config.concurrency) };
        prop_assert_eq!(self.limit, limit, "{:?}", state);
        prop_assert!(step.is_none() || state.is_ready(), "a reload of {:?}", state);
        let waiting = matches!(step, None | Some(Phase::Waiting { .. }));
        prop_assert_eq!(self.canary, !waiting, "{:?}", step);
        let library = &self.record.library;
        prop_assert!(library.current.as_ref().is_none_or(|current| !library.previous.contains(current)));
        prop_assert!(self.limit == 0 || state.is_ready());
        if matches!(self.record.desired, Desired::Down { .. }) {
            let going =
                matches!(state, State::Stopped { .. } | State::Draining { next: Next::Stopped { .. }, .. });
            prop_assert!(going || matches!(state, State::Refused { .. }), "it is unwanted: {:?}", state);
        }
        if state.has_host() && !state.is_ready() {
            prop_assert!(self.next_due().is_some(), "nobody looks after {:?}", state);
        }
        let open = matches!(state, State::Open { .. } | State::Draining { next: Next::Open { .. }, .. });
        prop_assert!(!open || self.record.breaker.opened.is_some(), "nobody opened it: {:?}", state);
        if self.steady {
            let elapsed = (self.now - self.began).to_std().unwrap();
            let most = u128::from(CAPACITY) + elapsed.as_nanos() / REFILL.as_nanos();
            prop_assert!(u128::from(self.caused) <= most, "{} restarts in {:?}", self.caused, elapsed);
        }

        let read = saved_and_read(&self.record)?;
        prop_assert_eq!(&read, &Record { reload: None, ..self.record.clone() });
        let restored = read.restored(&self.config, self.now);
        prop_assert!(!restored.state.has_host());
        prop_assert_eq!(&restored.breaker, &self.record.breaker);
        prop_assert_eq!(&restored.clone().restored(&self.config, self.now), &restored);
        self.check_due()
    }

    /// Whoever wakes when told, and tells it, does not go round in circles.
    fn check_due(&self) -> Result<(), TestCaseError> {
        let Some(due) = self.next_due() else { return Ok(()) };
        let now = due.max(self.now);
        let (mut record, mut budget) = (self.record.clone(), self.budget.clone());
        let mut ctx = Context {
            config: &self.config,
            budget: &mut budget,
            now,
            jitter: self.jitter,
            drain_timeout: DRAIN,
            others_first: false,
        };
        decide(&mut record, DUE, &mut ctx);
        let next = next_due(&record, &self.config);
        let moved = record.state.name() != self.record.state.name();
        prop_assert!(moved || next.is_none_or(|next| next > now), "due again at once: {:?}", record.state);
        Ok(())
    }
}

fn saved_and_read(record: &Record) -> Result<Record, TestCaseError> {
    let saved = serde_json::to_string(record).map_err(|error| TestCaseError::fail(error.to_string()))?;
    serde_json::from_str(&saved).map_err(|error| TestCaseError::fail(error.to_string()))
}

fn run(
    config: Supervision,
    steady: bool,
    jitter: f64,
    steps: Vec<(Clock, Happening)>,
) -> Result<(), TestCaseError> {
    let mut world = World::new(config, steady, jitter);
    for (clock, happening) in steps {
        world.step(clock, happening)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(
        config in configured(),
        jitter in 0.0..=1.0f64,
        steps in vec((clock(false), happening()), 1..150),
    ) {
        run(config, true, jitter, steps)?;
    }

    #[test]
    fn whatever_happens_while_the_clock_jumps(
        config in configured(),
        jitter in 0.0..=1.0f64,
        steps in vec((clock(true), happening()), 1..150),
    ) {
        run(config, false, jitter, steps)?;
    }

    /// A host that never comes up: how often is it started?
    #[test]
    fn a_crash_loop_is_bounded(config in configured(), jitter in 0.0..=1.0f64) {
        let mut world = World::new(Supervision { restart: Restart::Always, ..config }, false, jitter);
        // The breaker alone must bound it.
        world.budget = Budget::new(1_000_000, REFILL, world.began);
        world.step(Clock::Forward(0), Happening::Told(start()))?;
        let mut starts = 0;
        while world.now < world.began + Duration::from_secs(3600) {
            if world.alive {
                starts += 1;
                world.step(Clock::Forward(1), Happening::Ends(ExitClass::Error))?;
            } else {
                world.step(Clock::ToDue, Happening::Told(DUE))?;
            }
        }
        // `intensity` restarts at once, then one for each time that the breaker opens: a millisecond, doubled each
        // time up to ten minutes, is twenty of them, and six more fill the hour.
        prop_assert!(starts <= 1 + world.config.breaker.intensity + 27, "{} starts", starts);
    }
}
