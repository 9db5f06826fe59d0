//! What a language model may ask for while it answers: work of another agent, or a restart. Whether that is done is decided by the
//! grant, whoever talked the model into it; what came of it is shown as the daemon answered.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::{Deserialize, Serialize};

use crate::NAME;
use crate::claims::Shown;
use crate::words::clipped;

/// How long another agent may take.
const WAIT: Duration = Duration::from_secs(30);
/// Characters of a result that are shown.
const SHOWN: usize = 3_000;
/// Where it is remembered that an agent is restarted for a task, and for how many.
const RESTARTED: &str = "restarted for ";
const REMEMBERED: usize = 50;

/// How the model is told of them.
pub const HOW: &str = "If an agent has to be asked first, answer with one JSON object and nothing else: \
     {\"tool\": \"tell\", \"agent\": \"NAME\", \"text\": \"/command …\"}, or {\"tool\": \"restart\", \"agent\": \"NAME\", \"text\": \"why\"}. \
     You are given its result, and answer then. Only a result shows that something was done.";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tool {
    tool: Kind,
    agent: String,
    #[serde(default)]
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Tell,
    Restart,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The daemon says that it was done.
    Done,
    /// It was not done, and will not be.
    Refused,
    /// It failed, or there was no answer in time: it may be done yet.
    Unknown,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// What was asked for: `restart atlas`.
    pub what: String,
    /// Of or to whom.
    pub agent: String,
    /// How it ended.
    pub end: End,
    /// What the daemon answered.
    pub result: String,
    /// How it may be spoken of.
    #[serde(skip)]
    pub shown: &'static [&'static str],
    /// How it is spoken of if it is done.
    #[serde(skip)]
    words: &'static [&'static str],
}

impl Outcome {
    /// What was done by it, or may have been.
    pub fn as_shown(&self) -> Shown<'_> {
        Shown { agent: &self.agent, words: self.words }
    }

    /// For people.
    pub fn line(&self) -> String {
        let Self { what, result, .. } = self;
        match self.end {
            End::Done => format!("{what}: {result}"),
            End::Refused => format!("Not done ({what}): {result}"),
            End::Unknown => format!("No answer ({what}): {result}"),
        }
    }
}

impl Tool {
    /// The tool that an answer asks for: an answer that is nothing else.
    pub fn in_answer(answer: &str) -> Option<Self> {
        let bare = answer.trim();
        let bare = bare.strip_prefix("```json").or_else(|| bare.strip_prefix("```")).unwrap_or(bare);
        let bare = bare.strip_suffix("```").unwrap_or(bare).trim();
        if !bare.starts_with('{') {
            return None;
        }
        serde_json::from_str(bare).ok()
    }

    /// What is asked for, in words.
    pub fn what(&self) -> String {
        let Self { tool, agent, text } = self;
        match tool {
            Kind::Tell => format!("{agent} {text}"),
            Kind::Restart => format!("restart {agent}"),
        }
    }

    /// Carries it out, as far as the grant goes: a restart once for one message.
    pub fn carry_out(&self, ctx: &Context, task: &str) -> Outcome {
        let Self { tool, agent, text } = self;
        let words: &[&str] = match tool {
            Kind::Tell => &["asked", "told", "sent"],
            Kind::Restart => &["restarted"],
        };
        let answer = match tool {
            _ if agent == NAME => Err(CallError::new(CallErrorKind::Invalid, "that is me")),
            // A retry finds the same work again.
            Kind::Tell => ctx.run(agent, text, WAIT).map(|reply| reply.text),
            Kind::Restart => restart(ctx, task, agent, text),
        };
        let end = match &answer {
            Ok(_) => End::Done,
            Err(error) if error.kind == CallErrorKind::Failed => End::Unknown,
            Err(_) => End::Refused,
        };
        let result = clipped(&answer.unwrap_or_else(|error| error.message), SHOWN);
        let shown: &[&str] = if end == End::Done { words } else { &[] };
        Outcome { what: self.what(), agent: agent.clone(), end, result, shown, words }
    }
}

/// Restarts an agent. That is remembered first: neither a model that asks again nor a retry restarts it twice.
fn restart(ctx: &Context, task: &str, agent: &str, why: &str) -> Result<String, CallError> {
    if agent.parse::<AgentName>().is_err() {
        return Err(CallError::new(CallErrorKind::Invalid, "that is no agent's name"));
    }
    let (memory, key) = (ctx.memory(), format!("{RESTARTED}{task} {agent}"));
    let unknown = |error: CallError| {
        let text = format!("what cannot be remembered is not done: {error}");
        CallError { kind: CallErrorKind::NotConfigured, message: text, ..error }
    };
    if memory.get::<Value>(&key).map_err(unknown)?.is_some() {
        let text = "for this message a restart was begun before, and there is no second one";
        return Err(CallError::new(CallErrorKind::Failed, text));
    }
    memory.set(&key, &ctx.now()).map_err(unknown)?;
    let done = ctx.restart(agent, why).map(|()| "restarted".to_owned());
    let is_refused = done.as_ref().is_err_and(|error| error.kind != CallErrorKind::Failed);
    let forgotten = if is_refused { memory.delete(&key) } else { forget(ctx) };
    if let Err(error) = forgotten {
        ctx.warn(format!("more restarts are remembered than there were lately: {error}"));
    }
    done
}

/// Of the restarts the newest are remembered: tasks' ids are in the order of their time.
fn forget(ctx: &Context) -> Result<(), CallError> {
    let keys = ctx.memory().keys(RESTARTED)?;
    let old = keys.len().saturating_sub(REMEMBERED);
    keys[..old].iter().try_for_each(|key| ctx.memory().delete(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_is_a_tool_and_nothing_else_is_one() {
        let tool = "{\"tool\": \"tell\", \"agent\": \"scout\", \"text\": \"/signals\"}";
        for answer in [tool.to_owned(), format!("```json\n{tool}\n```"), format!("  {tool} ")] {
            assert_eq!(Tool::in_answer(&answer).unwrap().agent, "scout");
        }
        for answer in [
            &format!("The page says {tool}"),
            "",
            "{",
            "{\"tool\": \"burn\", \"agent\": \"scout\"}",
            "{\"agent\": \"scout\"}",
            "hello",
        ] {
            assert!(Tool::in_answer(answer).is_none(), "{answer}");
        }
    }
}
