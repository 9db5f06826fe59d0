//! The decisions as plain data; the bridge on the bus of one process, with paused time; and on a Redis that is ill-treated.

mod cost;
mod decisions;
mod lead;
mod local;
mod redis;
#[path = "../../../../bus/src/tests/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the bus, which use all of it")]
mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::heartbeat::{self, Beat, Breaker, Status};
use bus::{Bus, Key, Projection};
use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use store::{Clock, Store};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::*;

/// How long a test waits for what takes milliseconds on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

fn beat_in(state: heartbeat::State, last_seen: DateTime<Utc>) -> Beat {
    Beat {
        status: Status::Ok,
        state,
        pid: Some(7),
        version: Some("1.2.3".into()),
        sha256: None,
        unit: None,
        host: "there".into(),
        started_at: None,
        last_seen,
        uptime_seconds: None,
        restarts: 3,
        breaker: Breaker::Closed,
        current_task: None,
        current_since: None,
        last_pong: Some(last_seen),
        last_done: None,
    }
}

fn beat(last_seen: DateTime<Utc>) -> Beat {
    beat_in(heartbeat::State::Ready, last_seen)
}

/// A store of a test's own.
struct Kept {
    store: Store,
    engine: JoinHandle<()>,
    _folder: TempDir,
}

impl Kept {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = store::open_sqlite(&folder.path().join("store.db")).await.unwrap();
        let hour = Duration::from_secs(3600);
        let options = store::Options {
            installation: "test".into(),
            lease: hour,
            max_queued: 9,
            keep: hour,
            keep_rows: 9999,
            clock: Clock::new(),
            redact: store::Redact::default(),
            cooldown: hour,
        };
        let (store, engine) = Store::start(backend, options).await.unwrap();
        Self { store, engine, _folder: folder }
    }

    /// What came before is stored; without a wait that paused time could leap over.
    async fn flush(&self) {
        self.store.renew(Vec::new()).await;
    }

    /// The verdicts that are stored of an agent, oldest first.
    async fn rows(&self, name: &str) -> Vec<String> {
        self.flush().await;
        let rows = self.store.heartbeats(&agent(name), 1000).await.unwrap();
        rows.into_iter().rev().map(|row| row.status).collect()
    }

    /// The alerts, oldest first: level and text.
    async fn alerts(&self) -> Vec<(String, String)> {
        self.flush().await;
        let events = self.store.events_after(0, 1000).await.unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let alerts = events.iter().filter(|event| event.kind == store::backend::ALERT);
        alerts.map(|alert| (text(&alert.payload["level"]), text(&alert.payload["text"]))).collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// A bridge at work, and the agents that beat for it.
struct Rig {
    bus: Arc<dyn Bus>,
    kept: Kept,
    clock: Clock,
    interval: Duration,
    handle: Handle,
    here: Arc<Mutex<Vec<AgentName>>>,
    tasks: JoinSet<()>,
}

impl Rig {
    async fn new(bus: Arc<dyn Bus>, interval: Duration) -> Self {
        Self::with(bus, interval, Kept::new().await)
    }

    fn with(bus: Arc<dyn Bus>, interval: Duration, kept: Kept) -> Self {
        Self::of(bus, interval, kept, false)
    }

    fn of(bus: Arc<dyn Bus>, interval: Duration, kept: Kept, alone: bool) -> Self {
        let (clock, here) = (Clock::new(), Arc::new(Mutex::new(Vec::new())));
        let named = here.clone();
        let (service, handle) = start(Options {
            bus: bus.clone(),
            store: kept.store.clone(),
            clock,
            interval,
            alone,
            here: Arc::new(move || named.lock().unwrap().clone()),
            host: "here".into(),
            unit: None,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(service.run());
        Self { bus, kept, clock, interval, handle, here, tasks }
    }

    /// These beat now.
    async fn beat(&self, agents: &[&str]) -> Result<(), bus::Error> {
        let fields = beat(self.clock.now()).to_fields();
        let ttl = Some(self.interval * 3);
        let one =
            |name: &&str| Projection { key: Key::AgentStatus(agent(name)), fields: fields.clone(), ttl };
        self.bus.project_all(agents.iter().map(one).collect()).await
    }

    fn verdict(&self, name: &str) -> Option<&'static str> {
        self.handle.standing(&agent(name)).map(|standing| standing.verdict.as_str())
    }

    /// Waits until this is thought of an agent; meanwhile these beat.
    async fn until(&mut self, name: &str, verdict: &str, beating: &[&str]) {
        let thought = timeout(PATIENCE, async {
            while self.verdict(name) != Some(verdict) {
                // A bus that is away is a part of some tests.
                let _ = self.beat(beating).await;
                let _ = timeout(self.interval, self.handle.looked()).await;
            }
        });
        assert!(thought.await.is_ok(), "{name} is {:?}, not {verdict}", self.verdict(name));
    }
}
