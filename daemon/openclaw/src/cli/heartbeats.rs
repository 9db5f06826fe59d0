//! `openclaw agents heartbeats`

use std::io::{IsTerminal, stdout};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use settings::Inputs;

use super::table::{judged, short, table};
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::Failure;

/// A row, as far as it is shown.
#[derive(Deserialize)]
struct Heartbeat {
    status: String,
    metadata: Value,
    at: DateTime<Utc>,
}

/// Prints the last heartbeats of an agent, newest last.
pub fn list(inputs: &Inputs, name: String, limit: u32, json: bool) -> Result<(), Failure> {
    let mut client = Client::connect(inputs)?;
    if json {
        let mut rows: Vec<Value> = client.ask(Ask::Heartbeats { name, limit })?;
        rows.reverse();
        return print_json(&rows);
    }
    let rows: Vec<Heartbeat> = client.ask(Ask::Heartbeats { name, limit })?;
    if rows.is_empty() {
        return print("no heartbeats yet: the first comes within a minute where the heartbeat bridge runs");
    }
    let on_terminal = stdout().is_terminal();
    let head = ["when", "heartbeat", "state", "last seen", "host", "pid", "restarts", "breaker", "in work"];
    let mut table = table(&head, on_terminal);
    for Heartbeat { status, metadata, at } in rows.into_iter().rev() {
        let text = |field: &str| match &metadata[field] {
            Value::Null => "-".to_owned(),
            Value::String(text) => short(text, 60),
            other => other.to_string(),
        };
        let seen = metadata["last_seen"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        table.add_row([
            at.format("%F %T").to_string().into(),
            judged(&status, on_terminal),
            judged(&text("state"), on_terminal),
            seen.map_or_else(|| "-".into(), |at| at.to_utc().format("%F %T").to_string()).into(),
            text("host").into(),
            text("pid").into(),
            text("restarts").into(),
            text("breaker").into(),
            text("current_task").into(),
        ]);
    }
    print(&table.to_string())
}
