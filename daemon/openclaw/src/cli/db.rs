//! `openclaw db`: without a daemon.

use std::io::{IsTerminal, Write, stderr, stdout};

use clap::Subcommand;
use settings::{Inputs, Loaded};
use store::Database;
use store::admin::{Copied, Finding, Progress, Status};

use super::table::table;
use super::{print, print_json};
use crate::database;
use crate::exit::{Code, Failure};

/// `openclaw db`
#[derive(Subcommand)]
pub enum DbCommand {
    /// Which database, its version and size, and the rows of each table
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the tables to this binary's version; the daemon does so at its start
    Migrate,
    /// Hold the rows against the rules; exit code 1 when one is broken
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy everything to an empty database, and compare
    ///
    /// The daemons of both must not run. Afterwards write the new URL into [database] of the config. Both servers take
    /// the password OPENCLAW_DATABASE_PASSWORD.
    Copy {
        /// From where: sqlite://FILE or postgres://USER@HOST:PORT/DATABASE
        #[arg(long, value_name = "URL")]
        from: String,
        /// To where
        #[arg(long, value_name = "URL")]
        to: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Looks, migrates, checks or copies.
pub fn run(inputs: &Inputs, command: DbCommand) -> Result<(), Failure> {
    let loaded = settings::load(inputs)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::TryAgain, format!("no thread for the database: {error}")))?;
    runtime.block_on(carry_out(&loaded, command))
}

async fn carry_out(loaded: &Loaded, command: DbCommand) -> Result<(), Failure> {
    match command {
        DbCommand::Status { json } => {
            let status = database::configured(loaded)?.status().await?;
            if json { print_json(&status) } else { print(&shown(&status, stdout().is_terminal())) }
        }
        DbCommand::Migrate => {
            let database = database::configured(loaded)?;
            let done = database.migrate().await?;
            if done.is_empty() {
                return print(&format!("{} is up to date: nothing was changed", database.shown()));
            }
            print(&format!("{} is up to date; done now:\n  {}", database.shown(), done.join("\n  ")))
        }
        DbCommand::Check { json } => {
            let findings = database::configured(loaded)?.check().await?;
            if json {
                print_json(&findings)?
            } else {
                print(&judged(&findings))?
            }
            let broken = findings.iter().filter(|finding| finding.broken > 0).count();
            match broken {
                0 => Ok(()),
                n => {
                    let remedy = "keep a copy of the database, and report it with this output";
                    Err(Failure::new(Code::Failed, format!("{n} rules are broken: {remedy}")))
                }
            }
        }
        DbCommand::Copy { from, to, json } => {
            let (from, to) = (database::named(loaded, &from)?, database::named(loaded, &to)?);
            let copied = copy(&from, &to).await?;
            if json { print_json(&copied) } else { print(&told(&copied, &from, &to)) }
        }
    }
}

async fn copy(from: &Database, to: &Database) -> Result<Vec<Copied>, Failure> {
    // Held until all is copied: no daemon opens a file meanwhile.
    let _held = (database::hold(from)?, database::hold(to)?);
    let on_terminal = stderr().is_terminal();
    let progress = |Progress { table, rows }| {
        if on_terminal {
            // Only for the eye.
            let _ = write!(stderr(), "\r{table}: {rows} rows\x1b[K");
        }
    };
    let copied = from.copy(to, progress).await;
    if on_terminal {
        let _ = write!(stderr(), "\r\x1b[K");
    }
    Ok(copied?)
}

fn shown(status: &Status, on_terminal: bool) -> String {
    let migration = match status.migration {
        None => "no tables yet: `openclaw db migrate` or the daemon makes them".into(),
        Some(is) if is == status.newest => format!("{is}, up to date"),
        Some(is) if is > status.newest => format!("{is}, of a newer OpenClaw: update this binary"),
        Some(is) => format!("{is} of {}: `openclaw db migrate` or the daemon does the rest", status.newest),
    };
    let size = settings::units::ByteSize::kib(u64::try_from(status.bytes).unwrap_or_default() / 1024);
    let head = format!("database   {}\nmigration  {migration}\nsize       {size}", status.database);
    if status.tables.is_empty() {
        return head;
    }
    let mut rows = table(&["table", "rows"], on_terminal);
    for one in &status.tables {
        rows.add_row([one.name.clone(), one.rows.to_string()]);
    }
    format!("{head}\n\n{rows}")
}

fn judged(findings: &[Finding]) -> String {
    let line = |finding: &Finding| match (finding.broken, &finding.detail) {
        (0, _) => format!("ok      {}", finding.rule),
        (n, None) => format!("BROKEN  {}: {n} are not so", finding.rule),
        (n, Some(detail)) => format!("BROKEN  {}: {n} are not so, first: {detail}", finding.rule),
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn told(copied: &[Copied], from: &Database, to: &Database) -> String {
    let rows: u64 = copied.iter().map(|table| table.rows).sum();
    let lines = copied.iter().filter(|table| table.rows > 0);
    let lines: String = lines
        .map(|table| format!("\n  {:<20} {:>9}  {:.12}", table.table, table.rows, table.sha256))
        .collect();
    format!(
        "copied {rows} rows from {} to {}; counts and checksums agree{lines}\n\
         Write the new URL into [database] of the config, and start the daemon.",
        from.shown(),
        to.shown()
    )
}
