//! The store's one task: turns what arrived meanwhile into a batch, has it carried out, and tells everybody.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Error;
use crate::backend::{Applied, Backend, Batch, Claimant, MemoryChange, NewEvent, Order};
use crate::task::{Completion, Ended, LeasedTask, NewTask, Outcome, Submitted, TaskId};

/// The most that may wait to be stored, in KiB; a sender beyond it waits.
const ROOM_KIB: usize = 64 * 1024;
/// Events that wait for a database which cannot be written; the oldest give way.
const HELD_EVENTS: usize = 1024;
/// People and programs that wait for the end of a task.
const MAX_WATCHERS: usize = 65_536;
/// Pause before a failed batch is tried again, and between proofs that the database is still away.
const RETRY: Duration = Duration::from_millis(250);
/// Between two prunings.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// How the store is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a worker owns a task without renewing.
    pub lease: Duration,
    /// The most tasks that may wait for one agent.
    pub max_queued: u32,
    /// How long ended tasks, outcomes and events are kept.
    pub keep: Duration,
    /// How many of each are kept at the most.
    pub keep_rows: u32,
}

/// What the store last proved.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// When a transaction was last committed.
    pub committed_at: DateTime<Utc>,
    /// Why the last one failed, if it did.
    pub error: Option<String>,
    /// Results that wait to be stored.
    pub held: usize,
}

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A submission on its way in.
pub(crate) struct Submission {
    pub task: NewTask,
    pub reply: Reply<Submitted>,
    pub watch: Option<oneshot::Sender<Ended>>,
}

/// Leases to renew, and who is told which of them are lost.
pub(crate) type Renewal = (Vec<(TaskId, i64)>, oneshot::Sender<Vec<TaskId>>);

/// What has arrived and is not yet in a batch.
#[derive(Default)]
pub(crate) struct Pending {
    pub submissions: Vec<Submission>,
    pub completions: Vec<Completion>,
    pub orders: Vec<(Order, Reply<AgentName>)>,
    pub memory: Vec<(MemoryChange, Reply<()>)>,
    pub renewals: Vec<Renewal>,
    pub watches: Vec<(TaskId, oneshot::Sender<Ended>)>,
    pub lanes: Vec<LaneOp>,
    pub events: VecDeque<NewEvent>,
    pub records: HashMap<AgentName, String>,
    pub flushes: Vec<oneshot::Sender<()>>,
    pub closing: bool,
}

/// What a consumer wants of its lane.
pub(crate) enum LaneOp {
    Attach(AgentName, mpsc::Sender<LeasedTask>),
    Credit(AgentName, u32),
    Withdraw(AgentName, oneshot::Sender<()>),
}

/// Where others leave what is to be stored. Never blocks; submissions wait for room before they come.
pub(crate) struct Inbox {
    pending: Mutex<Pending>,
    wake: Notify,
    pub room: Semaphore,
}

impl Inbox {
    pub fn new() -> Self {
        Self { pending: Mutex::default(), wake: Notify::new(), room: Semaphore::new(ROOM_KIB) }
    }

