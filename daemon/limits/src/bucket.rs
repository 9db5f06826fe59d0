//! So many at once, then one each while: restarts of all agents, calls of one.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{Time, shift};

/// A token bucket: `capacity` at once, then one per `refill`.
#[derive(Clone, Debug)]
pub struct Bucket {
    capacity: u32,
    refill: Duration,
    tokens: u32,
    counted_at: Time,
}

impl Bucket {
    /// A full one.
    pub fn new(capacity: u32, refill: Duration, now: Time) -> Self {
        let (capacity, refill) = (capacity.max(1), refill.max(Duration::from_micros(1)));
        Self { capacity, refill, tokens: capacity, counted_at: now }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// None is left: when the next one comes.
    pub fn take(&mut self, now: Time) -> Result<(), Time> {
        // There is always room for one.
        self.take_all(1, now).map_err(|until| until.unwrap_or(now))
    }

    /// Takes so many tokens, or none.
    ///
    /// # Errors
    /// There are fewer: when there are enough, if ever so many are there at once.
    pub fn take_all(&mut self, wanted: u32, now: Time) -> Result<(), Option<Time>> {
        self.count(now);
        match self.tokens.checked_sub(wanted) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => {
                let missing = wanted - self.tokens;
                Err((wanted <= self.capacity).then(|| self.counted_at + self.refill * missing))
            }
        }
    }

    /// As it is by a clock that was set forward by so much.
    pub fn shift(&mut self, by: TimeDelta) {
        shift(&mut self.counted_at, by);
    }

    /// When a token can be taken: now, or when the next one comes.
    pub fn next(&mut self, now: Time) -> Time {
        self.count(now);
        if self.tokens > 0 { now } else { self.counted_at + self.refill }
    }

    fn count(&mut self, now: Time) {
        // A clock that went back must not stop the refill until it has caught up.
        self.counted_at = self.counted_at.min(now);
        let passed = (now - self.counted_at).to_std().unwrap_or_default();
        let gained = u32::try_from(passed.as_nanos() / self.refill.as_nanos()).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(self.capacity);
        self.counted_at =
            if self.tokens == self.capacity { now } else { self.counted_at + self.refill * gained };
    }
}
