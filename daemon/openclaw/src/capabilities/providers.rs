//! `ask`, `search`, `fetch`: carried out by the providers, whose refusals become those that an agent can act on.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use providers::{Question, Refusal, Say};
use serde::Deserialize;
use serde_json::Value;

use super::{Doors, failed, invalid};

/// Hits that an agent gets unless it asks for less or more.
const HITS: u32 = 10;

#[derive(Deserialize)]
pub struct Ask {
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Vec<Say>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    within_ms: Option<u64>,
}

#[derive(Deserialize)]
pub struct Search {
    query: String,
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    within_ms: Option<u64>,
}

#[derive(Deserialize)]
pub struct Fetch {
    url: String,
}

impl Doors {
    pub async fn ask(&self, agent: &AgentName, call: Ask) -> Result<Value, CallError> {
        let Ask { prompt, messages: mut turns, model, max_tokens, within_ms } = call;
        turns.extend(prompt.map(|text| Say { role: "user".into(), text }));
        if let Some(odd) =
            turns.iter().find(|turn| !matches!(turn.role.as_str(), "system" | "user" | "assistant"))
        {
            let role = odd.role.escape_debug();
            return Err(invalid(format!("`{role}` is no role: use system, user or assistant")));
        }
        let question = Question { turns, model, max_tokens, within: within_ms.map(Duration::from_millis) };
        self.providers.ask(agent, &question).await.map(Value::from).map_err(refusal)
    }

    pub async fn search(&self, agent: &AgentName, call: Search) -> Result<Value, CallError> {
        let Search { query, limit, within_ms } = call;
        let within = within_ms.map(Duration::from_millis);
        let hits = self.providers.search(agent, &query, limit.unwrap_or(HITS), within).await;
        serde_json::to_value(hits.map_err(refusal)?).map_err(|error| failed(&error))
    }

    pub async fn fetch(&self, agent: &AgentName, call: Fetch) -> Result<Value, CallError> {
        let page = self.providers.fetch(agent, &call.url).await.map_err(refusal)?;
        serde_json::to_value(page).map_err(|error| failed(&error))
    }
}

fn refusal(refusal: Refusal) -> CallError {
    let (kind, retry_at) = match &refusal {
        // What is misconfigured stays so until somebody mends it.
        Refusal::NotConfigured(_) | Refusal::Misconfigured { .. } => (CallErrorKind::NotConfigured, None),
        Refusal::NotGranted(_) => (CallErrorKind::NotGranted, None),
        Refusal::Invalid(_) => (CallErrorKind::Invalid, None),
        Refusal::Busy { .. } => (CallErrorKind::TooSoon, None),
        Refusal::OverBudget { until, .. } => (CallErrorKind::OverBudget, *until),
        Refusal::Failed { retry_at, .. } => (CallErrorKind::Failed, *retry_at),
        Refusal::Nothing { .. } | Refusal::Ledger(_) => (CallErrorKind::Failed, None),
    };
    CallError::new(kind, refusal.to_string()).until(retry_at)
}
