//! `openclaw alert`

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::Subcommand;
use openclaw_agent_api::AgentName;
use operations::failed::Told;
use operations::spool::{self, Waiting};
use serde_json::Value;
use settings::Inputs;
use store::alert::{Alert, Level};
use supervisor::alerts::TEXT;

use super::table::{printable, table};
use super::{print, print_json};
use crate::alerts;
use crate::control::client::Client;
use crate::control::{Acknowledged, Ask, Raise, Raised};
use crate::exit::{Code, Failure};
use crate::systemd;

/// Between two looks at whether an alert has arrived.
const LOOK: Duration = Duration::from_millis(100);
/// Whoever tells the operator looks several times within this.
const TOLD: Duration = Duration::from_secs(10);

/// `openclaw alert`
#[derive(Subcommand)]
pub enum AlertCommand {
    /// The alerts that happened last, newest first
    List {
        /// So many
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that you know of an alert: nobody is reminded of it, until it happens again after alerts.cooldown
    Ack {
        /// Its id or fingerprint, or `all`
        which: String,
    },
    /// Raise an alert of your own; without a daemon it waits in a file for the next one
    #[command(
        after_help = "From cron:  scripts/backup || openclaw alert raise CRITICAL \"the nightly backup failed\" --key backup\n            \
                      scripts/backup && openclaw alert resolve backup \"the nightly backup was made\"\n\
                      Exit codes: 0 taken, or kept in a file (which is said), 64 no such level or no text, 74 not even that, \
                      75 the daemon could not store it yet."
    )]
    Raise {
        /// INFO (listed), WARNING (in the next summary) or CRITICAL (a message at once, and again until acknowledged)
        level: String,
        /// What happened, and what to do; the first 1000 characters are kept
        text: String,
        /// Alerts with one key are one, which is counted [default: made of the text]
        #[arg(long)]
        key: Option<String>,
        /// About whom
        #[arg(long, default_value = "operator")]
        source: AgentName,
    },
    /// Say that what was raised with a key is over; who was told of it hears so
    Resolve {
        /// The key
        key: String,
        /// How it ended
        text: String,
        /// About whom
        #[arg(long, default_value = "operator")]
        source: AgentName,
    },
    /// Send one the whole way, and say whether it arrived; exit code 1 when it did not
    Test {
        /// Wait so long
        #[arg(long, default_value = "30s", value_parser = settings::units::parse)]
        timeout: Duration,
    },
    /// Record that a systemd unit failed: what its ExecStopPost= and OnFailure= call
    Unit {
        /// Which
        unit: String,
    },
}

/// Carries the command out.
pub fn run(inputs: &Inputs, command: AlertCommand) -> Result<(), Failure> {
    match command {
        AlertCommand::List { limit, json } => list(inputs, limit, json),
        AlertCommand::Ack { which } => {
            let done: Acknowledged = Client::connect(inputs)?.ask(Ask::Acknowledge { which })?;
            print(&format!("{} acknowledged", alerts_of(done.acknowledged)))
        }
        AlertCommand::Raise { level, text, key, source } => {
            let level: Level =
                level.parse().map_err(|error: store::alert::NoSuchLevel| Failure::of(Code::Usage, &error))?;
            raise(inputs, Raise { level: Some(level), text, source, key })
        }
        AlertCommand::Resolve { key, text, source } => {
            raise(inputs, Raise { level: None, text, source, key: Some(key) })
        }
        AlertCommand::Test { timeout } => test(inputs, timeout),
        AlertCommand::Unit { unit } => unit_failed(inputs, &unit),
    }
}

fn alerts_of(count: u64) -> String {
    if count == 1 { "1 alert".into() } else { format!("{count} alerts") }
}

/// To the daemon; where there is none, into a file that the next one takes up.
fn raise(inputs: &Inputs, raise: Raise) -> Result<(), Failure> {
    if raise.text.trim().is_empty() {
        let why = "an alert without a text tells nobody anything: say what happened";
        return Err(Failure::new(Code::Usage, why));
    }
    let cut = raise.text.trim().chars().count() > TEXT;
    let raised =
        Client::connect(inputs).and_then(|mut client| client.ask::<Raised>(Ask::Raise(raise.clone())));
    let mut said = match raised {
        Ok(raised) => format!("taken: {}", raised.key),
        Err(failure) if failure.code == Code::Unavailable => {
            put(inputs, raise)?;
            format!(
                "{}\nThe alert waits in a file, and is told by the next daemon of this home.",
                failure.message
            )
        }
        Err(failure) => return Err(failure),
    };
    if cut {
        said.push_str(&format!("\nOf the text, the first {TEXT} characters are kept."));
    }
    print(&printable(&said))
}

fn put(inputs: &Inputs, mut alert: Raise) -> Result<(), Failure> {
    // By what it is known is made of the whole text.
    if alert.key.is_none() {
        let key = alert.key();
        alert.key = key.split_once(':').map(|(_, key)| key.to_owned());
    }
    alert.text = alert.text.trim().chars().take(TEXT + 1).collect();
    let home = settings::Paths::resolve(inputs)?.home;
    let folder = spool::folder(&home);
    crate::home::as_owner(&home)?;
    let put = spool::put(&folder, &Waiting { alert, at: Utc::now() });
    put.map(drop).map_err(|error| {
        Failure::new(Code::Io, format!("the alert was not recorded: {}: {error}", folder.display()))
    })
}

