//! The store's one task: turns what arrived meanwhile into a batch, has it carried out, and tells everybody.

mod answer;
mod bound;
mod others;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use tokio::sync::watch;
use tokio::time::Instant;

use self::others::Others;
use crate::Clock;
use crate::Error;
use crate::abroad::Abroad;
use crate::alert::{self, Report};
use crate::backend::{Backend, Batch, Claimant, Depth, NewEvent, NewHeartbeat, Record};
use crate::failpoint::{Boundary, reach};
use crate::inbox::{HELD_EVENTS, HELD_HEARTBEATS, Inbox, Pending};
use crate::lanes::Lanes;
use crate::tally::{self, Tally};
use crate::task::{Completion, NewTask, Outcome};
use crate::watchers::Watchers;

/// Pause before a failed batch is tried again, doubled each time in a row: proofs that the database is still away.
const RETRY: Duration = Duration::from_millis(250);
/// The longest such pause: whoever waits for the database to be back does not wait long.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Between two prunings.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Nothing is deleted for its age so soon after the clock that decides was set: it may be wrong.
pub(crate) const DELETED_AFTER: Duration = Duration::from_secs(3600);
/// The longest that the database may keep a turn before callers are refused rather than left to wait...
const PATIENCE: Duration = Duration::from_secs(3);
/// ...besides a second for so many bytes that the turn is to store: slower than any disk, and a debug build.
const BYTES_A_SECOND: usize = 4 << 20;
/// An idle store proves no oftener than this that it can write.
const IDLE_PROOF: TimeDelta = TimeDelta::seconds(10);
/// A wall clock that goes apart from the timers' by more than this between two turns was set, or the machine was suspended.
const JUMP: TimeDelta = TimeDelta::seconds(1);

/// How the store is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells this installation from others on the same database, the same in each of its lives.
    pub installation: String,
    /// How long a worker owns a task without renewing.
    pub lease: Duration,
    /// The most tasks that may wait for one agent.
    pub max_queued: u32,
    /// How long ended tasks, outcomes and events are kept.
    pub keep: Duration,
    /// How many of each are kept at the most.
    pub keep_rows: u32,
    /// An alert that comes back within this after it was over is the same one.
    pub cooldown: Duration,
    /// The daemon's.
    pub clock: Clock,
    /// What takes secrets out of tasks' errors and alerts.
    pub redact: Redact,
}

/// Takes secrets out of a text. By default it leaves all as it is.
#[derive(Clone)]
pub struct Redact(Arc<dyn Fn(&mut String) + Send + Sync>);

impl Redact {
    /// By this.
    pub fn by(redact: impl Fn(&mut String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(redact))
    }

    pub(crate) fn redact(&self, text: &mut String) {
        (self.0)(text);
    }
}

impl Default for Redact {
    fn default() -> Self {
        Self::by(|_| {})
    }
}

impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redact")
    }
}

/// What the store last proved.
#[derive(Clone, Debug)]
pub struct Health {
    /// When a transaction was last committed. Sweeps, prunings and the proofs of an idle store write a row each, so
    /// this says that the disk could be written then: at work every third of a lease at the latest, idle every third
    /// of a lease or every 10 s, whichever is rarer.
    pub committed_at: DateTime<Utc>,
    /// Why the last one failed, if it did.
    pub error: Option<String>,
    /// Results that wait to be stored.
    pub held: usize,
    /// The turn that the store is at, if it is.
    pub turn: Option<Turn>,
    /// Whether lookups were refused since all connections for them are in use, and still are. Work goes on.
    pub crowded: bool,
}

/// A turn of the store's, which ends when the database has answered all that it asks.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    since: Instant,
    overdue_at: Instant,
}

impl Turn {
    /// One that stores so many bytes.
    fn of(bytes: usize) -> Self {
        let since = Instant::now();
        let work = Duration::from_secs((bytes / BYTES_A_SECOND) as u64);
        Self { since, overdue_at: since + PATIENCE + work }
    }
}

impl Health {
    /// How long the database has kept the store from going on, where that is longer than it should be: then nothing
    /// more is taken on.
    pub fn overdue(&self) -> Option<Duration> {
        let turn = self.turn.filter(|turn| turn.overdue_at <= Instant::now())?;
        Some(turn.since.elapsed())
    }
}

/// What could not be stored yet and must not be lost; bounded by the leases, `HELD_EVENTS`,
/// `HELD_HEARTBEATS`, `HELD_REPORTS` and the agents.
#[derive(Default)]
struct Held {
    completions: Vec<Completion>,
    events: VecDeque<NewEvent>,
    heartbeats: VecDeque<NewHeartbeat>,
    reports: VecDeque<Report>,
    records: HashMap<AgentName, Record>,
    tally: Tally,
}

