//! The operator's socket: frames as on the wire to hosts, one JSON object each. Requests carry a number that comes
//! back with the answer, so that many can be under way on one connection.

pub mod client;
pub mod neighbours;
pub mod server;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::mission::Status;
use store::task::{Filter, TaskId};

pub use gateway::desk::{Acknowledged, Action, Kept, Message, Raise, Raised, Reloaded, Sent, Settled};

use crate::breakers::Move;
use crate::exit::Failure;

/// Client → daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request<A = Ask> {
    /// Comes back with the answer.
    pub id: u64,
    /// What to do.
    pub ask: A,
}

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The whole as it stands.
    Status,
    /// Deliver a message.
    Send(Message),
    /// Start, stop or restart an agent, or open or close its breaker, and wait until it has settled.
    Agent {
        /// Which.
        name: String,
        /// What to do.
        action: Action,
        /// Why, for the history.
        #[serde(default)]
        reason: Option<String>,
        /// On whose behalf, where another process hands it on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<String>,
    },
    /// Run the file that the agents folder has for an agent now, and wait for the verdict.
    Reload {
        /// Which.
        name: String,
        /// On whose behalf, where another process hands it on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<String>,
    },
    /// Run an older library again.
    Rollback {
        /// Which.
        name: String,
        /// How its hash begins; the last good one by default.
        #[serde(default)]
        to: Option<String>,
        /// On whose behalf, where another process hands it on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<String>,
    },
    /// The libraries that are kept of an agent.
    Libraries {
        /// Which.
        name: String,
    },
    /// The alerts that happened last, newest first.
    Alerts {
        /// How many.
        limit: u32,
    },
    /// Take a report of an alert.
    Raise(Raise),
    /// Somebody knows of an alert.
    Acknowledge {
        /// Its id or fingerprint, or `all`.
        which: String,
    },
    /// The last transitions of an agent, newest first.
    History {
        /// Which.
        name: String,
        /// How many.
        limit: u32,
    },
    /// What was thought of an agent, wherever it runs, newest first.
    Heartbeats {
        /// Which.
        name: String,
        /// How many.
        limit: u32,
    },
    /// Tasks, newest first.
    Tasks(Filter),
    /// One task.
    Task {
        /// Which.
        id: TaskId,
    },
    /// Queue a failed or cancelled task anew.
    Retry {
        /// Which.
        id: TaskId,
    },
    /// Cancel a queued task.
    Cancel {
        /// Which.
        id: TaskId,
    },
    /// What agents proposed, newest first.
    Missions {
        /// How many.
        limit: u32,
    },
    /// Decide on a mission.
    Decide {
        /// How its id begins.
        id: String,
        /// `approved` or `rejected`.
        verdict: Status,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// What an agent may ask for, and what it did with that today.
    Grants {
        /// Which.
        name: String,
    },
    /// How each budget stands, and the newest calls to providers.
    Budget {
        /// Calls of which agent; none: of all.
        #[serde(default)]
        agent: Option<String>,
        /// How many calls.
        #[serde(default)]
        calls: u32,
    },
    /// Open or close a provider's breaker, in all processes.
    Provider {
        /// Which.
        name: String,
        /// Which of the two.
        this: Move,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
        /// On whose behalf, where another process hands it on: then in this one alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<String>,
    },
    /// Ask the providers how they are, now.
    Probe {
        /// By a question, which costs what a question costs.
        #[serde(default)]
        ask: bool,
    },
    /// About the bot, of which the process with the gateway knows.
    Telegram(Bot),
}

/// What can be asked about the bot.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Bot {
    /// How it stands.
    Stand,
    /// Let in the stranger who has this code.
    Approve {
        /// Which.
        code: String,
    },
    /// Shut somebody out again.
    Revoke {
        /// Whom.
        id: i64,
    },
}

impl Ask {
    /// The agent that it is about, where only the process that leads it can answer.
    pub fn about(&self) -> Option<&str> {
        match self {
            Self::Agent { name, .. }
            | Self::Reload { name, .. }
            | Self::Rollback { name, .. }
            | Self::Libraries { name } => Some(name),
            Self::Status
            | Self::Send(_)
            | Self::Alerts { .. }
            | Self::Raise(_)
            | Self::Acknowledge { .. }
            | Self::History { .. }
            | Self::Heartbeats { .. }
            | Self::Tasks(_)
            | Self::Task { .. }
            | Self::Retry { .. }
            | Self::Cancel { .. }
            | Self::Missions { .. }
            | Self::Decide { .. }
            | Self::Provider { .. }
            | Self::Probe { .. }
            | Self::Budget { .. }
            | Self::Grants { .. }
            | Self::Telegram(_) => None,
        }
    }

    /// The service that it is about, where only the process that has it can answer.
    pub fn service(&self) -> Option<&'static str> {
        matches!(self, Self::Telegram(_)).then_some("telegram")
    }
}

/// Daemon → client.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The request's number; 0 when it could not be read.
    pub id: u64,
    /// What came of it.
    pub result: Result<Box<RawValue>, Failure>,
}