/// A file first: whatever else is away, the alert is on the disk, and the journal has it as critical.
fn unit_failed(inputs: &Inputs, unit: &str) -> Result<(), Failure> {
    // systemd reads the level from the prefix: critical, or a warning. The start that follows is the end of the one alert,
    // and not of the other: it may end so again and again.
    let (level, text, key) = match systemd::told(unit) {
        Told::Nothing => return Ok(()),
        Told::NoSuchUnit => {
            let what = format!("systemd knows no unit {unit}: nothing is recorded");
            return Err(Failure::new(Code::Usage, what));
        }
        Told::Ended(text) => {
            eprintln!("<4>{text}");
            (Level::Warning, text, format!("ended-{}", alerts::of_unit(unit)))
        }
        Told::Failed(text) => {
            eprintln!("<2>{text}");
            (Level::Critical, text, alerts::of_unit(unit))
        }
    };
    put(inputs, Raise { level: Some(level), text, source: alerts::whole(), key: Some(key) })
}

/// Raises one, follows it to where it arrives, and takes it back.
fn test(inputs: &Inputs, timeout: Duration) -> Result<(), Failure> {
    let mut client = Client::connect(inputs)?;
    let key = format!("test-{}", uuid::Uuid::now_v7());
    let (source, began) = (alerts::whole(), Instant::now());
    let text = "this is a test of alerts: nothing is wrong, and nothing is to be done".to_owned();
    let alert = Raise { level: Some(Level::Critical), text, source, key: Some(key) };
    let raised: Raised = client.ask(Ask::Raise(alert))?;
    let arrived = arrives(&mut client, &raised.key, began, timeout);
    // Whatever came of it, nobody is reminded of a test.
    let _ = client.ask::<Acknowledged>(Ask::Acknowledge { which: raised.key });
    print(&printable(&arrived?))
}

fn arrives(client: &mut Client, key: &str, began: Instant, timeout: Duration) -> Result<String, Failure> {
    loop {
        let alerts: Vec<Alert> = client.ask(Ask::Alerts { limit: 100 })?;
        let alert = alerts.into_iter().find(|alert| alert.key == key);
        if let Some(id) = alert.as_ref().and_then(|alert| alert.message) {
            let task: Value = client.ask(Ask::Task { id })?;
            let chat = &task["payload"]["send"]["place"]["chat"];
            let took = began.elapsed().as_millis();
            match task["state"].as_str() {
                Some("done") => return Ok(format!("delivered to chat {chat} on Telegram in {took} ms")),
                Some("failed" | "cancelled") => {
                    let why = task["error"].as_str().unwrap_or("it was cancelled");
                    let what = format!("not delivered: Telegram refuses it for chat {chat}: {why}");
                    return Err(Failure::new(Code::Failed, what));
                }
                _ if began.elapsed() >= timeout => {
                    let why = task["error"].as_str().unwrap_or("nobody has sent it yet");
                    let what = format!(
                        "not delivered to chat {chat} within {timeout:?}: {why}; it is kept and sent when Telegram is back (task {id})"
                    );
                    return Err(Failure::new(Code::Failed, what));
                }
                _ => {}
            }
        } else if began.elapsed() >= timeout.min(TOLD) {
            let what = "not delivered: nobody can be told. It needs a daemon with the gateway, the secret TELEGRAM_BOT_TOKEN, and \
                        a chat: `operators` in [telegram], or `chats` in [alerts]";
            return Err(Failure::new(Code::Failed, what));
        }
        #[allow(clippy::disallowed_methods, reason = "the command line blocks")]
        std::thread::sleep(LOOK);
    }
}

fn list(inputs: &Inputs, limit: u32, json: bool) -> Result<(), Failure> {
    let alerts: Vec<Alert> = Client::connect(inputs)?.ask(Ask::Alerts { limit })?;
    if json {
        return print_json(&alerts);
    }
    if alerts.is_empty() {
        return print("no alerts");
    }
    let mut table =
        table(&["id", "last", "level", "about", "times", "state", "what"], stdout().is_terminal());
    for alert in &alerts {
        table.add_row([
            alert.id.to_string(),
            alert.last_at.format("%F %T").to_string(),
            alert.level.to_string(),
            alert.source.clone(),
            alert.count.to_string(),
            state(alert),
            printable(&alert.text),
        ]);
    }
    print(&table.to_string())
}

fn state(alert: &Alert) -> String {
    let known = alert.acked_by.as_ref().map(|who| format!("known to {who}"));
    match (alert.resolved_at, known, alert.message, alert.delivered_at) {
        (Some(_), ..) => "over".into(),
        (None, Some(known), ..) => printable(&known),
        (None, None, Some(_), None) => match &alert.undelivered {
            Some(why) => format!("not delivered: {}", printable(why)),
            None => "being sent".into(),
        },
        (None, None, Some(_), Some(_)) => "told".into(),
        (None, None, None, _) => "open".into(),
    }
}
