//! OpenClaw: keeps a team of AI agents alive and working.

mod alerts;
mod breakers;
mod bridge;
mod buses;
mod capabilities;
mod cli;
mod components;
mod control;
mod daemon;
mod database;
mod exit;
mod heart;
mod home;
mod journal;
mod missions;
mod nudges;
mod provided;
mod reach;
mod status;
mod systemd;
mod telegram;
mod unit;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use exit::{Code, Failure};

fn main() -> ExitCode {
    // Before everything else: a host must not pay for what it does not use.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "agent-host") {
        supervisor::host::run();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // A closed pipe is the reader's choice.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { Failure::new(Code::Usage, "").into() };
        }
    };
    let inputs = match settings::Inputs::of_process(cli.home.clone(), cli.config.clone()) {
        Ok(inputs) => inputs,
        Err(error) => {
            eprintln!("openclaw: there is no working folder: {error}");
            return Failure::new(Code::Io, "").into();
        }
    };
    match run(cli, &inputs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                let told = settings::Redactor::of_inputs(&inputs).redact(&failure.message).into_owned();
                eprintln!("openclaw: {}", cli::table::printable(&told));
            }
            failure.into()
        }
    }
}

fn run(cli: Cli, inputs: &settings::Inputs) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => daemon::run(inputs, &args),
        Command::Status(args) => cli::status::run(inputs, &args),
        Command::Agents(command) => cli::agents::run(inputs, command),
        Command::Send(args) => cli::send::run(inputs, args),
        Command::Tasks(command) => cli::tasks::run(inputs, command),
        Command::Alert(command) => cli::alert::run(inputs, command),
        Command::Telegram(command) => cli::telegram::run(inputs, command),
        Command::Missions(command) => cli::missions::run(inputs, command),
        Command::Breakers(command) => cli::breakers::run(inputs, command),
        Command::Budget(args) => cli::budget::run(inputs, args),
        Command::Replay(args) => cli::replay::run(inputs, args),
        Command::Health(args) => cli::health::run(inputs, &args),
        Command::Backup(command) => cli::backup(&command),
        Command::Install(args) => cli::install::run(&args),
        Command::Uninstall(args) => cli::install::uninstall(&args),
        Command::Db(command) => cli::db::run(inputs, command),
        Command::Config(command) => cli::config::run(inputs, command),
        Command::Completions { shell } => cli::completions(shell),
        Command::Version { json } => cli::version(json),
    }
}
