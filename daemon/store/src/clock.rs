//! The time, such that a set-back or leap of the system's clock does not end leases or lengthen waits.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// The wall clock as it was when this was made, carried on by the monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: DateTime<Utc>,
    since: Instant,
}

impl Clock {
    /// Reads the wall clock once.
    pub fn new() -> Self {
        Self { wall: Utc::now(), since: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.wall + self.since.elapsed()
    }

    /// The moment of a time, for a timer; now when it is past.
    pub fn instant(&self, at: DateTime<Utc>) -> Instant {
        let now = Instant::now();
        now + (at - self.now()).to_std().unwrap_or_default()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
