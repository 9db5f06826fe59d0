//! The one task that owns every agent's record: it hears what happened, lets the policy decide, and carries it out.

mod actions;
mod leads;
mod reloads;
mod reports;
mod slot;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use openclaw_agent_api::AgentName;
use serde_json::Value;
use settings::{Agent, Group, Settings, Strategy};
use store::failpoint::{Boundary, reach};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::admission::Admission;
use crate::handle::{self, Ask, Error, Handle};
use crate::instance::{Assignment, InstanceId, Report, Surroundings};
use crate::known::Known;
use crate::library::watch::{Sighting, Watch};
use crate::library::{self, Trust};
use crate::policy::lead::Leads;
use crate::policy::{self, Budget, Event, Record, State, StopReason, Time, group};
use reloads::{Done, Why};
use slot::{Lead, Slot, Source};

/// Reports and requests that wait for the supervisor.
const INBOX: usize = 1024;
/// A wall clock that goes apart from the steady one by this was set; one that is steered back gently is followed when it comes to as
/// much.
const STEP: TimeDelta = TimeDelta::seconds(1);
/// How long the end waits for looks at files.
const LAST_LOOKS: Duration = Duration::from_secs(1);

/// What a supervisor is started from.
pub struct Options {
    /// What is configured.
    pub settings: Settings,
    /// The agents to run; others of the config are left out.
    pub agents: BTreeSet<AgentName>,
    /// Agents of the config that other processes run: work can be left for them.
    pub elsewhere: BTreeSet<AgentName>,
    /// A library in the agents folder that is nobody's becomes an agent.
    pub discover: bool,
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
    reports: mpsc::Receiver<(InstanceId, Report)>,
    reporter: mpsc::Sender<(InstanceId, Report)>,
    asks: mpsc::Receiver<Ask>,
    instances: JoinSet<()>,
    /// Which instance each of these tasks is.
    tasks: HashMap<Id, InstanceId>,
    /// Whose instance each is.
    whose: HashMap<InstanceId, AgentName>,
    next_instance: InstanceId,
    /// Looks at files, and answers that wait.
    beside: JoinSet<Done>,
    sightings: mpsc::Receiver<Sighting>,
    watch: Option<Watch>,
    team: watch::Sender<library::watch::Watched>,
    known: Known,
    /// The agents folder.
    libraries: PathBuf,
    /// What agents that are discovered later are made from.
    settings: Settings,
    /// What is known of each from before.
    saved: BTreeMap<String, String>,
    workspace: PathBuf,
    /// Who keeps the leads, before it runs; none where this process alone has the database.
    keeper: Option<leads::Keeper>,
    /// Names it agents; it gives all leads back once this is gone.
    wanted: Option<mpsc::UnboundedSender<AgentName>>,
    lead_changes: mpsc::Receiver<leads::Changed>,
    /// Whose record is being read.
    reading: BTreeSet<AgentName>,
    /// By how much the wall clock had been set when its times were last moved.
    step: TimeDelta,
    changed: watch::Sender<u64>,
    /// The daemon ends: nothing is started any more.
    ending: bool,
}

