//! `openclaw status`

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use settings::{Inputs, Sandbox};

use super::table::{ago, judged, short, span, table as new_table};
use super::{print, print_json};
use crate::control::client::Client;
use crate::exit::{Code, Failure};
use crate::status::{Component, Daemon, Document};
use crate::systemd::{self, UnitStatus};

/// `openclaw status`
#[derive(Args)]
#[command(
    after_help = "Health is evidence: `ok` means proved lately, `unknown` that nothing is proved and nothing known\n\
                        to be wrong. Exit code 1 when a component is failed, or a process\n\
                        does not answer."
)]
pub struct StatusArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Show it anew every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Prints how the whole stands.
pub fn run(inputs: &Inputs, args: &StatusArgs) -> Result<(), Failure> {
    loop {
        let document = match Client::connect(inputs).and_then(|mut client| client.status()) {
            Ok(document) => document,
            Err(failure) => return units_alone(inputs, args, failure),
        };
        let on_terminal = stdout().is_terminal();
        if args.watch && on_terminal {
            // Home, and clear to the end.
            let _ = write!(stdout(), "\x1b[H\x1b[J");
        }
        // Others' units are none of this home's business.
        let units = units(&document.daemon.home);
        if args.json {
            print_json(&Whole { document: Some(&document), units: units.as_ref() })?
        } else {
            print(&text(&document, on_terminal))?;
            if let Some(units) = &units {
                print(&format!("\n{}", units.text(on_terminal)))?;
            }
        }
        if !args.watch {
            let failed = document.components.iter().any(|component| component.health == "failed");
            let failed = failed || !document.silent.is_empty();
            return if failed { Err(Failure::new(Code::Failed, "")) } else { Ok(()) };
        }
        #[allow(clippy::disallowed_methods, reason = "a person watches, and this is the pace")]
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Where nothing answers, what systemd says is what there is to know: why, perhaps, and what it does about it.
fn units_alone(inputs: &Inputs, args: &StatusArgs, failure: Failure) -> Result<(), Failure> {
    let units = settings::Paths::resolve(inputs).ok().and_then(|paths| units(&paths.home));
    match &units {
        Some(units) if args.json => print_json(&Whole { document: None, units: Some(units) })?,
        Some(units) => print(&units.text(stdout().is_terminal()))?,
        None => {}
    }
    Err(failure)
}

/// With what systemd says. `units` is there where the home is installed as units, and null where systemd does not answer.
#[derive(Serialize)]
struct Whole<'d> {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    document: Option<&'d Document>,
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<&'d Units>,
}

/// What systemd says of a home that is installed as units; none: it does not answer, or may not be asked.
#[derive(Serialize)]
#[serde(transparent)]
struct Units(Option<Vec<UnitStatus>>);

impl Units {
    fn text(&self, on_terminal: bool) -> String {
        match &self.0 {
            Some(units) => unit_table(units, on_terminal),
            None => "units: unknown (systemctl does not answer)".into(),
        }
    }
}

/// Others' units are none of this home's business.
fn units(home: &Path) -> Option<Units> {
    operations::install::manager(home).map(|manager| Units(systemd::units(manager)))
}

fn unit_table(units: &[UnitStatus], on_terminal: bool) -> String {
    let mut table = new_table(&["unit", "state", "restarts", "watchdog", "status"], on_terminal);
    let unknown = || "unknown".to_owned();
    for unit in units {
        table.add_row([
            unit.unit.clone(),
            unit.state.clone(),
            unit.restarts.map_or_else(|| "-".into(), |restarts| restarts.to_string()),
            match unit.watchdog_age_seconds {
                Some(age) => format!("{age:.0}s ago"),
                None if unit.has_watchdog && unit.state == "active (running)" => unknown(),
                None => "-".into(),
            },
            short(&unit.status, 60),
        ]);
    }
    table.to_string()
}

fn text(document: &Document, on_terminal: bool) -> String {
    let daemon = &document.daemon;
    let up = |daemon: &Daemon| span(i64::try_from(daemon.uptime_seconds).unwrap_or(i64::MAX));
    let mut head = format!(
        "{} {}, pid {}, up {}, home {}",
        daemon.process,
        daemon.version,
        daemon.pid,
        up(daemon),
        daemon.home.display()
    );
    for other in &document.others {
        let line = format!("\n{} {}, pid {}, up {}", other.process, other.version, other.pid, up(other));
        head.push_str(&line);
    }
    for silent in &document.silent {
        head.push_str(&format!("\n{silent}: does not answer; what it runs is not shown here"));
    }
    let not_well = |c: &&Component| !matches!(c.health.as_str(), "ok") && c.state != "ready";
    let why: Vec<_> =
        document.components.iter().filter(not_well).map(|c| format!("{}: {}", c.name, c.reason)).collect();
    let library = |c: &Component| {
        let library = c.library.as_ref()?;
        let going = library.reload.as_ref().map(|step| format!("a reload is under way: {step}"));
        going.or_else(|| library.note.clone()).map(|note| format!("{}: {note}", c.name))
    };
    let why = why.into_iter().chain(document.components.iter().filter_map(library));
    let why: Vec<_> = why.chain(sandboxes(document)).collect();
    let why = if why.is_empty() { String::new() } else { format!("\n\n{}", why.join("\n")) };
    format!("{head}\n\n{}{why}", table(document, on_terminal))
}

/// What is open that need not be: agents that are not `strict`, and what this kernel lacks.
fn sandboxes(document: &Document) -> Vec<String> {
    let agents = document.components.iter().filter_map(|c| Some((&c.name, &c.sandbox.as_ref()?.held)));
    let (mut lines, mut lacking) = (Vec::new(), BTreeSet::new());
    for (name, held) in agents {
        lacking.extend(held.lacking.iter().map(String::as_str));
        match held.mode {
            Sandbox::Strict => {}
            Sandbox::Relaxed => lines.push(format!("{name}: sandbox relaxed")),
            Sandbox::Off => lines.push(format!("{name}: sandbox off")),
        }
    }
    if !lacking.is_empty() {
        let lacking: Vec<_> = lacking.into_iter().collect();
        lines.push(format!("sandbox: not to be had here: {}", lacking.join(", ")));
    }
    lines
}

/// The components as a table.
pub fn table(document: &Document, on_terminal: bool) -> String {
    let head = ["name", "state", "health", "evidence", "pid", "since", "restarts", "breaker", "last exit"];
    let mut table = new_table(&head, on_terminal);
    for component in &document.components {
        let exit = component.last_exit.as_ref();
        let of_another = component.process != document.daemon.process && component.kind != "agent";
        table.add_row([
            if of_another {
                format!("{}@{}", component.name, component.process)
            } else {
                component.name.clone()
            }
            .into(),
            judged(&component.state, on_terminal),
            judged(&component.health, on_terminal),
            evidence(component, document.daemon.now).into(),
            component.pid.map_or_else(|| "-".into(), |pid| pid.to_string()).into(),
            ago(Some(component.since), document.daemon.now).into(),
            component.restarts.into(),
            component.breaker.state.as_str().into(),
            exit.map_or_else(|| "-".into(), |exit| short(&format!("{}: {}", exit.class, exit.detail), 60))
                .into(),
        ]);
    }
    table.to_string()
}

fn evidence(component: &Component, now: DateTime<Utc>) -> String {
    match component.evidence.at {
        Some(_) => format!("{} {}", component.evidence.what, ago(component.evidence.at, now)),
        None => component.evidence.what.clone(),
    }
}
