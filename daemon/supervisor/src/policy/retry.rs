//! When a failed task is tried again.

use settings::Tasks;

use super::Time;

/// The time of the next try after `attempts` tries, or none: it is a dead letter. The n-th pause is
/// `retry_initial · 2^(n-1)`, at most `retry_max`, and up to a fifth longer by `jitter` (0 to 1).
pub fn retry_at(attempts: u32, max_attempts: u32, tasks: &Tasks, jitter: f64, now: Time) -> Option<Time> {
    if attempts >= max_attempts {
        return None;
    }
    let doubled = tasks.retry_initial.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    Some(now + doubled.min(tasks.retry_max).mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)))
}
