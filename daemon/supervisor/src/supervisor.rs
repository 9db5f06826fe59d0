//! The one task that owns every agent's record: it hears what happened, lets the policy decide, and carries it out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Level;
use openclaw_agent_api::manifest::Manifest;
use serde_json::Value;
use settings::{Agent, Group, Settings, Strategy};
use store::backend::{NewEvent, TRANSITION};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::handle::{Ask, Error, Handle};
use crate::instance::{self, Assignment, End, Order, Report, SharedVitals, Surroundings, vitals};
use crate::logs::Line;
use crate::policy::{
    self, Action, Budget, Event, Exit, ExitClass, Next, Record, State, StopReason, Time, Transition, group,
};
use crate::sandbox::InForce;
use crate::status::AgentStatus;

/// Reports and requests that wait for the supervisor.
const INBOX: usize = 1024;
/// Orders that wait for an instance; it takes them as they come.
const ORDERS: usize = 64;

/// What a supervisor is started from.
pub struct Options {
    /// What is configured.
    pub settings: Settings,
    /// The agents to run; others of the config are left out.
    pub agents: BTreeSet<AgentName>,
    /// Where libraries without a folder are.
    pub libraries: PathBuf,
    /// Where each agent's working folder is.
    pub workspace: PathBuf,
    /// What every host needs.
    pub around: Surroundings,
}

/// Keeps agents alive.
pub struct Supervisor {
    slots: BTreeMap<AgentName, Slot>,
    groups: Vec<Group>,
    budget: Budget,
    drain_timeout: Duration,
    around: Surroundings,
    reports: mpsc::Receiver<(AgentName, Report)>,
    reporter: mpsc::Sender<(AgentName, Report)>,
    asks: mpsc::Receiver<Ask>,
    instances: JoinSet<()>,
    /// Whose instance each of these tasks is.
    whose: HashMap<Id, AgentName>,
    changed: watch::Sender<u64>,
    /// The daemon ends: nothing is started any more.
    ending: bool,
}

struct Slot {
    assignment: Assignment,
    record: Record,
    manifest: Option<Box<Manifest>>,
    sha256: Option<String>,
    sandbox: Option<InForce>,
    orders: Option<mpsc::Sender<Order>>,
    /// The task of its instance.
    instance: Option<Id>,
    vitals: SharedVitals,
    reason: String,
}

impl Supervisor {
    /// Takes up what is known of each agent. Nothing is started before [`run`](Self::run).
    ///
    /// # Errors
    /// The store cannot be read, or an agent's working folder cannot be made.
    pub async fn new(options: Options) -> Result<(Self, Handle), Error> {
        let Options { settings, agents, libraries, workspace, around } = options;
        let now = around.clock.now();
        let known = Arc::new(agents.clone());
        let mut saved: BTreeMap<String, String> = around.store.records().await?.into_iter().collect();
        let mut slots = BTreeMap::new();
        for name in agents {
            let agent = settings.agents.get(&name).cloned().unwrap_or_default();
            let config = agent.supervision(&settings.supervision);
            // A record of an older form is as good as none: the agent starts with a clean history.
            let record =
                saved.remove(name.as_str()).and_then(|json| serde_json::from_str::<Record>(&json).ok());
            let record = record.map_or_else(|| Record::new(now), |record| record.restored(&config, now));
            let assignment = assign(&name, &agent, config, &libraries, &workspace, known.clone())?;
            slots.insert(name, Slot::new(assignment, record));
        }
        let groups = complete(settings.groups.into_values().collect(), &slots);
        let daemon = settings.daemon;
        let (reporter, reports) = mpsc::channel(INBOX);
        let (asker, asks) = mpsc::channel(INBOX);
        let (changed, changes) = watch::channel(0);
        let supervisor = Self {
            slots,
            groups,
            budget: Budget::new(daemon.restart_budget, daemon.restart_refill, now),
            drain_timeout: daemon.drain_timeout,
            around,
            reports,
            reporter,
            asks,
            instances: JoinSet::new(),
            whose: HashMap::new(),
            changed,
            ending: false,
        };
        Ok((supervisor, Handle::new(asker, changes, known)))
    }

