//! What the operator should hear of. One function raises an alert; its channels come behind it.

use std::fmt;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use store::Store;
use store::backend::{ALERT, NewEvent};

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something failed, and was dealt with.
    Warning,
    /// Somebody must do something.
    Critical,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// An alert: the payload of its event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// How much it matters.
    pub level: Level,
    /// About whom.
    pub agent: AgentName,
    /// What happened, in a sentence.
    pub text: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Raises an alert: durable as an event. The journal has the sentence already, from the transition that it tells of.
pub fn raise(store: &Store, alert: Alert) {
    if let Ok(payload) = serde_json::to_string(&alert) {
        store.event(NewEvent { agent: alert.agent, kind: ALERT, payload, at: alert.at });
    }
}

/// Raises an alert about a unit of systemd's, which is no agent: it stands under the name of the whole.
pub fn of_unit(store: &Store, text: String, at: DateTime<Utc>) {
    if let Ok(agent) = "openclaw".parse() {
        raise(store, Alert { level: Level::Critical, agent, text, at });
    }
}
