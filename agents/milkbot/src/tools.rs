//! What a language model may ask for while it answers: work of another agent, or a restart. Whether that is done is decided by the
//! grant, whoever talked the model into it; what came of it is shown as the daemon answered.

use std::time::Duration;

use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::{Deserialize, Serialize};

use crate::NAME;
use crate::words::clipped;

/// How long another agent may take.
const WAIT: Duration = Duration::from_secs(30);
/// Characters of a result that are shown.
const SHOWN: usize = 3_000;

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
    /// How it ended.
    pub end: End,
    /// What the daemon answered.
    pub result: String,
    /// How it may be spoken of.
    #[serde(skip)]
    pub shown: &'static [&'static str],
}

impl Outcome {
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

    /// Carries it out, as far as the grant goes.
    pub fn carry_out(&self, ctx: &Context) -> Outcome {
        let Self { tool, agent, text } = self;
        let (what, shown): (_, &[&str]) = match tool {
            Kind::Tell => (format!("{agent} {text}"), &["asked", "told", "sent"]),
            Kind::Restart => (format!("restart {agent}"), &["restarted"]),
        };
        let answer = match tool {
            _ if agent == NAME => Err(CallError::new(CallErrorKind::Invalid, "that is me")),
            Kind::Tell => ctx.run(agent, text, WAIT).map(|reply| reply.text),
            Kind::Restart => ctx.restart(agent, text).map(|()| "restarted".to_owned()),
        };
        let end = match &answer {
            Ok(_) => End::Done,
            Err(error) if error.kind == CallErrorKind::Failed => End::Unknown,
            Err(_) => End::Refused,
        };
        let result = clipped(&answer.unwrap_or_else(|error| error.message), SHOWN);
        Outcome { what, end, result, shown: if end == End::Done { shown } else { &[] } }
    }
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
