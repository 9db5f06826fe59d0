//! MilkBot, the front desk: says what the team is and does, answers questions, and hands work to the others.
//!
//! | module | what is in it |
//! |---|---|
//! | [`team`] | the status answer, typed |
//! | [`show`] | the team and its tasks as text |
//! | [`talk`] | questions and free text, with a language model or without |
//! | [`work`] | handing work to another agent |
//! | [`words`] | small formatting |

pub mod show;
pub mod talk;
pub mod team;
pub mod words;
pub mod work;

use openclaw_agent_api::agent::ErrorClass;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;

/// This agent's own name: it never hands work to itself.
pub const NAME: &str = env!("CARGO_PKG_NAME");

/// The front desk. All that it knows is in the daemon.
pub struct MilkBot;

impl Agent for MilkBot {
    fn describe() -> Manifest {
        Manifest::new("The front desk: says what the team does, answers questions and hands work on.")
            .command("/help", "lists what every agent understands")
            .command("/status", "how every component is, and how that is known")
            .command("/agents", "the agents, their versions and what they are for")
            .command("/tasks", "the newest tasks")
            .command("/ask QUESTION", "asks the language model")
            .command("/tell AGENT TEXT", "hands work to an agent and waits for its answer")
            .command("/hand AGENT TEXT", "hands work to an agent without waiting")
    }

    fn create(_settings: Value) -> Result<Self> {
        Ok(MilkBot)
    }

    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
        let Some((word, rest)) = message.command() else {
            return talk::chat(ctx, message);
        };
        match words::command(word).as_str() {
            // `/start` is what Telegram sends when a person opens the chat.
            "/help" | "/start" => show::help(ctx),
            "/status" => show::status(ctx),
            "/agents" => show::agents(ctx),
            "/tasks" => show::tasks(ctx),
            "/ask" => talk::ask(ctx, message, rest),
            "/tell" => work::tell(ctx, rest),
            "/hand" => work::hand(ctx, message, rest),
            other => work::relay(ctx, other, rest),
        }
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
