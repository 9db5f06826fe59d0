//! What is looked up without the engine: each is waited for as long as the database answers, and no longer than five seconds.

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Turn;

use super::Store;
use crate::Error;
use crate::alert::{Alert, LISTED_ALERTS, Level};
use crate::backend::{Depth, Event, Heartbeat};
use crate::mission::{LISTED_MISSIONS, Mission};
use crate::task::{Filter, Task, TaskId};

impl Store {
    /// One task.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`], [`Error::Database`].
    pub async fn task(&self, id: TaskId) -> Result<Task, Error> {
        self.look_up(self.backend.task(id)).await?.ok_or_else(|| Error::NoSuchTask(id.to_string()))
    }

    /// Tasks, newest first, 10,000 at the most. Without results, and with the beginnings of texts and errors alone:
    /// [`task`](Self::task) has the whole.
    ///
    /// # Errors
    /// [`Error::Database`]; so for all reads below.
    pub async fn tasks(&self, filter: &Filter) -> Result<Vec<Task>, Error> {
        self.look_up(self.backend.tasks(filter)).await
    }

    /// The tasks of each agent by state.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn depths(&self) -> Result<Vec<(String, Depth)>, Error> {
        self.look_up(self.backend.depths()).await
    }

    /// Every supervisor's record, as saved.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn records(&self) -> Result<Vec<(String, String)>, Error> {
        self.look_up(self.backend.records()).await
    }

    /// The newest events of one agent and one type, newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn events(&self, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error> {
        self.look_up(self.backend.events(agent, kind, limit)).await
    }

    /// Alerts, those that happened last first; at most [`LISTED_ALERTS`].
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn alerts(&self, limit: u32) -> Result<Vec<Alert>, Error> {
        self.look_up(self.backend.alerts(limit.min(LISTED_ALERTS))).await
    }

    /// Missions, those that were proposed last first, [`LISTED_MISSIONS`] at the most.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Away`].
    pub async fn missions(&self, limit: u32) -> Result<Vec<Mission>, Error> {
        self.look_up(self.backend.missions(limit.min(LISTED_MISSIONS))).await
    }

    /// How many alerts are open, of each level that has any.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open_alerts(&self) -> Result<Vec<(Level, u64)>, Error> {
        self.look_up(self.backend.open_alerts()).await
    }

    /// The alerts that are to be looked at by then, the earliest first, [`LISTED_ALERTS`] at the most.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn alerts_due(&self, by: DateTime<Utc>) -> Result<Vec<Alert>, Error> {
        self.look_up(self.backend.alerts_due(by)).await
    }

    /// When the next alert is to be looked at.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn next_alert(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.look_up(self.backend.next_alert()).await
    }

    /// The alerts about which a message has arrived that is not known to have, and when it did.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn alerts_arrived(&self) -> Result<Vec<(i64, DateTime<Utc>)>, Error> {
        self.look_up(self.backend.alerts_arrived()).await
    }

    /// The events of all agents after that id, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error> {
        self.look_up(self.backend.events_after(id, limit)).await
    }

    /// The id of the newest event, 0 when there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn last_event(&self) -> Result<i64, Error> {
        self.look_up(self.backend.last_event()).await
    }

    /// The newest heartbeats of one agent, newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn heartbeats(&self, agent: &AgentName, limit: u32) -> Result<Vec<Heartbeat>, Error> {
        self.look_up(self.backend.heartbeats(agent, limit)).await
    }

    /// The newest heartbeat of each agent that has one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn last_heartbeats(&self) -> Result<Vec<Heartbeat>, Error> {
        self.look_up(self.backend.last_heartbeats()).await
    }

    /// The agents whose record changed since then, or that somebody leads.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn agents_since(&self, since: DateTime<Utc>) -> Result<Vec<String>, Error> {
        self.look_up(self.backend.agents_since(since)).await
    }

    /// A value of an agent's memory, JSON text.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn recall(&self, agent: &AgentName, key: &str) -> Result<Option<String>, Error> {
        self.look_up(self.backend.recall(agent, key)).await
    }

    /// Keys of an agent's memory, in order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keys(&self, agent: &AgentName, prefix: &str, limit: u32) -> Result<Vec<String>, Error> {
        self.look_up(self.backend.keys(agent, prefix, limit)).await
    }

    /// How many keys an agent's memory has.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn memory_keys(&self, agent: &AgentName) -> Result<u32, Error> {
        self.look_up(self.backend.memory_keys(agent)).await
    }

    /// The last turns of a conversation, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn turns(&self, agent: &AgentName, session: &str, limit: u32) -> Result<Vec<Turn>, Error> {
        self.look_up(self.backend.turns(agent, session, limit)).await
    }
}