    /// Runs until a shutdown has been asked for and every host has ended.
    pub async fn run(mut self) {
        self.start_whose_turn_it_is();
        while !(self.ending && self.slots.values().all(|slot| !slot.record.state.has_host())) {
            let due = self.next_due();
            let clock = self.around.clock;
            let alarm = async {
                match due {
                    Some(at) => tokio::time::sleep_until(clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((name, report)) = self.reports.recv() => self.reported(&name, report),
                Some(ask) = self.asks.recv() => self.asked(ask),
                Some(ended) = self.instances.join_next_with_id() => self.instance_ended(ended),
                () = alarm => self.due(),
            }
        }
        while self.instances.join_next().await.is_some() {}
    }

    fn reported(&mut self, name: &AgentName, report: Report) {
        let event = match report {
            Report::Manifest(manifest) => {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.manifest = Some(manifest);
                }
                return;
            }
            Report::Fingerprint(sha256) => {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.sha256 = Some(sha256);
                }
                return;
            }
            Report::Sandboxed(sandbox) => {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.sandbox = Some(sandbox);
                }
                return;
            }
            Report::Ready => Event::HostReady,
            Report::Hang { what } => Event::Hang { what },
            Report::TaskEnded(call) => Event::TaskEnded { call },
            Report::Ended(end) => {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.orders = None;
                }
                match end {
                    End::Exited(exit) => Event::HostExited { exit },
                    End::Refused(why) => Event::Refused { why },
                }
            }
        };
        let counts_only = matches!(event, Event::TaskEnded { .. });
        self.decide(name, event);
        // A finished task moves nobody, unless it tripped the breaker: then the next report does.
        if !counts_only {
            self.move_on();
        }
    }

    /// One that ended by a panic has reported nothing, and its process went with it.
    fn instance_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, error) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        if let (Some(name), Some(error)) = (self.whose.remove(&id), error) {
            tracing::error!(agent = %name, %error, "a defect of the daemon");
            let slot = self.slots.get(name.as_str());
            // One that had reported its end already may have a successor.
            if slot.is_none_or(|slot| slot.instance != Some(id) || slot.orders.is_none()) {
                return;
            }
            let detail = "the daemon's own task for it failed; the daemon's log says more";
            let exit = Exit::new(ExitClass::Error, detail, self.around.clock.now());
            self.reported(&name, Report::Ended(End::Exited(exit)));
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Status(reply) => drop(reply.send(self.slots.values().map(|slot| slot.status()).collect())),
            Ask::Do { name, event, reply } => {
                let can = self.slots.contains_key(name.as_str()) && !self.ending;
                if can {
                    self.decide(&name, event);
                    self.move_on();
                }
                let _ = reply.send(can);
            }
            Ask::Shutdown(reply) => {
                self.ending = true;
                self.move_on();
                let _ = reply.send(());
            }
        }
    }

    fn due(&mut self) {
        let now = self.around.clock.now();
        let may_be = |slot: &Slot| !self.ending || slot.record.state.has_host();
        let is_due = |slot: &Slot| {
            may_be(slot)
                && policy::next_due(&slot.record, &slot.assignment.config).is_some_and(|at| at <= now)
        };
        let due: Vec<_> =
            self.slots.iter().filter(|(_, slot)| is_due(slot)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.decide(&name, Event::Due);
        }
        self.move_on();
    }

    fn next_due(&self) -> Option<Time> {
        // While the daemon ends, nothing is started: only hosts that are still there have moments to come.
        let slots = self.slots.values().filter(|slot| !self.ending || slot.record.state.has_host());
        slots.filter_map(|slot| policy::next_due(&slot.record, &slot.assignment.config)).min()
    }

    /// Whatever one agent did may make it another one's turn to start or to stop.
    fn move_on(&mut self) {
        if self.ending { self.stop_whose_turn_it_is() } else { self.start_whose_turn_it_is() }
    }

    fn start_whose_turn_it_is(&mut self) {
        loop {
            let state = |name: &AgentName| self.slots.get(name).map(|slot| &slot.record.state);
            let waits = |name: &&AgentName| {
                matches!(
                    state(name),
                    Some(State::Stopped { why: StopReason::NotStarted | StopReason::FellWith { .. } })
                )
            };
            let ready =
                self.groups.iter().flat_map(|g| g.agents.iter().filter(waits).map(move |name| (g, name)));
            let next = ready
                .filter(|(g, name)| group::may_start(g, name, state))
                .map(|(_, name)| name.clone())
                .next();
            let Some(name) = next else { return };
            self.decide(&name, Event::Turn);
        }
    }

    fn stop_whose_turn_it_is(&mut self) {
        let state = |name: &AgentName| self.slots.get(name).map(|slot| &slot.record.state);
        let turn = |g: &Group, name: &AgentName| group::may_stop(g, name, state);
        let all = self.groups.iter().flat_map(|g| g.agents.iter().map(move |name| (g, name)));
        let now: Vec<_> = all.filter(|(g, name)| turn(g, name)).map(|(_, name)| name.clone()).collect();
        for name in now {
            self.decide(&name, Event::Shutdown);
        }
    }

    fn decide(&mut self, name: &AgentName, event: Event) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if self.ending && matches!(event, Event::HostExited { .. }) && !slot.is_on_its_way_out() {
            // Nothing is started while the daemon ends: no successor either.
            self.decide(name, Event::Shutdown);
        }
        let Some(slot) = self.slots.get_mut(name) else { return };
        let mut ctx = policy::Context {
            config: &slot.assignment.config,
            budget: &mut self.budget,
            now: self.around.clock.now(),
            jitter: fastrand::f64(),
            drain_timeout: self.drain_timeout,
            others_first: self.groups.iter().any(|g| g.agents.contains(name) && group::others_first(g, name)),
        };
        let actions = policy::decide(&mut slot.record, event, &mut ctx);
        for action in actions {
            self.carry_out(name, action);
        }
    }

    fn carry_out(&mut self, name: &AgentName, action: Action) {
        match action {
            Action::Spawn => self.spawn(name),
            Action::Drain { .. } => self.order(name, Order::Drain),
            Action::Kill => self.order(name, Order::Kill),
            Action::Limit(limit) => self.order(name, Order::Limit(limit)),
            Action::Note(transition) => self.note(name, transition),
            Action::Fell => {
                let group = self.groups.iter().find(|group| group.agents.contains(name));
                let fallen: Vec<_> = group
                    .map(|g| group::fallen_with(g, name).into_iter().cloned().collect())
                    .unwrap_or_default();
                for member in fallen {
                    self.decide(&member, Event::SiblingFell { name: name.to_string() });
                }
            }
        }
    }

    fn spawn(&mut self, name: &AgentName) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let (orders, waiting) = mpsc::channel(ORDERS);
        slot.orders = Some(orders);
        let (assignment, around) = (slot.assignment.clone(), self.around.clone());
        let (reporter, vitals) = (self.reporter.clone(), slot.vitals.clone());
        let task = self.instances.spawn(instance::run(assignment, around, waiting, reporter, vitals));
        self.whose.insert(task.id(), name.clone());
        slot.instance = Some(task.id());
    }

    fn order(&self, name: &AgentName, order: Order) {
        let orders = self.slots.get(name).and_then(|slot| slot.orders.as_ref());
        if let Some(Err(mpsc::error::TrySendError::Full(order))) = orders.map(|orders| orders.try_send(order))
        {
            tracing::error!(agent = %name, ?order, "its instance takes no orders");
        }
    }

    /// Into the journal, the agent's log, the history and the record.
    fn note(&mut self, name: &AgentName, transition: Transition) {
        let Transition { from, to, actor, reason, at } = &transition;
        // A wait that goes on for the same reason is one line of the history, not hundreds.
        if from == to && self.slots.get(name).is_some_and(|slot| slot.reason == *reason) {
            return;
        }
        let level = match to.as_str() {
            "open" | "refused" => Level::Error,
            "backoff" => Level::Warn,
            _ => Level::Info,
        };
        match level {
            Level::Error => tracing::error!(agent = %name, %actor, "{from} → {to}: {reason}"),
            Level::Warn => tracing::warn!(agent = %name, %actor, "{from} → {to}: {reason}"),
            _ => tracing::info!(agent = %name, %actor, "{from} → {to}: {reason}"),
        }
        let line = Line {
            at: *at,
            level,
            source: "supervisor".into(),
            task: None,
            text: format!("{from} → {to}: {reason}"),
        };
        self.around.logs.write(name, line);
        if let Ok(payload) = serde_json::to_string(&transition) {
            self.around.store.event(NewEvent { agent: name.clone(), kind: TRANSITION, payload, at: *at });
        }
        self.changed.send_modify(|count| *count += 1);
        if let Some(slot) = self.slots.get_mut(name) {
            slot.reason.clone_from(&transition.reason);
            if let Ok(record) = serde_json::to_string(&slot.record) {
                self.around.store.record(name.clone(), record);
            }
        }
    }
}

