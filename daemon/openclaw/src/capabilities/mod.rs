//! What agents are granted, carried out. The supervisor has checked the grant before anything comes here.

mod alert;
mod breakers;
mod memory;
mod missions;
mod notify;
mod providers;
pub mod system;
pub mod team;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bus::{Bus, Channel, Envelope};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::methods;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use settings::Tasks;
use store::{Clock, Store};
use supervisor::capabilities::Capabilities;

use crate::breakers::Move;
use crate::status::Board;

/// Everything that stands behind the agents' door.
pub struct Doors {
    pub store: Store,
    pub bus: Arc<dyn Bus>,
    pub clock: Clock,
    pub tasks: Tasks,
    /// The file system whose room `system.resources` tells.
    pub disk: PathBuf,
    /// Who is asked and searched, and how pages are fetched.
    pub providers: ::providers::Handle,
    /// The chats on Telegram in which operators are told.
    pub chats: Vec<i64>,
    /// Who on Telegram may decide.
    pub operators: BTreeSet<i64>,
    /// Set once the supervisor is there; it needs these doors first.
    pub board: Arc<OnceLock<Board>>,
}

#[async_trait]
impl Capabilities for Doors {
    async fn call(&self, agent: &AgentName, method: &str, payload: Value) -> Result<Value, CallError> {
        if !methods::GRANTED.contains(&method) {
            let text = format!("there is no method `{}` in this version", method.escape_debug());
            return Err(invalid(text));
        }
        self.open(agent, method, payload).await
    }
}

impl Doors {
    async fn open(&self, agent: &AgentName, method: &str, payload: Value) -> Result<Value, CallError> {
        match method {
            methods::MEMORY_GET => self.recall(agent, read(payload)?).await,
            methods::MEMORY_SET => self.keep(agent, read(payload)?).await,
            methods::MEMORY_DELETE => self.forget(agent, read(payload)?).await,
            methods::MEMORY_LIST => self.keys(agent, read(payload)?).await,
            methods::MEMORY_REMEMBER => self.remember(agent, read(payload)?).await,
            methods::MEMORY_TURNS => self.turns(agent, read(payload)?).await,
            methods::PUBLISH => self.publish(agent, read(payload)?).await,
            methods::TASK_RUN => self.run(agent, read(payload)?).await,
            methods::TASK_LIST => self.list(read(payload)?).await,
            methods::SUPERVISOR_STATUS => self.status().await,
            methods::SUPERVISOR_RESTART => self.restart(agent, read(payload)?).await,
            methods::SUPERVISOR_HEARTBEATS => self.heartbeats().await,
            methods::SUPERVISOR_BUDGETS => self.budgets().await,
            methods::ALERT_RAISE => self.raise(agent, read(payload)?),
            methods::ALERT_RESOLVE => self.resolve(agent, read(payload)?),
            methods::BREAKER_OPEN => self.breaker(agent, Move::Open, read(payload)?).await,
            methods::BREAKER_CLOSE => self.breaker(agent, Move::Close, read(payload)?).await,
            methods::NOTIFY => self.notify(agent, read(payload)?).await,
            methods::SYSTEM_SERVICES => system::services(&self.disk).await,
            methods::SYSTEM_RESTART => self.restart_unit(agent, read(payload)?).await,
            methods::SYSTEM_RESOURCES => system::resources(&self.disk).await,
            methods::ASK => self.ask(agent, read(payload)?).await,
            methods::SEARCH => self.search(agent, read(payload)?).await,
            methods::FETCH => self.fetch(agent, read(payload)?).await,
            methods::MISSIONS_PROPOSE => self.propose(agent, read(payload)?).await,
            methods::MISSIONS_LIST => self.missions(read(payload)?).await,
            methods::MISSIONS_DECIDE => self.decide(agent, read(payload)?).await,
            other => Err(invalid(format!("`{other}` is none of the daemon's"))),
        }
    }

    async fn publish(&self, agent: &AgentName, signal: Signal) -> Result<Value, CallError> {
        let envelope = Envelope::new(agent.as_str(), signal.kind, signal.data, self.clock.now());
        self.bus.publish(Channel::OutcomeLearn, envelope).await.map_err(|error| match error {
            bus::Error::TooLarge { .. } => invalid(error.to_string()),
            _ => failed(&error),
        })?;
        Ok(Value::Null)
    }

    fn board(&self) -> Result<&Board, CallError> {
        self.board
            .get()
            .ok_or_else(|| CallError::new(CallErrorKind::Failed, "the daemon is still starting: try again"))
    }
}

#[derive(Deserialize)]
struct Signal {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
}

fn read<T: DeserializeOwned>(payload: Value) -> Result<T, CallError> {
    serde_json::from_value(payload)
        .map_err(|error| CallError::new(CallErrorKind::Invalid, format!("the call does not read: {error}")))
}

fn failed(error: &dyn std::fmt::Display) -> CallError {
    CallError::new(CallErrorKind::Failed, error.to_string())
}

fn not_configured(text: &str) -> CallError {
    CallError::new(CallErrorKind::NotConfigured, text)
}

fn invalid(text: impl Into<String>) -> CallError {
    CallError::new(CallErrorKind::Invalid, text)
}
