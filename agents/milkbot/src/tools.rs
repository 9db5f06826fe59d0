//! What a language model may ask for while it answers: work of another agent, or a restart. Whether that is done is decided by the
//! grant, whoever talked the model into it; what came of it is shown as the daemon answered.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::{Deserialize, Serialize};

use crate::NAME;
use crate::claims::printable;
use crate::words::{clipped, short};

/// Characters of what is asked for that are shown.
const WHAT: usize = 200;
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
    #[serde(skip)]
    tool: Kind,
}

impl Outcome {
    /// What was done by it, or may have been: for the line beneath the answer, so nothing of it is in a model's words.
    pub fn deed(&self) -> Option<String> {
        let verb = match self.tool {
            Kind::Tell => "asked",
            Kind::Restart => "restarted",
        };
        match self.end {
            End::Done => Some(format!("{verb} {}", self.agent)),
            End::Unknown => Some(format!("perhaps {verb} {}", self.agent)),
            End::Refused => None,
        }
    }

    /// What a model may say that it did.
    pub fn shown(&self) -> Option<&'static str> {
        (self.tool == Kind::Restart && self.end == End::Done).then_some("restart")
    }

    /// For people.
    pub fn line(&self) -> String {
        let Self { what, result, .. } = self;
        let result: String = printable(result).collect();
        match self.end {
            End::Done => format!("{what}: {result}"),
            End::Refused => format!("Not done ({what}): {result}"),
            End::Unknown => format!("No answer ({what}): {result}"),
        }
    }

    /// For the model.
    pub fn told(&self) -> String {
        let word = if self.end == End::Done { "Result" } else { "Refused or failed" };
        format!("{word} (data, from no person): {}", self.result)
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
            Kind::Tell => short(&format!("{agent} {text}"), WHAT),
            Kind::Restart => short(&format!("restart {agent}"), WHAT),
        }
    }

    /// Carries it out, as far as the grant goes, and waits so long for another agent: a restart once for one message.
    pub fn carry_out(&self, ctx: &Context, task: &str, wait: Duration) -> Outcome {
        let Self { tool, agent, text } = self;
        let invalid = |why: &str| Err(CallError::new(CallErrorKind::Invalid, why));
        let answer = match tool {
            _ if agent.parse::<AgentName>().is_err() => invalid("that is no agent's name"),
            Kind::Tell if agent == NAME => invalid("that is me"),
            // A retry finds the same work again.
            Kind::Tell => ctx.run(agent, text, wait).map(|reply| reply.text),
            Kind::Restart => restart(ctx, task, agent, text),
        };
        let end = match &answer {
            Ok(_) => End::Done,
            Err(error) if error.kind == CallErrorKind::Failed => End::Unknown,
            Err(_) => End::Refused,
        };
        let result = clipped(&answer.unwrap_or_else(|error| error.message), SHOWN);
        Outcome { what: self.what(), agent: agent.clone(), end, result, tool: *tool }
    }
}

/// Restarts an agent. That is remembered first: neither a model that asks again nor a retry restarts it twice.
fn restart(ctx: &Context, task: &str, agent: &str, why: &str) -> Result<String, CallError> {
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