impl Slot {
    fn is_on_its_way_out(&self) -> bool {
        match &self.record.state {
            State::Draining { next, .. } => matches!(next, Next::Stopped { .. } | Next::Open { .. }),
            state => !state.has_host(),
        }
    }

    fn new(assignment: Assignment, record: Record) -> Self {
        let reason = match &record.state {
            State::Stopped { why } => why.to_string(),
            state => {
                let what = if matches!(state, State::Open { .. }) { "open breaker" } else { "pause" };
                let name = &assignment.name;
                format!(
                    "the {what} outlives the daemon's restart: `openclaw agents history {name}` tells why"
                )
            }
        };
        Self {
            assignment,
            record,
            manifest: None,
            sha256: None,
            sandbox: None,
            orders: None,
            instance: None,
            vitals: SharedVitals::default(),
            reason,
        }
    }

    fn status(&self) -> AgentStatus {
        AgentStatus {
            name: self.assignment.name.clone(),
            library: self.assignment.library.clone(),
            concurrency: self.assignment.config.concurrency,
            record: self.record.clone(),
            manifest: self.manifest.clone(),
            sha256: self.sha256.clone(),
            sandbox: self.sandbox.clone(),
            vitals: vitals(&self.vitals).clone(),
            reason: self.reason.clone(),
            stale: self.assignment.config.ping_interval + self.assignment.config.ping_timeout,
        }
    }
}

fn assign(
    name: &AgentName,
    agent: &Agent,
    config: settings::Supervision,
    libraries: &std::path::Path,
    workspace: &std::path::Path,
    known: Arc<BTreeSet<AgentName>>,
) -> Result<Assignment, Error> {
    let workspace = workspace.join(name.as_str());
    std::fs::create_dir_all(&workspace)
        .map_err(|source| Error::Workspace { path: workspace.clone(), source: Arc::new(source) })?;
    Ok(Assignment {
        name: name.clone(),
        // Joining an absolute path gives that path.
        library: libraries.join(agent.library_file(name)),
        config,
        grants: agent.grants.clone(),
        settings: Value::Object(agent.settings.clone()),
        workspace,
        known,
    })
}

/// Every agent is in a group: one that is in none is its own.
fn complete(groups: Vec<Group>, slots: &BTreeMap<AgentName, Slot>) -> Vec<Group> {
    let mut groups = groups;
    for name in slots.keys() {
        if !groups.iter().any(|group| group.agents.contains(name)) {
            groups.push(Group { strategy: Strategy::OneForOne, agents: vec![name.clone()] });
        }
    }
    groups
}

/// For those who ask and wait.
pub(crate) type Reply<T> = oneshot::Sender<T>;
