//! The whole as it stands: `openclaw status --json`, and what agents granted `supervisor.status` see.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::manifest::PanicStrategy;
use settings::ProcessName;
use store::task::Ended;
use store::{Clock, Store};
use supervisor::policy::{Probation, State, StopReason};
use supervisor::{AgentStatus, Handle, Health, LibraryStatus};
use tokio::sync::oneshot;
use workers::bridge::Watched;

pub use gateway::status::{
    Breaker, Component, Daemon, Document, Evidence, LastExit, Library, Provider, Sandbox,
};

use crate::bridge::{self, Bridge};
use crate::control::neighbours::Neighbours;
use crate::exit::Failure;
use crate::provided;

/// Who can tell how the whole stands. Cheap to clone.
#[derive(Clone)]
pub struct Board {
    pub supervisor: Handle,
    pub store: Store,
    pub bus: Arc<dyn Bus>,
    /// Who answers agents' questions.
    pub providers: providers::Handle,
    /// What each configured agent may ask for.
    pub grants: Arc<BTreeMap<AgentName, (Vec<String>, settings::Rates)>>,
    /// What each agent asked for today.
    pub clock: Clock,
    pub started_at: DateTime<Utc>,
    pub home: PathBuf,
    pub process: ProcessName,
    /// HTTP, where this process has it.
    pub gateway: Option<gateway::Handle>,
    /// The other processes of this home.
    pub neighbours: Neighbours,
    /// Where a socket unit listens and nobody answers.
    pub astray: Option<std::net::SocketAddr>,
    /// The bot, where this process has it.
    pub telegram: Option<gateway::telegram::Handle>,
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

/// A bus that has not answered for so long proves nothing: it is asked every five seconds.
const UNHEARD: Duration = Duration::from_secs(15);

impl Board {
    /// Waits for the end of a task of `agent`, at most so long.
    pub async fn end_of(
        &self,
        agent: &AgentName,
        ended: oneshot::Receiver<Ended>,
        most: Duration,
    ) -> Result<Option<Ended>, supervisor::Error> {
        gateway::desk::end_of(&self.supervisor, agent, ended, most).await
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
        components.extend(self.telegram());
        components.extend(self.bridge.as_ref().map(|bridge| bridge::component(self, bridge, now)));
        // Where the bridge is a part of this process, it is shown already.
        let watched = self.watched.as_ref().filter(|_| self.bridge.is_none());
        components.extend(watched.map(|watched| bridge::seen(self, watched)));
        components.extend(self.providers.providers().iter().map(|one| provided::component(self, one, now)));
        components.extend(agents.iter().map(|agent| component(agent, &self.process, now)));
        Ok(Document { daemon, others: Vec::new(), silent: Vec::new(), components })
    }

    fn store(&self, now: DateTime<Utc>) -> Component {
        let health = self.store.health();
        let (state, verdict, reason) = match &health.error {
            None if let Some(overdue) = health.overdue() => {
                let seconds = overdue.as_secs();
                (
                    "ready",
                    "degraded",
                    format!("the database has not answered for {seconds} s: nothing is accepted"),
                )
            }
            None if health.crowded => {
                let why = "all connections for lookups are in use, and some were refused; work goes on";
                ("ready", "degraded", why.to_owned())
            }
            None if (now - health.committed_at).abs().to_std().is_ok_and(|age| age > self.stale) => {
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
            breaker: Breaker::none(),
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
            provider: None,
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
        breaker: Breaker {
            state: breaker.into(),
            failures: record.breaker.failures,
            open_until,
            in_a_row: record.breaker.in_a_row,
            opened: record.breaker.opened.clone().filter(|_| breaker != "closed"),
        },
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
        provider: None,
        sandbox: agent.sandbox.clone().map(|held| Sandbox { held, violations: agent.vitals.violations }),
    }
}
