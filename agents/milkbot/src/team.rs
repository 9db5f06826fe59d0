//! The answer of `openclaw status --json`, as far as the front desk shows it. Any field may be null.

use openclaw_agent_api::chrono::{DateTime, Utc};
use openclaw_agent_api::context::{CallError, CallErrorKind, Context};
use openclaw_agent_api::serde_json::{self, Value};
use serde::Deserialize;

use crate::NAME;

/// The daemon and what it runs.
#[derive(Debug, Default, Deserialize)]
pub struct Team {
    /// The daemon itself.
    pub daemon: Option<Daemon>,
    /// Agents and services.
    pub components: Option<Vec<Component>>,
}

/// The daemon's own line.
#[derive(Debug, Default, Deserialize)]
pub struct Daemon {
    /// Of the binary.
    pub version: Option<String>,
    /// How long it has been running.
    pub uptime_seconds: Option<i64>,
}

/// An agent or a service.
#[derive(Debug, Default, Deserialize)]
pub struct Component {
    /// Unique in the team.
    pub name: Option<String>,
    /// `agent` or `service`.
    pub kind: Option<String>,
    /// `ready`, `backoff`, `stopped`, …
    pub state: Option<String>,
    /// `ok`, `degraded`, `failed` or `unknown`.
    pub health: Option<String>,
    /// What the health is known by.
    pub evidence: Option<Evidence>,
    /// Since the daemon first started it.
    pub restarts: Option<u64>,
    /// Its breaker.
    pub breaker: Option<Breaker>,
    /// Of the agent's library.
    pub version: Option<String>,
    /// How its last process ended.
    pub last_exit: Option<Exit>,
    /// A sentence.
    pub description: Option<String>,
    /// What people can type to it.
    pub commands: Option<Vec<Usage>>,
}

/// What was last proved, and when.
#[derive(Debug, Default, Deserialize)]
pub struct Evidence {
    /// In words.
    pub what: Option<String>,
    /// When it was seen.
    pub at: Option<DateTime<Utc>>,
}

/// A breaker's state.
#[derive(Debug, Default, Deserialize)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: Option<String>,
}

/// The end of a process.
#[derive(Debug, Default, Deserialize)]
pub struct Exit {
    /// `clean`, `signal`, `panic`, …
    pub class: Option<String>,
    /// In words.
    pub detail: Option<String>,
}

/// A command, as its agent's manifest lists it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Usage {
    /// As typed, with its arguments.
    pub usage: Option<String>,
    /// What it does.
    pub help: Option<String>,
}

impl Usage {
    /// The first word.
    pub fn name(&self) -> &str {
        self.usage.as_deref().and_then(|usage| usage.split_whitespace().next()).unwrap_or("")
    }
}

impl Component {
    /// Its name; a component without one is shown as `?`.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("?")
    }

    /// Whether it is an agent, so that work can be handed to it.
    pub fn is_agent(&self) -> bool {
        self.kind.as_deref() == Some("agent")
    }

    /// What people can type to it.
    pub fn commands(&self) -> impl Iterator<Item = &Usage> {
        self.commands.iter().flatten().filter(|command| !command.name().is_empty())
    }
}

impl Team {
    /// The team as the daemon has it now, and the JSON that it came from.
    ///
    /// # Errors
    /// Those of `supervisor.status`; `Failed` when the answer does not fit.
    pub fn look(ctx: &Context) -> Result<(Self, Value), CallError> {
        let json = ctx.status()?;
        let team = <Option<Self>>::deserialize(&json).map_err(|error: serde_json::Error| {
            CallError::new(CallErrorKind::Failed, format!("the status answer does not fit: {error}"))
        })?;
        Ok((team.unwrap_or_default(), json))
    }

    /// Agents and services.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().flatten()
    }

    /// The agents, the front desk among them.
    pub fn agents(&self) -> impl Iterator<Item = &Component> {
        self.components().filter(|component| component.is_agent())
    }

    /// The agents that work can be handed to.
    pub fn others(&self) -> impl Iterator<Item = &Component> {
        self.agents().filter(|agent| agent.name() != NAME)
    }
}
