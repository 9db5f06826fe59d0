//! `task` and `supervisor`: the other agents.

use std::time::Duration;

use gateway::desk::{Action, Neighbours as _, Order};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::kinds;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use serde::Deserialize;
use serde_json::{Value, json};
use store::task::{Filter, TaskId, TaskState};
use supervisor::Error;
use supervisor::submission::{Draft, Payload};

use super::{Doors, failed, invalid};

/// The longest wait for another agent.
const LONGEST: Duration = Duration::from_secs(600);
/// What is shown of a task's text in a list.
const SHOWN: usize = 120;

#[derive(Deserialize)]
pub struct Run {
    task_id: Option<TaskId>,
    agent: String,
    text: String,
    timeout_ms: u64,
}

#[derive(Deserialize)]
pub struct List {
    limit: u32,
}

#[derive(Deserialize)]
pub struct Restart {
    agent: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    task_id: Option<TaskId>,
}

impl Doors {
    /// What an agent does to others for a message, an operator has sent: else whoever may talk with it could do it through it. Of
    /// what it does by itself, at a tick, its grant alone decides.
    pub(super) async fn for_an_operator(
        &self,
        agent: &AgentName,
        task: Option<TaskId>,
    ) -> Result<(), CallError> {
        let Some(task) = task else { return Ok(()) };
        let task = self.store.task(task).await.map_err(|error| failed(&error))?;
        if task.queue != agent.as_str() || task.state != TaskState::Leased {
            return Err(invalid("an agent does this for a task that it has in work, or for none"));
        }
        if task.kind == kinds::TICK || self.is_operator(&task.source) {
            return Ok(());
        }
        let text = format!(
            "only an operator has this done through an agent, and this was said by `{}`: list who it is in telegram.operators",
            task.source.escape_debug()
        );
        Err(CallError::new(CallErrorKind::NotGranted, text))
    }

    /// Another agent's work, waited for. Its key is the caller's task, the agent and the text, so that a retry of
    /// the caller finds the same work again.
    pub async fn run(&self, caller: &AgentName, call: Run) -> Result<Value, CallError> {
        let agent =
            self.board()?.supervisor.agent(&call.agent).map_err(|error| invalid(error.to_string()))?;
        if agent == *caller {
            return Err(invalid("an agent that waits for itself would wait for ever: do it at once instead"));
        }
        let key = call.task_id.map(|parent| format!("{parent}:run:{:016x}", fnv1a(call.text.as_bytes())));
        let draft = Draft {
            to: agent.clone(),
            payload: Payload { text: call.text, data: None },
            session: None,
            key,
            priority: 0,
            source: format!("agent:{caller}"),
        };
        let task = draft.task(&self.tasks).map_err(invalid)?;
        let (_, ended) = self.store.submit_and_watch(task).await.map_err(|error| failed(&error))?;
        let most = Duration::from_millis(call.timeout_ms).min(LONGEST);
        let ended = self.board()?.end_of(&agent, ended, most).await.map_err(|error| failed(&error))?;
        let Some(ended) = ended else {
            let state =
                self.board()?.supervisor.one(&agent).await.map_err(|error| failed(&error))?.record.state;
            let state = state.name();
            let most = settings::units::text(most);
            return Err(failed(&format!(
                "`{agent}` is {state} and has not answered within {most}; the work keeps"
            )));
        };
        match (ended.state, ended.result, ended.error) {
            (TaskState::Done, Some(reply), _) => serde_json::from_str(&reply).map_err(|error| failed(&error)),
            (_, _, Some(error)) => Err(failed(&error)),
            (state, _, _) => Err(failed(&format!("the work was {state}"))),
        }
    }

    pub async fn list(&self, call: List) -> Result<Value, CallError> {
        let filter = Filter { limit: call.limit.min(100), ..Filter::default() };
        let tasks = self.store.tasks(&filter).await.map_err(|error| failed(&error))?;
        let shown = tasks.into_iter().map(|task| {
            let text: String =
                task.payload["text"].as_str().unwrap_or_default().chars().take(SHOWN).collect();
            json!({
                "id": task.id, "queue": task.queue, "kind": task.kind, "state": task.state, "text": text,
                "attempts": task.attempts, "max_attempts": task.max_attempts, "created_at": task.created_at,
                "error": task.error,
            })
        });
        Ok(shown.collect())
    }

    pub async fn status(&self) -> Result<Value, CallError> {
        let board = self.board()?;
        let document = board.document().await.map_err(|error| failed(&error))?;
        // Each unit is a process of its own: the team is the home's.
        let home = board.neighbours.home(document).await;
        serde_json::to_value(home).map_err(|error| failed(&error))
    }

    /// What the heartbeat bridge thought of each agent last, and when.
    pub async fn heartbeats(&self) -> Result<Value, CallError> {
        let rows = self.store.last_heartbeats().await.map_err(|error| failed(&error))?;
        Ok(rows
            .into_iter()
            .map(|row| json!({"agent": row.agent, "status": row.status, "at": row.at}))
            .collect())
    }

    /// How each budget stands.
    pub async fn budgets(&self) -> Result<Value, CallError> {
        let budgets = self.providers.budgets().await.map_err(|error| failed(&error))?;
        serde_json::to_value(budgets).map_err(|error| failed(&error))
    }

    pub async fn restart(&self, caller: &AgentName, call: Restart) -> Result<Value, CallError> {
        self.for_an_operator(caller, call.task_id).await?;
        let supervisor = &self.board()?.supervisor;
        let agent = supervisor.agent(&call.agent).map_err(|error| invalid(error.to_string()))?;
        let actor = format!("agent {caller}");
        let reason = match call.reason.trim() {
            "" => format!("restarted by {actor}"),
            reason => reason.to_owned(),
        };
        self.act(&agent, Action::Restart, &actor, reason).await?;
        Ok(Value::Null)
    }

    /// Moves an agent, in whichever process of the home leads it.
    pub(super) async fn act(
        &self,
        agent: &AgentName,
        action: Action,
        actor: &str,
        reason: String,
    ) -> Result<(), CallError> {
        let (supervisor, by) = (&self.board()?.supervisor, actor.to_owned());
        let done = match action {
            Action::Start => supervisor.start(agent, by).await,
            Action::Stop => supervisor.stop(agent, by).await,
            Action::Restart => supervisor.restart(agent, by, reason.clone()).await,
            Action::OpenBreaker => supervisor.open_breaker(agent, by, reason.clone()).await,
            Action::CloseBreaker => supervisor.close_breaker(agent, by, reason.clone()).await,
        };
        if let Err(Error::Elsewhere { .. } | Error::StandsBy { .. }) = done {
            let order = Order::Act { action, reason: Some(reason) };
            if let Some(answer) = self.board()?.neighbours.carry_out(agent, order, actor).await {
                return answer.map(drop).map_err(|error| failed(&error));
            }
        }
        done.map_err(|error| failed(&error))
    }
}

/// FNV-1a, 64 bit: stable over versions, as std's hashes are not.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