impl Held {
    /// Adds what came later: newer records win, the oldest events and heartbeats give way.
    fn add(
        &mut self,
        completions: Vec<Completion>,
        events: impl IntoIterator<Item = NewEvent>,
        heartbeats: impl IntoIterator<Item = NewHeartbeat>,
        reports: impl IntoIterator<Item = Report>,
        records: impl IntoIterator<Item = (AgentName, Record)>,
        tally: Tally,
    ) {
        self.completions.extend(completions);
        self.events.extend(events);
        self.events.drain(..self.events.len().saturating_sub(HELD_EVENTS));
        self.heartbeats.extend(heartbeats);
        self.heartbeats.drain(..self.heartbeats.len().saturating_sub(HELD_HEARTBEATS));
        reports.into_iter().for_each(|report| alert::add(&mut self.reports, report));
        self.records.extend(records);
        tally::add(&mut self.tally, tally);
    }
}

pub(crate) struct Engine {
    clock: Clock,
    backend: Arc<dyn Backend>,
    inbox: Arc<Inbox>,
    options: Options,
    claimant: Claimant,
    health: watch::Sender<Health>,
    lanes: Lanes,
    watchers: Watchers,
    /// Tasks of each agent that have not ended.
    waiting: HashMap<AgentName, u32>,
    held: Held,
    /// A batch of which nobody knows whether it is stored.
    doubt: Option<Box<Batch>>,
    others: Others,
    abroad: Arc<Abroad>,
    next_due: Option<DateTime<Utc>>,
    /// The last turn's time, by the wall clock and by the timers'.
    looked: (DateTime<Utc>, Instant),
    /// From when the wall clock was set back, before the backend knows.
    set_back: Option<DateTime<Utc>>,
    /// The last proof says nothing by this clock any more.
    unproved: bool,
    /// Whether a lease may be out: an idle store has nothing to sweep.
    lent: bool,
    sweep_at: Instant,
    prune_at: Instant,
    /// From when on what looks old is.
    ages_from: Instant,
    retry_at: Option<Instant>,
    retry: Duration,
}

impl Engine {
    /// Recovers what an earlier life left, and is then ready to run.
    pub async fn start(
        backend: Arc<dyn Backend>,
        inbox: Arc<Inbox>,
        options: Options,
        claimant: Claimant,
        abroad: Arc<Abroad>,
    ) -> Result<(Self, watch::Receiver<Health>), Error> {
        let clock = options.clock;
        let now = clock.now();
        if backend.recover(&claimant, now).await? > 0 {
            reach(Boundary::RecoverCommitted).await;
        }
        let depths = backend.depths().await?;
        let next_due = backend.next_due(now).await?;
        let (health, watched) =
            watch::channel(Health { committed_at: now, error: None, held: 0, turn: None, crowded: false });
        let mut engine = Self {
            clock,
            sweep_at: Instant::now() + options.lease / 3,
            prune_at: Instant::now() + PRUNE_EVERY,
            ages_from: Instant::now(),
            lanes: Lanes::default(),
            watchers: Watchers::default(),
            held: Held::default(),
            doubt: None,
            others: Others::new(),
            abroad,
            retry_at: None,
            retry: RETRY,
            backend,
            inbox,
            options,
            claimant,
            health,
            waiting: HashMap::new(),
            next_due,
            looked: (now, Instant::now()),
            set_back: None,
            unproved: false,
            lent: false,
        };
        engine.count(depths);
        Ok((engine, watched))
    }

    /// How many tasks wait for each agent: all that have not ended.
    fn count(&mut self, depths: Vec<(String, Depth)>) {
        let waiting =
            |(queue, depth): (String, Depth)| Some((queue.parse().ok()?, depth.queued + depth.leased));
        self.waiting = depths.into_iter().filter_map(waiting).collect();
    }

    /// Runs until the store is closed and everything that came before is stored, or cannot be.
    pub async fn run(mut self) {
        loop {
            self.wait().await;
            reach(Boundary::StoreTurn).await;
            let arrived = self.inbox.take();
            let closing = arrived.closing;
            self.turn(arrived).await;
            if closing {
                break;
            }
        }
        self.inbox.close();
        self.backend.close().await;
    }

