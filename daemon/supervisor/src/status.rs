//! How an agent stands: evidence, and what follows from it.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::manifest::Manifest;

use crate::instance::Vitals;
use crate::policy::{Installed, Record, State, StopReason};
use crate::sandbox::InForce;

/// An agent as it stands.
#[derive(Clone, Debug)]
pub struct AgentStatus {
    /// Which.
    pub name: AgentName,
    /// Its library.
    pub library: LibraryStatus,
    /// Handlers it may run side by side.
    pub concurrency: u32,
    /// What is known of it.
    pub record: Record,
    /// What it says of itself, once it has been open.
    pub manifest: Option<Box<Manifest>>,
    /// What holds its host, as it was last started.
    pub sandbox: Option<InForce>,
    /// What its host last proved.
    pub vitals: Vitals,
    /// Whether this process leads it: else what is said here is not how it stands.
    pub led: bool,
    /// Why it is in this state.
    pub reason: String,
    /// Who brought it there.
    pub actor: String,
    /// Evidence older than this proves nothing: a ping's interval and its time-out.
    pub stale: Duration,
}

/// An agent's library as it stands.
#[derive(Clone, Debug)]
pub struct LibraryStatus {
    /// The file that is watched.
    pub file: PathBuf,
    /// What runs, and what ran.
    pub installed: Installed,
    /// How far a reload is.
    pub reload: Option<&'static str>,
    /// Why the file in the folder is not what runs.
    pub note: Option<String>,
}

/// What follows from the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It proved itself lately.
    Ok,
    /// It is on its way, or on probation.
    Degraded,
    /// It does not work, and will not for a while.
    Failed,
    /// Nothing is proved, and nothing is wrong: it is not meant to run, or has not shown anything yet.
    Unknown,
}

impl AgentStatus {
    /// The last proof of life, and when it was given.
    pub fn evidence(&self) -> (&'static str, Option<DateTime<Utc>>) {
        let Vitals { pong_at, done_at, .. } = &self.vitals;
        let started = match &self.record.state {
            State::Ready { since } => Some(*since),
            _ => None,
        };
        [("answered a ping", *pong_at), ("finished a task", *done_at), ("became ready", started)]
            .into_iter()
            .max_by_key(|(_, at)| *at)
            .filter(|(_, at)| at.is_some())
            .unwrap_or(("nothing proved yet", None))
    }

    /// What follows from the state and the age of the evidence.
    pub fn health(&self, now: DateTime<Utc>) -> Health {
        match &self.record.state {
            State::Ready { .. } => {
                let fresh = self
                    .evidence()
                    .1
                    .is_some_and(|at| (now - at).abs().to_std().is_ok_and(|age| age <= self.stale));
                if fresh { Health::Ok } else { Health::Unknown }
            }
            State::Starting { .. }
            | State::Backoff { .. }
            | State::HalfOpen { .. }
            | State::Draining { .. } => Health::Degraded,
            State::Open { .. } | State::Refused { .. } => Health::Failed,
            State::Stopped { why: StopReason::Finished { exit } }
                if exit.class != crate::policy::ExitClass::Clean =>
            {
                Health::Failed
            }
            State::Stopped { .. } => Health::Unknown,
        }
    }
}
