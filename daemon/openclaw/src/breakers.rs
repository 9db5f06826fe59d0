//! A provider's breaker in somebody's hands, in each process of the home: each makes calls of its own. An agent's is moved as the
//! agent is: see `gateway::desk`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::backend::NewEvent;

use crate::control::Ask;
use crate::exit::{Code, Failure};
use crate::provided;
use crate::status::Board;

/// The event of a provider's breaker that somebody moved; an agent's is a transition.
const MOVED: &str = "provider.breaker";

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// Calls pass it over for a while.
    Open,
    /// It is asked again.
    Close,
}

/// How what was moved stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Moved {
    pub name: String,
    /// A provider's breaker's, or an agent's own.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// Opens or closes a provider's breaker here and, unless one of them has asked, in the home's other processes.
pub async fn of_provider(
    board: &Board,
    name: String,
    (this, reason): (Move, Option<String>),
    actor: String,
    alone: bool,
) -> Result<Moved, Failure> {
    let verb = if this == Move::Open { "opened" } else { "closed" };
    let reason = reason.unwrap_or_else(|| format!("{verb} by {actor}"));
    let done = match this {
        Move::Open => board.providers.open_breaker(&name, &actor, &reason),
        Move::Close => board.providers.close_breaker(&name, &actor, &reason),
    };
    let elsewhere = if alone {
        false
    } else {
        let (name, reason) = (name.clone(), Some(reason.clone()));
        board.neighbours.everyone(&Ask::Provider { name, this, reason, actor: Some(actor.clone()) }).await
    };
    match done {
        Ok(Some(notice)) => {
            let now = board.clock.now();
            let payload = json!({"provider": name, "to": this, "actor": actor, "reason": reason, "at": now});
            let agent = crate::alerts::whole();
            board.store.event(NewEvent { agent, kind: MOVED, payload: payload.to_string(), at: now });
            provided::teller(board.store.clone(), board.clock)(notice);
            // It is done, and is kept once the store can.
            if let Err(error) = board.providers.keep().await {
                tracing::warn!(%error, "where the provider's breaker stands is not kept yet");
            }
        }
        Ok(None) => {}
        Err(unknown) if !elsewhere => return Err(Failure::of(Code::Usage, &unknown)),
        Err(_) => {}
    }
    let here = board.providers.providers().into_iter().find(|one| one.name == name);
    let state = here.as_ref().map_or(if this == Move::Open { "open" } else { "closed" }, provided::breaker);
    let why = here.and_then(|one| one.opened).map_or(reason, |opened| opened.reason);
    Ok(Moved { name, state: state.into(), reason: why })
}
