//! Between an instance and its supervisor: what it is started from, what it is told, what it reports.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::manifest::Manifest;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use settings::{Supervision, Tasks};
use store::Store;
use store::clock::Clock;
use store::task::TaskId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::admission::Admission;
use crate::capabilities::SharedCapabilities;
use crate::known::Known;
use crate::library::Libraries;
use crate::logs::Logs;
use crate::policy::{Call, Exit};
use crate::process::Program;
use crate::record::Recorder;
use crate::sandbox::InForce;

/// Everything a host is started from.
#[derive(Clone)]
pub struct Assignment {
    /// The agent.
    pub name: AgentName,
    /// Its library: the copy in the vault.
    pub library: PathBuf,
    /// Where the operator knows it from.
    pub shown: PathBuf,
    /// What applies to it.
    pub config: Supervision,
    /// What it may ask for.
    pub grants: Vec<String>,
    /// Its own settings.
    pub settings: Value,
    /// Its working folder.
    pub workspace: PathBuf,
    /// The agents that work can be handed to.
    pub known: Known,
    /// How often it may ask for what, and what it has asked for.
    pub admission: Arc<Admission>,
}

/// What every host needs of the daemon.
#[derive(Clone)]
pub struct Surroundings {
    /// The binary of a host.
    pub program: Program,
    /// The lock that every host holds.
    pub lock: PathBuf,
    /// What people sent, which every agent may read.
    pub uploads: PathBuf,
    /// How tasks are retried.
    pub tasks: Tasks,
    /// Where tasks come from and results go.
    pub store: Store,
    /// Who answers the agents' calls.
    pub capabilities: SharedCapabilities,
    /// Where their lines go.
    pub logs: Logs,
    /// The time.
    pub clock: Clock,
    /// The private store of libraries.
    pub libraries: Arc<Libraries>,
    /// Until when agents are led here, where that is known for a time alone.
    pub led_until: watch::Receiver<Option<Instant>>,
    /// What keeps what agents are told, where that is wanted.
    pub recorder: Option<Recorder>,
}

/// Tells the instances of one supervisor apart: while an agent is replaced it has two.
pub type InstanceId = u64;

/// Supervisor → instance.
#[derive(Debug)]
pub enum Order {
    /// Have so many tasks at once.
    Limit(u32),
    /// Have no more tasks, and ask the agent what it knows.
    HandOver,
    /// Tell the agent what its predecessor knew.
    Restore(Box<RawValue>),
    /// Let handlers end, then ask the host to stop.
    Drain,
    /// As `Limit(0)` and `Drain`, and `Kill` then.
    Retire(Instant),
    /// SIGTERM, after the grace SIGKILL.
    Kill,
}

/// Instance → supervisor.
#[derive(Debug)]
pub enum Report {
    /// The library is open.
    Manifest(Box<Manifest>),
    /// What holds the host.
    Sandboxed(InForce),
    /// It takes tasks.
    Ready,
    /// It does not answer, or a handler does not end.
    Hang {
        /// What was waited for.
        what: String,
    },
    /// A task has ended.
    TaskEnded(Call),
    /// What the agent knows. It gets no more tasks: its successor may attach.
    Snapshot(Result<Box<RawValue>, String>),
    /// Whether the agent could make something of what its predecessor knew.
    Restored(Result<(), String>),
    /// The process is gone and reaped: the last report.
    Ended(End),
}

/// How a host's life ended.
#[derive(Debug)]
pub enum End {
    /// It exited, or was killed.
    Exited(Exit),
    /// It can never work like this.
    Refused(String),
}

/// What an instance last proved; read by status.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Vitals {
    /// The host's number.
    pub pid: Option<u32>,
    /// When it was started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it last answered a ping.
    pub pong_at: Option<DateTime<Utc>>,
    /// When it last finished a task.
    pub done_at: Option<DateTime<Utc>>,
    /// Tasks in work.
    pub running: u32,
    /// The oldest of them.
    pub oldest_task: Option<TaskId>,
    /// Since when that is in work.
    pub oldest_since: Option<DateTime<Utc>>,
    /// What the sandbox refused this host.
    pub violations: u64,
}

/// As it is shared.
pub type SharedVitals = Arc<Mutex<Vitals>>;

/// Reads or changes vitals.
pub fn vitals(shared: &SharedVitals) -> MutexGuard<'_, Vitals> {
    // Plain values, each written whole: a poisoned lock is still good.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an instance reports.
#[derive(Clone)]
pub struct Reporter {
    /// Which instance it is.
    pub id: InstanceId,
    /// To the supervisor.
    pub reports: mpsc::Sender<(InstanceId, Report)>,
}

impl Reporter {
    pub(super) async fn report(&self, report: Report) {
        // The supervisor outlives its instances, but for a stop that does not wait.
        let _ = self.reports.send((self.id, report)).await;
    }
}
