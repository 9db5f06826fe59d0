//! `openclaw health`

use std::io::{IsTerminal, stdout};

use clap::Args;
use serde::Serialize;
use settings::Inputs;

use super::table::{judged, table};
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::{Code, Failure};
use crate::systemd;

/// `openclaw health`
#[derive(Args)]
#[command(after_help = "Exit code 0 when nothing failed, 1 when a check did. *unknown* is neither.")]
pub struct HealthArgs {
    /// Ask the providers first how they are: are they there, do they know our keys. Costs nothing
    #[arg(long)]
    probe: bool,
    /// Ask each of them a question as well, which costs what a question costs
    #[arg(long, requires = "probe")]
    ask: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    /// ok, degraded, failed, unknown.
    verdict: String,
    what: String,
}

impl Check {
    fn new(name: &str, verdict: &str, what: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: verdict.into(), what: what.into() }
    }
}

/// Carries the checks out, once.
pub fn run(inputs: &Inputs, args: &HealthArgs) -> Result<(), Failure> {
    let mut checks = Vec::new();
    match settings::load(inputs) {
        Ok(loaded) => {
            checks.push(Check::new("configuration", "ok", "reads without a mistake"));
            checks.push(disk(&loaded.paths.home));
            let waiting = operations::spool::waiting::<gateway::desk::Raise>(&operations::spool::folder(
                &loaded.paths.home,
            ))
            .len();
            if waiting > 0 {
                let what = format!("{waiting} alerts have not been taken up by a daemon");
                checks.push(Check::new("alerts", "degraded", what));
            }
        }
        Err(error) => checks.push(Check::new("configuration", "failed", error.to_string())),
    }
    let document = Client::connect(inputs).and_then(|mut client| {
        if args.probe {
            client.ask::<()>(Ask::Probe { ask: args.ask })?;
        }
        client.status()
    });
    match document {
        Ok(document) => {
            checks.extend(document.components.iter().map(|component| {
                let name = format!("{} {}", component.kind, component.name);
                Check::new(&name, &component.health, format!("{}: {}", component.state, component.reason))
            }));
        }
        Err(failure) => checks.push(Check::new("daemon", "failed", failure.message)),
    }
    let home = settings::Paths::resolve(inputs).map(|paths| paths.home).ok();
    let manager = home.and_then(|home| operations::install::manager(&home));
    for unit in manager.and_then(systemd::units).unwrap_or_default() {
        // The unit that runs this very check is on its way.
        if unit.state.starts_with("failed") && unit.unit != "openclaw-health.service" {
            checks.push(Check::new(&unit.unit, "failed", unit.state));
        }
    }
    let failed = checks.iter().any(|check| check.verdict == "failed");
    if args.json {
        print_json(&serde_json::json!({ "ok": !failed, "checks": checks }))?;
    } else {
        let on_terminal = stdout().is_terminal();
        let mut shown = table(&["check", "verdict", "what"], on_terminal);
        for Check { name, verdict, what } in checks {
            shown.add_row([name.into(), judged(&verdict, on_terminal), what.into()]);
        }
        print(&shown.to_string())?;
    }
    if failed { Err(Failure::new(Code::Failed, "")) } else { Ok(()) }
}

/// Whether the home's disk has room for what must be durable.
fn disk(home: &std::path::Path) -> Check {
    match nix::sys::statvfs::statvfs(home) {
        Ok(stat) => {
            let free = stat.blocks_available() * stat.fragment_size() / (1 << 20);
            let verdict = match free {
                0..64 => "failed",
                64..512 => "degraded",
                _ => "ok",
            };
            Check::new("disk", verdict, format!("{free} MiB free for {}", home.display()))
        }
        Err(error) => Check::new("disk", "unknown", format!("{}: {error}", home.display())),
    }
}
