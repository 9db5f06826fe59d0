//! MilkBot, the front desk: says what the team is and does, answers questions, and hands work to the others.
//!
//! | module | what is in it |
//! |---|---|
//! | [`team`] | the status answer, typed |
//! | [`show`] | the team and its tasks as text |
//! | [`briefing`] | what the operators are told at set hours |
//! | [`talk`] | questions and free text, with a language model or without |
//! | [`history`] | what was said before, summarised where it is long |
//! | [`tools`] | what a model may ask for, and what came of it |
//! | [`claims`] | what is said of what a model claims: pure |
//! | [`missions`] | what agents propose, and what a person decides on it |
//! | [`time`] | what a handler has time for |
//! | [`work`] | handing work to another agent |
//! | [`words`] | small formatting |

pub mod briefing;
pub mod claims;
pub mod history;
pub mod missions;
pub mod show;
pub mod talk;
pub mod team;
pub mod time;
pub mod tools;
pub mod words;
pub mod work;

use openclaw_agent_api::agent::ErrorClass;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;

/// This agent's own name: it never hands work to itself.
pub const NAME: &str = env!("CARGO_PKG_NAME");

/// How much is remembered.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Characters of a conversation beyond which its older turns are summarised: 1,000 to 500,000.
    pub history_chars: usize,
    /// Hours of UTC, 0 to 23, at which the operators are briefed: none.
    pub briefings: Vec<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        // At three bytes a token a quarter of the smallest context in context-limits.json, which has the answer and the team too.
        Self { history_chars: 24_000, briefings: Vec::new() }
    }
}

const HISTORY: std::ops::RangeInclusive<usize> = 1_000..=500_000;

/// The front desk. All that it knows is in the daemon.
pub struct MilkBot {
    settings: Settings,
}

impl Agent for MilkBot {
    fn describe() -> Manifest {
        Manifest::new("The front desk: says what the team does, answers questions and hands work on.")
            .command("/help", "lists what every agent understands")
            .command("/status", "how every component is, and how that is known")
            .command("/agents", "the agents, their versions and what they are for")
            .command("/tasks", "the newest tasks")
            .command("/budget", "how much of each budget of provider calls is used")
            .command("/missions", "what agents propose, and what was decided")
            .command("/approve ID [WHY]", "says that a proposed mission is wanted")
            .command("/reject ID [WHY]", "says that it is not")
            .command("/ask QUESTION", "asks the language model")
            .command("/new", "begins a new conversation")
            .command("/tell AGENT TEXT", "hands work to an agent and waits for its answer")
            .command("/hand AGENT TEXT", "hands work to an agent without waiting")
            .schedule(every(briefing::PERIOD, briefing::BRIEFING).when("briefings"))
            .settings(json!({
                "type": "object",
                "properties": {"history_chars": {
                    "type": "integer", "minimum": HISTORY.start(), "maximum": HISTORY.end(),
                    "default": Settings::default().history_chars,
                    "description": "characters of a conversation beyond which its older turns are summarised",
                }, "briefings": {
                    "type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 23}, "maxItems": 24,
                    "default": Settings::default().briefings,
                    "description": "hours of UTC at which the operators are briefed; needs the grant `notify`",
                }},
                "additionalProperties": false,
            }))
    }

    fn create(settings: Value) -> Result<Self> {
        let settings: Settings = serde_json::from_value(settings)
            .map_err(|error| AgentError::invalid(format!("the settings do not fit: {error}")))?;
        if !HISTORY.contains(&settings.history_chars) {
            return Err(AgentError::invalid("history_chars must be 1000 to 500000"));
        }
        if settings.briefings.iter().any(|hour| *hour > 23) {
            return Err(AgentError::invalid("briefings must be hours, 0 to 23"));
        }
        Ok(Self { settings })
    }

    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
        let Some((word, rest)) = message.command() else {
            return self.chat(ctx, message);
        };
        match words::command(word).as_str() {
            // `/start` is what Telegram sends when a person opens the chat.
            "/help" | "/start" => show::help(ctx),
            "/status" => show::status(ctx),
            "/agents" => show::agents(ctx),
            "/tasks" => show::tasks(ctx),
            "/budget" => show::budget(ctx),
            "/missions" => missions::list(ctx),
            "/approve" => missions::decide(ctx, "approved", "/approve", rest),
            "/reject" => missions::decide(ctx, "rejected", "/reject", rest),
            "/ask" => self.ask(ctx, message, rest),
            "/new" => self.new_conversation(ctx, message),
            "/tell" => work::tell(ctx, message, rest),
            "/hand" => work::hand(ctx, message, rest),
            other => work::relay(ctx, message, other, rest),
        }
    }

    fn tick(&self, ctx: &Context, schedule: &str) -> Result<()> {
        if schedule == briefing::BRIEFING { self.brief(ctx) } else { Ok(()) }
    }
}

/// What follows from a call that was not carried out: a door that is shut is told to the person, a mistake goes back
/// to the sender, and the rest is retried.
///
/// # Errors
/// For every kind but `NotGranted` and `NotConfigured`.
pub fn not_done(error: CallError, what: &str) -> Result<Reply> {
    let class = match error.kind {
        CallErrorKind::NotGranted
        | CallErrorKind::NotConfigured
        | CallErrorKind::OverBudget
        | CallErrorKind::TooSoon => {
            let text = format!("{what}: {error}");
            return Ok(Reply::text(text).with_data(json!({"error": error})));
        }
        CallErrorKind::Invalid => ErrorClass::Invalid,
        CallErrorKind::Failed => ErrorClass::Failed,
    };
    Err(AgentError { class, message: format!("{what}: {error}") })
}

export_agent!(MilkBot);

#[cfg(test)]
mod tests;
