//! HTTP/1.1: what is served, to whom, within which bounds.

mod answer;
mod body;
pub mod connection;
mod health;
mod problem;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use chrono::{DateTime, Utc};
use store::Clock;
use tokio::sync::Notify;

use crate::{Health, Tokens, Whole};

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// It has not begun.
    Open,
    /// No more requests are taken; those in work go on.
    Stopping,
    /// Those in work are answered as they stand.
    Finishing,
}

/// What all connections share.
pub(crate) struct Door {
    pub settings: settings::Gateway,
    pub tokens: Tokens,
    pub clock: Clock,
    /// Told whenever a connection has nothing in work any more.
    pub became_idle: Notify,
    address: SocketAddr,
    since: DateTime<Utc>,
    whole: OnceLock<Arc<dyn Whole>>,
    running: AtomicU32,
    /// Microseconds since the epoch; 0: never.
    answered_at: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Door {
    pub fn new(settings: settings::Gateway, tokens: Tokens, address: SocketAddr, clock: Clock) -> Self {
        Self {
            settings,
            tokens,
            clock,
            became_idle: Notify::new(),
            address,
            since: clock.now(),
            whole: OnceLock::new(),
            running: AtomicU32::new(0),
            answered_at: AtomicU64::new(0),
            error: Mutex::default(),
        }
    }

    /// From now on there is something to tell.
    pub fn begin(&self, whole: Arc<dyn Whole>) {
        let _ = self.whole.set(whole);
    }

    /// What knows how the whole stands; nobody is served before it is there.
    fn whole(&self) -> Option<&Arc<dyn Whole>> {
        self.whole.get()
    }

    /// Whether connections are taken at the moment.
    pub fn failed(&self, why: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub fn health(&self) -> Health {
        let answered = i64::try_from(self.answered_at.load(Ordering::Relaxed)).unwrap_or_default();
        Health {
            address: self.address,
            has_tokens: self.tokens.any(),
            since: self.since,
            answered_at: DateTime::from_timestamp_micros(answered).filter(|_| answered > 0),
            running: self.running.load(Ordering::Relaxed),
            error: self.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        let now = u64::try_from(self.clock.now().timestamp_micros()).unwrap_or_default();
        self.answered_at.store(now, Ordering::Relaxed);
    }
}
