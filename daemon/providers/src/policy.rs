//! Which provider is tried, when it is tried again, when it is given up. Pure: the time and the jitter are passed in.
//!
//! ```text
//!  round 1: first, second, third … each that is free, at once ─▶ an answer
//!     │ none is left                          └─ trouble that is no trigger ─▶ given up: misconfigured
//!     ▼
//!  pause (doubled each time, not before one of them is free) ─▶ round 2 … ─▶ given up
//! ```

use std::time::Duration;

use chrono::TimeDelta;
use limits::{Breaker, Call, Opened, humantime, shift};
use serde::{Deserialize, Serialize};
use settings::{Breaker as BreakerRules, FailOver, Trigger};

use crate::Time;

/// What went wrong with a try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It answered with a status that says no.
    #[error("it answers {code}{}{why}", if why.is_empty() { "" } else { ": " })]
    Status {
        /// Which.
        code: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What it says.
        why: String,
    },
    /// It took too long, up to the last byte.
    #[error("it did not answer within {}", humantime(*.0))]
    Timeout(Duration),
    /// It was not reached: nothing was sent.
    #[error("it is not reached: {0}")]
    Network(String),
    /// The connection broke: what was sent may have been carried out.
    #[error("the connection to it broke: {0}")]
    Broken(String),
    /// It answered, with nothing.
    #[error("its answer is empty")]
    Empty,
    /// It wrote all that it may, and had not come to its answer.
    #[error("its answer was cut off before it began: it may write too few tokens")]
    CutOff,
    /// It answered with something else.
    #[error("its answer cannot be used: {0}")]
    Unusable(String),
}

impl Trouble {
    /// Whether the next provider is tried for it.
    pub fn triggers(&self, on: &[Trigger]) -> bool {
        let is = |trigger: &Trigger| match self {
            Self::Status { code, .. } => {
                *trigger == Trigger::Status(*code) || *trigger == Trigger::Server && *code >= 500
            }
            Self::Timeout(_) => *trigger == Trigger::Timeout,
            Self::Network(_) | Self::Broken(_) => *trigger == Trigger::Network,
            Self::Empty | Self::CutOff | Self::Unusable(_) => *trigger == Trigger::Empty,
        };
        !matches!(self, Self::Status { code: 400 | 401 | 403, .. }) && on.iter().any(is)
    }

    /// Whether it says that something is wrong on this side: a key, an account, a model's name.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Status { code: 300..=407 | 409..=428 | 430..=499, .. })
    }

    /// Whether it refuses who we are: whatever is asked, it will not answer.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Status { code: 401..=403, .. })
    }

    /// Whether it may have been carried out, and billed, by whoever stands behind what answers.
    pub fn may_be_billed(&self) -> bool {
        match self {
            Self::Status { code, .. } => matches!(code, 408 | 504 | 524),
            Self::Network(_) => false,
            _ => true,
        }
    }

    /// In a word, for the record.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Status { code: 429, .. } => "rate_limited",
            Self::Status { .. } if self.is_ours() => "misconfigured",
            Self::Status { code: 408, .. } | Self::Timeout(_) => "timeout",
            Self::Status { .. } => "server",
            Self::Network(_) | Self::Broken(_) => "network",
            Self::Empty => "empty",
            Self::CutOff => "cut_off",
            Self::Unusable(_) => "unusable",
        }
    }
}

/// Whether a provider is left alone for a while: its breaker, and how long it asked us to wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    breaker: Breaker,
    state: Position,
    held_until: Option<Time>,
}

/// Where the breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Calls pass.
    #[default]
    Closed,
    /// None passes before then.
    Open {
        /// When one may.
        until: Time,
    },
    /// One may pass; where one has, others wait for its end, or for this time.
    HalfOpen {
        /// The latest.
        until: Time,
    },
}

/// A call that has passed.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    before: Position,
    after: Position,
}

/// Who opens a breaker that nobody opened.
pub const ITSELF: &str = "openclaw";

/// What `Retry-After` may keep a provider out for, whatever it says.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

impl Gate {
    /// When a call may pass; none: now.
    pub fn free_at(&self, now: Time) -> Option<Time> {
        let breaker = match self.state {
            Position::Closed => None,
            Position::Open { until } | Position::HalfOpen { until } => Some(until),
        };
        breaker.max(self.held_until).filter(|until| *until > now)
    }

    /// Where its breaker stands: once its time is up a call may pass, and none has yet.
    pub fn position(&self, now: Time) -> Position {
        match self.state {
            Position::Open { until } if until <= now => Position::HalfOpen { until },
            state => state,
        }
    }

    /// What its breaker counts, and how it came to be open.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Somebody opens it; none: it is open.
    pub fn hold(&mut self, rules: &BreakerRules, opened: Opened) -> Option<Time> {
        if matches!(self.state, Position::Open { until } if until > opened.at) {
            return None;
        }
        let until = self.breaker.hold(rules, opened);
        self.state = Position::Open { until };
        Some(until)
    }

    /// Somebody closes it, whatever it asked for; false: it is closed.
    pub fn close(&mut self, now: Time) -> bool {
        let closes = self.state != Position::Closed || self.free_at(now).is_some();
        if closes {
            *self = Self::default();
        }
        closes
    }

    /// As it is by a clock that was set forward by so much.
    pub fn shift(&mut self, by: TimeDelta) {
        self.breaker.shift(by);
        if let Position::Open { until } | Position::HalfOpen { until } = &mut self.state {
            shift(until, by);
        }
        self.held_until.iter_mut().for_each(|until| shift(until, by));
    }

