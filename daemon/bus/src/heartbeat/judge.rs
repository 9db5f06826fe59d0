//! Whether an agent is heard, from looks at its status hash.
//!
//! ```text
//!              a beat                     quiet > 2 ¼ intervals
//!  Unknown ───────────▶ Fresh ──────────────────────────────────▶ Late ─┐ quiet > 3 ¼
//!   ▲    │               ▲            two beats on time             │   ▼
//!   │    │               └──────────────────────────────────────────┘ Down
//!   │    └── quiet > 3 ¼, all of it watched ─────────────────────▶ ▲    │ a beat
//!   └──── whoever looks cannot read, or did not look               Late ◀┘
//! ```
//!
//! Beats come whether there is work or not, so that idle is not down. Quiet is counted by the clock of the one who
//! looks, from the last look at which `last_seen` had changed: clocks of several machines need not agree. Time in
//! which nobody looked, or could read, is not counted as quiet: what was flushed or restarted has a whole interval to
//! be shown again before anybody is called late. The quarters are for the pace of the looks themselves.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Beats on time, in a row, after which one who was late is fresh: one alone may be chance.
const ON_TIME: u8 = 2;

/// What is thought of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is heard.
    Fresh,
    /// It missed a beat, or has not yet shown that it keeps time again.
    Late,
    /// It missed three.
    Down,
    /// Nobody can tell.
    Unknown,
}

impl Verdict {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Late => "late",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// What a look at the hash found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A beat.
    Beat {
        /// Its `last_seen`.
        last_seen: DateTime<Utc>,
    },
    /// There is none: it expired, or it was flushed.
    Missing,
    /// It cannot be read, or what is there is no beat.
    Unreadable,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What is thought.
    pub verdict: Verdict,
    /// So since.
    pub since: DateTime<Utc>,
    /// The agent's own time at its last beat that was read.
    pub last_seen: Option<DateTime<Utc>>,
    /// Nothing was heard since.
    quiet_since: DateTime<Utc>,
    /// The last look.
    looked_at: DateTime<Utc>,
    /// Beats on time in a row.
    on_time: u8,
}

impl Judgement {
    /// Before the first look.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            verdict: Verdict::Unknown,
            since: now,
            last_seen: None,
            quiet_since: now,
            looked_at: now,
            on_time: 0,
        }
    }

    /// What is thought after a look at `now`. Beats, and looks, come every `interval`; `now` is of the clock of the
    /// one who looks, and should it be set back, what was is moved back with it.
    #[must_use]
    pub fn after(&self, look: Look, now: DateTime<Utc>, interval: Duration) -> Self {
        let (late, down) = (interval.saturating_mul(9) / 4, interval.saturating_mul(13) / 4);
        let mut next = Self { looked_at: now, ..self.clone() };
        let back = (self.looked_at - now).max(TimeDelta::zero());
        for at in [&mut next.since, &mut next.quiet_since] {
            *at = at.checked_sub_signed(back).unwrap_or(now);
        }
        let blind = look == Look::Unreadable || between(self.looked_at, now) > late;
        if blind {
            (next.quiet_since, next.on_time) = (now, 0);
            next.set(Verdict::Unknown, now);
        }
        let beat = match look {
            Look::Beat { last_seen } => next.heard(last_seen, now, late),
            Look::Missing => false,
            Look::Unreadable => return next,
        };
        let quiet = between(next.quiet_since, now);
        if beat {
            next.on_time = if quiet <= late { next.on_time.saturating_add(1) } else { 1 };
            next.quiet_since = now;
            let fresh = matches!(next.verdict, Verdict::Unknown | Verdict::Fresh) || next.on_time >= ON_TIME;
            next.set(if fresh { Verdict::Fresh } else { Verdict::Late }, now);
        } else if quiet > down {
            next.on_time = 0;
            next.set(Verdict::Down, now);
        } else if quiet > late {
            next.on_time = 0;
            if next.verdict == Verdict::Fresh {
                next.set(Verdict::Late, now);
            }
        }
        next
    }

    /// Whether this is a beat that was not read before. Another `last_seen` is one even if it is earlier: the agent
    /// has moved to a machine whose clock is behind. The very first counts if it can be called recent; else it may be
    /// what a dead one left behind.
    fn heard(&mut self, last_seen: DateTime<Utc>, now: DateTime<Utc>, recent: Duration) -> bool {
        match self.last_seen.replace(last_seen) {
            Some(before) => before != last_seen,
            None => between(last_seen, now).max(between(now, last_seen)) <= recent,
        }
    }

    fn set(&mut self, verdict: Verdict, now: DateTime<Utc>) {
        if self.verdict != verdict {
            (self.verdict, self.since) = (verdict, now);
        }
    }
}

/// Zero when `later` is not.
fn between(earlier: DateTime<Utc>, later: DateTime<Utc>) -> Duration {
    (later - earlier).to_std().unwrap_or_default()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
