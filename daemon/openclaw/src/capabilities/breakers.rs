//! `breaker`: an agent or a provider is left alone for a while, or tried again at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gateway::desk::Action;
use limits::Bucket;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{CallError, CallErrorKind, Scope};
use serde::Deserialize;
use serde_json::Value;

use super::{Doors, failed, invalid};
use crate::breakers::{self, Move};
use crate::exit::Code;

/// Breakers that one agent may open and close in an hour: more is a loop.
pub const BREAKERS_AN_HOUR: u32 = 12;
/// After how long there is one more.
const ONE_MORE: Duration = Duration::from_secs(3600 / BREAKERS_AN_HOUR as u64);

/// What is left of them for each that asks.
pub type Left = Mutex<HashMap<AgentName, Bucket>>;

#[derive(Deserialize)]
pub struct Breaker {
    scope: Scope,
    name: String,
    #[serde(default)]
    reason: String,
}

impl Doors {
    pub async fn breaker(&self, caller: &AgentName, this: Move, call: Breaker) -> Result<Value, CallError> {
        let Breaker { scope, name, reason } = call;
        let board = self.board()?;
        let agent = match scope {
            Scope::Agent => Some(board.supervisor.agent(&name).map_err(|error| invalid(error.to_string()))?),
            Scope::Provider => None,
        };
        self.may_move(caller)?;
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

    fn may_move(&self, caller: &AgentName) -> Result<(), CallError> {
        let now = self.clock.steady();
        // A bucket each, changed whole: a poisoned lock is still good. There are as many as agents.
        let mut left = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket =
            left.entry(caller.clone()).or_insert_with(|| Bucket::new(BREAKERS_AN_HOUR, ONE_MORE, now));
        bucket.take(now).map_err(|until| {
            let text = format!(
                "`{caller}` has opened and closed {BREAKERS_AN_HOUR} breakers within an hour: no more for now"
            );
            CallError::new(CallErrorKind::TooSoon, text).until(Some(until + self.clock.step()))
        })
    }
}