impl Supervisor {
    /// Takes up what is known of each agent. Nothing is started before [`run`](Self::run).
    ///
    /// # Errors
    /// The store cannot be read, or an agent's working folder cannot be made.
    pub async fn new(options: Options) -> Result<(Self, Handle), Error> {
        let Options { settings, agents, elsewhere, discover, libraries, workspace, around } = options;
        let now = around.clock.now();
        let saved = around.store.records().await?.into_iter().collect();
        let (team, known) = crate::known::new(elsewhere);
        let (teller, sightings) = mpsc::channel(INBOX);
        let watched = library::watch::Options {
            agents: libraries.clone(),
            settle: settings.libraries.settle,
            discover,
        };
        let watch = Watch::new(watched, around.libraries.clone(), team.subscribe(), teller);
        let daemon = &settings.daemon;
        let (reporter, reports) = mpsc::channel(INBOX);
        let (asker, asks) = mpsc::channel(INBOX);
        let (changed, changes) = watch::channel(0);
        let handle = Handle::new(asker, changes, known.clone());
        let (wanted, naming) = mpsc::unbounded_channel();
        let (teller_of_leads, lead_changes) = mpsc::channel(INBOX);
        let (teller_of_time, led_until) = watch::channel(None);
        let around = Surroundings { led_until, ..around };
        let graces =
            settings.agents.values().map(|agent| agent.supervision(&settings.supervision).kill_grace);
        let longest = graces.max().unwrap_or(settings.supervision.kill_grace);
        let keeper = around.store.shared().then(|| leads::Keeper {
            store: around.store.clone(),
            clock: around.clock,
            leads: Leads::new(
                daemon.lead,
                longest,
                // In one order whatever each configuration says: who has the first goes on to the others.
                settings.groups.values().map(|group| sorted(&group.agents)).collect(),
            ),
            proxied: settings.database.proxied,
            claimed_at: tokio::time::Instant::now(),
            looked_at: tokio::time::Instant::now(),
            wanted: naming,
            changes: teller_of_leads,
            led_until: teller_of_time,
        });
        let mut supervisor = Self {
            slots: BTreeMap::new(),
            groups: settings.groups.values().cloned().collect(),
            budget: Budget::new(daemon.restart_budget, daemon.restart_refill, now),
            drain_timeout: daemon.drain_timeout,
            step: around.clock.step(),
            around,
            reports,
            reporter,
            asks,
            instances: JoinSet::new(),
            tasks: HashMap::new(),
            whose: HashMap::new(),
            next_instance: 0,
            beside: JoinSet::new(),
            sightings,
            watch: Some(watch),
            team,
            known,
            libraries,
            settings,
            saved,
            workspace,
            wanted: keeper.is_some().then_some(wanted),
            keeper,
            lead_changes,
            reading: BTreeSet::new(),
            changed,
            ending: false,
        };
        for name in agents {
            let agent = supervisor.settings.agents.get(&name).cloned().unwrap_or_default();
            supervisor.add(name, &agent)?;
        }
        supervisor.publish();
        Ok((supervisor, handle))
    }

    /// Takes up an agent.
    fn add(&mut self, name: AgentName, agent: &Agent) -> Result<(), Error> {
        let config = agent.supervision(&self.settings.supervision);
        let now = self.around.clock.now();
        let saved = self.saved.remove(name.as_str());
        // Where names are led, what is known of an agent is read once it is led here.
        let (record, lead) = match &self.wanted {
            None => (leads::read(saved.as_deref(), &config, now), Lead::Ours),
            Some(wanted) => {
                // Its keeper outlives this.
                let _ = wanted.send(name.clone());
                (Record::new(now), Lead::Elsewhere)
            }
        };
        let configured = agent.library_file(&name);
        let source = Source {
            // Joining an absolute path gives that path.
            path: self.libraries.join(&configured),
            configured,
            auto: config.reload == settings::Reload::Auto,
            trust: Trust::of(config.trust, &agent.pins, &self.settings.libraries.keys),
        };
        let workspace = self.workspace.join(name.as_str());
        std::fs::create_dir_all(&workspace)
            .map_err(|source| Error::Workspace { path: workspace.clone(), source: Arc::new(source) })?;
        let (store, clock) = (self.around.store.clone(), self.around.clock);
        let rates = config.rates.clone();
        let admission = Admission::new(name.clone(), agent.grants.clone(), rates, store, clock);
        let assignment = Assignment {
            admission: Arc::new(admission),
            name: name.clone(),
            library: PathBuf::new(),
            shown: source.path.clone(),
            config,
            grants: agent.grants.clone(),
            settings: Value::Object(agent.settings.clone()),
            workspace,
            known: self.known.clone(),
        };
        // Every agent is in a group: one that is in none is its own.
        if !self.groups.iter().any(|group| group.agents.contains(&name)) {
            self.groups.push(Group { strategy: Strategy::OneForOne, agents: vec![name.clone()] });
        }
        self.slots.insert(name, Slot::new(assignment, source, record, lead));
        Ok(())
    }

    /// Tells everybody who there is.
    fn publish(&self) {
        let team = self.slots.iter().map(|(name, slot)| (name.clone(), slot.source.configured.clone()));
        self.team.send_replace(Arc::new(team.collect()));
    }

