//! The whole as it stands: `openclaw status --json`, and what agents granted `supervisor.status` see.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::manifest::{Command, PanicStrategy};
use serde::{Deserialize, Serialize};
use settings::ProcessName;
use store::task::Ended;
use store::{Clock, Store};
use supervisor::library::Hash;
use supervisor::policy::{Probation, State, StopReason};
use supervisor::sandbox::InForce;
use supervisor::{AgentStatus, Handle, Health, LibraryStatus};
use tokio::sync::oneshot;
use workers::bridge::Watched;

use crate::bridge::{self, Bridge};
use crate::exit::Failure;

/// The document.
#[derive(Debug, Serialize, Deserialize)]
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
        let mut whole = documents.next()?;
        for document in documents {
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
        Some(whole)
    }

    /// The agent of that name.
    pub fn agent(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.kind == "agent" && component.name == name)
    }
}

/// The daemon.
#[derive(Debug, Serialize, Deserialize)]
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
    pub home: PathBuf,
    /// Whether a library that is nobody's becomes an agent.
    #[serde(default)]
    pub discover: bool,
    /// Its clock, which all times here are of.
    pub now: DateTime<Utc>,
}

/// An agent, or a service within the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// `agent` or `service`.
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
    pub commands: Vec<Command>,
    /// An agent's library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<Library>,
    /// Set when its panics cannot be caught.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<PanicStrategy>,
    /// What holds its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

impl Component {
    /// Whether another process leads it.
    pub fn stands_by(&self) -> bool {
        self.state == "standby"
    }
}

/// What holds an agent's process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sandbox {
    /// How it was started last.
    #[serde(flatten)]
    pub held: InForce,
    /// What was refused to the process that runs now; its log says what.
    pub violations: u64,
}

/// An agent's library; what runs is `sha256`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Library {
    /// The file that is watched.
    pub file: PathBuf,
    /// Why that is not what runs.
    pub note: Option<String>,
    /// What it goes back to.
    pub previous: Option<Hash>,
    /// It must prove itself until then.
    pub probation_until: Option<DateTime<Utc>>,
    /// How far a reload is: waiting, canary, handing over.
    pub reload: Option<String>,
}

/// A proof, and when it was given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// What was proved.
    pub what: String,
    /// When.
    pub at: Option<DateTime<Utc>>,
}

/// A breaker.
#[derive(Debug, Serialize, Deserialize)]
pub struct Breaker {
    /// closed, open, half_open.
    pub state: String,
    /// Failures since it closed last.
    pub failures: u64,
    /// Until when it is open.
    pub open_until: Option<DateTime<Utc>>,
}

/// The end of a host.
#[derive(Debug, Serialize, Deserialize)]
pub struct LastExit {
    /// clean, error, signal, panic, hang, out_of_memory, start_timeout, not_started, refused.
    pub class: String,
    /// The rest.
    pub detail: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Who can tell how the whole stands. Cheap to clone.
#[derive(Clone)]
pub struct Board {
    pub supervisor: Handle,
    pub store: Store,
    pub bus: Arc<dyn Bus>,
    pub clock: Clock,
    pub started_at: DateTime<Utc>,
    pub home: PathBuf,
    pub process: ProcessName,
    /// HTTP, where this process has it.
    pub gateway: Option<gateway::Handle>,
    /// What holds the queue, for people.
    pub database: String,
    pub discover: bool,
    /// A commit older than this proves nothing: the store proves itself more often.
    pub stale: Duration,
    /// The heartbeat bridge, where this process has it.
    pub bridge: Option<Bridge>,
    /// Who watches it, where this process has a gateway.
    pub watched: Option<Watched>,
}

/// An agent that has not answered within this is worth a look at its state.
const AT_ONCE: Duration = Duration::from_millis(50);
/// A bus that has not answered for so long proves nothing: it is asked every five seconds.
const UNHEARD: Duration = Duration::from_secs(15);

impl Board {
    /// Waits for the end of a task of `agent`, at most so long; an agent that will not come up by itself is not
    /// waited for: the task keeps.
    pub async fn end_of(
        &self,
        agent: &AgentName,
        mut ended: oneshot::Receiver<Ended>,
        most: Duration,
    ) -> Result<Option<Ended>, supervisor::Error> {
        let waited = tokio::time::timeout(most, async {
            if let Ok(ended) = tokio::time::timeout(AT_ONCE, &mut ended).await {
                return Ok(ended.ok());
            }
            tokio::select! {
                ended = &mut ended => Ok(ended.ok()),
                down = self.supervisor.down(agent) => down.map(|()| None),
            }
        });
        // Out of time; or the engine watches too much already.
        waited.await.unwrap_or(Ok(None))
    }

    /// The whole as it stands.
    pub async fn document(&self) -> Result<Document, Failure> {
        let now = self.clock.now();
        let agents = self.supervisor.status().await?;
        let uptime = (now - self.started_at).to_std().unwrap_or_default();
        let daemon = Daemon {
            process: self.process.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_seconds: uptime.as_secs(),
            home: self.home.clone(),
            discover: self.discover,
            now,
        };
        let mut components = vec![self.store(now), self.bus(now)];
        components.extend(self.gateway());
        components.extend(self.bridge.as_ref().map(|bridge| bridge::component(self, bridge, now)));
        // Where the bridge is a part of this process, it is shown already.
        let watched = self.watched.as_ref().filter(|_| self.bridge.is_none());
        components.extend(watched.map(|watched| bridge::seen(self, watched)));
        components.extend(agents.iter().map(|agent| component(agent, &self.process, now)));
        Ok(Document { daemon, others: Vec::new(), silent: Vec::new(), components })
    }

