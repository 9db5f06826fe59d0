//! What a database must do for the engine: carry out a batch as one transaction, and answer reads.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Turn;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::Error;
use crate::alert::{Alert, Change, Level, Report};
use crate::ledger::{self, Entered, Entry};
use crate::mission::{self, Mission};
use crate::tally::{Count, Tally};
use crate::task::{Completion, Ended, Filter, LeasedTask, NewTask, Submitted, Task, TaskId};

/// Everything that one transaction does, in this order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Ended tries; each is refused unless its lease still holds.
    pub completions: Vec<Completion>,
    /// Tasks that a person ends or revives.
    pub orders: Vec<Order>,
    /// New tasks.
    pub submissions: Vec<NewTask>,
    /// Leases that are still in use.
    pub renewals: Vec<(TaskId, i64)>,
    /// Changes of agents' memory.
    pub memory: Vec<MemoryChange>,
    /// Rows for `agent_events`.
    pub events: Vec<NewEvent>,
    /// Rows for `agent_heartbeats`.
    pub heartbeats: Vec<NewHeartbeat>,
    /// What happened that the operator should know: rows for `alerts`, and for `agent_events`.
    pub reports: Vec<Report>,
    /// An alert that comes back within this after it was over is the same one.
    pub cooldown: TimeDelta,
    /// What is done with alerts.
    pub alerts: Vec<Change>,
    /// What is done with missions.
    pub missions: Vec<mission::Change>,
    /// Supervisors' records.
    pub records: Vec<(AgentName, Record)>,
    /// What agents use up.
    pub ledger: Vec<Entry>,
    /// What agents asked for.
    pub tally: Tally,
    /// Free the tasks whose lease has run out.
    pub sweep: bool,
    /// Delete some of what is older than this, and beyond so many rows. Ended tasks are of three classes that do not
    /// push each other out: dead letters, those with a dedupe key, and the rest.
    pub prune: Option<(DateTime<Utc>, u32)>,
    /// Lease so many tasks of these agents.
    pub claims: Vec<(AgentName, u32)>,
    /// Prove that the database can be written.
    pub proof: bool,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.completions.is_empty()
            && self.orders.is_empty()
            && self.submissions.is_empty()
            && self.renewals.is_empty()
            && self.memory.is_empty()
            && self.events.is_empty()
            && self.heartbeats.is_empty()
            && self.records.is_empty()
            && self.reports.is_empty()
            && self.alerts.is_empty()
            && self.missions.is_empty()
            && self.ledger.is_empty()
            && self.tally.is_empty()
            && self.claims.is_empty()
            && self.prune.is_none()
            && !self.sweep
            && !self.proof
    }

    /// The messages about alerts.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &NewTask> {
        self.alerts.iter().flat_map(|change| match change {
            Change::Tell { messages, .. } => messages.as_slice(),
            _ => &[],
        })
    }
}

/// A supervisor's record of an agent.
#[derive(Clone, Debug)]
pub struct Record {
    /// JSON text.
    pub text: String,
    /// The lease on the agent's name under which it is saved; none where names are not leased.
    pub lease: Option<i64>,
}

/// What a person does to a task.
#[derive(Clone, Debug)]
pub enum Order {
    /// Failed or cancelled → queued, with its tries counted anew.
    Retry(TaskId),
    /// Queued → cancelled.
    Cancel(TaskId),
}

/// A change of an agent's memory.
#[derive(Clone, Debug)]
pub enum MemoryChange {
    /// Keep a value (JSON text).
    Set {
        /// Whose.
        agent: AgentName,
        /// Under which key.
        key: String,
        /// JSON text.
        value: String,
    },
    /// Forget a key.
    Delete {
        /// Whose.
        agent: AgentName,
        /// Which key.
        key: String,
    },
    /// Add a turn to a conversation, of which the last so many are kept.
    Remember {
        /// Whose.
        agent: AgentName,
        /// Which conversation.
        session: String,
        /// Who spoke.
        role: String,
        /// What was said.
        text: String,
    },
}

/// The turns kept of one conversation.
pub const KEPT_TURNS: u32 = 200;
/// The turns kept of one agent, whatever the conversation; beyond it the oldest go with the next pruning.
pub const KEPT_TURNS_OF_AGENT: u32 = 20_000;
/// The most tasks that one list shows.
pub const LISTED_TASKS: u32 = 10_000;
/// The characters that a list shows of a task's text.
pub const LISTED_TEXT: u32 = 200;
/// The characters that a list shows of a task's error.
pub const LISTED_ERROR: u32 = 400;
/// The transitions kept of one agent.
pub const KEPT_TRANSITIONS: u32 = 200;
/// The event type of a transition.
pub const TRANSITION: &str = "agent.transition";
/// The event type of an alert.
pub const ALERT: &str = "agent.alert";
/// The event type of a call that was refused before anything happened.
pub const REFUSED: &str = "agent.refused";

/// The event type of calls that were carried out and changed something for others.
pub const CALLED: &str = "agent.call";