    /// As an earlier life of the daemon has left it: nobody is under way, and no clock that was set keeps it out for longer than
    /// the rules do.
    pub fn taken_up(mut self, rules: &BreakerRules, now: Time) -> Self {
        if let Position::Open { until } | Position::HalfOpen { until } = self.state {
            self.state = Position::Open { until: until.min(now + rules.open_max.max(rules.open)) };
        }
        self.held_until = self.held_until.map(|until| until.min(now + LONGEST_HOLD));
        self
    }

    /// A call passes, which takes no longer than `longest`.
    pub fn pass(&mut self, longest: Duration, now: Time) -> Pass {
        let before = self.state;
        if before != Position::Closed {
            self.state = Position::HalfOpen { until: now + longest };
        }
        Pass { before, after: self.state }
    }

    /// One that has passed was not made after all: another may pass in its place.
    pub fn back(&mut self, pass: Pass) {
        if self.state == pass.after {
            self.state = pass.before;
        }
    }

    /// A call has ended, after `took`. Answers until when the breaker has opened, if it has.
    pub fn ended(
        &mut self,
        trouble: Option<&Trouble>,
        took: Duration,
        rules: &BreakerRules,
        now: Time,
    ) -> Option<Time> {
        if let Some(Trouble::Status { retry_after: Some(wait), .. }) = trouble {
            self.held_until = Some(now + (*wait).min(LONGEST_HOLD));
        }
        let call = match trouble {
            // It works; what is wrong is on this side.
            Some(trouble) if trouble.is_ours() => Call::Ok,
            Some(_) => Call::Failed,
            None if took > rules.slow_call => Call::Slow,
            None => Call::Ok,
        };
        let why = || trouble.map_or_else(|| "it answers slowly".into(), ToString::to_string);
        match self.state {
            Position::HalfOpen { .. } if call == Call::Failed => Some(self.open(rules, why(), now)),
            // Whoever opened it knew of this, or of more.
            Position::HalfOpen { .. } if trouble.is_some_and(Trouble::is_refused) && self.is_held() => {
                let by = self.breaker.opened.clone()?;
                self.hold(rules, Opened { at: now, ..by })
            }
            Position::HalfOpen { .. } => {
                self.breaker.close();
                self.state = Position::Closed;
                None
            }
            Position::Closed => self.breaker.call(call, rules, now).map(|_| self.open(rules, why(), now)),
            // One that began before it opened says nothing new.
            Position::Open { .. } => None,
        }
    }

    /// Whether somebody opened it.
    fn is_held(&self) -> bool {
        self.breaker.opened.as_ref().is_some_and(|opened| opened.actor != ITSELF)
    }

    fn open(&mut self, rules: &BreakerRules, reason: String, now: Time) -> Time {
        let until = self.breaker.open(rules, Opened { at: now, actor: ITSELF.into(), reason });
        self.state = Position::Open { until };
        until
    }
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This provider is tried.
    Try(usize),
    /// Nobody is, before then.
    Wait(Time),
    /// The call has failed.
    GiveUp(Why),
}

/// Why a call has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The trouble is no reason to try another one.
    Fatal,
    /// There is no time left.
    OutOfTime,
    /// All were tried, or none is free.
    Nobody {
        /// When the first of them is free, where none is.
        free_at: Option<Time>,
    },
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// From 0.
    round: u32,
    /// Who was tried in this round.
    tried: Vec<bool>,
    fatal: bool,
    /// Nobody is tried twice any more.
    last_round: bool,
    deadline: Time,
}

impl Progress {
    /// At its beginning, with so many providers; `within`: the caller waits for no longer.
    pub fn new(providers: usize, rules: &FailOver, within: Option<Duration>, now: Time) -> Self {
        let longest = within.map_or(rules.total, |within| within.min(rules.total));
        Self {
            round: 0,
            tried: vec![false; providers],
            fatal: false,
            last_round: false,
            deadline: now + longest,
        }
    }

    /// How long a try may take that begins now, if the provider has `timeout`.
    pub fn time_for(&self, timeout: Duration, now: Time) -> Duration {
        (self.deadline - now).to_std().unwrap_or_default().min(timeout)
    }

    /// A try has failed.
    pub fn failed(&mut self, trouble: &Trouble, rules: &FailOver) {
        self.fatal |= !trouble.triggers(&rules.on);
        // It would be cut off there again, and paid for again.
        self.last_round |= *trouble == Trouble::CutOff;
    }

    /// What is next; `free_at` says of each provider when it is free, none: now. `jitter` is 0 to 1.
    pub fn next(&mut self, free_at: &[Option<Time>], rules: &FailOver, jitter: f64, now: Time) -> Step {
        if self.fatal {
            return Step::GiveUp(Why::Fatal);
        }
        if now >= self.deadline {
            return Step::GiveUp(Why::OutOfTime);
        }
        let free = |n: &usize| free_at.get(*n).is_some_and(|at| at.is_none_or(|at| at <= now));
        if let Some(n) = (0..self.tried.len()).find(|n| !self.tried[*n] && free(n)) {
            self.tried[n] = true;
            return Step::Try(n);
        }
        let pause = rules.pause.saturating_mul(1 << self.round.min(20)).min(rules.pause_max);
        let soonest = now + pause.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
        // The round is not over for who was busy in it and is free soon.
        let first = free_at.iter().map(|at| at.unwrap_or(soonest).max(soonest)).min().unwrap_or(soonest);
        let all_busy = free_at.iter().all(|at| at.is_some_and(|at| at > now));
        let longest = now + rules.pause_max.mul_f64(1.2);
        self.round += 1;
        if self.last_round || self.round >= rules.rounds || first > longest || first >= self.deadline {
            let free_at = if all_busy { free_at.iter().copied().flatten().min() } else { None };
            return Step::GiveUp(Why::Nobody { free_at });
        }
        self.tried.fill(false);
        Step::Wait(first)
    }
}

#[cfg(test)]
mod tests;
