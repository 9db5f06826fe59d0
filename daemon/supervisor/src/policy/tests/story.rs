//! How the examples are written: what happens when, and what follows.

use std::time::Duration;

use settings::Supervision;

use crate::library::{Hash, Verdict};
use crate::policy::*;

/// What happens, when (in seconds from the story's start), the state after it, and what is to be done.
///
/// States and actions are as [`told`] and [`asked`] write them.
pub type Step<'s> = (f64, Event, &'s str, &'s str);

/// An agent and what happens to it.
pub struct Story {
    pub config: Supervision,
    pub budget: Budget,
    pub record: Record,
    /// 0 to 1.
    pub jitter: f64,
    /// What was noted so far.
    pub notes: Vec<Transition>,
}

/// The time, in seconds from the story's start.
pub fn at(seconds: f64) -> Time {
    let start: Time = "2030-01-01T00:00:00Z".parse().unwrap();
    start + chrono::Duration::milliseconds((seconds * 1000.0).round() as i64)
}

/// The defaults, with no jitter.
pub fn config() -> Supervision {
    let mut config = Supervision::default();
    config.backoff.jitter = 0.0;
    config
}

impl Story {
    /// Of an agent of which nothing is known.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, configured otherwise.
    pub fn with(change: impl FnOnce(&mut Supervision)) -> Self {
        let mut config = config();
        change(&mut config);
        let budget = Budget::new(20, Duration::from_secs(1), at(0.0));
        Self { config, budget, record: Record::new(at(0.0)), jitter: 0.5, notes: Vec::new() }
    }

    /// Of an agent that is in this state.
    pub fn of(state: State) -> Self {
        let mut story = Self::new();
        story.record.state = state;
        story
    }