/// A row for `agent_events`.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Whose.
    pub agent: AgentName,
    /// What happened, such as `agent.transition`.
    pub kind: &'static str,
    /// The rest, JSON text.
    pub payload: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A row of `agent_events`.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Ever larger.
    pub id: i64,
    /// Whose.
    pub agent: String,
    /// What happened.
    pub kind: String,
    /// The rest.
    pub payload: Value,
    /// When.
    pub at: DateTime<Utc>,
}

/// A row for `agent_heartbeats`.
#[derive(Clone, Debug)]
pub struct NewHeartbeat {
    /// Whose.
    pub agent: AgentName,
    /// What is thought of it: fresh, late, down, unknown.
    pub status: &'static str,
    /// What that rests on, JSON text.
    pub metadata: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A row of `agent_heartbeats`.
#[derive(Clone, Debug, Serialize)]
pub struct Heartbeat {
    /// Ever larger.
    pub id: i64,
    /// Whose.
    pub agent: String,
    /// What was thought of it.
    pub status: String,
    /// What that rested on.
    pub metadata: Value,
    /// When.
    pub at: DateTime<Utc>,
}

/// What a batch's transaction did; durable when this is returned.
#[derive(Debug, Default)]
pub struct Applied {
    /// Tasks that have ended.
    pub ended: Vec<(AgentName, Ended)>,
    /// Completions whose lease held no more.
    pub stale: Vec<TaskId>,
    /// What became of each order.
    pub orders: Vec<Result<AgentName, Error>>,
    /// What became of each submission.
    pub submitted: Vec<Submitted>,
    /// Tasks that follow-ups and alerts added, by agent.
    pub followed: Vec<AgentName>,
    /// How many alerts each change of them changed.
    pub alerts: Vec<u64>,
    /// What came of each change of missions.
    pub missions: Vec<mission::Outcome>,
    /// Renewals whose lease held no more.
    pub lost: Vec<(TaskId, i64)>,
    /// Agents whose record was not saved, since somebody else leads them.
    pub fenced: Vec<AgentName>,
    /// What came of each entry of the ledger.
    pub entered: Vec<Entered>,
    /// Leased tasks, oldest first.
    pub claimed: Vec<LeasedTask>,
    /// Whether a sweep freed or ended any task.
    pub swept: bool,
    /// After a sweep: whether any lease is out before this batch's claims.
    pub leased: Option<bool>,
    /// Whether there is more to prune.
    pub prune_more: bool,
    /// How many leases of earlier lives were freed, when that was asked for.
    pub freed: u64,
}

/// Under what the engine claims.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// This installation, the same in each of its lives.
    pub installation: String,
    /// This daemon's life.
    pub life: Uuid,
    /// How long a lease lasts.
    pub lease: Duration,
}

impl Claimant {
    /// As the database has it.
    pub fn owner(&self) -> String {
        format!("{}/{}", self.installation, self.life)
    }
}

/// What came of a claim to lead an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It leads, under this fencing token.
    Won(i64),
    /// Another process leads it.
    Lost {
        /// Its installation and life, as far as that is known.
        owner: String,
        /// In how long it may be free, if its leader does not renew it before.
        free_in: Duration,
    },
}

/// What came of renewing leads. Those that are in neither could not be looked at: somebody holds their rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Those that go on.
    pub kept: Vec<AgentName>,
    /// Those that another process has, or that were given back.
    pub lost: Vec<AgentName>,
}

/// How many tasks are in each state, for one agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// Waiting.
    pub queued: u32,
    /// In work.
    pub leased: u32,
    /// Dead letters.
    pub failed: u32,
}

