//! What others hold.

mod consumer;
mod leads;
mod lookups;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use openclaw_agent_api::AgentName;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::Error;
use crate::abroad::Abroad;
use crate::alert::{Change, Report};
use crate::backend::{Backend, Claimant, MemoryChange, NewEvent, NewHeartbeat, Order, Record};
use crate::engine::{Engine, Health, Options, Redact};
use crate::inbox::{Inbox, ROOM_KIB, Submission};
use crate::lanes::LaneOp;
use crate::ledger::{self, Entered, Entry};
use crate::mission;
use crate::tally::{self, Count, Tally};
use crate::task::{Completion, Ended, LeasedTask, NewTask, Outcome, Submitted, Task, TaskId};

pub use consumer::Consumer;

/// How often whoever waits looks whether the database still answers.
const LOOK: Duration = Duration::from_millis(250);
/// No lookup is waited for longer.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long what nobody waits for waits for a transaction to share.
const SOON: Duration = Duration::from_millis(5);

/// The store. Cheap to clone; all clones speak to one engine.
#[derive(Clone)]
pub struct Store {
    inbox: Arc<Inbox>,
    backend: Arc<dyn Backend>,
    health: watch::Receiver<Health>,
    claimant: Claimant,
    abroad: Arc<Abroad>,
    alerted: Arc<Notify>,
    redact: Redact,
    /// The agents that this process leads, and the token of each lead.
    leads: Arc<Mutex<HashMap<AgentName, i64>>>,
    /// The last lookup was refused: all connections for them were in use.
    crowded: Arc<AtomicBool>,
}

impl Store {
    /// Starts the engine over `backend`. The caller owns the returned task, which ends after [`Store::close`].
    ///
    /// # Errors
    /// When what an earlier life left cannot be recovered.
    pub async fn start(backend: Arc<dyn Backend>, options: Options) -> Result<(Self, JoinHandle<()>), Error> {
        let inbox = Arc::new(Inbox::new());
        let (installation, lease) = (options.installation.clone(), options.lease);
        let redact = options.redact.clone();
        let claimant = Claimant { installation, life: Uuid::now_v7(), lease };
        let abroad = Arc::new(Abroad::default());
        let (engine, health) =
            Engine::start(backend.clone(), inbox.clone(), options, claimant.clone(), abroad.clone()).await?;
        #[allow(clippy::disallowed_methods, reason = "the caller owns the handle")]
        let task = tokio::spawn(engine.run());
        let (leads, crowded) = (Arc::default(), Arc::default());
        let alerted = Arc::default();
        Ok((Self { inbox, backend, health, claimant, abroad, alerted, redact, leads, crowded }, task))
    }

    /// Why nothing more is taken on, if so: the database keeps the store.
    fn stands(&self) -> Option<String> {
        let overdue = self.health.borrow().overdue()?;
        Some(format!("it has not answered for {} s", overdue.as_secs()))
    }

    /// Where the database keeps the store, nobody else is let wait for it.
    fn goes(&self) -> Result<(), Error> {
        self.stands().map_or(Ok(()), |why| Err(Error::Away(why)))
    }

