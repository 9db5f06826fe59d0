//! How a bus is, as evidence.

use tokio::time::Instant;

/// What is known of a bus. Times are of the monotonic clock: whoever shows them knows the wall's.
#[derive(Clone, Debug)]
pub struct Health {
    /// What it is: `Redis 7.0.15 at redis://localhost:6379/0`.
    pub what: String,
    /// Whether commands are answered, and what is listened to is heard.
    pub connected: bool,
    /// So since.
    pub since: Instant,
    /// When it answered a command last; never, for a bus that is a part of this process.
    pub last_ok: Option<Instant>,
    /// Why it is not connected, in one sentence.
    pub error: Option<String>,
}
