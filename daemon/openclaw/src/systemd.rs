//! What systemd says of our units. Whoever may not see it, or has none, is told nothing: *unknown*.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use operations::failed::{Shown, Told};
use operations::units::Manager;
use serde::{Deserialize, Serialize};

/// A unit as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Its name.
    pub unit: String,
    /// `active (running)`, `failed (failed)` and so on.
    pub state: String,
    /// How its last process exited, where it did so by itself.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// How often systemd has restarted it.
    pub restarts: Option<u64>,
    /// Seconds since its last ping, where it has a watchdog.
    pub watchdog_age_seconds: Option<f64>,
    /// Whether systemd waits for its pings.
    pub has_watchdog: bool,
    /// What it last said of itself.
    pub status: String,
}

const SHOWN: &str = "--property=Id,ActiveState,SubState,NRestarts,WatchdogTimestampMonotonic,WatchdogUSec,StatusText,LoadState,ExecMainCode,ExecMainStatus";

/// Our units; none where there is no systemd, or it does not answer.
pub fn units(manager: Manager) -> Option<Vec<UnitStatus>> {
    if !is_there() {
        return None;
    }
    let names = operations::units::UNITS.iter().map(|unit| unit.name).filter(|name| !name.contains('@'));
    let mut args = vec!["show", SHOWN];
    if manager == Manager::User {
        args.insert(0, "--user");
    }
    args.extend(names);
    // And what runs under a name of the operator's.
    args.push("openclaw-*.service");
    let text = call(&args)?;
    // The clock that systemd's time stamps are of: it stands while the machine sleeps.
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).ok()?;
    let now = now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9;
    let blocks =
        text.split("\n\n").map(|block| block.lines().filter_map(|line| line.split_once('=')).collect());
    let mut seen = BTreeSet::new();
    let shown = blocks.filter_map(|keys: BTreeMap<&str, &str>| {
        let key = |name| keys.get(name).copied().unwrap_or_default();
        let id = key("Id").to_owned();
        if key("LoadState") == "not-found" || id.is_empty() || id.contains('@') || !seen.insert(id) {
            return None;
        }
        let pinged: f64 = key("WatchdogTimestampMonotonic").parse().unwrap_or(0.0);
        Some(UnitStatus {
            unit: key("Id").into(),
            state: format!("{} ({})", key("ActiveState"), key("SubState")),
            exit_code: (key("ExecMainCode") == "1").then(|| key("ExecMainStatus").parse().ok()).flatten(),
            restarts: key("NRestarts").parse().ok(),
            watchdog_age_seconds: (pinged > 0.0).then(|| (now - pinged / 1e6).max(0.0)),
            has_watchdog: !matches!(key("WatchdogUSec"), "" | "0" | "infinity"),
            // Of one that is down, systemd keeps the last words.
            status: if matches!(key("ActiveState"), "inactive" | "failed") { "" } else { key("StatusText") }
                .into(),
        })
    });
    Some(shown.collect())
}

/// Whether systemd runs this machine.
pub fn is_there() -> bool {
    std::path::Path::new("/run/systemd/system").exists()
}

/// Tells systemd to restart a unit, and does not wait for that.
///
/// # Errors
/// It refuses, or is not to be reached: what it says.
pub fn restart(manager: Manager, unit: &str) -> Result<(), String> {
    let mut args = vec!["--no-block", "--no-ask-password", "restart", "--", unit];
    if manager == Manager::User {
        args.insert(0, "--user");
    }
    let output = Command::new("systemctl").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("systemctl cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(format!("systemd does not restart {unit}: {:.300}", said.join(" ")))
}

/// The unit that this process is, as its file says.
pub fn own_unit() -> Option<String> {
    std::env::var("OPENCLAW_UNIT").ok().filter(|unit| !unit.is_empty())
}

/// What there is to tell of a unit that ended: asked in what systemd calls then.
pub fn told(unit: &str) -> Told {
    let ask = |manager: &[&str]| {
        let asked = ["show", "--property=LoadState,Result,ExecMainStatus", "--", unit];
        let text = call(&[manager, &asked].concat())?;
        let key = |name| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        Some(Shown { load: key("LoadState="), result: key("Result="), status: key("ExecMainStatus=") })
    };
    let known = |shown: &Shown| shown.load != "not-found";
    // The machine's, or the person's own.
    let show = || {
        let machines = ask(&[]);
        machines.clone().filter(known).or_else(|| ask(&["--user"])).or(machines)
    };
    operations::failed::told(unit, |name| std::env::var(name).ok(), show)
}

/// systemd's version; none where there is none.
pub fn version() -> Option<u32> {
    let text = call(&["--version"])?;
    text.split_whitespace().nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn call(args: &[&str]) -> Option<String> {
    let output =
        Command::new("systemctl").args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
