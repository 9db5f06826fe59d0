//! The pauses between two tries to connect.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(50);
/// The longest: a Redis that is back shows everything again within one heartbeat.
const LONGEST: Duration = Duration::from_secs(2);
/// A connection that held so long was well: the pauses begin anew.
const WELL: Duration = Duration::from_secs(5);

/// How long to wait next.
#[derive(Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    /// The pause after a connection that held so long; `chance`, from 0 to 1, shortens it by up to a half, so that
    /// daemons which lost one server do not return in step.
    pub fn after(&mut self, held: Duration, chance: f64) -> Duration {
        if held >= WELL {
            self.failures = 0;
            return Duration::ZERO;
        }
        let whole = (FIRST * 2u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = (self.failures + 1).min(16);
        whole.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_once_it_held() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..8).map(|_| pause.after(Duration::ZERO, 0.0).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause.after(Duration::ZERO, 1.0), LONGEST / 2);
        assert_eq!(pause.after(WELL, 0.5), Duration::ZERO);
        assert_eq!(pause.after(Duration::ZERO, 0.0), FIRST);
    }
}
