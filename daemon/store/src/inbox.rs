//! Where others leave what is to be stored, until the engine takes it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openclaw_agent_api::AgentName;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::Error;
use crate::alert::{self, Change, Report};
use crate::backend::{MemoryChange, NewEvent, NewHeartbeat, Order, Record};
use crate::lanes::LaneOp;
use crate::ledger::{Entered, Entry};
use crate::mission;
use crate::tally::Tally;
use crate::task::{Completion, Ended, NewTask, Submitted, TaskId};

/// The most that may wait to be stored, in KiB; a sender beyond it waits.
pub(crate) const ROOM_KIB: u32 = 64 * 1024;
/// Events that wait for a database which cannot be written; the oldest give way.
pub(crate) const HELD_EVENTS: usize = 1024;

/// Heartbeats that wait in the same way: some samples of a thousand agents.
pub(crate) const HELD_HEARTBEATS: usize = 4096;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A submission on its way in.
pub(crate) struct Submission {
    pub task: NewTask,
    pub reply: Reply<Submitted>,
    pub watch: Option<oneshot::Sender<Ended>>,
    /// Its share of the room, until it is stored or refused.
    pub _room: OwnedSemaphorePermit,
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
    pub ledger: Vec<(Entry, Reply<Entered>)>,
    pub lanes: Vec<LaneOp>,
    pub watches: Vec<(TaskId, oneshot::Sender<Ended>)>,
    pub events: VecDeque<NewEvent>,
    pub heartbeats: VecDeque<NewHeartbeat>,
    pub reports: VecDeque<Report>,
    pub alerts: Vec<(Change, Reply<u64>)>,
    pub missions: Vec<(mission::Change, Reply<mission::Outcome>)>,
    pub records: HashMap<AgentName, Record>,
    pub tally: Tally,
    pub nudged: HashSet<AgentName>,
    /// Who wants to know that the engine turns.
    pub asked: Vec<oneshot::Sender<()>>,
    pub closing: bool,
}

impl Pending {
    /// Adds an event; the oldest gives way when the database has been away for long.
    pub fn event(&mut self, event: NewEvent) {
        if self.events.len() >= HELD_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Adds a report of an alert.
    pub fn report(&mut self, report: Report) {
        alert::add(&mut self.reports, report);
    }

    /// Adds heartbeats; the oldest give way.
    pub fn heartbeats(&mut self, heartbeats: Vec<NewHeartbeat>) {
        self.heartbeats.extend(heartbeats);
        self.heartbeats.drain(..self.heartbeats.len().saturating_sub(HELD_HEARTBEATS));
    }
}

/// Never blocks; submissions wait for room before they come.
pub(crate) struct Inbox {
    // None: the engine has ended.
    pending: Mutex<Option<Pending>>,
    pub wake: Notify,
    pub room: Arc<Semaphore>,
}

impl Inbox {
    pub fn new() -> Self {
        let pending = Mutex::new(Some(Pending::default()));
        Self { pending, wake: Notify::new(), room: Arc::new(Semaphore::new(ROOM_KIB as usize)) }
    }

    /// Leaves something, and wakes the engine. When that has ended, what is left is dropped, and with it the reply
    /// channels in it: whoever waits for an answer learns that there will be none.
    pub fn put(&self, add: impl FnOnce(&mut Pending)) {
        self.put_quietly(add);
        self.wake.notify_one();
    }

    /// The same for what goes with whatever comes next: somebody wakes the engine if nothing does.
    pub fn put_quietly(&self, add: impl FnOnce(&mut Pending)) {
        if let Some(pending) = self.lock().as_mut() {
            add(pending);
        }
    }

    /// Everything left since the last time.
    pub fn take(&self) -> Pending {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Nobody takes anything any more.
    pub fn close(&self) {
        let left = self.lock().take();
        drop(left);
        self.room.close();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pending>> {
        // Each change is one push, so a poisoned lock is still good.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
