//! `openclaw breakers`

use std::io::{IsTerminal, stdout};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use openclaw_agent_api::context::Scope;
use serde::Serialize;
use settings::Inputs;

use super::table::{ago, judged, short, table};
use super::{print, print_json};
use crate::breakers::{Move, Moved};
use crate::control::client::Client;
use crate::control::{Action, Ask};
use crate::exit::{Code, Failure};
use crate::status::Component;

/// `openclaw breakers`
#[derive(Subcommand)]
#[command(
    after_help = "While a breaker is open, an agent has no process and its tasks wait; a provider is passed over, and the next one is\n\
                  asked. What you open is tried again by itself after `open_max` of [supervision.breaker] or failover.json."
)]
pub enum BreakersCommand {
    /// The breaker of each agent and provider: state, failures, who opened it and why
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Leave an agent or a provider alone for a while
    Open(Which),
    /// Start an agent, or ask a provider, as if nothing had been wrong
    Close(Which),
}

/// One breaker.
#[derive(Args)]
pub struct Which {
    /// Of what
    #[arg(value_parser = scope, value_name = "agent|provider")]
    scope: Scope,
    /// Which
    name: String,
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "agent" => Ok(Scope::Agent),
        "provider" => Ok(Scope::Provider),
        _ => Err("write agent or provider".into()),
    }
}

/// One of them, as it is shown.
#[derive(Serialize)]
struct Shown {
    scope: Scope,
    name: String,
    /// Each process has its own of a provider.
    process: String,
    state: String,
    failures: u64,
    in_a_row: u32,
    opened_at: Option<DateTime<Utc>>,
    open_until: Option<DateTime<Utc>>,
    actor: Option<String>,
    reason: Option<String>,
}

impl Shown {
    fn of(component: Component) -> Option<Self> {
        let scope = match component.kind.as_str() {
            "agent" => Scope::Agent,
            "provider" => Scope::Provider,
            _ => return None,
        };
        let breaker = component.breaker;
        let (opened_at, actor, reason) = match breaker.opened {
            Some(opened) => (Some(opened.at), Some(opened.actor), Some(opened.reason)),
            None => (None, None, None),
        };
        Some(Self {
            scope,
            name: component.name,
            process: component.process,
            state: breaker.state,
            failures: breaker.failures,
            in_a_row: breaker.in_a_row,
            opened_at,
            open_until: breaker.open_until,
            actor,
            reason,
        })
    }
}

/// Carries the command out.
pub fn run(inputs: &Inputs, command: BreakersCommand) -> Result<(), Failure> {
    match command {
        BreakersCommand::List { json } => list(inputs, json),
        BreakersCommand::Open(which) => turn(inputs, which, Move::Open),
        BreakersCommand::Close(which) => turn(inputs, which, Move::Close),
    }
}

fn list(inputs: &Inputs, json: bool) -> Result<(), Failure> {
    let document = Client::connect(inputs)?.status()?;
    let now = document.daemon.now;
    let all: Vec<_> = document.components.into_iter().filter_map(Shown::of).collect();
    if json {
        return print_json(&all);
    }
    let on_terminal = stdout().is_terminal();
    let head = ["of", "name", "process", "breaker", "failures", "in a row", "opened", "until", "by", "why"];
    let mut table = table(&head, on_terminal);
    for one in all {
        let scope = if one.scope == Scope::Agent { "agent" } else { "provider" };
        let until = one.open_until.map_or_else(|| "-".into(), |at| at.format("%F %T").to_string());
        table.add_row([
            scope.into(),
            one.name.as_str().into(),
            one.process.as_str().into(),
            judged(&one.state, on_terminal),
            one.failures.to_string().into(),
            one.in_a_row.to_string().into(),
            one.opened_at.map_or_else(|| "-".into(), |at| ago(Some(at), now)).into(),
            until.into(),
            one.actor.as_deref().unwrap_or("-").into(),
            short(one.reason.as_deref().unwrap_or("-"), 120).into(),
        ]);
    }
    print(&table.to_string())
}

fn turn(inputs: &Inputs, which: Which, this: Move) -> Result<(), Failure> {
    let Which { scope, name, reason, json } = which;
    let ask = match (scope, this) {
        (Scope::Provider, this) => Ask::Provider { name, this, reason, actor: None },
        (Scope::Agent, Move::Open) => Ask::Agent { name, action: Action::OpenBreaker, reason, actor: None },
        (Scope::Agent, Move::Close) => Ask::Agent { name, action: Action::CloseBreaker, reason, actor: None },
    };
    let moved: Moved = Client::connect(inputs)?.ask(ask)?;
    if json {
        print_json(&moved)?;
    }
    let Moved { name, state, reason } = moved;
    let reached = match this {
        Move::Open => state == "open",
        Move::Close => state == "ready" || state == "closed",
    };
    match (reached, json) {
        (true, true) => Ok(()),
        (true, false) => print(&format!("{name} is {state}")),
        (false, _) => Err(Failure::new(Code::Failed, format!("{name} is {state}: {reason}"))),
    }
}
