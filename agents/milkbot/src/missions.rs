//! Missions that agents propose: shown, and decided on by the person who says so. What is said to be decided is what the daemon
//! answered.

use openclaw_agent_api::chrono::{DateTime, Utc};
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;

use crate::not_done;
use crate::words::{ago, short};

/// The missions that `/missions` shows: a screenful on a telephone.
const SHOWN: usize = 10;
/// Those among which they are found.
const LOOKED_AT: u32 = 100;

/// A mission, as `openclaw missions list --json` shows it. Any field may be null.
#[derive(Debug, Deserialize)]
pub struct Mission {
    id: Option<String>,
    title: Option<String>,
    status: Option<String>,
    created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    proposal: Proposal,
}

#[derive(Debug, Default, Deserialize)]
struct Proposal {
    by: Option<String>,
    confidence: Option<f64>,
    expires_at: Option<DateTime<Utc>>,
    decision: Option<Decision>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    actor: Option<String>,
}

impl Mission {
    fn id(&self) -> String {
        self.id.as_deref().unwrap_or("?").chars().take(8).collect()
    }

    /// Whether a person is to decide on it.
    pub fn waits(&self, now: DateTime<Utc>) -> bool {
        self.status.as_deref() == Some("proposed") && !self.is_over(now)
    }

    fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.proposal.expires_at.is_some_and(|at| at <= now)
    }

    /// For people.
    pub fn line(&self, now: DateTime<Utc>) -> String {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
        let state = match self.status.as_deref() {
            Some("proposed") if self.is_over(now) => "no longer good".into(),
            _ => known(&self.status),
        };
        let mut line = format!("{} {state}, by {}", self.id(), known(&self.proposal.by));
        if let Some(sure) = self.proposal.confidence {
            line += &format!(", sure {sure:.2}");
        }
        if let Some(at) = self.created_at {
            line += &format!(", {}", ago(now, at));
        }
        if let Some(decision) = &self.proposal.decision {
            line += &format!(", decided by {}", known(&decision.actor));
        }
        format!("{line}: {}", short(self.title.as_deref().unwrap_or("?"), 200))
    }
}

/// The newest, and the JSON that they came from.
///
/// # Errors
/// Those of `missions.list`; `Failed` when the answer does not fit.
pub fn look(ctx: &Context) -> Result<(Vec<Mission>, Value), CallError> {
    let json = ctx.missions(LOOKED_AT)?;
    let missions = <Option<Vec<Mission>>>::deserialize(&json).map_err(|error: serde_json::Error| {
        CallError::new(CallErrorKind::Failed, format!("the answer to /missions does not fit: {error}"))
    })?;
    Ok((missions.unwrap_or_default(), json))
}

/// `/missions`: those that wait for a decision first.
pub fn list(ctx: &Context) -> Result<Reply> {
    let (mut missions, json) = match look(ctx) {
        Ok(seen) => seen,
        Err(error) => return not_done(error, "I cannot see the missions"),
    };
    let now = ctx.now();
    missions.sort_by_key(|mission| !mission.waits(now));
    let mut lines: Vec<_> = missions.iter().take(SHOWN).map(|mission| mission.line(now)).collect();
    let waiting = missions.iter().filter(|mission| mission.waits(now)).count();
    match (missions.is_empty(), waiting) {
        (true, _) => lines.push("No missions.".into()),
        (false, 0) => lines.push("None waits for a decision.".into()),
        (false, waiting) => {
            lines.push(format!("{waiting} wait for a decision: /approve ID [WHY], /reject ID [WHY]"));
        }
    }
    Ok(Reply::text(lines.join("\n")).with_data(json))
}

/// `/approve ID [WHY]`, `/reject ID [WHY]`.
pub fn decide(ctx: &Context, verdict: &str, command: &str, rest: &str) -> Result<Reply> {
    let (id, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if id.is_empty() {
        return Err(AgentError::invalid(format!("which one? Type {command} ID [WHY]; /missions lists them")));
    }
    let json = match ctx.decide_mission(id, verdict, reason.trim()) {
        Ok(json) => json,
        Err(error) => return not_done(error, "Nothing was decided"),
    };
    let mission = Mission::deserialize(&json).map_err(|error: serde_json::Error| {
        AgentError::failed(format!("the answer to {command} does not fit: {error}"))
    })?;
    let mut text = mission.line(ctx.now());
    if mission.status.as_deref() == Some("approved") {
        text += "\nNothing of it has been done: it waits until something runs missions, which this version does not.";
    }
    Ok(Reply::text(text).with_data(json))
}
