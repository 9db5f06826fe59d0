//! When to stop for a while, whoever it is about: agents (the supervisor) and providers. Pure: no I/O, no clock.

mod breaker;
mod bucket;

pub use breaker::{Breaker, Call, humantime};
pub use bucket::Bucket;

/// Wall clock, since what is counted outlives processes.
pub type Time = chrono::DateTime<chrono::Utc>;
