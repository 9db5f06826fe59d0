//! When to stop for a while, whoever it is about: agents (the supervisor), what they ask for, and providers. Pure: no I/O, no clock.

mod breaker;
mod bucket;
mod rates;

pub use breaker::{Breaker, Call, Opened, humantime};
pub use bucket::Bucket;
pub use rates::{Exceeded, Rates};

/// Wall clock, since what is counted outlives processes.
pub type Time = chrono::DateTime<chrono::Utc>;

/// Moves a time along with a clock that was set forward by so much; one that would leave the calendar stays.
pub fn shift(at: &mut Time, by: chrono::TimeDelta) {
    *at = at.checked_add_signed(by).unwrap_or(*at);
}
