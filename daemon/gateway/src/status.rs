//! The status document: how the whole stands. `openclaw status --json`, `GET /api/v1/openclaw/status`, and what agents
//! granted `supervisor.status` see.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use openclaw_agent_api::manifest::{Command, PanicStrategy};
use providers::{Answers, Health};
use serde::{Deserialize, Serialize};
use supervisor::library::Hash;
use supervisor::policy::Opened;
use supervisor::sandbox::InForce;
use utoipa::ToSchema;

/// The document.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Document {
    /// The daemon; of several processes the first, which is the one that runs all where there is such.
    pub daemon: Daemon,
    /// The home's other processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Daemon>,
    /// Processes that do not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Their parts.
    pub components: Vec<Component>,
}

impl Document {
    /// The home as a whole, of what each of its processes says. An agent that one of them leads is shown as it is there.
    pub fn of_all(documents: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut documents = documents.into_iter();
        Some(documents.next()?.with(documents))
    }

    /// As [`of_all`](Self::of_all), of this one and others.
    pub fn with(self, others: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = self;
        for document in others {
            whole.others.push(document.daemon);
            for component in document.components {
                let same = |known: &&mut Component| {
                    known.kind == "agent" && component.kind == "agent" && known.name == component.name
                };
                match whole.components.iter_mut().find(same) {
                    None => whole.components.push(component),
                    Some(known) if known.stands_by() => *known = component,
                    Some(_) => {}
                }
            }
        }
        whole.components.sort_by_key(|component| component.kind == "agent");
        whole
    }

    /// The agent of that name.
    pub fn agent(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.kind == "agent" && component.name == name)
    }
}

/// The daemon.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Daemon {
    /// What it is called: `openclaw` where it runs all, else after its components.
    pub process: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since its start.
    pub uptime_seconds: u64,
    /// Its home.
    #[schema(value_type = String)]
    pub home: PathBuf,
    /// Whether a library that is nobody's becomes an agent.
    #[serde(default)]
    pub discover: bool,
    /// Its clock, which all times here are of.
    pub now: DateTime<Utc>,
}

/// An agent, or a service within the daemon.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// `agent`, `service`, or `provider`.
    pub kind: String,
    /// The process that it is a part of.
    pub process: String,
    /// standby, stopped, starting, ready, backoff, open, half_open, draining, refused.
    pub state: String,
    /// ok, degraded, failed, unknown.
    pub health: String,
    /// What it last proved.
    pub evidence: Evidence,
    /// Its process.
    pub pid: Option<u32>,
    /// In this state since.
    pub since: DateTime<Utc>,
    /// Successors started so far.
    pub restarts: u64,
    /// Its breaker.
    pub breaker: Breaker,
    /// Its version.
    pub version: Option<String>,
    /// The hash of its library.
    pub sha256: Option<String>,
    /// How its last host ended.
    pub last_exit: Option<LastExit>,
    /// Why it is in this state.
    pub reason: String,
    /// Tasks in work.
    pub running: u32,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What can be typed to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub commands: Vec<Command>,
    /// An agent's library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<Library>,
    /// Set when its panics cannot be caught.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub panic: Option<PanicStrategy>,
    /// What holds its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// What a provider is, and what it proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub provider: Option<Provider>,
}

impl Component {
    /// Whether another process leads it.
    pub fn stands_by(&self) -> bool {
        self.state == "standby"
    }
}

/// What holds an agent's process.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// How it was started last.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub held: InForce,
    /// What was refused to the process that runs now; its log says what.
    pub violations: u64,
}

/// An agent's library; what runs is `sha256`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Library {
    /// The file that is watched.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Why that is not what runs.
    pub note: Option<String>,
    /// What it goes back to.
    #[schema(value_type = Option<String>)]
    pub previous: Option<Hash>,
    /// It must prove itself until then.
    pub probation_until: Option<DateTime<Utc>>,
    /// How far a reload is: waiting, canary, handing over.
    pub reload: Option<String>,
}

/// A proof, and when it was given.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// What was proved.
    pub what: String,
    /// When.
    pub at: Option<DateTime<Utc>>,
}

/// A breaker.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Breaker {
    /// closed, open, half_open.
    pub state: String,
    /// Failures since it closed last.
    pub failures: u64,
    /// Until when it is open.
    pub open_until: Option<DateTime<Utc>>,
    /// Calls that failed since one went well.
    #[serde(default)]
    pub in_a_row: u32,
    /// How it came to be open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub opened: Option<Opened>,
}

impl Breaker {
    /// Of what has none.
    pub fn none() -> Self {
        Self { state: "closed".into(), failures: 0, open_until: None, in_a_row: 0, opened: None }
    }
}

/// A provider.
#[derive(Debug, Serialize, Deserialize)]
pub struct Provider {
    /// `chat` or `search`.
    pub answers: Answers,
    /// What it proved.
    #[serde(flatten)]
    pub proved: Health,
}

/// The end of a host.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LastExit {
    /// clean, error, signal, panic, hang, out_of_memory, start_timeout, not_started, refused.
    pub class: String,
    /// The rest.
    pub detail: String,
    /// When.
    pub at: DateTime<Utc>,
}
