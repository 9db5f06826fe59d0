//! `missions`: agents propose, people decide. Who decides is what the store says of the task, not what an agent does.

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::mission::{Change, LISTED_MISSIONS, Mission, Outcome, Proposal, Status};
use store::task::{TaskId, TaskState};
use uuid::Uuid;

use super::team::fnv1a;
use super::{Doors, failed, invalid};
use crate::missions;

/// The longest title, in characters.
const TITLE: usize = 500;
/// The longest key and reason, in bytes.
const KEY: usize = 256;

#[derive(Deserialize)]
pub struct Propose {
    mission: Proposed,
}

#[derive(Deserialize)]
struct Proposed {
    title: String,
    /// The same for the same.
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
pub struct List {
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Deserialize)]
pub struct Decide {
    id: String,
    verdict: Status,
    #[serde(default)]
    reason: String,
    /// For whom.
    task_id: TaskId,
}

impl Doors {
    /// Answers the mission's id and how it stands. The same proposal again is the first one.
    pub async fn propose(&self, agent: &AgentName, call: Propose) -> Result<Value, CallError> {
        let Proposed { title, id, confidence, expires_at, rest } = call.mission;
        let title: String = title.split_whitespace().collect::<Vec<_>>().join(" ");
        if title.is_empty() || title.chars().count() > TITLE {
            return Err(invalid(format!("a mission's `title` has 1 to {TITLE} characters")));
        }
        if id.as_ref().is_some_and(|id| !(1..=KEY).contains(&id.len())) {
            return Err(invalid(format!("a mission's `id` has 1 to {KEY} bytes, or there is none")));
        }
        let data = if rest.is_empty() { Value::Null } else { Value::Object(rest) };
        self.small_enough(data.to_string().len())?;
        let id = id.map_or_else(Uuid::now_v7, |id| named(agent, &id));
        // Its first digits tell one from the others, for who types them.
        let id = named(agent, &id.to_string());
        let proposal = Proposal { by: agent.clone(), confidence, expires_at, data, decision: None };
        let outcome = self.store.change_mission(Change::Propose { id, title, proposal }).await;
        let (mission, known) = match outcome.map_err(|error| failed(&error))? {
            Outcome::Done(mission) => {
                self.store.report(missions::waits(&mission, self.clock.now()));
                (mission, false)
            }
            Outcome::Already(mission) | Outcome::Expired(mission) => (mission, true),
            Outcome::TooMany | Outcome::Unknown => {
                return Err(failed(&"too many missions wait for a decision"));
            }
        };
        Ok(json!({"id": mission.id, "status": mission.status, "known": known}))
    }

    /// The newest missions.
    pub async fn missions(&self, call: List) -> Result<Value, CallError> {
        let missions = self.store.missions(call.limit.unwrap_or(100).min(LISTED_MISSIONS)).await;
        serde_json::to_value(missions.map_err(|error| failed(&error))?).map_err(|error| failed(&error))
    }

    /// What a person has decided, whose task this is, in the words of that: no agent decides, neither for itself nor for
    /// another.
    pub async fn decide(&self, agent: &AgentName, call: Decide) -> Result<Value, CallError> {
        if call.reason.len() > KEY {
            return Err(invalid(format!("a reason has {KEY} bytes at the most")));
        }
        let task = self.store.task(call.task_id).await.map_err(|error| failed(&error))?;
        if task.queue != agent.as_str() || task.state != TaskState::Leased {
            return Err(invalid("a decision is taken while the message of the one who decides is handled"));
        }
        let source = task.source;
        if !self.is_operator(&source) {
            let text = format!(
                "only an operator decides on missions, and this was said by `{}`: use `openclaw missions`, or list who it is in \
                 telegram.operators",
                source.escape_debug()
            );
            return Err(CallError::new(CallErrorKind::NotGranted, text));
        }
        if said(task.payload["text"].as_str().unwrap_or_default()) != Some((call.verdict, call.id.as_str())) {
            return Err(CallError::new(CallErrorKind::NotGranted, NOT_SAID));
        }
        let known = self.store.missions(LISTED_MISSIONS).await.map_err(|error| failed(&error))?;
        let mission = missions::find(&known, &call.id).map_err(|failure| invalid(failure.message))?;
        if mission.proposal.by == *agent {
            return Err(CallError::new(
                CallErrorKind::NotGranted,
                "no agent decides on what it has proposed",
            ));
        }
        let actor = format!("{source}, by {agent}");
        // A retry, whose first try died before it could answer.
        let is_decided = mission.proposal.decision.as_ref().is_some_and(|decision| decision.actor == actor);
        if is_decided && mission.status == call.verdict.to_string() {
            return serde_json::to_value(mission).map_err(|error| failed(&error));
        }
        let decided = missions::decide(&self.store, &call.id, call.verdict, actor, call.reason, self.clock);
        let decided: Mission = decided.await.map_err(|failure| invalid(failure.message))?;
        serde_json::to_value(decided).map_err(|error| failed(&error))
    }

    /// Whoever reaches the socket or the API with a token that may do things is an operator; of those on Telegram, some are.
    pub(super) fn is_operator(&self, source: &str) -> bool {
        match source.split_once(':') {
            None => matches!(source, "cli" | "http"),
            Some(("telegram", sender)) => sender.parse().is_ok_and(|id| self.operators.contains(&id)),
            Some(_) => false,
        }
    }
}

/// Of a decision that nobody has said.
const NOT_SAID: &str =
    "a decision is taken for who says `/approve ID` or `/reject ID`, of that mission: this message does not";

/// What a message decides, and on which mission. No other words decide, whatever an agent makes of them.
fn said(text: &str) -> Option<(Status, &str)> {
    let mut words = text.split_whitespace();
    // On Telegram, `/approve@bot`.
    let command = words.next()?.split('@').next()?.to_lowercase();
    let verdict = match command.as_str() {
        "/approve" => Status::Approved,
        "/reject" => Status::Rejected,
        _ => return None,
    };
    Some((verdict, words.next()?))
}

/// The same for the same name of the same agent.
fn named(agent: &AgentName, name: &str) -> Uuid {
    let half = |salt: &str| fnv1a(format!("{salt}\0{agent}\0{name}").as_bytes());
    let bits = (u128::from(half("a")) << 64) | u128::from(half("b"));
    uuid::Builder::from_custom_bytes(bits.to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_commands_decide() {
        for text in ["/approve 12ab", "/Approve@openbot 12ab since it is good", " /approve\t12ab"] {
            assert_eq!(said(text), Some((Status::Approved, "12ab")), "{text}");
        }
        assert_eq!(said("/reject 12ab"), Some((Status::Rejected, "12ab")));
        for text in [
            "",
            "/approve",
            "approve 12ab",
            "please /approve 12ab",
            "/approved 12ab",
            "call missions.decide {}",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
