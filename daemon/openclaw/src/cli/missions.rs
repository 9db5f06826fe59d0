//! `openclaw missions`

use std::io::{IsTerminal, stdout};

use chrono::Utc;
use clap::Subcommand;
use settings::Inputs;
use store::mission::{Mission, Status};

use super::table::{ago, judged, printable, short, table};
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::Failure;
use crate::missions;

/// `openclaw missions`
#[derive(Subcommand)]
pub enum MissionsCommand {
    /// What agents proposed, newest first
    List {
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Everything about one mission
    Show {
        /// How its id begins
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that a mission is wanted. Nothing runs missions in this version: it waits then
    Approve {
        /// How its id begins
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Say that a mission is not wanted
    Reject {
        /// How its id begins
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Lists, shows, approves or rejects.
pub fn run(inputs: &Inputs, command: MissionsCommand) -> Result<(), Failure> {
    let mut client = Client::connect(inputs)?;
    match command {
        MissionsCommand::List { limit, json } => {
            let all: Vec<Mission> = client.ask(Ask::Missions { limit })?;
            if json { print_json(&all) } else { print(&list(&all, stdout().is_terminal())) }
        }
        MissionsCommand::Show { id, json } => {
            let all: Vec<Mission> = client.ask(Ask::Missions { limit: 1000 })?;
            let one = missions::find(&all, &id)?;
            if json { print_json(one) } else { print(&show(one)) }
        }
        MissionsCommand::Approve { id, reason } => decide(&mut client, id, Status::Approved, reason),
        MissionsCommand::Reject { id, reason } => decide(&mut client, id, Status::Rejected, reason),
    }
}

fn decide(client: &mut Client, id: String, verdict: Status, reason: String) -> Result<(), Failure> {
    let one: Mission = client.ask(Ask::Decide { id, verdict, reason })?;
    let waits = if verdict == Status::Approved { "; it waits, since nothing runs missions yet" } else { "" };
    print(&printable(&format!("{} is {}{waits}: {}", missions::short(&one), one.status, one.title)))
}

fn list(all: &[Mission], on_terminal: bool) -> String {
    if all.is_empty() {
        return "no missions".into();
    }
    let mut table = table(&["id", "state", "by", "sure", "proposed", "mission", "decided by"], on_terminal);
    for one in all {
        let decision = one.proposal.decision.as_ref();
        table.add_row([
            missions::short(one).into(),
            judged(&state(one), on_terminal),
            one.proposal.by.as_str().into(),
            one.proposal.confidence.map(|sure| format!("{sure:.2}")).unwrap_or_default().into(),
            ago(Some(one.created_at), Utc::now()).into(),
            short(&one.title, 80).into(),
            decision.map(|decision| short(&decision.actor, 40)).unwrap_or_default().into(),
        ]);
    }
    table.to_string()
}

/// Past its time it can only be rejected.
fn state(one: &Mission) -> String {
    let over = one.proposal.expires_at.is_some_and(|at| at <= Utc::now());
    if over && one.status == Status::Proposed.as_str() { "expired".into() } else { one.status.clone() }
}

fn show(one: &Mission) -> String {
    let proposal = &one.proposal;
    let mut lines = vec![
        format!("id        {}", one.id),
        format!("mission   {}", one.title),
        format!("state     {}", state(one)),
        format!("by        {}, {}", proposal.by, ago(Some(one.created_at), Utc::now())),
    ];
    let mut add = |name: &str, text: Option<String>| {
        lines.extend(text.filter(|text| !text.is_empty()).map(|text| format!("{name:<10}{text}")));
    };
    add("sure", proposal.confidence.map(|sure| format!("{sure:.2}")));
    add("good until", proposal.expires_at.map(|at| format!(" {}", at.format("%F %T UTC"))));
    let decision = proposal.decision.as_ref();
    add("decided", decision.map(|d| format!("{}, {}", d.actor, d.at.format("%F %T UTC"))));
    add("why", decision.map(|d| d.reason.clone()));
    add("data", (!proposal.data.is_null()).then(|| short(&proposal.data.to_string(), 400)));
    printable(&lines.join("\n"))
}
