//! `openclaw send`

use std::io::{IsTerminal, Read, stdin, stdout};
use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use settings::Inputs;

use super::table::printable;
use super::{print, print_json};
use crate::control::client::Client;
use crate::control::{Ask, Message, Sent};
use crate::exit::{Code, Failure};
use crate::status::Document;

/// `openclaw send`
#[derive(Args)]
#[command(
    after_help = "Examples:\n  openclaw send milkbot /help\n  openclaw send atlas /resources --json\n  \
                        openclaw send scout /analyze --data '{\"venue\":\"…\",\"asset\":\"…\",\"prices\":[…]}'\n  \
                        openclaw send milkbot - < question.txt\n\
                        The message is durable before it is handled. Exit code 1 when the agent failed, 75 when it\n\
                        has not answered within the time-out; it goes on, and `openclaw tasks show ID` tells."
)]
pub struct SendArgs {
    /// To whom
    agent: String,
    /// What to say; `-` reads standard input
    text: Vec<String>,
    /// Structured input beside the text, JSON
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Messages of one session are handled in order, one at a time
    #[arg(long, short)]
    session: Option<String>,
    /// A second message with the same key is not delivered again: it answers as the first one did
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Higher first
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    priority: i32,
    /// Return as soon as the message is durable
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// How long to wait for the reply
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = settings::units::parse)]
    timeout: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Delivers a message and prints what came of it.
pub fn run(inputs: &Inputs, args: SendArgs) -> Result<(), Failure> {
    let text = text(&args.text)?;
    let data = args.data.as_deref().map(serde_json::from_str::<Box<RawValue>>).transpose();
    let data = data.map_err(|error| {
        Failure::new(Code::Usage, format!("--data is no JSON ({error}): nothing was sent"))
    })?;
    if text.is_empty() && data.is_none() {
        return Err(Failure::new(Code::Usage, "there is nothing to say: give a text, `-` or --data"));
    }
    let millis = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    let message = Message {
        agent: args.agent.clone(),
        text,
        data,
        session: args.session,
        key: args.key,
        priority: args.priority,
        wait_ms: (!args.no_wait).then_some(millis),
    };
    let mut client = Client::connect(inputs)?;
    let sent: Sent = client.ask(Ask::Send(message))?;
    if args.json {
        print_json(&sent)?;
    }
    match sent.state.as_str() {
        "done" if args.json => Ok(()),
        "done" => {
            let text = sent.result.as_ref().and_then(|reply| reply["text"].as_str()).unwrap_or_default();
            // A program gets it as it is.
            if stdout().is_terminal() { print(&printable(text)) } else { print(text) }
        }
        "cancelled" => {
            Err(Failure::new(Code::Failed, format!("the message to {} was cancelled", args.agent)))
        }
        "failed" => {
            let why = sent.error.unwrap_or_else(|| "for an unknown reason".into());
            let tries = if sent.attempts == 1 { "1 try".into() } else { format!("{} tries", sent.attempts) };
            Err(Failure::new(Code::Failed, format!("{} failed after {tries}: {why}", args.agent)))
        }
        _ if args.no_wait && args.json => Ok(()),
        _ if args.no_wait => print(&format!("{} is {}", sent.task_id, sent.state)),
        state => {
            let (id, agent) = (sent.task_id, &args.agent);
            let why = not_ready(&mut client, agent).unwrap_or_default();
            let message = format!(
                "{agent} has not answered: task {id} is {state} and keeps{why}; `openclaw tasks show {id}`"
            );
            Err(Failure::new(Code::TryAgain, message))
        }
    }
}

/// Why an agent that is not ready is not.
fn not_ready(client: &mut Client, agent: &str) -> Option<String> {
    let document: Document = client.status().ok()?;
    let component = document.components.into_iter().find(|component| component.name == agent)?;
    (component.state != "ready").then(|| format!("; {agent} is {}: {}", component.state, component.reason))
}

fn text(words: &[String]) -> Result<String, Failure> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    let mut text = String::new();
    // One more than any limit that can be configured: the daemon says what the limit is.
    let read = stdin().take(5 << 20).read_to_string(&mut text);
    read.map_err(|error| Failure::new(Code::Io, format!("standard input does not read: {error}")))?;
    Ok(text)
}