    fn store(&self, now: DateTime<Utc>) -> Component {
        let health = self.store.health();
        let (state, verdict, reason) = match &health.error {
            None if (now - health.committed_at).to_std().unwrap_or_default() > self.stale => {
                ("ready", "unknown", "nothing has been committed for longer than it should take".to_owned())
            }
            None => ("ready", "ok", "results and new tasks are stored".to_owned()),
            Some(error) => ("backoff", "failed", format!("{error} ({} results wait)", health.held)),
        };
        let evidence = Evidence { what: "committed a transaction".into(), at: Some(health.committed_at) };
        let description = format!("the durable queue, {}", self.database);
        self.service("store", (state, verdict), evidence, self.started_at, reason, description)
    }

    fn bus(&self, now: DateTime<Utc>) -> Component {
        let health = self.bus.health();
        let wall = |at: tokio::time::Instant| now - at.elapsed();
        let evidence = match health.last_ok {
            Some(at) => Evidence { what: "answered a command".into(), at: Some(wall(at)) },
            None if health.connected => Evidence { what: "is a part of this process".into(), at: None },
            None => Evidence { what: "has never answered".into(), at: None },
        };
        let stale = health.last_ok.is_some_and(|at| at.elapsed() > UNHEARD);
        let (state, verdict, reason) = match health.error {
            Some(error) => ("backoff", "degraded", error),
            None if stale => {
                ("ready", "unknown", "nothing has been answered for longer than it should take".into())
            }
            None => ("ready", "ok", "signals and projections are carried".into()),
        };
        self.service("bus", (state, verdict), evidence, wall(health.since), reason, health.what)
    }

    /// A part of the daemon.
    pub fn service(
        &self,
        name: &str,
        (state, health): (&str, &str),
        evidence: Evidence,
        since: DateTime<Utc>,
        reason: String,
        description: String,
    ) -> Component {
        Component {
            name: name.into(),
            kind: "service".into(),
            process: self.process.to_string(),
            state: state.into(),
            health: health.into(),
            evidence,
            pid: Some(std::process::id()),
            since,
            restarts: 0,
            breaker: Breaker { state: "closed".into(), failures: 0, open_until: None },
            version: Some(env!("CARGO_PKG_VERSION").into()),
            sha256: None,
            last_exit: None,
            reason,
            running: 0,
            description: Some(description),
            commands: Vec::new(),
            library: None,
            panic: None,
            sandbox: None,
        }
    }
}

fn library(library: &LibraryStatus) -> Library {
    Library {
        file: library.file.clone(),
        note: library.note.clone(),
        previous: library.installed.previous.first().cloned(),
        probation_until: match library.installed.probation {
            Some(Probation::Until(at)) => Some(at),
            _ => None,
        },
        reload: library.reload.map(str::to_owned),
    }
}

/// An agent, as the document has it.
pub fn component(agent: &AgentStatus, process: &ProcessName, now: DateTime<Utc>) -> Component {
    let record = &agent.record;
    let (what, at) = match &record.state {
        State::Stopped { why: why @ StopReason::Operator { .. } } => (why.to_string(), Some(record.since)),
        _ => {
            let (what, at) = agent.evidence();
            (what.to_owned(), at)
        }
    };
    let (breaker, open_until) = match &record.state {
        State::Open { until } => ("open", Some(*until)),
        State::HalfOpen { .. } => ("half_open", None),
        _ => ("closed", None),
    };
    let health = match agent.health(now) {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Failed => "failed",
        Health::Unknown => "unknown",
    };
    let manifest = agent.manifest.as_deref();
    Component {
        name: agent.name.to_string(),
        kind: "agent".into(),
        process: process.to_string(),
        state: record.state.name().into(),
        health: health.into(),
        evidence: Evidence { what, at },
        pid: agent.vitals.pid,
        since: record.since,
        restarts: record.restarts,
        breaker: Breaker { state: breaker.into(), failures: record.breaker.failures, open_until },
        version: manifest.map(|manifest| manifest.version.clone()),
        sha256: agent.library.installed.current.as_ref().map(ToString::to_string),
        last_exit: record.last_exit.as_ref().map(|exit| LastExit {
            class: exit.class.to_string(),
            detail: exit.detail.clone(),
            at: exit.at,
        }),
        reason: agent.reason.clone(),
        running: agent.vitals.running,
        description: manifest.map(|manifest| manifest.description.clone()),
        commands: manifest.map(|manifest| manifest.commands.clone()).unwrap_or_default(),
        library: Some(library(&agent.library)),
        panic: manifest.map(|manifest| manifest.panic).filter(|panic| *panic == PanicStrategy::Abort),
        sandbox: agent.sandbox.clone().map(|held| Sandbox { held, violations: agent.vitals.violations }),
    }
}
