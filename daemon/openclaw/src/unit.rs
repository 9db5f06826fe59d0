//! This process as a systemd unit: when it is ready, what its status line says, what a reload is, and the watchdog's
//! questions. Without systemd all of it says nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use operations::notify::Notify;
use operations::watchdog::{Evidence, Life, Pace, Verdict, decide};
use settings::{Inputs, Settings};
use store::Database;
use store::backend::Backend;
use supervisor::policy::{Probe, State};
use supervisor::{AgentStatus, Handle};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::components::{Components, Service};
use crate::journal::Filter;
use crate::status::{Board, Component, Document};

/// The status line follows what changes, no slower than this.
const TELL: Duration = Duration::from_secs(10);
/// Changes that come together are one line.
const TOGETHER: Duration = Duration::from_millis(200);
/// An agent that another process may lead is waited for so long.
const LED: Duration = Duration::from_secs(5);
/// So many edited keys are named in the status line.
const KEYS: usize = 8;
/// Under systemd a database that is away at the start is waited for so long, and asked so often.
const DATABASE: Duration = Duration::from_secs(5 * 60);
const AGAIN: Duration = Duration::from_secs(2);

/// What is told to systemd, and what for.
#[derive(Clone)]
pub struct Unit {
    pub notify: Notify,
    /// Where the unit is one agent: which.
    pub only: Option<AgentName>,
    /// What is in effect, but for the log's filter.
    pub as_started: Settings,
    pub inputs: Inputs,
    /// The log's, where the configuration decides.
    pub filter: Option<Filter>,
    pub scope: Scope,
    pub providers: providers::Handle,
    pub said: Arc<Mutex<Said>>,
}

/// How far it is, and what is said on until it is mended.
#[derive(Default)]
pub struct Said {
    stage: Stage,
    /// Keys that were edited, and that only a restart applies.
    stale: Vec<String>,
    /// What the last reload could not do.
    refused: Vec<String>,
}

/// Only who serves is ready, and nobody is ready again once stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Starting,
    Serving,
    Stopping,
}

/// What of the configuration concerns this process.
#[derive(Clone)]
pub struct Scope {
    all: bool,
    gateway: bool,
    agents: BTreeSet<AgentName>,
}

impl Scope {
    /// Of these components.
    pub fn of(components: &Components) -> Self {
        let gateway = components.services.contains(&Service::Gateway);
        Self { all: components.are_all(), gateway, agents: components.agents.clone() }
    }

    fn has(&self, key: &str) -> bool {
        let mut parts = key.split('.');
        match (parts.next(), parts.next()) {
            (Some("agents"), Some(name)) => {
                self.all || self.agents.iter().any(|agent| agent.as_str() == name)
            }
            (Some("gateway"), _) => self.gateway,
            _ => true,
        }
    }
}

/// Whether these are one agent and nothing else.
pub fn only(services: &BTreeSet<Service>, agents: &BTreeSet<AgentName>) -> Option<AgentName> {
    agents.first().filter(|_| services.is_empty() && agents.len() == 1).cloned()
}

/// Opens the database. Under systemd it is waited for: who starts with the machine may be earlier.
pub async fn open(database: &Database, notify: Notify) -> Result<Arc<dyn Backend>, store::Error> {
    let end = Instant::now() + DATABASE;
    loop {
        match database.open().await {
            Err(error @ (store::Error::Away(_) | store::Error::Down(_) | store::Error::Busy))
                if notify.is_heard() && Instant::now() < end =>
            {
                notify.status(&format!("waiting for the database: {error}"));
                tracing::warn!(event = "waiting", %error, "the database is away; it is asked again");
                sleep(AGAIN).await;
            }
            other => return other,
        }
    }
}

impl Unit {
    /// READY=1 once everything serves or is lawfully down, then the status line, for ever.
    pub async fn tell(self, board: Board) {
        if self.notify.is_heard() {
            let settled = settle(&board);
            // Past what the agents may take, the unit's own time applies: a wedged loop is no slow start.
            let agents = self.as_started.agents.values();
            let longest =
                agents.map(|agent| agent.supervision(&self.as_started.supervision).start_timeout).sum();
            self.notify.during("starting: agents are on their way", longest, settled).await;
            let line = self.line(&board).await;
            if self.serving() {
                self.notify.ready(&line);
            }
            let mut changes = board.supervisor.changes();
            while self.stage() == Stage::Serving {
                changes.mark_unchanged();
                self.notify.status(&self.line(&board).await);
                tokio::select! {
                    () = sleep(TELL) => {}
                    changed = changes.changed() => {
                        if changed.is_err() { break }
                        sleep(TOGETHER).await;
                    }
                }
            }
        }
        std::future::pending().await
    }

