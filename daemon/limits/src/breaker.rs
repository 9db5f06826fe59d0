//! The breaker: when to stop sending for a while. It knows nothing of agents, so providers can have one as well.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use settings::Breaker as Config;

use crate::{Time, shift};

/// How one call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Well, in good time.
    Ok,
    /// Well, but slowly.
    Slow,
    /// Badly.
    Failed,
}

/// Counts calls and restarts over sliding windows, and how often in a row it has opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// Calls, in buckets of a tenth of the window.
    buckets: VecDeque<Bucket>,
    /// Restarts within the period, oldest first; never more than `intensity`.
    restarts: VecDeque<Time>,
    /// How often it has opened without closing for good.
    pub trips: u32,
    /// Failures since it closed last: calls and restarts.
    pub failures: u64,
    /// Calls that failed since one went well.
    #[serde(default)]
    pub in_a_row: u32,
    /// How it came to be open; until it closes for good.
    #[serde(default)]
    pub opened: Option<Opened>,
}

/// How a breaker came to be open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// When.
    pub at: Time,
    /// By whom.
    pub actor: String,
    /// Why, for people.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bucket {
    from: Time,
    total: u32,
    failed: u32,
    slow: u32,
}

const BUCKETS: u32 = 10;

impl Breaker {
    /// Counts a call; answers why the breaker should open, if it should.
    pub fn call(&mut self, call: Call, config: &Config, now: Time) -> Option<String> {
        let width = config.window / BUCKETS;
        self.buckets.iter_mut().for_each(|bucket| bucket.from = bucket.from.min(now));
        self.buckets.retain(|bucket| within(bucket.from, config.window, now));
        if self.buckets.back().is_none_or(|bucket| !within(bucket.from, width, now)) {
            self.buckets.push_back(Bucket { from: now, total: 0, failed: 0, slow: 0 });
        }
        let newest = self.buckets.back_mut()?;
        newest.total += 1;
        newest.failed += u32::from(call == Call::Failed);
        newest.slow += u32::from(call == Call::Slow);
        self.failures += u64::from(call == Call::Failed);
        self.in_a_row = if call == Call::Failed { self.in_a_row.saturating_add(1) } else { 0 };

        let sum = |count: fn(&Bucket) -> u32| self.buckets.iter().map(count).sum::<u32>();
        let (total, failed, slow) = (sum(|b| b.total), sum(|b| b.failed), sum(|b| b.slow));
        if total < config.min_calls {
            return None;
        }
        let window = humantime(config.window);
        if f64::from(failed) >= config.failure_rate * f64::from(total) && failed > 0 {
            return Some(format!("{failed} of {total} tasks failed in {window}"));
        }
        let slow_limit = humantime(config.slow_call);
        (f64::from(slow) >= config.slow_rate * f64::from(total) && slow > 0)
            .then(|| format!("{slow} of {total} tasks in {window} took longer than {slow_limit}"))
    }

    /// Counts a restart; answers why the breaker should open, if it should.
    pub fn restart(&mut self, config: &Config, now: Time) -> Option<String> {
        self.failures += 1;
        self.restarts.iter_mut().for_each(|at| *at = (*at).min(now));
        self.restarts.retain(|at| within(*at, config.period, now));
        self.restarts.push_back(now);
        let count = self.restarts.len();
        while self.restarts.len() > config.intensity as usize {
            self.restarts.pop_front();
        }
        (count > config.intensity as usize)
            .then(|| format!("{count} restarts were needed in {}", humantime(config.period)))
    }

    /// Opens by itself: answers until when. Each time in a row twice as long.
    pub fn open(&mut self, config: &Config, opened: Opened) -> Time {
        let doubled = config.open.saturating_mul(1u32.checked_shl(self.trips.min(20)).unwrap_or(u32::MAX));
        self.opened(doubled.min(config.open_max).max(config.open), opened)
    }

    /// Opens since somebody wants it: for the longest that it is open, since what they know of is not over in seconds.
    pub fn hold(&mut self, config: &Config, opened: Opened) -> Time {
        self.opened(config.open_max.max(config.open), opened)
    }

    fn opened(&mut self, pause: Duration, opened: Opened) -> Time {
        self.trips = self.trips.saturating_add(1);
        self.buckets.clear();
        self.restarts.clear();
        self.in_a_row = 0;
        self.opened.insert(opened).at + pause
    }

    /// As it is by a clock that was set forward by so much.
    pub fn shift(&mut self, by: TimeDelta) {
        let buckets = self.buckets.iter_mut().map(|bucket| &mut bucket.from);
        let opened = self.opened.iter_mut().map(|opened| &mut opened.at);
        buckets.chain(&mut self.restarts).chain(opened).for_each(|at| shift(at, by));
    }

    /// What answered the calls is gone for good; restarts and trips are the agent's.
    pub fn forget_calls(&mut self) {
        self.buckets.clear();
        self.in_a_row = 0;
    }

    /// Closes for good: what was is forgotten.
    pub fn close(&mut self) {
        *self = Self::default();
    }
}

/// Whether `at` lies within `span` before now. What a clock that went back left in the future was moved to now before:
/// it is recent, and grows old from now on.
fn within(at: Time, span: Duration, now: Time) -> bool {
    (now - at).to_std().map_or(true, |passed| passed < span)
}

/// A duration for people.
pub fn humantime(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) { format!("{} s", millis / 1000) } else { format!("{millis} ms") }
}
