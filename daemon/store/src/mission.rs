//! Missions: work that an agent proposes and a person decides on. A row of `ops_missions` each.
//!
//! ```text
//!  propose ─▶ proposed ─┬─▶ approved (whoever runs missions takes it from here)
//!                       ├─▶ rejected
//!                       └─▶ past `expires_at`: can only be rejected
//! ```

use std::fmt;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Proposals that may wait for a decision; further ones are refused.
pub const WAITING_MISSIONS: u32 = 1000;
/// The most missions that one list shows.
pub const LISTED_MISSIONS: u32 = 1000;
/// The event type of a proposal.
pub const PROPOSED: &str = "mission.proposed";
/// The event type of a decision.
pub const DECIDED: &str = "mission.decided";

/// Where a mission is in its life, as far as this version leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for a person.
    Proposed,
    /// A person wants it.
    Approved,
    /// A person does not.
    Rejected,
}

impl Status {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is proposed, and what became of that: the document of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Who proposed it.
    pub by: AgentName,
    /// How sure that is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Past this it cannot be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whatever else the agent says of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// What a person said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What a person said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Who.
    pub actor: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A row of `ops_missions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mission {
    /// Which.
    pub id: Uuid,
    /// In a sentence.
    pub title: String,
    /// `proposed`, `approved`, `rejected`, or what a later version says.
    pub status: String,
    /// What is proposed.
    pub proposal: Proposal,
    /// When it was.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

/// What is done with missions.
#[derive(Clone, Debug)]
pub enum Change {
    /// One is proposed; the same id again is the first one.
    Propose {
        /// Which.
        id: Uuid,
        /// In a sentence.
        title: String,
        /// What.
        proposal: Proposal,
    },
    /// A person has decided.
    Decide {
        /// On which.
        id: Uuid,
        /// `Approved` or `Rejected`.
        verdict: Status,
        /// Who, when, why.
        decision: Decision,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done: the mission as it is now.
    Done(Mission),
    /// It was so, or otherwise, before: nothing was changed.
    Already(Mission),
    /// It cannot be approved any more: nothing was changed.
    Expired(Mission),
    /// There is none.
    Unknown,
    /// Too many wait for a decision: nothing was stored.
    TooMany,
}
