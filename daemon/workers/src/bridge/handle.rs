//! What others hold of the bridge.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::heartbeat::Verdict;
use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use tokio::sync::watch;

use super::error::Error;
use super::standing::Standing;

/// How things stand after a look.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether this process speaks for all, or stands by.
    pub leads: bool,
    /// When it could read what agents show.
    pub looked_at: Option<DateTime<Utc>>,
    /// Whether it can now, so since.
    pub since: DateTime<Utc>,
    /// What went wrong at the last look.
    pub error: Option<Error>,
    /// Each agent that is watched.
    pub agents: BTreeMap<AgentName, Standing>,
}

impl Report {
    /// Whether it could not read: then every verdict is `unknown`.
    pub fn is_blind(&self) -> bool {
        matches!(self.error, Some(Error::Read(_)))
    }

    /// The agents of which this is thought.
    pub fn thought(&self, verdict: Verdict) -> impl Iterator<Item = &AgentName> {
        self.agents
            .values()
            .filter(move |standing| standing.verdict == verdict)
            .map(|standing| &standing.agent)
    }
}

/// The verdicts as they stand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) watch::Receiver<Arc<Report>>);

impl Handle {
    /// How things stood after the last look.
    pub fn report(&self) -> Arc<Report> {
        self.0.borrow().clone()
    }

    /// How one agent stands; none when it is not watched.
    pub fn standing(&self, agent: &AgentName) -> Option<Standing> {
        self.0.borrow().agents.get(agent).cloned()
    }

    /// Waits for the next look; false when the bridge has ended.
    pub async fn looked(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
