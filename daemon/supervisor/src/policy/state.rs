//! What is known of an agent.

use std::fmt;

use chrono::Duration as Span;
use serde::{Deserialize, Serialize};
use settings::Supervision;

use super::{Breaker, Exit, Installed, Probation, Reload, Time};

/// Where an agent is in its life. Each state holds only what that state has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// No host, and none is due.
    Stopped {
        /// Why.
        why: StopReason,
    },
    /// A host is on its way.
    Starting {
        /// It must be ready by then.
        deadline: Time,
    },
    /// It takes tasks.
    Ready {
        /// Since when.
        since: Time,
    },
    /// It failed and is started again later.
    Backoff {
        /// When.
        until: Time,
        /// Which restart in a row that will be.
        attempt: u32,
    },
    /// The breaker is open: no host; its tasks wait.
    Open {
        /// Until when.
        until: Time,
    },
    /// One start, one task at a time: is it well again?
    HalfOpen {
        /// How far the probe is.
        probe: Probe,
    },
    /// Its host gets no more tasks and is on its way out.
    Draining {
        /// It is killed then.
        deadline: Time,
        /// What comes after.
        next: Next,
    },
    /// It can never work like this; only a person or a new file changes that.
    Refused {
        /// What, why, and what to do.
        why: String,
    },
}

/// How far a half-open breaker's probe is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "probe", rename_all = "snake_case")]
pub enum Probe {
    /// As `State::Starting`.
    Starting {
        /// It must be ready by then.
        deadline: Time,
    },
    /// As `State::Ready`.
    Running {
        /// Since when.
        since: Time,
    },
}

/// What comes after a drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum Next {
    /// Nothing.
    Stopped {
        /// Why.
        why: StopReason,
    },
    /// A start that nobody's failure caused.
    Start,
    /// The breaker is open.
    Open {
        /// Until when.
        until: Time,
    },
    /// It was killed for this.
    Failed {
        /// What it did.
        exit: Exit,
    },
}

/// Why there is no host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum StopReason {
    /// Its turn to start has not come.
    NotStarted,
    /// It fell with a member of its group, and starts again when its turn comes.
    FellWith {
        /// With whom.
        name: String,
    },
    /// Another process leads it.
    StandsBy {
        /// Why, or which.
        why: String,
    },
    /// A person stopped it.
    Operator {
        /// Who.
        actor: String,
    },
    /// The daemon ends.
    Shutdown,
    /// It ended, and `restart` says to leave it at that.
    Finished {
        /// How it ended.
        exit: Exit,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("not started yet"),
            Self::FellWith { name } => write!(f, "fell with `{name}`, and starts again when its turn comes"),
            Self::StandsBy { why } => write!(f, "stands by: {why}"),
            Self::Operator { actor } => write!(f, "stopped by {actor}"),
            Self::Shutdown => f.write_str("the daemon stopped"),
            Self::Finished { exit } => write!(f, "ended ({exit}); its restart policy leaves it so"),
        }
    }
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "desired", rename_all = "snake_case")]
pub enum Desired {
    /// It should run.
    #[default]
    Up,
    /// It should not, also after a restart of the daemon.
    Down {
        /// Who said so.
        actor: String,
    },
}

impl State {
    /// As JSON and the history have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stopped { why: StopReason::StandsBy { .. } } => "standby",
            Self::Stopped { .. } => "stopped",
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Backoff { .. } => "backoff",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
            Self::Draining { .. } => "draining",
            Self::Refused { .. } => "refused",
        }
    }

    /// Whether a host process belongs to this state.
    pub const fn has_host(&self) -> bool {
        matches!(
            self,
            Self::Starting { .. } | Self::Ready { .. } | Self::HalfOpen { .. } | Self::Draining { .. }
        )
    }

    /// Whether it takes tasks.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. } | Self::HalfOpen { probe: Probe::Running { .. } })
    }

    /// Whether it is neither on its way up nor on its way down.
    pub const fn is_settled(&self) -> bool {
        self.is_ready() || !self.has_host()
    }

    /// Whether only a person brings it up again.
    pub const fn is_down(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Stopped { why } => !matches!(
                why,
                StopReason::NotStarted | StopReason::FellWith { .. } | StopReason::StandsBy { .. }
            ),
            _ => false,
        }
    }

    /// How many tasks it may have at once.
    pub const fn limit(&self, concurrency: u32) -> u32 {
        match self {
            Self::Ready { .. } => concurrency,
            Self::HalfOpen { probe: Probe::Running { .. } } => 1,
            _ => 0,
        }
    }
}