    /// One line that an operator can act on.
    async fn line(&self, board: &Board) -> String {
        match board.document().await {
            Ok(document) => {
                let refused = self.said().refused.clone();
                let said: Vec<_> =
                    refused.into_iter().chain([line(&document)]).chain(self.restart_needed()).collect();
                said.join("; ")
            }
            Err(failure) => format!("the status is not to be had: {failure}"),
        }
    }

    /// Pings as long as every loop proves that it turns.
    pub async fn watch(self, board: Board) {
        if let Some(watchdog) = self.notify.watchdog() {
            let pace = Pace::of(watchdog);
            let mut rest = Duration::ZERO;
            loop {
                let due = Instant::now() + rest;
                sleep_until(due).await;
                let evidence = self.evidence(&board, due.elapsed(), pace).await;
                rest = match decide(&evidence, pace) {
                    Verdict::Ping => {
                        self.notify.ping();
                        pace.rest
                    }
                    Verdict::Withhold(reason) => {
                        tracing::error!(
                            event = "watchdog",
                            "systemd's watchdog is not told that all is well: {reason}"
                        );
                        self.notify.status(&format!("wedged: {reason}; systemd will restart this unit"));
                        pace.soon
                    }
                };
            }
        }
        std::future::pending().await
    }

    /// Asks every loop.
    async fn evidence(&self, board: &Board, late: Duration, pace: Pace) -> Evidence {
        let begun = Instant::now();
        let supervisor = timeout(pace.patience, board.supervisor.status());
        let store = timeout(pace.patience, async { (board.store.turned().await, begun.elapsed()) });
        let (agents, turned) = tokio::join!(async { (supervisor.await, begun.elapsed()) }, store);
        let (agents, took) = agents;
        let agents = agents.ok().and_then(Result::ok);
        let stored = turned.ok().and_then(|(turned, took)| turned.ok().map(|()| took));
        let now = board.clock.now();
        let find = |name: &AgentName| agents.iter().flatten().find(|agent| agent.name == *name);
        let agent = self.only.as_ref().and_then(|name| Some((name.to_string(), life(find(name)?, now))));
        let loops = vec![("the supervisor", agents.as_ref().map(|_| took)), ("the store", stored)];
        Evidence { late, loops, agent }
    }

    /// SIGHUP: every agent runs what the agents folder holds now; the configuration is read, and what is said of it is
    /// what has become of it. One that is wrong changes nothing.
    pub async fn reload(self, supervisor: Handle) {
        tracing::info!(event = "reload", "SIGHUP: looking at all libraries");
        let serving = self.stage() == Stage::Serving;
        if serving {
            self.notify.reloading("reloading: looking at all libraries");
        }
        let mut refused = Vec::new();
        let mut said = None;
        for name in supervisor.known().names() {
            match supervisor.reload(&name, "SIGHUP".into()).await {
                Ok((_, verdict)) => tracing::info!(agent = %name, event = "reload", "{verdict}"),
                Err(error) => {
                    tracing::warn!(agent = %name, event = "reload", "{error}");
                    refused.push(format!("{name}: {error}"));
                }
            }
        }
        match settings::load(&self.inputs) {
            Err(error) => {
                tracing::error!(
                    event = "reload",
                    "the configuration is wrong, and what was in effect stays so: {error}"
                );
                refused
                    .push("the configuration is wrong and was not applied: `openclaw config check`".into());
            }
            Ok(loaded) => {
                said = self.applied(&loaded.settings);
                match self.providers.reload(loaded.providers) {
                    Ok(true) => tracing::info!(
                        event = "reload",
                        "who answers agents' questions is read anew: providers/, failover.json, context-limits.json"
                    ),
                    Ok(false) => {}
                    Err(error) => refused.push(format!("the providers stay as they were: {error}")),
                }
            }
        }
        self.said().refused = refused.clone();
        // Whoever was starting is not ready yet, and whoever stops is not ready any more.
        if serving && self.stage() == Stage::Serving {
            refused.extend(said);
            self.notify.ready(&if refused.is_empty() { "reloaded".into() } else { refused.join("; ") });
        }
    }

