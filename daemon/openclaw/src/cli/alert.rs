//! `openclaw alert`

use std::io::{IsTerminal, stdout};

use clap::Subcommand;
use serde::Deserialize;
use settings::Inputs;
use supervisor::alerts::Alert;

use super::table::table;
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::Failure;

/// `openclaw alert`
#[derive(Subcommand)]
pub enum AlertCommand {
    /// The last alerts, newest first
    List {
        /// So many
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Carries the command out.
pub fn run(inputs: &Inputs, command: AlertCommand) -> Result<(), Failure> {
    let AlertCommand::List { limit, json } = command;
    list(inputs, limit, json)
}

fn list(inputs: &Inputs, limit: u32, json: bool) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Event {
        payload: Alert,
    }
    let events: Vec<Event> = Client::connect(inputs)?.ask(Ask::Alerts { limit })?;
    let alerts: Vec<Alert> = events.into_iter().map(|event| event.payload).collect();
    if json {
        return print_json(&alerts);
    }
    if alerts.is_empty() {
        return print("no alerts");
    }
    let mut table = table(&["when", "level", "agent", "what"], stdout().is_terminal());
    for Alert { level, agent, text, at } in alerts {
        table.add_row([at.format("%F %T").to_string(), level.to_string(), agent.to_string(), text]);
    }
    print(&table.to_string())
}
