//! What a database must be able to say within a transaction, and the rows that go in and come out.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use uuid::Uuid;

use super::Moment;
use crate::Error;
use crate::alert::{Report, Told, Which};
use crate::backend::{Claimant, MemoryChange, NewEvent, NewHeartbeat, Record};
use crate::failpoint::{Boundary, is_armed, reach};
use crate::ledger::{BudgetKey, Kept, NewCall};
use crate::mission::Mission;
use crate::tally::Tally;
use crate::task::{LeasedTask, NewTask, TaskId, TaskState};

/// Sessions by queue, in an order that all agree on.
pub(crate) type Sessions = BTreeSet<(AgentName, String)>;

/// How a try ended, as its row is to have it.
pub(crate) struct Try<'a> {
    pub id: TaskId,
    pub token: i64,
    pub state: TaskState,
    /// JSON text.
    pub result: Option<&'a str>,
    pub error: Option<&'a str>,
    pub run_at: Option<DateTime<Utc>>,
    /// Whether the try counts.
    pub counts: bool,
}

/// A task whose try was ended under its lease.
pub(crate) struct Held {
    pub id: TaskId,
    pub token: i64,
    pub session: Option<String>,
    pub attempts: u32,
    pub created_at: DateTime<Utc>,
}

/// A task to be inserted.
pub(crate) struct NewRow<'a> {
    pub task: &'a NewTask,
    pub run_at: DateTime<Utc>,
    /// An earlier one of its session in this batch blocks it, as one in the table does.
    pub follows: bool,
}

/// A task that is there already: by its id, or by queue and dedupe key.
pub(crate) struct Stored {
    pub id: TaskId,
    pub key: Option<(String, String)>,
}

/// A row for `ops_outcomes`; with an error, of a try that failed.
pub(crate) struct OutcomeRow<'a> {
    pub agent: &'a AgentName,
    pub kind: &'a str,
    pub task: TaskId,
    pub duration_ms: i64,
    pub attempts: u32,
    pub error: Option<&'a str>,
}

/// A task that a person has an order for.
pub(crate) struct Found {
    pub queue: String,
    pub session: Option<String>,
    pub attempts: u32,
    pub created_at: DateTime<Utc>,
    pub state: String,
    pub blocked: bool,
}

/// A task whose lease has run out.
pub(crate) struct Lost {
    pub id: TaskId,
    pub queue: String,
    pub kind: String,
    pub session: Option<String>,
    pub attempts: u32,
    pub max_attempts: u32,
    pub created_at: DateTime<Utc>,
    /// Since when it was in work.
    pub since: DateTime<Utc>,
}

/// A task that was leased, and its place among the others.
pub(crate) struct Claimed {
    pub priority: i32,
    pub seq: i64,
    pub task: LeasedTask,
}

/// A task that was taken back: its queue and session.
pub(crate) type Freed = (String, Option<String>);

