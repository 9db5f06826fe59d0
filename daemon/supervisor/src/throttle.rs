//! So many lines a second, and a count of what was beyond.

use std::time::Instant;

/// A token bucket of one second's lines.
pub struct Throttle {
    rate: f64,
    tokens: f64,
    counted_at: Option<Instant>,
    dropped: u64,
}

impl Throttle {
    /// Allows `rate` a second.
    pub fn new(rate: u32) -> Self {
        Self { rate: f64::from(rate), tokens: f64::from(rate), counted_at: None, dropped: 0 }
    }

    /// Whether one more is allowed: how many were dropped before it, or none when it is to be dropped as well.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = self.counted_at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.tokens = (self.tokens + passed * self.rate).min(self.rate);
        self.counted_at = Some(now);
        if self.tokens < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(self.dropped())
    }

    /// How many were dropped since it was last asked.
    pub fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_allows_the_rate_and_the_rest_is_counted() {
        let (mut throttle, begin) = (Throttle::new(3), Instant::now());
        let allowed = (0..10).filter(|_| throttle.take(begin).is_some()).count();
        assert_eq!(allowed, 3);
        assert_eq!(throttle.take(begin + Duration::from_secs(1)), Some(7));
        assert_eq!(throttle.take(begin + Duration::from_secs(1)), Some(0));
    }
}
