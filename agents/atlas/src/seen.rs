//! What Atlas asks the daemon, as far as it judges the answers. Any field may be null.

use std::collections::{BTreeMap, BTreeSet};

use openclaw_agent_api::chrono::{DateTime, Utc};
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::NAME;

/// The team, or why it could not be seen; the machine, or why not.
#[derive(Debug)]
pub struct Seen {
    /// From `supervisor.status`.
    pub status: Result<Status, String>,
    /// From `system.resources`.
    pub resources: Result<Resources, String>,
    /// From `supervisor.heartbeats`; none where that is not to be seen. So for the rest.
    pub heartbeats: Result<Option<Vec<Heartbeat>>, String>,
    /// From `supervisor.budgets`.
    pub budgets: Result<Option<Vec<Budget>>, String>,
    /// From `system.services`: none where there is no systemd.
    pub units: Result<Option<Vec<Unit>>, String>,
}

impl Seen {
    /// Looks at all; what cannot be seen is part of what is seen.
    pub fn look(ctx: &Context) -> Self {
        Self {
            status: ctx.status().map_err(|error| error.to_string()).and_then(typed),
            resources: ctx.resources().map_err(|error| error.to_string()).and_then(typed),
            heartbeats: extra(ctx.heartbeats()),
            budgets: extra(ctx.budgets()),
            units: extra(ctx.services()),
        }
    }

    /// The names of the components and units that are there.
    pub fn there(&self) -> BTreeSet<String> {
        let components = self.status.iter().flat_map(Status::led).map(|(name, _)| name.to_owned());
        let units = self.units.iter().flatten().flatten().filter_map(|unit| unit.unit.clone());
        components.chain(units).collect()
    }
}

/// What the operator has not granted, or does not have, is not missing.
fn extra<T: DeserializeOwned + Default>(answer: Result<Value, CallError>) -> Result<Option<T>, String> {
    match answer {
        Ok(answer) => typed(answer).map(Some),
        Err(e) if matches!(e.kind, CallErrorKind::NotGranted | CallErrorKind::NotConfigured) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// An answer in its type.
///
/// # Errors
/// What does not fit.
pub fn typed<T: DeserializeOwned + Default>(answer: Value) -> Result<T, String> {
    let typed: Option<T> =
        serde_json::from_value(answer).map_err(|error| format!("the answer does not fit: {error}"))?;
    Ok(typed.unwrap_or_default())
}

/// The team.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Status {
    /// Agents and services.
    pub components: Option<Vec<Component>>,
    /// Processes of the home that do not answer.
    pub silent: Option<Vec<String>>,
}

impl Status {
    /// Every component with a name but Atlas itself.
    pub fn others(&self) -> impl Iterator<Item = (&str, &Component)> {
        let named = self.components.iter().flatten().filter_map(|c| Some((c.name.as_deref()?, c)));
        named.filter(|(name, _)| *name != NAME)
    }

    /// The same without those that a process leads which is not seen: here they only stand by.
    pub fn led(&self) -> impl Iterator<Item = (&str, &Component)> {
        self.others().filter(|(_, component)| component.state.as_deref() != Some("standby"))
    }

    /// How often each has been restarted, to be compared with the next look.
    pub fn restarts(&self) -> BTreeMap<String, u64> {
        self.others().filter_map(|(name, c)| Some((name.to_owned(), c.restarts?))).collect()
    }
}

/// An agent or a service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Component {
    /// Unique in the team.
    pub name: Option<String>,
    /// `agent`, `service` or `provider`.
    pub kind: Option<String>,
    /// The process that it is a part of.
    pub process: Option<String>,
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
    /// How its last process ended.
    pub last_exit: Option<Exit>,
    /// What a provider is, and what it proved.
    pub provider: Option<Provider>,
}

/// What was last proved.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Evidence {
    /// In words.
    pub what: Option<String>,
}

/// A breaker.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: Option<String>,
    /// When it will admit a start again.
    pub open_until: Option<DateTime<Utc>>,
    /// How it came to be open.
    pub opened: Option<Opened>,
}

/// How a breaker came to be open.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Opened {
    /// When.
    pub at: Option<DateTime<Utc>>,
    /// By whom.
    pub actor: Option<String>,
}

/// A provider of answers.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Provider {
    /// `chat` or `search`.
    pub answers: Option<String>,
    /// It knows our key.
    pub authenticated: Option<Proof>,
    /// It answers with what was asked for.
    pub functional: Option<Proof>,
    /// The last look at it, without a question, showed nothing wrong.
    pub look: Option<Proof>,
}

/// Something that was shown, or refuted.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Proof {
    /// Whether it holds.
    pub holds: Option<bool>,
    /// When that was shown last.
    pub at: Option<DateTime<Utc>>,
}

/// The end of a process.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Exit {
    /// `clean`, `signal`, `panic`, …
    pub class: Option<String>,
    /// In words.
    pub detail: Option<String>,
}

/// What the heartbeat bridge thinks of an agent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub agent: Option<String>,
    /// `fresh`, `late`, `down` or `unknown`.
    pub status: Option<String>,
}

/// A budget of calls to providers.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Budget {
    /// Its name.
    pub budget: Option<String>,
    /// How much of it is used.
    pub percent: Option<f64>,
    /// When it begins anew.
    pub until: Option<DateTime<Utc>>,
}

/// A unit of systemd.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Unit {
    /// Its name.
    pub unit: Option<String>,
    /// `active (running)`, `failed (failed)`, …
    pub state: Option<String>,
    /// How its last process exited, where it did.
    pub exit_code: Option<i32>,
}

/// The machine.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Resources {
    /// Processors.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// The file system of the daemon's home.
    pub disk: Option<Disk>,
    /// The load averages of 1, 5 and 15 minutes.
    pub load: Option<Vec<Option<f64>>>,
    /// Since the machine was booted.
    pub uptime_seconds: Option<u64>,
}

/// Processors.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Cpu {
    /// How many.
    pub cores: Option<u32>,
    /// 0 to 100, of all together.
    pub busy_percent: Option<f64>,
}

/// Memory.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Memory {
    /// In bytes.
    pub total_bytes: Option<u64>,
    /// What can be had without swapping, in bytes.
    pub available_bytes: Option<u64>,
}

/// A file system.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Disk {
    /// Where it was looked at.
    pub path: Option<String>,
    /// In bytes.
    pub total_bytes: Option<u64>,
    /// In bytes.
    pub free_bytes: Option<u64>,
}

impl Disk {
    /// Percent used; none when it cannot be told.
    pub fn used_percent(&self) -> Option<f64> {
        let (total, free) = (self.total_bytes?, self.free_bytes?);
        (total > 0).then(|| 100.0 * total.saturating_sub(free) as f64 / total as f64)
    }
}
