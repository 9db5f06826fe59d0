//! The command line: what can be typed, and what is printed.

pub mod agents;
pub mod alert;
pub mod breakers;
pub mod budget;
pub mod config;
pub mod db;
mod grants;
pub mod health;
mod heartbeats;
pub mod install;
mod keys;
mod libraries;
pub mod missions;
pub mod replay;
pub mod send;
pub mod status;
pub mod table;
pub mod tasks;
pub mod telegram;
mod upgrade;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::exit::{Code, Failure};

/// Keeps a team of AI agents alive and working.
#[derive(Parser)]
#[command(
    name = "openclaw",
    version,
    propagate_version = true,
    after_help = "Start with `openclaw run`, then `openclaw send milkbot /help` in another terminal.\n\
                  Exit codes: 0 well, 1 failed, 64 wrong call, 69 no daemon, 74 file, 75 try again, 78 wrong config."
)]
pub struct Cli {
    /// The folder of the daemon's state [default: $OPENCLAW_HOME, else ./.openclaw]
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// The configuration [default: $OPENCLAW_CONFIG, else config/openclaw.toml in the home, then here]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Start the daemon in the foreground
    Run(RunArgs),
    /// Every component and agent: state, evidence, process, restarts, breaker
    Status(status::StatusArgs),
    /// List, start, stop and restart agents; read their logs and history
    #[command(subcommand)]
    Agents(agents::AgentsCommand),
    /// Deliver a message to an agent and print its reply
    Send(send::SendArgs),
    /// The queue and its dead letters
    #[command(subcommand)]
    Tasks(tasks::TasksCommand),
    /// What agents propose, and what you decide on it
    #[command(subcommand)]
    Missions(missions::MissionsCommand),
    /// What the operator was told
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// What is left alone since it fails too often, or since somebody wants it to be
    #[command(subcommand)]
    Breakers(breakers::BreakersCommand),
    /// What agents may use up at providers, and what they have used
    Budget(budget::BudgetArgs),
    /// Run an agent again on what it was told, and show where it differs
    Replay(replay::ReplayArgs),
    /// The bot: how it stands, who may talk with it
    #[command(subcommand)]
    Telegram(telegram::TelegramCommand),
    /// The checks, once: every process, component, unit, and what waits
    Health(health::HealthArgs),
    /// Copies of everything durable (not built yet)
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Make the user, the folders, the configuration and the systemd units; or upgrade them
    Install(install::InstallArgs),
    /// Take the units and programs away; data stays unless --purge
    Uninstall(install::UninstallArgs),
    /// Look at, bring up to date, check and copy the database; without a daemon
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Completions for a shell: `openclaw completions bash > /etc/bash_completion.d/openclaw`
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// This binary's version
    Version {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// `openclaw run`
#[derive(Args)]
#[command(
    after_help = "Ctrl-C or SIGTERM drains: running handlers may end, nothing new begins. Twice stops at once.\n\
                  Several processes share a home, each with components of its own, where the database is PostgreSQL:\n  \
                  openclaw run gateway milkbot\n  openclaw run atlas"
)]
pub struct RunArgs {
    /// Services and agents to run in this process [default: all that are built and enabled]
    pub components: Vec<String>,
    /// What to log: `info`, `debug`, `warn,supervisor=debug` [default: daemon.log of the config]
    #[arg(long, value_name = "FILTER", env = "OPENCLAW_LOG")]
    pub log: Option<String>,
    /// How lines are written [default: to the journal under systemd, else as text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<crate::journal::Format>,
}

/// `openclaw backup`
#[derive(Subcommand)]
pub enum BackupCommand {
    /// Make one
    Create,
}

/// `openclaw backup`: says that there is none.
pub fn backup(command: &BackupCommand) -> Result<(), Failure> {
    let BackupCommand::Create = command;
    let what = "backups are not built yet: nothing was backed up. Until then copy the database yourself: `openclaw db copy`, or pg_dump";
    Err(Failure::new(Code::Unavailable, what))
}

/// Prints a text; a reader that went away is not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::of(Code::Io, &error)),
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(|error| Failure::of(Code::Failed, &error))?)
}

/// `openclaw completions`
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "openclaw", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())
}

/// `openclaw version`
pub fn version(json: bool) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        return print_json(&serde_json::json!({"version": version, "abi": 1, "os": std::env::consts::OS,
                                              "arch": std::env::consts::ARCH}));
    }
    print(&format!("openclaw {version}"))
}