    /// Goes on, and checks each step.
    #[track_caller]
    pub fn goes(&mut self, steps: &[Step<'_>]) -> &mut Self {
        for (number, (seconds, event, state, actions)) in steps.iter().enumerate() {
            let found = self.happens(*seconds, event.clone());
            let found = (told(&self.record.state), found);
            let due = next_due(&self.record, &self.config);
            let expected = (state.to_string(), actions.to_string());
            assert_eq!(found, expected, "step {number}: {event:?} at {seconds}; next due: {due:?}");
        }
        self
    }

    /// Goes on unchecked: answers what is to be done.
    pub fn happens(&mut self, seconds: f64, event: Event) -> String {
        let before = self.record.state.name();
        let mut ctx = Context {
            config: &self.config,
            budget: &mut self.budget,
            now: at(seconds),
            jitter: self.jitter,
            drain_timeout: Duration::from_secs(10),
            others_first: false,
        };
        let actions = decide(&mut self.record, event, &mut ctx);
        let mut noted = None;
        for action in &actions {
            if let Action::Note(transition) = action {
                assert_eq!((transition.from.as_str(), transition.at), (before, at(seconds)));
                noted = Some(transition.to.clone());
                self.notes.push(transition.clone());
            }
        }
        let after = self.record.state.name();
        assert_eq!(noted.as_deref().unwrap_or(before), after, "a change of state is noted");
        actions.iter().filter_map(asked).collect::<Vec<_>>().join(", ")
    }

    /// When it must be looked at next.
    pub fn next_due(&self) -> Option<f64> {
        next_due(&self.record, &self.config).map(seconds)
    }

    /// What was noted last.
    pub fn last_note(&self) -> &str {
        &self.notes.last().expect("nothing was noted").reason
    }

    /// Makes the restart budget one that is empty, and gains one in so many seconds.
    pub fn budget_empty(&mut self, seconds: f64, refill: u64) {
        self.budget = Budget::new(1, Duration::from_secs(refill), at(seconds));
        self.budget.take(at(seconds)).unwrap();
    }
}

pub fn seconds(time: Time) -> f64 {
    (time - at(0.0)).num_milliseconds() as f64 / 1000.0
}

/// A state: `starting by 10`, `backoff 2 until 1.2`, `draining by 12 to open until 20`.
pub fn told(state: &State) -> String {
    let after_stop = |why: &StopReason| match why {
        StopReason::NotStarted => "stopped (not started)".to_owned(),
        StopReason::FellWith { name } => format!("stopped (fell with {name})"),
        StopReason::StandsBy { .. } => "standby".into(),
        StopReason::Operator { actor } => format!("stopped ({actor})"),
        StopReason::Shutdown => "stopped (shutdown)".into(),
        StopReason::Finished { exit } => format!("stopped (finished: {})", exit.class),
    };
    match state {
        State::Stopped { why } => after_stop(why),
        State::Starting { deadline } => format!("starting by {}", seconds(*deadline)),
        State::Ready { .. } => "ready".into(),
        State::Backoff { until, attempt } => format!("backoff {attempt} until {}", seconds(*until)),
        State::Open { until } => format!("open until {}", seconds(*until)),
        State::HalfOpen { probe: Probe::Starting { deadline } } => {
            format!("half_open, starting by {}", seconds(*deadline))
        }
        State::HalfOpen { probe: Probe::Running { .. } } => "half_open, running".into(),
        State::Draining { deadline, next } => {
            let next = match next {
                Next::Stopped { why } => after_stop(why),
                Next::Start => "start".into(),
                Next::Open { until } => format!("open until {}", seconds(*until)),
                Next::Failed { exit } => format!("failed ({})", exit.class),
            };
            format!("draining by {} to {next}", seconds(*deadline))
        }
        State::Refused { .. } => "refused".into(),
    }
}

/// An action, unless it is a note: `spawn`, `limit 4`, `drain by 12`, `kill`, `fell`.
fn asked(action: &Action) -> Option<String> {
    Some(match action {
        Action::Spawn => "spawn".into(),
        Action::Drain { deadline } => format!("drain by {}", seconds(*deadline)),
        Action::Kill => "kill".into(),
        Action::Limit(limit) => format!("limit {limit}"),
        Action::Fell => "fell".into(),
        Action::Canary(hash) => format!("canary {}", letter(hash)),
        Action::EndCanary => "end canary".into(),
        Action::HandOver => "hand over".into(),
        Action::Restore => "restore".into(),
        Action::Swap { deadline } => format!("swap by {}", seconds(*deadline)),
        Action::Retire { deadline } => format!("retire by {}", seconds(*deadline)),
        Action::Judge { hash, verdict } => {
            let verdict = match verdict {
                Verdict::Good => "good",
                Verdict::Left { .. } => "left",
                Verdict::Bad { .. } => "bad",
                Verdict::Untried => "untried",
            };
            format!("{} is {verdict}", letter(hash))
        }
        Action::Postpone => "postpone".into(),
        Action::Answer(answer) => (if answer.is_ok() { "yes" } else { "no" }).into(),
        Action::Note(_) | Action::Alert(..) => return None,
    })
}

/// The library that is known by a letter.
pub fn library(letter: char) -> Hash {
    letter.to_string().repeat(64).parse().unwrap()
}

fn letter(hash: &Hash) -> &str {
    &hash.as_str()[..1]
}

// What may happen.

pub fn candidate(letter: char) -> Event {
    Event::Candidate(Candidate { to: library(letter), actor: "cli".into(), by_hand: true, back: None })
}

pub fn back_to(letter: char) -> Event {
    let back = Some(Back { why: "a whim".into(), proved: true });
    Event::Candidate(Candidate { to: library(letter), actor: "cli".into(), by_hand: true, back })
}

pub fn canary_ended() -> Event {
    Event::CanaryEnded { why: "signal 11".into(), to_blame: true }
}

pub const CANARY_READY: Event = Event::CanaryReady { version: None };
pub const SNAPSHOT: Event = Event::Snapshot { outcome: Ok(()) };
pub const RESTORED: Event = Event::Restored { outcome: Ok(()) };

pub fn start() -> Event {
    Event::Start { actor: "cli".into() }
}

pub fn stop() -> Event {
    Event::Stop { actor: "cli".into() }
}

pub fn restart() -> Event {
    Event::Restart { actor: "cli".into(), reason: "a whim".into() }
}

pub fn open_breaker() -> Event {
    Event::OpenBreaker { actor: "agent atlas".into(), reason: "it fails".into() }
}

pub fn close_breaker() -> Event {
    Event::CloseBreaker { actor: "agent atlas".into(), reason: "it is mended".into() }
}

pub fn exits(class: ExitClass) -> Event {
    Event::HostExited { exit: exit(class) }
}

/// The usual failure.
pub fn crash() -> Event {
    exits(ExitClass::Signal)
}

pub fn exit(class: ExitClass) -> Exit {
    Exit::new(class, "detail", at(0.0))
}

pub fn refused() -> Event {
    Event::Refused { why: "the library is for another ABI".into() }
}

pub fn hang() -> Event {
    Event::Hang { what: "a ping".into() }
}

pub fn task(call: Call) -> Event {
    Event::TaskEnded { call }
}

pub fn sibling() -> Event {
    Event::SiblingFell { name: "hermes".into() }
}

pub const READY: Event = Event::HostReady;
pub const DUE: Event = Event::Due;
pub const TURN: Event = Event::Turn;
pub const SHUTDOWN: Event = Event::Shutdown;