    async fn wait(&self) {
        let due = self.next_due.map(|at| self.clock.alarm(at));
        // While the database is away, only the retry matters: a claim would fail as well.
        let alarm = match self.retry_at {
            Some(at) => at,
            None => [Some(self.sweep_at), Some(self.prune_at), due, self.next_poll()]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(self.sweep_at),
        };
        tokio::select! {
            () = self.inbox.wake.notified() => {}
            () = tokio::time::sleep_until(alarm) => {}
        }
    }

    /// One turn: a batch, its transaction, and everybody told.
    ///
    /// Its boundaries, at each of which the process may die ([`Boundary`]): taken from the inbox (nothing is durable, nobody was told)
    /// → the transaction, inside [`Backend::apply`] → committed and not told (who asked learns it by asking again with
    /// its key; what was leased is freed by the next life) → told.
    async fn turn(&mut self, mut arrived: Pending) {
        let now = self.clock.now();
        self.look_at_the_clock(now);
        let left = self.lanes.change(std::mem::take(&mut arrived.lanes));
        arrived.completions.extend(left.into_iter().map(Completion::released));
        self.hold(&mut arrived);
        self.at(Some(Turn::of(self.bytes(&arrived))));
        for (id, watcher) in std::mem::take(&mut arrived.watches) {
            self.watch(id, watcher).await;
        }
        let asked = std::mem::take(&mut arrived.asked);
        match self.settle_doubt(now).await {
            Ok(()) => self.store(arrived, now).await,
            Err(error) => self.failed(Batch::default(), arrived, error),
        }
        let held = self.held_results();
        self.health.send_if_modified(|health| {
            health.turn = None;
            std::mem::replace(&mut health.held, held) != held
        });
        for asker in asked {
            let _ = asker.send(());
        }
    }

    /// Where the wall clock was set or the machine suspended since the last turn, leases and waits look other than they are:
    /// those at work may renew before any lease counts as lost, and what is due is looked up anew.
    fn look_at_the_clock(&mut self, now: DateTime<Utc>) {
        let (wall, at) = std::mem::replace(&mut self.looked, (now, Instant::now()));
        // A turn is never so long ago that this does not fit.
        let expected = wall + TimeDelta::from_std(at.elapsed()).unwrap_or_default();
        if (now - expected).abs() > JUMP {
            tracing::info!(
                "the wall clock was set, or the machine suspended: no lease counts as lost before it could be renewed"
            );
            self.sweep_at = Instant::now() + self.options.lease;
            self.ages_from = Instant::now() + DELETED_AFTER;
            self.next_due = Some(now);
            self.unproved = true;
            if now < expected {
                self.set_back.get_or_insert(expected);
            }
        }
    }

    /// What must not be lost waits from now on.
    fn hold(&mut self, arrived: &mut Pending) {
        self.held.add(
            std::mem::take(&mut arrived.completions),
            std::mem::take(&mut arrived.events),
            std::mem::take(&mut arrived.heartbeats),
            std::mem::take(&mut arrived.reports),
            std::mem::take(&mut arrived.records),
            std::mem::take(&mut arrived.tally),
        );
    }

    async fn store(&mut self, mut arrived: Pending, now: DateTime<Utc>) {
        self.look_around(&mut arrived).await;
        self.wake_due(now).await;
        let batch = self.batch(&mut arrived, now).await;
        if batch.is_empty() {
            return;
        }
        taken(&batch).await;
        match self.backend.apply(&batch, &self.claimant, now).await {
            Ok(applied) => self.committed(batch, arrived, applied, now).await,
            Err(error @ Error::Doubtful(_)) => {
                self.doubt = Some(Box::new(batch));
                self.failed(Batch::default(), arrived, error);
            }
            Err(error) => self.failed(batch, arrived, error),
        }
    }

    /// Whoever looks sees it; nobody is woken by it.
    fn at(&self, turn: Option<Turn>) {
        self.health.send_if_modified(|health| {
            health.turn = turn;
            false
        });
    }

    /// How much there is to store.
    fn bytes(&self, arrived: &Pending) -> usize {
        let results = self.held.completions.iter().map(|completion| match &completion.outcome {
            Outcome::Done { result, follow_ups } => {
                result.len() + follow_ups.iter().map(|task| task.payload.len()).sum::<usize>()
            }
            _ => 0,
        });
        results.chain(arrived.submissions.iter().map(|submission| submission.task.payload.len())).sum()
    }

