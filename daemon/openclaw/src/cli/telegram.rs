//! `openclaw telegram`

use std::io::{IsTerminal, stdout};

use clap::Subcommand;
use gateway::telegram::{Person, Stand, Verdict};
use settings::Inputs;

use super::table::{printable, table};
use super::{print, print_json};
use crate::control::client::Client;
use crate::control::{Ask, Bot};
use crate::exit::{Code, Failure};

/// `openclaw telegram`
#[derive(Subcommand)]
pub enum TelegramCommand {
    /// How the bot stands, and who may talk with it; exit code 1 when it hears nobody
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Strangers who wrote to the bot, and the code that lets each in
    Pending {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let in the stranger who has this code
    Approve {
        /// The code that the bot told them; good for an hour
        code: String,
    },
    /// Shut out somebody who was approved
    Revoke {
        /// Their id, as `openclaw telegram status` shows it
        id: i64,
    },
}

/// Carries the command out.
pub fn run(inputs: &Inputs, command: TelegramCommand) -> Result<(), Failure> {
    let mut client = Client::connect(inputs)?;
    match command {
        TelegramCommand::Status { json } => {
            let stand: Stand = client.ask(Ask::Telegram(Bot::Stand))?;
            if json {
                print_json(&stand)?
            } else {
                status(&stand)?
            }
            match stand.verdict {
                Verdict::Failed => Err(Failure::new(Code::Failed, stand.reason)),
                _ => Ok(()),
            }
        }
        TelegramCommand::Pending { json } => {
            let stand: Stand = client.ask(Ask::Telegram(Bot::Stand))?;
            if json { print_json(&stand.pending) } else { pending(&stand) }
        }
        TelegramCommand::Approve { code } => {
            let person: Person = client.ask(Ask::Telegram(Bot::Approve { code }))?;
            print(&printable(&format!("{} (id {}) may talk with the team now", person.name, person.id)))
        }
        TelegramCommand::Revoke { id } => {
            let person: Person = client.ask(Ask::Telegram(Bot::Revoke { id }))?;
            print(&printable(&format!("{} (id {}) is a stranger again", person.name, person.id)))
        }
    }
}

fn status(stand: &Stand) -> Result<(), Failure> {
    let health = &stand.health;
    let when = |at: Option<chrono::DateTime<chrono::Utc>>| {
        at.map_or_else(|| "never".into(), |at| at.format("%F %T").to_string())
    };
    let list = |ids: &[i64]| match ids {
        [] => "nobody".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let bot = health.bot.as_deref().unwrap_or("not known yet");
    let approved: String = stand
        .approved
        .iter()
        .map(|one| printable(&format!("\n  {} {}, by {}", one.person.id, one.person.name, one.by)))
        .collect();
    let groups = if stand.groups.is_empty() { "none".into() } else { list(&stand.groups) };
    print(&format!(
        "bot        {bot}\nstate      {}\nheard      {}\nreceived   {}\nsent       {}\nallowed    {}\noperators  {}\n\
         groups     {groups}\napproved   {}{approved}\npending    {}",
        printable(&stand.reason),
        when(health.completed_at),
        when(health.received_at),
        when(health.sent_at),
        list(&stand.allow),
        list(&stand.operators),
        stand.approved.len(),
        stand.pending.len(),
    ))
}

fn pending(stand: &Stand) -> Result<(), Failure> {
    if stand.pending.is_empty() {
        return print("nobody waits: a stranger who writes to the bot gets a code");
    }
    let mut table = table(&["code", "id", "who", "good until"], stdout().is_terminal());
    for one in &stand.pending {
        let until = one.until.format("%F %T").to_string();
        table.add_row([one.code.clone(), one.person.id.to_string(), one.person.name.clone(), until]);
    }
    print(&table.to_string())
}