    /// Waits as long as the database answers; else answers why it is waited for no longer.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep(LOOK) => if let Some(why) = self.stands() { return Err(why) },
            }
        }
    }

    /// An answer of the engine's to what was left for it.
    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        match self.patiently(answer).await {
            Ok(answer) => answer.map_err(|_| Error::Closed)?,
            Err(why) => Err(Error::Doubtful(why)),
        }
    }

    async fn look_up<T>(&self, lookup: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.goes()?;
        let found = match timeout(LOOKUP, self.patiently(lookup)).await {
            Ok(found) => found.map_err(Error::Away).flatten(),
            Err(_) => Err(Error::Away(format!("no answer within {} s", LOOKUP.as_secs()))),
        };
        match &found {
            Err(Error::Busy) => self.crowded.store(true, Ordering::Relaxed),
            Ok(_) => self.crowded.store(false, Ordering::Relaxed),
            Err(_) => {}
        }
        found
    }

    /// Stores a task; durable when this returns. Where the database does not answer, this says so after some seconds.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::Full`], [`Error::Database`], [`Error::Away`], [`Error::Down`]: nothing was stored.
    /// [`Error::Doubtful`]: it may be, and its id or dedupe key tells when it is submitted again.
    pub async fn submit(&self, task: NewTask) -> Result<Submitted, Error> {
        self.submission(task, None).await
    }

    /// Stores a task; the second value resolves when it has ended.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_and_watch(
        &self,
        task: NewTask,
    ) -> Result<(Submitted, oneshot::Receiver<Ended>), Error> {
        let (watch, ended) = oneshot::channel();
        Ok((self.submission(task, Some(watch)).await?, ended))
    }

    async fn submission(
        &self,
        task: NewTask,
        watch: Option<oneshot::Sender<Ended>>,
    ) -> Result<Submitted, Error> {
        self.post(task, watch).await?.submitted().await
    }

    /// Leaves a task to be stored, once there is room: what is left first is stored first. It is not accepted before
    /// [`Posted::submitted`] says so.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::Away`] where the database does not answer.
    pub async fn post(&self, task: NewTask, watch: Option<oneshot::Sender<Ended>>) -> Result<Posted, Error> {
        // One that is larger than all the room waits until it has all of it.
        self.goes()?;
        let kib = u32::try_from(task.payload.len() / 1024 + 1).unwrap_or(ROOM_KIB).min(ROOM_KIB);
        let room = self.patiently(self.inbox.room.clone().acquire_many_owned(kib)).await;
        let room = room.map_err(Error::Away)?.map_err(|_| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.submissions.push(Submission { task, reply, watch, _room: room }));
        Ok(Posted { store: self.clone(), answer })
    }

    /// Waits for the end of a task, whoever submitted it; one that has ended is told at once. Nothing comes where the task is
    /// gone, or cannot be looked up now.
    pub fn watch(&self, id: TaskId) -> oneshot::Receiver<Ended> {
        let (watch, ended) = oneshot::channel();
        self.inbox.put(|pending| pending.watches.push((id, watch)));
        ended
    }

    /// Leaves the end of a try to be stored. Does not wait; what cannot be stored now is kept and tried again.
    pub fn complete(&self, mut completion: Completion) {
        if let Outcome::Failed { error, .. } = &mut completion.outcome {
            self.redact.redact(error);
        }
        self.inbox.put(|pending| pending.completions.push(completion));
    }

    /// Gives a leased task back untried.
    pub fn release(&self, task: LeasedTask) {
        self.complete(Completion::released(task));
    }

    /// Renews leases; answers those that are lost.
    pub async fn renew(&self, leases: Vec<(TaskId, i64)>) -> Vec<TaskId> {
        let (reply, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.renewals.push((leases, reply)));
        answer.await.unwrap_or_default()
    }

    /// The tasks of `queue`, as many as it gives credit for. An earlier consumer of it gets no more.
    pub fn consumer(&self, queue: AgentName) -> Consumer {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let (tasks, receiver) = mpsc::unbounded_channel();
        self.inbox.put(|pending| pending.lanes.push(LaneOp::Attach(queue.clone(), id, tasks)));
        Consumer { queue, id, inbox: self.inbox.clone(), tasks: receiver }
    }

    /// Queues a failed or cancelled task anew.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`], [`Error::WrongState`].
    pub async fn retry(&self, id: TaskId) -> Result<AgentName, Error> {
        self.order(Order::Retry(id)).await
    }

    /// Cancels a queued task.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`], [`Error::WrongState`].
    pub async fn cancel(&self, id: TaskId) -> Result<AgentName, Error> {
        self.order(Order::Cancel(id)).await
    }

    async fn order(&self, order: Order) -> Result<AgentName, Error> {
        self.goes()?;
        let (reply, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.orders.push((order, reply)));
        self.answer(answer).await
    }

    /// Changes an agent's memory; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Database`].
    pub async fn remember(&self, change: MemoryChange) -> Result<(), Error> {
        self.goes()?;
        let (reply, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.memory.push((change, reply)));
        self.answer(answer).await
    }

    /// Reserves a part of budgets, or settles what was reserved; durable when this returns. Refused where nothing can be
    /// stored: what cannot be counted is not to be done.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Database`], [`Error::Doubtful`]: then it may have been done.
    pub async fn enter(&self, entry: Entry) -> Result<Entered, Error> {
        self.goes()?;
        self.entered(&mut self.leave(entry)).await
    }

    /// The same for what nobody waits for: it shares the next transaction, and has one of its own if there is none in 5 ms.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn enter_soon(&self, entry: Entry) -> Result<Entered, Error> {
        self.goes()?;
        let (reply, mut answer) = oneshot::channel();
        self.inbox.put_quietly(|pending| pending.ledger.push((entry, reply)));
        if let Ok(answer) = tokio::time::timeout(SOON, &mut answer).await {
            return answer.map_err(|_| Error::Closed)?;
        }
        self.inbox.wake.notify_one();
        self.entered(&mut answer).await
    }

    /// Waits for what was left, as long as the database answers.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn entered(
        &self,
        answer: &mut oneshot::Receiver<Result<Entered, Error>>,
    ) -> Result<Entered, Error> {
        match self.patiently(answer).await {
            Ok(answer) => answer.map_err(|_| Error::Closed)?,
            Err(why) => Err(Error::Doubtful(why)),
        }
    }

    /// The same, to be waited for by whoever has the receiver: nothing comes where the store has ended.
    pub fn leave(&self, entry: Entry) -> oneshot::Receiver<Result<Entered, Error>> {
        let (reply, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.ledger.push((entry, reply)));
        answer
    }

    /// What has been used of budgets in these periods.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn usage(&self, periods: &[String]) -> Result<Vec<ledger::Usage>, Error> {
        self.look_up(self.backend.usage(periods)).await
    }

    /// The newest calls to providers, of one agent or of all, newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn calls(&self, agent: Option<&AgentName>, limit: u32) -> Result<Vec<ledger::Call>, Error> {
        self.look_up(self.backend.calls(agent, limit)).await
    }

    /// Leaves an event to be stored.
    pub fn event(&self, event: NewEvent) {
        self.inbox.put(|pending| pending.event(event));
    }

    /// Leaves counts of what agents asked for, to be added to those that are stored. Does not wait; what cannot be stored now is
    /// kept and tried again.
    pub fn count(&self, tally: Tally) {
        if !tally.is_empty() {
            self.inbox.put(|pending| tally::add(&mut pending.tally, tally));
        }
    }

    /// What an agent asked for on a day of UTC, with all that was left before this was asked.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Away`], [`Error::Closed`].
    pub async fn asked(&self, agent: &AgentName, day: NaiveDate) -> Result<Vec<Count>, Error> {
        self.goes()?;
        self.patiently(self.turned()).await.map_err(Error::Away)??;
        self.look_up(self.backend.asked(agent, day)).await
    }

    /// Leaves the report of an alert to be stored. Does not wait; what cannot be stored now is kept and tried again.
    pub fn report(&self, mut report: Report) {
        self.plain(&mut report);
        self.inbox.put(|pending| pending.report(report));
        self.alerted.notify_one();
    }

    /// Without secrets.
    fn plain(&self, report: &mut Report) {
        self.redact.redact(&mut report.text);
        self.redact.redact(&mut report.key);
    }

    /// Waits until something was reported, or done with alerts, here since the last time. To be asked by one task.
    pub async fn alerted(&self) {
        self.alerted.notified().await;
    }

    /// Changes alerts; durable when this returns. Answers how many: see [`Change`].
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Database`].
    pub async fn change_alerts(&self, mut change: Change) -> Result<u64, Error> {
        if let Change::Report(reports) = &mut change {
            reports.iter_mut().for_each(|report| self.plain(report));
        }
        let (reply, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.alerts.push((change, reply)));
        let changed = self.answer(answer).await;
        self.alerted.notify_one();
        changed
    }

    /// Changes a mission; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Database`], [`Error::Away`]: nothing was changed. [`Error::Doubtful`]: it may be; the list tells.
    pub async fn change_mission(&self, change: mission::Change) -> Result<mission::Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.missions.push((change, reply)));
        self.answer(answer).await
    }

    /// Leaves heartbeats to be stored.
    pub fn heartbeat(&self, heartbeats: Vec<NewHeartbeat>) {
        if !heartbeats.is_empty() {
            self.inbox.put(|pending| pending.heartbeats(heartbeats));
        }
    }

    /// Leaves a supervisor's record to be stored; the newest wins. It is fenced by the lead of the agent, if this
    /// process has claimed that: once another has it, nothing is saved.
    pub fn record(&self, agent: AgentName, record: String) {
        let record = Record { text: record, lease: self.leads().get(&agent).copied() };
        self.inbox.put(|pending| drop(pending.records.insert(agent, record)));
    }

    /// Whether other processes use the database at the same time.
    pub fn shared(&self) -> bool {
        self.backend.shared()
    }

    /// The agents of whose tasks other processes may want to know, since the last time; waits until there are some. To
    /// be asked by one task. Safe to cancel.
    pub async fn abroad(&self) -> BTreeSet<AgentName> {
        self.abroad.next().await
    }

    /// Tells this life of this process from all others.
    pub fn owner(&self) -> String {
        self.claimant.owner()
    }

    /// Another process may have added or ended tasks of this agent: they are looked for at once.
    pub fn nudge(&self, agent: &AgentName) {
        self.inbox.put(|pending| {
            pending.nudged.insert(agent.clone());
        });
    }

    /// Answers once the engine has made a whole turn since: proof that it turns, whether or not the database can be
    /// written. An idle one makes one for this.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn turned(&self) -> Result<(), Error> {
        let (asker, answer) = oneshot::channel();
        self.inbox.put(|pending| pending.asked.push(asker));
        answer.await.map_err(|_| Error::Closed)
    }

    /// Stores what came before, and ends the engine.
    pub fn close(&self) {
        self.inbox.put(|pending| pending.closing = true);
    }

    /// What the store last proved.
    pub fn health(&self) -> Health {
        let crowded = self.crowded.load(Ordering::Relaxed) && self.backend.crowded();
        Health { crowded, ..self.health.borrow().clone() }
    }

    /// Changes with each transaction that this process commits.
    pub fn commits(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

impl Task {
    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        let at: DateTime<Utc> = self.finished_at?;
        self.state.ended().then(|| Ended {
            id: self.id,
            state: self.state,
            result: self.result.as_ref().map(ToString::to_string),
            error: self.error.clone(),
            attempts: self.attempts,
            duration: (at - self.created_at).to_std().unwrap_or_default(),
        })
    }
}

/// A task on its way into the store.
pub struct Posted {
    store: Store,
    answer: oneshot::Receiver<Result<Submitted, Error>>,
}

impl Posted {
    /// What became of it; durable when this returns.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub async fn submitted(self) -> Result<Submitted, Error> {
        // One that is told of as doubtful stays where it is: those left after it must not overtake it.
        self.store.answer(self.answer).await
    }
}