    /// A library in the agents folder that is nobody's.
    fn discovered(&mut self, name: AgentName, file: PathBuf) {
        // One that is configured but was not named on the command line, or is switched off, is somebody's.
        if self.ending || self.slots.contains_key(&name) || self.settings.agents.contains_key(&name) {
            return;
        }
        tracing::info!(agent = %name, file = %file.display(), "a new agent is discovered");
        match self.add(name.clone(), &Agent { library: Some(file), ..Agent::default() }) {
            Ok(()) => {
                self.publish();
                self.look(&name, Why::Boot);
            }
            Err(error) => tracing::warn!(agent = %name, %error, "it cannot be taken up"),
        }
    }

    /// Runs until a shutdown has been asked for and every host has ended.
    pub async fn run(mut self) {
        let mut watching = JoinSet::new();
        if let Some(watch) = self.watch.take() {
            watching.spawn(watch.run());
        }
        let mut keeping = JoinSet::new();
        if let Some(keeper) = self.keeper.take() {
            keeping.spawn(keeper.run());
        }
        for name in self.slots.keys().cloned().collect::<Vec<_>>() {
            self.look(&name, Why::Boot);
        }
        while !(self.ending && self.slots.values().all(|slot| !slot.lives())) {
            reach(Boundary::SupervisorTurn).await;
            self.follow_the_clock();
            let due = self.next_due();
            let clock = self.around.clock;
            let alarm = async {
                match due {
                    Some(at) => tokio::time::sleep_until(clock.alarm(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((id, report)) = self.reports.recv() => self.reported(id, report),
                Some(done) = self.beside.join_next() => self.looked_at(done),
                Some(sighting) = self.sightings.recv(), if !self.ending => self.sighted(sighting),
                Some(change) = self.lead_changes.recv() => self.lead_changed(change),
                Some(ask) = self.asks.recv() => self.asked(ask),
                Some(ended) = self.instances.join_next_with_id() => self.instance_ended(ended),
                Some(ended) = watching.join_next(), if !self.ending => {
                    tracing::error!(?ended, "a defect of the daemon: the agents folder is not watched any more; `openclaw agents reload` still looks");
                }
                () = alarm => self.due(),
            }
        }
        // No host is left: whoever stands by need not wait, once what is known of them is stored. What is told meanwhile is
        // of no use.
        let _ = tokio::time::timeout(LAST_LOOKS, self.around.store.renew(Vec::new())).await;
        self.wanted = None;
        tokio::select! {
            Some(_) = keeping.join_next() => {}
            () = async { while self.lead_changes.recv().await.is_some() {} } => {}
            else => {}
        }
        let _ =
            tokio::time::timeout(LAST_LOOKS, async { while self.instances.join_next().await.is_some() {} })
                .await;
        // What was learned of a library is not lost, unless the disk hangs.
        let rest = async { while self.beside.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_LOOKS, rest).await;
    }

    fn looked_at(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(done) => self.done(done),
            Err(error) => tracing::error!(%error, "a defect of the daemon: looking at a library failed"),
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Status(reply) => {
                let libraries = &self.around.libraries;
                let _ = reply.send(self.slots.values().map(|slot| slot.status(libraries)).collect());
            }
            Ask::Count { name, reply } => {
                if let Some(slot) = self.slots.get(&name) {
                    slot.assignment.admission.leave(false);
                }
                let _ = reply.send(());
            }
            Ask::Do { name, event, reply } => {
                let Some(slot) = self.slots.get(name.as_str()).filter(|_| !self.ending) else {
                    let error = if self.ending { Error::Gone } else { handle::missing(&self.known, &name) };
                    let _ = reply.send(Err(error));
                    return;
                };
                if let Some(why) = slot.stands_by() {
                    let _ = reply.send(Err(slot.refusal(why)));
                    return;
                }
                // Without a library there may be one by now.
                match &event {
                    Event::Start { actor }
                    | Event::Restart { actor, .. }
                    | Event::CloseBreaker { actor, .. }
                        if !slot.is_known()
                            || slot.record.library.current.is_none() && !slot.record.state.has_host() =>
                    {
                        self.look(&name, Why::Start { actor: actor.clone(), event, reply });
                    }
                    _ => {
                        self.decide(&name, event);
                        self.move_on();
                        let _ = reply.send(Ok(()));
                    }
                }
            }
            // A reply that is dropped says that the daemon ends, or that there is no such agent.
            Ask::Reload { name, actor, reply } if !self.ending => {
                self.look(&name, Why::Asked { actor, reply });
            }
            Ask::Rollback { name, to, actor, reply } if !self.ending => {
                self.look_back(name, to, actor, reply);
            }
            Ask::Reload { .. } | Ask::Rollback { .. } => {}
            Ask::Shutdown(reply) => {
                self.ending = true;
                for name in self.slots.keys().cloned().collect::<Vec<_>>() {
                    self.decide(&name, Event::Withdraw { why: "the daemon stops".into() });
                }
                self.move_on();
                let _ = reply.send(());
            }
        }
    }

    fn due(&mut self) {
        self.follow_the_clock();
        let now = self.around.clock.now();
        let is_due = |slot: &Slot| {
            self.has_moments(slot)
                && policy::next_due(&slot.record, &slot.assignment.config).is_some_and(|at| at <= now)
        };
        let mut due: Vec<_> = self.slots.iter().filter(|(_, slot)| is_due(slot)).collect();
        // Who is down comes before who serves and is to be replaced.
        due.sort_by_key(|(_, slot)| slot.record.reload.is_some());
        let due: Vec<_> = due.into_iter().map(|(name, _)| name.clone()).collect();
        for name in due {
            self.decide(&name, Event::Due);
        }
        self.move_on();
    }

    fn next_due(&self) -> Option<Time> {
        let slots = self.slots.values().filter(|slot| self.has_moments(slot));
        slots.filter_map(|slot| policy::next_due(&slot.record, &slot.assignment.config)).min()
    }

    /// While the daemon ends, nothing is started: only hosts that are still there have moments to come. Nor before
    /// its library has been looked at.
    fn has_moments(&self, slot: &Slot) -> bool {
        let has_host = slot.record.state.has_host();
        has_host || slot.is_known() && !self.ending
    }

    /// Whatever one agent did may make it another one's turn to start or to stop.
    fn move_on(&mut self) {
        if self.ending {
            self.stop_whose_turn_it_is();
        } else {
            self.take_up_what_was_won();
            self.offer();
            self.start_whose_turn_it_is();
        }
    }

    fn start_whose_turn_it_is(&mut self) {
        loop {
            let state = |name: &AgentName| self.slots.get(name).map(|slot| &slot.record.state);
            let waits = |name: &&AgentName| {
                let known = self.slots.get(name.as_str()).is_some_and(Slot::is_known);
                known
                    && matches!(
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

    /// Moves every time that it knows along with a wall clock that was set: waits and deadlines stay as long as they are.
    fn follow_the_clock(&mut self) {
        let step = self.around.clock.step();
        let by = step - self.step;
        // A clock that is only slowed down or sped up is left behind by so much.
        if by.abs() < STEP {
            return;
        }
        self.step = step;
        tracing::warn!("the wall clock was set by {} s: waits stay as long as they are", by.num_seconds());
        self.budget.shift(by);
        for slot in self.slots.values_mut() {
            slot.shift(by);
        }
        self.changed.send_modify(|count| *count += 1);
    }

    fn decide(&mut self, name: &AgentName, event: Event) {
        self.follow_the_clock();
        let Some(slot) = self.slots.get_mut(name) else { return };
        // A trip could start a predecessor.
        if self.ending && matches!(event, Event::TaskEnded { .. }) {
            return;
        }
        let ended = matches!(event, Event::HostExited { .. } | Event::Refused { .. });
        if self.ending && ended && !slot.is_on_its_way_out() {
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
}

/// For those who ask and wait.
pub(crate) type Reply<T> = oneshot::Sender<T>;

fn sorted(agents: &[AgentName]) -> Vec<AgentName> {
    let mut agents = agents.to_vec();
    agents.sort();
    agents
}
