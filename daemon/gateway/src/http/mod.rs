//! HTTP/1.1: what is served, to whom, within which bounds.
//!
//! ```text
//!  connection ─▶ answer ─┬─ /healthz, /readyz          everybody; details: see `caller`
//!  (a task each)         ├─ /metrics, openapi.json     whoever is known
//!                        └─ /api/v1/…                  a token: admitted by `caller`, then `api`'s routes
//! ```
//!
//! Every answer has a request id and the headers of `answer`, and each that says no is a problem, but for two that hyper
//! gives by itself before there is a request: 400 to what is no HTTP, 431 to a head beyond the bounds of `connection`. They
//! have no body, and hyper has no say for others in them; to make them ours, heads would have to be read twice.

mod answer;
mod api;
mod body;
mod caller;
pub mod connection;
mod errors;
mod health;
mod input;
mod limits;
mod metrics;
mod problem;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use chrono::{DateTime, Utc};
use settings::Redactor;
use store::Clock;
use tokio::sync::{Notify, Semaphore, watch};

use crate::desk::Desk;
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
    pub routing: settings::Routing,
    pub tokens: Tokens,
    pub clock: Clock,
    pub redactor: Redactor,
    /// How far a stop is.
    pub drain: watch::Receiver<Drain>,
    /// Told whenever a connection has nothing in work any more.
    pub became_idle: Notify,
    limits: Mutex<limits::Limits>,
    /// Room for listeners to events.
    listeners: Arc<Semaphore>,
    /// Room for all who stay for long, listeners among them: the other seats are for who comes and goes.
    stays: Arc<Semaphore>,
    tally: metrics::Tally,
    address: SocketAddr,
    since: DateTime<Utc>,
    within: OnceLock<Within>,
    /// Made for the first who needs it.
    routes: OnceLock<Router>,
    running: AtomicU32,
    /// Microseconds since the epoch; 0: never.
    answered_at: AtomicU64,
    error: Mutex<Option<String>>,
}

/// What is behind the door.
pub(crate) struct Within {
    pub desk: Desk,
    pub whole: Arc<dyn Whole>,
}

impl Door {
    pub fn new(
        settings: settings::Gateway,
        routing: settings::Routing,
        tokens: Tokens,
        address: SocketAddr,
        clock: Clock,
        redactor: Redactor,
        drain: watch::Receiver<Drain>,
    ) -> Self {
        // Others must find a seat whatever these do.
        let listeners = settings.max_listeners.min(settings.max_connections / 2);
        let stays = settings.max_connections - settings.max_connections.div_ceil(8);
        Self {
            limits: Mutex::new(limits::Limits::new(settings.rate, settings.bad_tokens)),
            listeners: Arc::new(Semaphore::new(listeners as usize)),
            stays: Arc::new(Semaphore::new(stays as usize)),
            settings,
            routing,
            tokens,
            clock,
            redactor,
            drain,
            became_idle: Notify::new(),
            tally: metrics::Tally::default(),
            address,
            since: clock.now(),
            within: OnceLock::new(),
            routes: OnceLock::new(),
            running: AtomicU32::new(0),
            answered_at: AtomicU64::new(0),
            error: Mutex::default(),
        }
    }

    /// From now on there is something behind it.
    pub fn begin(&self, desk: Desk, whole: Arc<dyn Whole>) {
        let _ = self.within.set(Within { desk, whole });
    }

    /// What is behind it; nobody is served before it is there.
    fn within(&self) -> Result<&Within, problem::Problem> {
        self.within.get().ok_or_else(problem::Problem::starting)
    }

    fn routes(&self) -> Router {
        self.routes.get_or_init(api::routes).clone()
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

    /// Returns once requests are to be answered as they stand.
    async fn finishing(&self) {
        // Its other end lives as long as the daemon.
        let _ = self.drain.clone().wait_for(|drain| *drain == Drain::Finishing).await;
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