/// Everything that is known of an agent, and saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Where it is in its life.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// What the operator wants.
    pub desired: Desired,
    /// What its calls and restarts say.
    pub breaker: Breaker,
    /// Restarts in a row without a stable run.
    pub attempt: u32,
    /// Successors started so far, for whatever reason but that their library is newer.
    pub restarts: u64,
    /// How its last host ended.
    pub last_exit: Option<Exit>,
    /// What it runs and ran.
    #[serde(default)]
    pub library: Installed,
    /// What is about to take over.
    #[serde(skip)]
    pub reload: Option<Reload>,
}

/// A change of state, for the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// From this state.
    pub from: String,
    /// To that one.
    pub to: String,
    /// Who caused it: `supervisor`, `boot`, `cli:uid=0`, `agent:atlas`.
    pub actor: String,
    /// Why, for people.
    pub reason: String,
    /// When.
    pub at: Time,
}

impl Record {
    /// Nothing is known yet.
    pub fn new(now: Time) -> Self {
        Self {
            state: State::Stopped { why: StopReason::NotStarted },
            since: now,
            desired: Desired::Up,
            breaker: Breaker::default(),
            attempt: 0,
            restarts: 0,
            last_exit: None,
            library: Installed::default(),
            reload: None,
        }
    }

    /// As it is by a clock that was set forward by so much: no wait and no deadline is nearer or farther for that.
    pub fn shift(&mut self, by: Span) {
        self.times().into_iter().for_each(|at| limits::shift(at, by));
        self.breaker.shift(by);
    }

    /// All times in it, but the breaker's.
    fn times(&mut self) -> Vec<&mut Time> {
        let mut times = vec![&mut self.since];
        times.extend(self.last_exit.as_mut().map(|exit| &mut exit.at));
        if let Some(Probation::Until(at)) = &mut self.library.probation {
            times.push(at);
        }
        times.extend(self.reload.as_mut().map(|reload| reload.phase.time()));
        match &mut self.state {
            State::Starting { deadline: at }
            | State::HalfOpen { probe: Probe::Starting { deadline: at } | Probe::Running { since: at } }
            | State::Ready { since: at }
            | State::Backoff { until: at, .. }
            | State::Open { until: at }
            | State::Stopped { why: StopReason::Finished { exit: Exit { at, .. } } } => times.push(at),
            State::Draining { deadline, next } => {
                times.push(deadline);
                match next {
                    Next::Open { until: at }
                    | Next::Failed { exit: Exit { at, .. } }
                    | Next::Stopped { why: StopReason::Finished { exit: Exit { at, .. } } } => times.push(at),
                    Next::Stopped { .. } | Next::Start => {}
                }
            }
            State::Stopped { .. } | State::Refused { .. } => {}
        }
        times
    }

    /// As it is after the daemon was started again: no host lives, waits go on. A clock that jumped while nobody
    /// looked cannot make a wait longer than the longest that is configured.
    pub fn restored(mut self, config: &Supervision, now: Time) -> Self {
        let longest = |most: std::time::Duration, until: Time| {
            until.min(now + Span::from_std(most).unwrap_or(Span::days(1)))
        };
        self.state = match self.state {
            State::Open { until } | State::Draining { next: Next::Open { until }, .. } => {
                State::Open { until: longest(config.breaker.open_max, until) }
            }
            State::Backoff { until, attempt } => State::Backoff {
                until: longest(config.backoff.max.mul_f64(1.0 + config.backoff.jitter), until),
                attempt,
            },
            State::HalfOpen { .. } => State::Open { until: now },
            _ => State::Stopped { why: StopReason::NotStarted },
        };
        if let Desired::Down { actor } = &self.desired {
            self.state = State::Stopped { why: StopReason::Operator { actor: actor.clone() } };
        }
        self
    }
}
