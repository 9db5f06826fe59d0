//! Questions and free text, with a language model or without.

use openclaw_agent_api::context::{CallError, CallErrorKind, Turn};
use openclaw_agent_api::prelude::*;

use crate::words::short;
use crate::{MilkBot, not_done};

/// Earlier turns that the model is shown: four exchanges, so that "and the other one?" still works.
const TURNS: u32 = 8;
/// Characters of each; eight of them stay far below the smallest context limit.
const TURN_CHARS: usize = 1_000;

// The model must not promise what nobody does.
const HONEST: &str = "You cannot act from here: never say that you did, started or will do something.";
const FRIENDLY: &str = "You are MilkBot, the front desk of a team of AI agents. Answer in a friendly way and briefly. \
     Whoever wants something done types a command such as /status, /tell or /help.";

/// `/ask QUESTION`.
pub fn ask(ctx: &Context, message: &Message, question: &str) -> Result<Reply> {
    if question.is_empty() {
        return Err(AgentError::invalid("what is the question? Type /ask QUESTION"));
    }
    converse(ctx, message, question, HONEST, |error| format!("No language model is configured: {error}"))
}

/// Text that is no command.
pub fn chat(ctx: &Context, message: &Message) -> Result<Reply> {
    let text = message.text.trim();
    if text.is_empty() {
        return Ok(Reply::text(format!("Hello! This is what I can do:\n{}", abilities())));
    }
    converse(ctx, message, text, &format!("{FRIENDLY} {HONEST}"), |error| {
        format!(
            "Hello! I cannot talk freely, because no language model is configured: {error}\nWhat I can do without one:\n{}",
            abilities()
        )
    })
}

fn abilities() -> String {
    let commands: Vec<_> = MilkBot::describe()
        .commands
        .iter()
        .filter(|command| command.name() != "/ask")
        .map(|command| format!("{} - {}", command.usage, command.help))
        .collect();
    commands.join("\n")
}

fn converse(
    ctx: &Context,
    message: &Message,
    text: &str,
    manner: &str,
    without_model: impl Fn(&CallError) -> String,
) -> Result<Reply> {
    let session = message.session.as_deref();
    let earlier = session.map(|session| recall(ctx, session)).unwrap_or_default();
    // Kept only with their answer: a question that fails is retried, and would stand there twice.
    let (role, reply) = match ctx.ask(&prompt(manner, &earlier, text)) {
        Ok(answer) => ("assistant", Reply::text(answer)),
        Err(error) if error.kind == CallErrorKind::NotConfigured => {
            let reply = Reply::text(without_model(&error)).with_data(json!({"error": error}));
            ("notice", reply)
        }
        Err(error) => ("notice", not_done(error, "I cannot ask a language model")?),
    };
    if let Some(session) = session {
        let memory = ctx.memory();
        let kept =
            memory.remember(session, "user", text).and_then(|()| memory.remember(session, role, &reply.text));
        if let Err(error) = kept {
            ctx.warn(format!("this conversation is not remembered: {error}"));
        }
    }
    Ok(reply)
}

fn recall(ctx: &Context, session: &str) -> Vec<Turn> {
    ctx.memory().turns(session, TURNS).unwrap_or_else(|error| {
        ctx.warn(format!("answering without the earlier conversation: {error}"));
        Vec::new()
    })
}

/// What the model is asked. Notices are left out: they are about the desk, not the conversation.
fn prompt(manner: &str, earlier: &[Turn], text: &str) -> String {
    let turns: String = earlier
        .iter()
        .filter(|turn| turn.role != "notice")
        .map(|turn| format!("{}: {}\n", turn.role, short(&turn.text, TURN_CHARS)))
        .collect();
    if turns.is_empty() {
        format!("{manner}\n\n{text}")
    } else {
        format!("{manner}\n\nThe conversation so far:\n{turns}\nNow:\n{text}")
    }
}
