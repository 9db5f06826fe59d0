//! What systemctl is asked and told.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;
use crate::units::Manager;

/// systemctl, for whichever manager; answers what it printed.
///
/// # Errors
/// There is none, or it failed.
pub fn systemctl(manager: Manager, args: &[&str]) -> Result<String, Error> {
    let mut all: Vec<&str> = if manager == Manager::User { vec!["--user"] } else { Vec::new() };
    all.extend(args);
    call("systemctl", &all)
}

/// Whether a machine is systemd's, as sd_booted(3) has it.
pub(super) fn booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The services that run a program now, whatever they are called: a copy of a unit is one more agent.
#[must_use]
pub fn running(manager: Manager, program: &Path) -> BTreeSet<String> {
    if !booted() {
        return BTreeSet::new();
    }
    let asked = ["show", "--property=Id,ActiveState,Type,ExecStart", "*.service"];
    systemctl(manager, &asked).map(|said| runners(&said, program)).unwrap_or_default()
}

/// Of these units, those that are up now.
#[must_use]
pub fn active(manager: Manager, units: &[&str]) -> BTreeSet<String> {
    let up = |state: &str| matches!(state, "active" | "activating" | "reloading");
    shown(manager, units, "ActiveState", up)
}

/// Of these units, those that systemd does not know.
#[must_use]
pub fn unknown(manager: Manager, units: &[&str]) -> BTreeSet<String> {
    shown(manager, units, "LoadState", |state| state == "not-found")
}

/// Of these units, those that are enabled; where nobody can be asked, as if all were.
pub(super) fn enabled(manager: Manager, units: &[&str]) -> BTreeSet<String> {
    if !booted() {
        return units.iter().map(|unit| (*unit).to_owned()).collect();
    }
    shown(manager, units, "UnitFileState", |state| state.starts_with("enabled"))
}

/// Of these units, those of which `systemctl show` says such a thing.
fn shown(manager: Manager, units: &[&str], key: &str, is: impl Fn(&str) -> bool) -> BTreeSet<String> {
    if units.is_empty() || !booted() {
        return BTreeSet::new();
    }
    let properties = format!("--property=Id,{key}");
    let mut asked = vec!["show", &properties];
    asked.extend(units);
    systemctl(manager, &asked).map(|said| those(&said, key, is)).unwrap_or_default()
}

pub(super) fn those(said: &str, key: &str, is: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let of = |block: &str, key: &str| {
        block.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
    };
    let is = |block: &&str| of(block, key).is_some_and(|value| is(&value));
    said.split("\n\n").filter(is).filter_map(|block| of(block, "Id")).collect()
}

/// Those of `systemctl show` that run a program and stay: what runs once is no matter of a restart.
pub(super) fn runners(said: &str, program: &Path) -> BTreeSet<String> {
    let start = format!("{{ path={} ;", program.display());
    let of = |block: &str, key: &str| {
        block.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
    };
    let runs = |block: &&str| {
        let state = of(block, "ActiveState").unwrap_or_default();
        of(block, "ExecStart").is_some_and(|line| line.starts_with(&start))
            && of(block, "Type").as_deref() != Some("oneshot")
            && matches!(state.as_str(), "active" | "activating" | "reloading")
    };
    said.split("\n\n").filter(runs).filter_map(|block| of(block, "Id")).collect()
}

/// Of these units, those that systemd has from elsewhere than this folder: the operator's own come first for it.
pub(super) fn shadowed(manager: Manager, folder: &Path, units: &[&str]) -> BTreeSet<String> {
    shown(manager, units, "FragmentPath", |path| elsewhere(path, folder))
}

pub(super) fn elsewhere(path: &str, folder: &Path) -> bool {
    !path.is_empty() && Path::new(path).parent() != Some(folder)
}

/// Runs a program to its end; answers what it printed.
pub(super) fn call(program: &str, args: &[&str]) -> Result<String, Error> {
    let call = || format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).current_dir("/").stdin(Stdio::null()).output();
    let output = output.map_err(|error| Error::Program { call: call(), why: error.to_string() })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Program {
            call: call(),
            why: if why.is_empty() { output.status.to_string() } else { why },
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
