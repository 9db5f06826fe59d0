//! `breaker`: an agent or a provider is left alone for a while, or tried again at once.

use gateway::desk::Action;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{CallError, Scope};
use serde::Deserialize;
use serde_json::Value;
use store::task::TaskId;

use super::{Doors, failed, invalid};
use crate::breakers::{self, Move};
use crate::exit::Code;

#[derive(Deserialize)]
pub struct Breaker {
    scope: Scope,
    name: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    task_id: Option<TaskId>,
}

impl Doors {
    pub async fn breaker(&self, caller: &AgentName, this: Move, call: Breaker) -> Result<Value, CallError> {
        let Breaker { scope, name, reason, task_id } = call;
        self.for_an_operator(caller, task_id).await?;
        let board = self.board()?;
        let agent = match scope {
            Scope::Agent => Some(board.supervisor.agent(&name).map_err(|error| invalid(error.to_string()))?),
            Scope::Provider => None,
        };
        if agent.as_ref() == Some(caller) {
            return Err(invalid("an agent does not move its own breaker"));
        }
        let actor = format!("agent {caller}");
        let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty());
        match agent {
            Some(agent) => {
                let (action, verb) = match this {
                    Move::Open => (Action::OpenBreaker, "opened"),
                    Move::Close => (Action::CloseBreaker, "closed"),
                };
                let reason = reason.unwrap_or_else(|| format!("{verb} by {actor}"));
                self.act(&agent, action, &actor, reason).await?;
            }
            None => {
                let moved = breakers::of_provider(board, name, (this, reason), actor, false).await;
                moved.map_err(|failure| match failure.code {
                    Code::Usage => invalid(failure.message),
                    _ => failed(&failure),
                })?;
            }
        }
        Ok(Value::Null)
    }
}