/// A database.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Whether other processes use it at the same time: what they add or end must be looked for.
    fn shared(&self) -> bool {
        false
    }
    /// Carries out the batch as one transaction; on an error nothing has changed, unless it is [`Error::Doubtful`]:
    /// then [`resolve`](Self::resolve) tells.
    async fn apply(&self, batch: &Batch, claimant: &Claimant, now: DateTime<Utc>) -> Result<Applied, Error>;
    /// What the last batch did, if [`Error::Doubtful`] was said of it and it has been committed all the same.
    async fn resolve(&self) -> Result<Option<Applied>, Error> {
        Ok(None)
    }
    /// Which of these tasks have ended.
    async fn ended(&self, _tasks: &[TaskId]) -> Result<Vec<Ended>, Error> {
        Ok(Vec::new())
    }
    /// Takes the leads of these agents for so long, where nobody else has them.
    async fn claim_agents(
        &self,
        agents: &[AgentName],
        _claimant: &Claimant,
        _ttl: Duration,
    ) -> Result<Vec<(AgentName, Claim)>, Error> {
        Ok(agents.iter().map(|agent| (agent.clone(), Claim::Won(0))).collect())
    }
    /// Keeps leads.
    async fn renew_agents(
        &self,
        held: &[(AgentName, i64)],
        _claimant: &Claimant,
        _ttl: Duration,
    ) -> Result<Renewed, Error> {
        let kept = held.iter().map(|(agent, _)| agent.clone()).collect();
        Ok(Renewed { kept, lost: Vec::new() })
    }
    /// Which of these somebody leads now, or did within `lately`.
    async fn led(&self, agents: &[AgentName], _lately: Duration) -> Result<Vec<AgentName>, Error> {
        Ok(agents.to_vec())
    }
    /// Gives leads back.
    async fn release_agents(&self, _held: &[(AgentName, i64)], _claimant: &Claimant) -> Result<(), Error> {
        Ok(())
    }
    /// The clock that decides was set back from `before` to `now`: what was due is due, and so is what waits for another try,
    /// of which nobody could tell any more how long it is to wait. Where the database's own decides it sees that itself.
    async fn set_back(&self, _before: DateTime<Utc>, _now: DateTime<Utc>) -> Result<(), Error> {
        Ok(())
    }
    /// Frees what an earlier life of this daemon had leased; those tries do not count.
    async fn recover(&self, claimant: &Claimant, now: DateTime<Utc>) -> Result<u64, Error>;
    /// When the next task that waits for its time is due, if later than `after`; blocked or not.
    async fn next_due(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error>;
    /// The tasks of each agent by state.
    async fn depths(&self) -> Result<Vec<(String, Depth)>, Error>;
    /// One task.
    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error>;
    /// Which of these (by their ids here) are stored already, or another with their dedupe key is.
    async fn stored(&self, tasks: &[&NewTask]) -> Result<Vec<TaskId>, Error>;
    /// Tasks, newest first, [`LISTED_TASKS`] at the most: without results, of the payload the beginning of `text`
    /// alone, and of the error the beginning.
    async fn tasks(&self, filter: &Filter) -> Result<Vec<Task>, Error>;
    /// Every supervisor's record, as saved.
    async fn records(&self) -> Result<Vec<(String, String)>, Error>;
    /// The newest events of one agent and one type, newest first.
    async fn events(&self, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error>;
    /// Alerts, those that happened last first.
    async fn alerts(&self, limit: u32) -> Result<Vec<Alert>, Error>;
    /// Missions, those that were proposed last first.
    async fn missions(&self, limit: u32) -> Result<Vec<Mission>, Error>;
    /// How many alerts are open, of each level that has any.
    async fn open_alerts(&self) -> Result<Vec<(Level, u64)>, Error>;
    /// The alerts that are to be looked at by then, the earliest first, [`LISTED_ALERTS`](crate::alert::LISTED_ALERTS) at the most.
    async fn alerts_due(&self, by: DateTime<Utc>) -> Result<Vec<Alert>, Error>;
    /// When the next alert is to be looked at.
    async fn next_alert(&self) -> Result<Option<DateTime<Utc>>, Error>;
    /// The alerts about which a message has arrived that is not known to have, and when it did.
    async fn alerts_arrived(&self) -> Result<Vec<(i64, DateTime<Utc>)>, Error>;
    /// The events of all agents after that id, oldest first.
    async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error>;
    /// The id of the newest event, 0 when there is none.
    async fn last_event(&self) -> Result<i64, Error>;
    /// The newest heartbeats of one agent, newest first.
    async fn heartbeats(&self, agent: &AgentName, limit: u32) -> Result<Vec<Heartbeat>, Error>;
    /// The newest heartbeat of each agent that has one.
    async fn last_heartbeats(&self) -> Result<Vec<Heartbeat>, Error>;
    /// The agents whose record changed since then, or that somebody leads.
    async fn agents_since(&self, since: DateTime<Utc>) -> Result<Vec<String>, Error>;
    /// A value of an agent's memory, JSON text.
    async fn recall(&self, agent: &AgentName, key: &str) -> Result<Option<String>, Error>;
    /// Keys of an agent's memory, in order.
    async fn keys(&self, agent: &AgentName, prefix: &str, limit: u32) -> Result<Vec<String>, Error>;
    /// How many keys an agent's memory has.
    async fn memory_keys(&self, agent: &AgentName) -> Result<u32, Error>;
    /// The last turns of a conversation, oldest first.
    async fn turns(&self, agent: &AgentName, session: &str, limit: u32) -> Result<Vec<Turn>, Error>;
    /// Whether all connections for lookups are in use now.
    fn crowded(&self) -> bool {
        false
    }
    /// What has been used of budgets in these periods.
    async fn usage(&self, periods: &[String]) -> Result<Vec<ledger::Usage>, Error>;
    /// The newest calls to providers, of one agent or of all, newest first.
    async fn calls(&self, agent: Option<&AgentName>, limit: u32) -> Result<Vec<ledger::Call>, Error>;
    /// What an agent asked for on a day of UTC, in order.
    async fn asked(&self, agent: &AgentName, day: NaiveDate) -> Result<Vec<Count>, Error>;
    /// Nothing more comes: fold the write-ahead log away.
    async fn close(&self);
}