    /// Leaves something, and wakes the engine.
    pub fn put(&self, add: impl FnOnce(&mut Pending)) {
        add(&mut self.lock());
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Each change is one push, so a poisoned lock is still good.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// Adds an event; the oldest gives way when the database has been away for long.
    pub fn event(&mut self, event: NewEvent) {
        if self.events.len() >= HELD_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// What could not be stored yet and must not be lost; bounded by the leases, `HELD_EVENTS` and the agents.
#[derive(Default)]
struct Held {
    completions: Vec<Completion>,
    events: VecDeque<NewEvent>,
    records: HashMap<AgentName, String>,
}

impl Held {
    /// Adds what came later: newer records win, the oldest events give way.
    fn add(
        &mut self,
        completions: Vec<Completion>,
        events: impl IntoIterator<Item = NewEvent>,
        records: impl IntoIterator<Item = (AgentName, String)>,
    ) {
        self.completions.extend(completions);
        self.events.extend(events);
        self.events.drain(..self.events.len().saturating_sub(HELD_EVENTS));
        self.records.extend(records);
    }
}

/// An agent's wish for tasks: it gets one per credit.
struct Lane {
    tasks: mpsc::Sender<LeasedTask>,
    credit: u32,
    /// Whether a claim may find something: set by whatever adds or frees a task, cleared by a claim that found less
    /// than it asked for.
    ready: bool,
}

pub(crate) struct Engine {
    backend: Arc<dyn Backend>,
    inbox: Arc<Inbox>,
    options: Options,
    claimant: Claimant,
    health: watch::Sender<Health>,
    lanes: HashMap<AgentName, Lane>,
    watchers: HashMap<TaskId, Vec<oneshot::Sender<Ended>>>,
    waiting: HashMap<AgentName, u32>,
    held: Held,
    next_due: Option<DateTime<Utc>>,
    sweep_at: Instant,
    prune_at: Instant,
    retry_at: Option<Instant>,
}

impl Engine {
    /// Recovers what an earlier life left, and is then ready to run.
    pub async fn start(
        backend: Arc<dyn Backend>,
        inbox: Arc<Inbox>,
        options: Options,
    ) -> Result<(Self, watch::Receiver<Health>), Error> {
        let claimant = Claimant { owner: Uuid::now_v7().to_string(), lease: options.lease };
        let now = Utc::now();
        backend.recover(&claimant, now).await?;
        let mut waiting = HashMap::new();
        for (queue, depth) in backend.depths().await? {
            if let Ok(name) = queue.parse() {
                waiting.insert(name, depth.queued);
            }
        }
        let next_due = backend.next_due(now).await?;
        let (health, watched) = watch::channel(Health { committed_at: now, error: None, held: 0 });
        let engine = Self {
            sweep_at: Instant::now() + options.lease / 3,
            prune_at: Instant::now() + PRUNE_EVERY,
            lanes: HashMap::new(),
            watchers: HashMap::new(),
            held: Held::default(),
            retry_at: None,
            backend,
            inbox,
            options,
            claimant,
            health,
            waiting,
            next_due,
        };
        Ok((engine, watched))
    }

    /// Runs until the store is closed and everything that came before is stored, or cannot be.
    pub async fn run(mut self) {
        loop {
            self.wait().await;
            let arrived = std::mem::take(&mut *self.inbox.lock());
            let closing = arrived.closing;
            self.turn(arrived).await;
            if closing {
                break;
            }
        }
        self.backend.close().await;
    }

    async fn wait(&self) {
        let due = self.next_due.map(|at| {
            let left = (at - Utc::now()).to_std().unwrap_or_default();
            Instant::now() + left
        });
        // While the database is away, only the retry matters: a claim would fail as well.
        let alarm = match self.retry_at {
            Some(at) => at,
            None => [Some(self.sweep_at), Some(self.prune_at), due]
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
    async fn turn(&mut self, mut arrived: Pending) {
        let now = Utc::now();
        self.lanes_changed(std::mem::take(&mut arrived.lanes));
        for (id, watcher) in std::mem::take(&mut arrived.watches) {
            self.watch(id, watcher);
        }
        self.refuse_what_is_too_much(&mut arrived);
        self.wake_due(now).await;
        let batch = self.batch(&mut arrived, now);
        if batch.is_empty() {
            told(arrived.flushes);
            return;
        }
        match self.backend.apply(&batch, &self.claimant, now).await {
            Ok(applied) => self.committed(batch, arrived, applied, now).await,
            Err(error) => self.failed(batch, arrived, error),
        }
    }

    fn batch(&mut self, arrived: &mut Pending, now: DateTime<Utc>) -> Batch {
        self.held.add(
            std::mem::take(&mut arrived.completions),
            std::mem::take(&mut arrived.events),
            std::mem::take(&mut arrived.records),
        );
        // While the database is away, what is held is tried once per `RETRY`, not with each arrival.
        let retry_due = self.retry_at.is_some_and(|at| at <= Instant::now());
        let store_held = self.retry_at.is_none() || retry_due || arrived.closing;
        let held = if store_held { std::mem::take(&mut self.held) } else { Held::default() };
        let mut batch = Batch {
            completions: held.completions,
            events: held.events.into(),
            records: held.records.into_iter().collect(),
            orders: arrived.orders.iter().map(|(order, _)| order.clone()).collect(),
            submissions: arrived.submissions.iter().map(|s| s.task.clone()).collect(),
            renewals: arrived.renewals.iter().flat_map(|(leases, _)| leases.iter().copied()).collect(),
            memory: arrived.memory.iter().map(|(change, _)| change.clone()).collect(),
            proof: retry_due,
            ..Batch::default()
        };
        if self.sweep_at <= Instant::now() {
            self.sweep_at = Instant::now() + self.options.lease / 3;
            batch.sweep = true;
        }
        if self.prune_at <= Instant::now() {
            self.prune_at = Instant::now() + PRUNE_EVERY;
            batch.prune = Some((now - self.options.keep, self.options.keep_rows));
        }
        self.mark_ready(&batch);
        if self.retry_at.is_none() {
            let hungry = self.lanes.iter().filter(|(_, lane)| lane.ready && lane.credit > 0);
            batch.claims = hungry.map(|(queue, lane)| (queue.clone(), lane.credit)).collect();
        }
        batch
    }

    /// What the batch adds or frees can be claimed in the same transaction.
    fn mark_ready(&mut self, batch: &Batch) {
        let mut touched = |queue: &AgentName| {
            if let Some(lane) = self.lanes.get_mut(queue) {
                lane.ready = true;
            }
        };
        for completion in &batch.completions {
            touched(&completion.agent);
            if let Outcome::Done { follow_ups, .. } = &completion.outcome {
                follow_ups.iter().for_each(|task| touched(&task.queue));
            }
        }
        batch.submissions.iter().for_each(|task| touched(&task.queue));
        if batch.sweep {
            self.lanes.values_mut().for_each(|lane| lane.ready = true);
        }
    }

    async fn committed(&mut self, batch: Batch, arrived: Pending, applied: Applied, now: DateTime<Utc>) {
        self.retry_at = None;
        let recovered = self.health.borrow().error.is_some();
        if recovered {
            tracing::info!("the database can be written again");
            self.lanes.values_mut().for_each(|lane| lane.ready = true);
            self.inbox.wake.notify_one();
        }
        self.health.send_replace(Health { committed_at: now, error: None, held: 0 });
        for id in &applied.stale {
            tracing::warn!(task = %id, "a result came after its lease was lost and was refused");
        }
        self.schedule(&batch, now);
        let submissions =
            std::mem::take(&mut batch.submissions.into_iter().map(|t| t.queue).collect::<Vec<_>>());
        for ((submission, submitted), queue) in
            arrived.submissions.into_iter().zip(applied.submitted).zip(submissions)
        {
            if !submitted.existing {
                *self.waiting.entry(queue).or_default() += 1;
            }
            if let Some(watcher) = submission.watch {
                self.watch_submitted(submitted, watcher).await;
            }
            let _ = submission.reply.send(Ok(submitted));
        }
        for queue in applied.followed {
            *self.waiting.entry(queue).or_default() += 1;
        }
        for ((order, reply), done) in arrived.orders.into_iter().zip(applied.orders) {
            if let (Order::Retry(_), Ok(queue)) = (&order, &done) {
                *self.waiting.entry(queue.clone()).or_default() += 1;
            }
            if let Some(lane) = done.as_ref().ok().and_then(|queue| self.lanes.get_mut(queue)) {
                lane.ready = true;
                // The order was carried out before this turn's claims, but only the next turn's know of it.
                self.inbox.wake.notify_one();
            }
            let _ = reply.send(done);
        }
        arrived.memory.into_iter().for_each(|(_, reply)| drop(reply.send(Ok(()))));
        for (leases, reply) in arrived.renewals {
            let _ = reply
                .send(leases.into_iter().map(|(id, _)| id).filter(|id| applied.lost.contains(id)).collect());
        }
        for (queue, ended) in applied.ended {
            let waiting = self.waiting.entry(queue).or_default();
            *waiting = waiting.saturating_sub(1);
            for watcher in self.watchers.remove(&ended.id).unwrap_or_default() {
                let _ = watcher.send(ended.clone());
            }
        }
        if applied.swept {
            self.lanes.values_mut().for_each(|lane| lane.ready = true);
        }
        self.hand_out(&batch.claims, applied.claimed);
        told(arrived.flushes);
    }

    /// Gives the leased tasks to their consumers.
    fn hand_out(&mut self, claims: &[(AgentName, u32)], claimed: Vec<LeasedTask>) {
        let mut got: HashMap<AgentName, u32> = HashMap::new();
        for task in claimed {
            *got.entry(task.queue.clone()).or_default() += 1;
            let Some(lane) = self.lanes.get_mut(&task.queue) else { continue };
            lane.credit = lane.credit.saturating_sub(1);
            // The channel holds more than the largest credit, so this is a consumer that is gone.
            if let Err(error) = lane.tasks.try_send(task) {
                self.held.completions.push(released(error.into_inner()));
                self.inbox.wake.notify_one();
            }
        }
        for (queue, asked) in claims {
            if let Some(lane) = self.lanes.get_mut(queue) {
                lane.ready = got.get(queue).copied().unwrap_or(0) >= *asked;
            }
        }
    }

    /// Nothing was stored. Results wait; whoever asked for something is told.
    fn failed(&mut self, batch: Batch, arrived: Pending, error: Error) {
        if self.health.borrow().error.is_none() {
            tracing::error!(%error, "nothing can be stored; results wait, new tasks are refused");
        }
        let since = std::mem::take(&mut self.held);
        self.held.add(batch.completions, batch.events, batch.records);
        self.held.add(since.completions, since.events, since.records);
        // Those wait for the retry.
        self.retry_at = Some(Instant::now() + RETRY);
        let committed_at = self.health.borrow().committed_at;
        self.health.send_replace(Health {
            committed_at,
            error: Some(error.to_string()),
            held: self.held.completions.len(),
        });
        arrived.submissions.into_iter().for_each(|s| drop(s.reply.send(Err(error.clone()))));
        arrived.orders.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
        arrived.memory.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
        // Leases are kept while nobody can take them: an unanswered renewal changes nothing.
        arrived.renewals.into_iter().for_each(|(_, reply)| drop(reply.send(Vec::new())));
        told(arrived.flushes);
    }

    fn refuse_what_is_too_much(&mut self, arrived: &mut Pending) {
        let max = self.options.max_queued;
        let mut coming: HashMap<AgentName, u32> = HashMap::new();
        let (fits, beyond) = std::mem::take(&mut arrived.submissions).into_iter().partition(|submission| {
            let queue = &submission.task.queue;
            let waiting = self.waiting.get(queue).copied().unwrap_or(0);
            let more = coming.entry(queue.clone()).or_default();
            *more += 1;
            waiting + *more <= max
        });
        arrived.submissions = fits;
        for submission in beyond {
            let queue = submission.task.queue.to_string();
            let _ = submission.reply.send(Err(Error::QueueFull { queue, waiting: max }));
        }
    }

    async fn wake_due(&mut self, now: DateTime<Utc>) {
        if self.next_due.is_some_and(|at| at <= now) {
            self.lanes.values_mut().for_each(|lane| lane.ready = true);
            // What is due now is claimed now; the next one counts from here. A read that fails is asked again soon.
            self.next_due = self.backend.next_due(now).await.unwrap_or(Some(now + RETRY));
        }
    }

    /// Remembers when the first of what now waits for its time is due.
    fn schedule(&mut self, batch: &Batch, now: DateTime<Utc>) {
        let retries = batch.completions.iter().filter_map(|completion| match &completion.outcome {
            Outcome::Failed { retry_at, .. } => *retry_at,
            _ => None,
        });
        let later = batch.submissions.iter().filter_map(|task| task.run_at);
        let first = retries.chain(later).filter(|at| *at > now).min();
        self.next_due = [self.next_due, first].into_iter().flatten().min();
    }

    fn lanes_changed(&mut self, ops: Vec<LaneOp>) {
        for op in ops {
            match op {
                LaneOp::Attach(queue, tasks) => {
                    self.lanes.insert(queue, Lane { tasks, credit: 0, ready: true });
                }
                LaneOp::Credit(queue, more) => {
                    if let Some(lane) = self.lanes.get_mut(&queue) {
                        lane.credit += more;
                    }
                }
                LaneOp::Withdraw(queue, reply) => {
                    if let Some(lane) = self.lanes.get_mut(&queue) {
                        lane.credit = 0;
                        lane.ready = true;
                    }
                    let _ = reply.send(());
                }
            }
        }
    }

    fn watch(&mut self, id: TaskId, watcher: oneshot::Sender<Ended>) {
        if self.watchers.len() >= MAX_WATCHERS {
            self.watchers.retain(|_, watchers| {
                watchers.retain(|watcher| !watcher.is_closed());
                !watchers.is_empty()
            });
        }
        if self.watchers.len() < MAX_WATCHERS {
            self.watchers.entry(id).or_default().push(watcher);
        }
    }

    /// A deduplicated submission may be of a task that has ended long ago.
    async fn watch_submitted(&mut self, submitted: Submitted, watcher: oneshot::Sender<Ended>) {
        if submitted.existing
            && let Ok(Some(task)) = self.backend.task(submitted.id).await
            && let Some(ended) = task.ended()
        {
            let _ = watcher.send(ended);
            return;
        }
        self.watch(submitted.id, watcher);
    }
}

/// A task that goes back untried.
pub(crate) fn released(task: LeasedTask) -> Completion {
    Completion {
        id: task.id,
        token: task.token,
        agent: task.queue,
        kind: task.kind,
        attempts: task.attempts,
        outcome: Outcome::Released,
        duration: Duration::ZERO,
    }
}

fn told(flushes: Vec<oneshot::Sender<()>>) {
    for reply in flushes {
        let _ = reply.send(());
    }
}