    async fn batch(&mut self, arrived: &mut Pending, now: DateTime<Utc>) -> Batch {
        // While the database is away, what is held is tried once per `RETRY`, not with each arrival.
        let retry_due = self.retry_at.is_some_and(|at| at <= Instant::now());
        let store_held = self.retry_at.is_none() || retry_due || arrived.closing;
        let mut held = if store_held { std::mem::take(&mut self.held) } else { Held::default() };
        let mut coming = HashMap::new();
        self.bound_follow_ups(&mut held.completions, &mut coming);
        self.refuse_what_is_too_much(arrived, coming).await;
        let mut batch = Batch {
            completions: held.completions,
            events: held.events.into(),
            heartbeats: held.heartbeats.into(),
            reports: held.reports.into(),
            records: held.records.into_iter().collect(),
            tally: held.tally,
            orders: arrived.orders.iter().map(|(order, _)| order.clone()).collect(),
            submissions: arrived.submissions.iter().map(|s| s.task.clone()).collect(),
            renewals: arrived.renewals.iter().flat_map(|(leases, _)| leases.iter().copied()).collect(),
            memory: arrived.memory.iter().map(|(change, _)| change.clone()).collect(),
            alerts: arrived.alerts.iter().map(|(change, _)| change.clone()).collect(),
            missions: arrived.missions.iter().map(|(change, _)| change.clone()).collect(),
            ledger: arrived.ledger.iter().map(|(entry, _)| entry.clone()).collect(),
            cooldown: TimeDelta::from_std(self.options.cooldown).unwrap_or(TimeDelta::zero()),
            proof: retry_due || std::mem::take(&mut self.unproved),
            ..Batch::default()
        };
        // While the database is away nobody can renew, so no lease is lost either.
        if self.retry_at.is_none() {
            self.tick(&mut batch, now);
        }
        if self.prune_at <= Instant::now() {
            self.prune_at = Instant::now() + PRUNE_EVERY;
            let before =
                if self.ages_from <= Instant::now() { now - self.options.keep } else { DateTime::UNIX_EPOCH };
            batch.prune = Some((before, self.options.keep_rows));
            batch.proof = true;
        }
        self.mark_ready(&batch);
        if self.retry_at.is_none() && !arrived.closing {
            batch.claims = self.lanes.claims();
        }
        batch
    }

    /// Each third of a lease: a sweep while leases are out, else a proof that the database can be written.
    fn tick(&mut self, batch: &mut Batch, now: DateTime<Utc>) {
        let (at, lease) = (Instant::now(), self.options.lease);
        if at < self.sweep_at {
            return;
        }
        if at > self.sweep_at + lease / 6 {
            // The whole daemon was paused, and those at work as well, perhaps: they may renew first.
            self.sweep_at = at + lease;
            return;
        }
        self.sweep_at = at + lease / 3;
        // Where others lease as well, anybody sweeps for all.
        batch.sweep = self.lent || self.backend.shared();
        batch.proof |= batch.sweep || (now - self.health.borrow().committed_at).abs() >= IDLE_PROOF;
    }

    /// What the batch adds or frees can be claimed in the same transaction.
    fn mark_ready(&mut self, batch: &Batch) {
        let freeing = batch.completions.iter().filter(|completion| completion.frees());
        freeing.for_each(|completion| self.lanes.touch(&completion.agent));
        added(batch).for_each(|task| self.lanes.touch(&task.queue));
        if batch.sweep {
            self.lanes.touch_all();
        }
    }

    async fn wake_due(&mut self, now: DateTime<Utc>) {
        if let Some(before) = self.set_back
            && self.backend.set_back(before, now).await.is_ok()
        {
            self.set_back = None;
            self.next_due = Some(now);
        }
        if self.next_due.is_some_and(|at| at <= now) {
            self.lanes.touch_all();
            // What is due now is claimed now; the next one counts from here. A read that fails is asked again soon.
            self.next_due = self.backend.next_due(now).await.unwrap_or(Some(now + RETRY));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Also when it is aborted or panics: nobody waits for an answer that cannot come.
        self.inbox.close();
    }
}

/// What a batch is about to store: nothing of it is.
async fn taken(batch: &Batch) {
    if !batch.completions.is_empty() {
        reach(Boundary::CompleteTaken).await;
    }
    if !batch.submissions.is_empty() {
        reach(Boundary::SubmitTaken).await;
    }
    if !batch.renewals.is_empty() {
        reach(Boundary::RenewTaken).await;
    }
}

/// The new tasks of a batch, follow-ups and messages about alerts too.
fn added(batch: &Batch) -> impl Iterator<Item = &NewTask> {
    let follow_ups = batch.completions.iter().flat_map(|completion| match &completion.outcome {
        Outcome::Done { follow_ups, .. } => follow_ups.as_slice(),
        _ => &[],
    });
    batch.submissions.iter().chain(follow_ups).chain(batch.messages())
}
