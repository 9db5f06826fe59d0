//! `openclaw alert`

use std::io::{IsTerminal, stdout};

use chrono::Utc;
use clap::Subcommand;
use operations::spool::UnitAlert;
use serde::Deserialize;
use settings::Inputs;
use supervisor::alerts::Alert;

use super::table::table;
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::{Code, Failure};
use crate::systemd;

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
    /// Record that a systemd unit failed: what its OnFailure= calls
    Unit {
        /// Which
        unit: String,
    },
}

/// Carries the command out.
pub fn run(inputs: &Inputs, command: AlertCommand) -> Result<(), Failure> {
    match command {
        AlertCommand::List { limit, json } => list(inputs, limit, json),
        AlertCommand::Unit { unit } => unit_failed(inputs, unit),
    }
}

/// A file first: whatever else is away, the alert is on the disk, and the journal has it as critical.
fn unit_failed(inputs: &Inputs, unit: String) -> Result<(), Failure> {
    let result = systemd::property(&unit, "Result").unwrap_or_else(|| "unknown".into());
    let status = systemd::property(&unit, "ExecMainStatus").unwrap_or_else(|| "unknown".into());
    let remedy = match status.as_str() {
        "78" => "mend the configuration (`openclaw config check`), then `systemctl start` it",
        "69" => "it is not built in this version, or what it needs is away",
        _ => "`journalctl -u` it, then `systemctl reset-failed` and `start`",
    };
    let text =
        format!("the unit {unit} failed and stays down (result {result}, exit code {status}): {remedy}");
    // systemd reads the level from the prefix: critical.
    eprintln!("<2>{text}");
    let paths = settings::Paths::resolve(inputs)?;
    let alert = UnitAlert { unit, text, at: Utc::now() };
    let put = operations::spool::put(&operations::spool::folder(&paths.home), &alert);
    put.map(drop).map_err(|error| Failure::new(Code::Io, format!("the alert was not recorded: {error}")))
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
