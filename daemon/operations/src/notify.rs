//! What systemd is told. Nothing is said where nobody listens: without `NOTIFY_SOCKET` each of these is nothing.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, interval};

/// How often more time is asked for, and for how long each time.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_BY: u32 = 30_000_000;

/// The way to systemd. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Notify {
    heard: bool,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As this process was started.
    pub fn of_process() -> Self {
        Self { heard: std::env::var_os("NOTIFY_SOCKET").is_some(), watchdog: sd_notify::watchdog_enabled() }
    }

    /// Whether anybody listens.
    pub const fn is_heard(self) -> bool {
        self.heard
    }

    /// Within which the watchdog wants to hear of us, if there is one.
    pub const fn watchdog(self) -> Option<Duration> {
        self.watchdog
    }

    /// It serves.
    pub fn ready(self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// One line that an operator can act on.
    pub fn status(self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// It looks at everything anew, until [`ready`](Self::ready).
    pub fn reloading(self, status: &str) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now, NotifyState::Status(status)]),
            // Without the time systemd would take it for an endless one.
            Err(_) => self.status(status),
        }
    }

    /// It drains.
    pub fn stopping(self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// Its loops turn.
    pub fn ping(self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// Waits for something that may lawfully take longer than a unit's time, and asks for more of it meanwhile, for
    /// `longest` at the most.
    pub async fn during<T>(self, what: &str, longest: Duration, work: impl Future<Output = T>) -> T {
        let (end, mut ticks) = (Instant::now() + longest, interval(EXTEND_EVERY));
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick(), if Instant::now() < end => {
                    self.tell(&[NotifyState::ExtendTimeoutUsec(EXTEND_BY), NotifyState::Status(what)]);
                }
            }
        }
    }

    fn tell(self, states: &[NotifyState<'_>]) {
        if !self.heard {
            return;
        }
        // A line is a line.
        let clean: Vec<String> = states.iter().map(|state| state.to_string().replace('\n', " ")).collect();
        let states: Vec<_> = clean.iter().map(|text| NotifyState::Custom(text)).collect();
        if let Err(error) = sd_notify::notify(&states) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}