/// One statement each, or as few as will do.
pub(crate) trait Statements {
    /// Ends tries whose leases hold; answers those. What goes back to its queue in a session is blocked.
    async fn end(&mut self, tries: &[Try<'_>], now: DateTime<Utc>) -> Result<Vec<Held>, Error>;
    /// Lets the earliest of what has not ended of each session run.
    async fn unblock(&mut self, sessions: &Sessions) -> Result<(), Error>;
    /// Blocks all that waits in a session, and answers whether somebody is at work on one of it.
    async fn hold_back(&mut self, queue: &AgentName, session: &str) -> Result<bool, Error>;
    /// Which of these, or others with their dedupe keys, are there.
    async fn known(&mut self, tasks: &[&NewTask]) -> Result<Vec<Stored>, Error>;
    /// Inserts tasks, in this order.
    async fn insert(&mut self, rows: &[NewRow<'_>], now: DateTime<Utc>) -> Result<(), Error>;
    /// Adds outcomes (of now) and events, and forgets transitions beyond those that are kept.
    async fn history(
        &mut self,
        outcomes: &[OutcomeRow<'_>],
        events: &[NewEvent],
        moment: &Moment,
    ) -> Result<(), Error>;
    /// Adds heartbeats.
    async fn heartbeats(&mut self, heartbeats: &[NewHeartbeat], moment: &Moment) -> Result<(), Error>;
    /// Takes a report into `alerts`, into the row that was over no longer than `cooldown` ago where none is open; answers
    /// whether it is news.
    async fn report(&mut self, report: &Report, cooldown: TimeDelta, moment: &Moment) -> Result<bool, Error>;
    /// Somebody knows of alerts, since `at`; answers how many.
    async fn acknowledge(
        &mut self,
        which: &Which,
        actor: &str,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64, Error>;
    /// The revision of an alert, and nobody else changes it before this transaction ends.
    async fn alert_revision(&mut self, id: i64) -> Result<Option<i64>, Error>;
    /// The operator is told of an alert.
    async fn tell(&mut self, told: &Told, moment: &Moment) -> Result<(), Error>;
    /// The message about an alert arrived; answers how many alerts did not know.
    async fn delivered(&mut self, id: i64, at: DateTime<Utc>) -> Result<u64, Error>;
    /// A mission, and nobody else changes it before this transaction ends.
    async fn mission(&mut self, id: Uuid) -> Result<Option<Mission>, Error>;
    /// How many wait for a decision.
    async fn waiting_missions(&mut self) -> Result<u32, Error>;
    /// Adds a mission.
    async fn add_mission(&mut self, mission: &Mission) -> Result<(), Error>;
    /// Keeps what has become of a mission; whether it has ended.
    async fn keep_mission(&mut self, mission: &Mission, ended: bool) -> Result<(), Error>;
    /// A task, and nobody else changes it before this transaction ends.
    async fn find(&mut self, id: TaskId) -> Result<Option<Found>, Error>;
    /// An ended task waits again, with its tries counted anew.
    async fn revive(&mut self, id: TaskId, now: DateTime<Utc>) -> Result<(), Error>;
    /// A task is cancelled.
    async fn cancel(&mut self, id: TaskId, now: DateTime<Utc>) -> Result<(), Error>;
    /// Renews leases; answers those that hold.
    async fn renew(
        &mut self,
        leases: &[(TaskId, i64)],
        until: DateTime<Utc>,
    ) -> Result<HashSet<(TaskId, i64)>, Error>;
    /// Changes an agent's memory.
    async fn remember(&mut self, change: &MemoryChange, now: DateTime<Utc>) -> Result<(), Error>;
    /// A budget, and nobody else changes it before this transaction ends.
    async fn budget(&mut self, key: &BudgetKey, now: DateTime<Utc>) -> Result<Kept, Error>;
    /// Keeps a budget.
    async fn keep_budget(&mut self, key: &BudgetKey, kept: &Kept, now: DateTime<Utc>) -> Result<(), Error>;
    /// Adds a call, or how one that was under way has ended; answers whether that is new.
    async fn call(&mut self, call: &NewCall, at: DateTime<Utc>) -> Result<bool, Error>;
    /// Calls that are under way since before then are abandoned.
    async fn abandon(&mut self, before: DateTime<Utc>) -> Result<(), Error>;
    /// Adds to what agents asked for.
    async fn count(&mut self, tally: &Tally) -> Result<(), Error>;
    /// Keeps a supervisor's record, unless somebody else leads the agent.
    async fn save(
        &mut self,
        agent: &AgentName,
        record: &Record,
        claimant: &Claimant,
        now: DateTime<Utc>,
    ) -> Result<bool, Error>;
    /// Takes tasks back whose lease has run out, with this error; answers them as they were. Dead letters are those
    /// that have used up their tries. What goes back to its queue in a session is blocked.
    async fn take_back(&mut self, error: &str, now: DateTime<Utc>) -> Result<Vec<Lost>, Error>;
    /// Whether any lease is out.
    async fn any_leased(&mut self) -> Result<bool, Error>;
    /// Takes back, untried, what earlier lives of this claimant hold; what has a session is blocked.
    async fn take_over(&mut self, claimant: &Claimant, now: DateTime<Utc>) -> Result<Vec<Freed>, Error>;
    /// Deletes a part of what is older than this or beyond so many; answers whether there is more.
    async fn prune(&mut self, before: DateTime<Utc>, rows: u32) -> Result<bool, Error>;
    /// Leases so many of what is due, not blocked and first, of each queue.
    async fn claim(
        &mut self,
        claims: &[(AgentName, u32)],
        claimant: &Claimant,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>, Error>;
    /// What is said so far has been carried out, also where it is saved up to be sent together.
    async fn sent(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// All that was said so far is written, if this is where the process is to die.
    async fn written(&mut self, at: Boundary) -> Result<(), Error> {
        if is_armed(at) {
            self.sent().await?;
        }
        reach(at).await;
        Ok(())
    }
    /// Writes a row, to prove that it can.
    async fn prove(&mut self, now: DateTime<Utc>) -> Result<(), Error>;
}
