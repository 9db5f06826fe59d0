//! Handing work to another agent. What is said to have happened is only what the daemon confirmed.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{CallErrorKind, FollowUp};
use openclaw_agent_api::prelude::*;

use crate::team::Team;
use crate::time::Time;
use crate::words::{self, nearest};
use crate::{MilkBot, NAME, not_done};

/// `/tell AGENT TEXT`: waits, and answers `AGENT: …`.
pub fn tell(ctx: &Context, message: &Message, rest: &str) -> Result<Reply> {
    let (agent, text) = addressed(rest, "/tell AGENT TEXT")?;
    let answer = run(ctx, message, agent.as_str(), text)?;
    Ok(match answer {
        Ran::Answered(reply) => Reply { text: format!("{agent}: {}", reply.text), data: reply.data },
        Ran::Not(reply) => reply,
    })
}

/// `/hand AGENT TEXT`: the work is committed together with this answer, so the answer is true when it is seen.
pub fn hand(ctx: &Context, message: &Message, rest: &str) -> Result<Reply> {
    let (agent, text) = addressed(rest, "/hand AGENT TEXT")?;
    // A team that cannot be seen is no reason to refuse: the daemon checks the name as well.
    if let Ok((team, _)) = Team::look(ctx)
        && team.others().next().is_some()
        && !team.others().any(|other| other.name() == agent.as_str())
    {
        let names: Vec<_> = team.others().map(|other| other.name()).collect();
        let meant = nearest(agent.as_str(), names).unwrap_or_default();
        return Err(AgentError::invalid(format!(
            "there is no agent `{agent}`; did you mean {meant}? See /agents"
        )));
    }
    ctx.hand_over(FollowUp {
        agent: agent.clone(),
        text: text.into(),
        data: Value::Null,
        session: message.session.clone(),
    });
    Ok(Reply::text(format!("Handed to {agent}, without waiting for its answer: see /tasks.")))
}

/// A command that is not the front desk's own: goes to the agent that lists it.
pub fn relay(ctx: &Context, message: &Message, word: &str, rest: &str) -> Result<Reply> {
    let seen = Team::look(ctx);
    let unseen = match &seen {
        Ok(_) => String::new(),
        // The command may be good, so this is not the sender's mistake.
        Err(error) if error.kind == CallErrorKind::Failed => {
            return Err(AgentError::failed(format!("cannot look up who understands {word}: {error}")));
        }
        Err(error) => format!(" (what the other agents understand cannot be seen: {error})"),
    };
    let team = seen.map(|(team, _)| team).unwrap_or_default();

    let agent = team.others().find(|agent| agent.commands().any(|c| words::command(c.name()) == word));
    if let Some(agent) = agent {
        let answer = run(ctx, message, agent.name(), format!("{word} {rest}").trim())?;
        return Ok(match answer {
            Ran::Answered(reply) | Ran::Not(reply) => reply,
        });
    }

    let own = MilkBot::describe().commands;
    let known = own.iter().map(|command| command.name());
    let theirs = team.others().flat_map(|agent| agent.commands().map(|command| command.name()));
    let meant = nearest(word, known.chain(theirs)).unwrap_or("/help");
    Err(AgentError::invalid(format!(
        "I do not know {word}{unseen}; did you mean {meant}? /help lists every command"
    )))
}

enum Ran {
    Answered(Reply),
    Not(Reply),
}

/// Runs `text` at `agent`. An agent's failure is told, not passed on as this one's: retrying the front desk would
/// only find the same failed work again, and its breaker must not open for another's.
fn run(ctx: &Context, message: &Message, agent: &str, text: &str) -> Result<Ran> {
    match ctx.run(agent, text, Time::of(ctx, message).agent) {
        Ok(reply) => Ok(Ran::Answered(reply)),
        Err(error) if error.kind == CallErrorKind::Failed => {
            let text = format!("No answer from {agent}: {error}");
            Ok(Ran::Not(Reply::text(text).with_data(json!({"error": error}))))
        }
        Err(error) => not_done(error, &format!("This could not be handed to {agent}")).map(Ran::Not),
    }
}

/// `AGENT TEXT`, another agent than this one.
fn addressed<'t>(rest: &'t str, usage: &str) -> Result<(AgentName, &'t str)> {
    let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let text = text.trim();
    if name.is_empty() || text.is_empty() {
        return Err(AgentError::invalid(format!("type {usage}")));
    }
    let agent: AgentName = name.parse().map_err(|bad| AgentError::invalid(format!("{bad}")))?;
    if agent.as_str() == NAME {
        return Err(AgentError::invalid(format!("{NAME} is this agent: say it without `{usage}`")));
    }
    Ok((agent, text))
}