    /// It drains, whatever else is under way.
    pub fn stopping(&self, status: &str) {
        self.said().stage = Stage::Stopping;
        self.notify.stopping(status);
    }

    /// A drain takes no longer, each agent after the other.
    pub fn longest_drain(&self) -> Duration {
        let settings = &self.as_started;
        let of_agent = |agent: &settings::Agent| {
            settings.daemon.drain_timeout + agent.supervision(&settings.supervision).kill_grace
        };
        settings.agents.values().map(of_agent).sum::<Duration>().max(settings.daemon.drain_timeout)
    }

    /// Whether it serves from now on: not once it stops.
    fn serving(&self) -> bool {
        let mut said = self.said();
        if said.stage == Stage::Starting {
            said.stage = Stage::Serving;
        }
        said.stage == Stage::Serving
    }

    fn stage(&self) -> Stage {
        self.said().stage
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unit {
    /// Applies what can be applied while everything runs: the log's filter. Says which other keys wait for a restart.
    fn applied(&self, now: &Settings) -> Option<String> {
        if let Some(filter) = &self.filter {
            filter.set(&now.daemon.log);
        }
        let keys = settings::difference(&self.as_started, now);
        let waits = |key: &String| key != "daemon.log" && self.scope.has(key);
        self.said().stale = keys.into_iter().filter(waits).collect();
        let said = self.restart_needed()?;
        tracing::warn!(event = "reload", "the configuration was edited: {said}");
        Some(said)
    }

    fn restart_needed(&self) -> Option<String> {
        let keys = &self.said().stale;
        let (shown, more) = keys.split_at(keys.len().min(KEYS));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        (!keys.is_empty()).then(|| format!("restart needed for {}{more}", shown.join(", ")))
    }
}

/// Whether an agent is meant to answer, and does.
fn life(agent: &AgentStatus, now: DateTime<Utc>) -> Life {
    let since = |at: DateTime<Utc>| (now - at).to_std().unwrap_or_default();
    match (&agent.record.state, agent.evidence().1) {
        // Its supervisor ends a start or a drain that takes too long: twice the time of a proof it has had for that.
        (
            State::Starting { deadline }
            | State::Draining { deadline, .. }
            | State::HalfOpen { probe: Probe::Starting { deadline } },
            _,
        ) if *deadline < now => Life::Up { age: since(*deadline), most: agent.stale * 2 },
        (State::Ready { .. }, Some(at)) if agent.led => {
            // Past `stale` its supervisor ends it: twice that long it has had for it.
            Life::Up { age: since(at), most: agent.stale * 2 }
        }
        _ => Life::Down,
    }
}

/// Until every agent is ready, or down by its policy.
async fn settle(board: &Board) {
    let begun = Instant::now();
    let mut changes = board.supervisor.changes();
    loop {
        changes.mark_unchanged();
        let Ok(agents) = board.supervisor.status().await else { return };
        let settled = |agent: &AgentStatus| {
            let waits = !agent.led && begun.elapsed() < LED;
            let begins = matches!(
                agent.record.state,
                State::Stopped { why: supervisor::policy::StopReason::NotStarted }
            ) && begun.elapsed() < LED;
            agent.record.state.is_settled() && !waits && !begins
        };
        if agents.iter().all(settled) {
            return;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(Duration::from_millis(500)) => {}
        }
    }
}

/// What is not well comes first; an operator reads no further.
fn line(document: &Document) -> String {
    let wrong = |component: &&Component| matches!(component.health.as_str(), "failed" | "degraded");
    let agents = document.components.iter().filter(|component| component.kind == "agent");
    let (all, ready) =
        (agents.clone().count(), agents.clone().filter(|agent| agent.state == "ready").count());
    let standby = agents.filter(|agent| agent.stands_by()).count();
    let said: Vec<_> = document
        .components
        .iter()
        .filter(wrong)
        .map(|component| format!("{} {}: {}", component.name, component.state, component.reason))
        .collect();
    let count = match (all, standby) {
        (0, _) => "serving".to_owned(),
        (_, 0) => format!("{ready} of {all} agents ready"),
        _ => format!("{ready} of {all} agents ready, {standby} standing by"),
    };
    if said.is_empty() { count } else { format!("{}; {count}", said.join("; ")) }
}
