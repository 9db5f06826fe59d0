//! How many violations become lines: an agent that tries without end must not fill its log.

use std::time::{Duration, Instant};

use crate::throttle::Throttle;

/// Lines a second.
const LINES: u32 = 10;
/// The same violation within this is counted, not said again.
const SAME: Duration = Duration::from_secs(1);

/// What was said, and what only counted.
pub struct Tally {
    throttle: Throttle,
    last: Option<(String, Instant)>,
    unsaid: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { throttle: Throttle::new(LINES), last: None, unsaid: 0 }
    }

    /// Whether a violation is to be said, and then how many before it were not.
    pub fn count(&mut self, what: &str, now: Instant) -> Option<u64> {
        let again = |(last, at): &(String, Instant)| last == what && now.duration_since(*at) < SAME;
        if self.last.as_ref().is_some_and(again) || self.throttle.take(now).is_none() {
            self.unsaid += 1;
            return None;
        }
        self.last = Some((what.into(), now));
        Some(self.unsaid())
    }

    /// Whether there are any that were not said.
    pub fn owes(&self) -> bool {
        self.unsaid > 0
    }

    /// How many were not said since it was last asked.
    pub fn unsaid(&mut self) -> u64 {
        std::mem::take(&mut self.unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_second_and_others_ten_times() {
        let (mut tally, begin) = (Tally::new(), Instant::now());
        assert_eq!(tally.count("socket(2)", begin), Some(0));
        assert_eq!(tally.count("socket(2)", begin), None);
        assert_eq!(tally.count("ptrace(2)", begin), Some(1));
        let said = (0..100).filter(|n| tally.count(&format!("opening /{n}"), begin).is_some()).count();
        assert_eq!(said, 8);
        assert!(tally.owes());
        assert_eq!(tally.count("socket(2)", begin + SAME), Some(92));
        assert!(!tally.owes());
    }
}
