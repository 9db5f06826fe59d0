//! What systemd says of our units. Whoever may not see it, or has none, is told nothing: *unknown*.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use operations::units::Manager;
use serde::{Deserialize, Serialize};

/// A unit as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Its name.
    pub unit: String,
    /// `active (running)`, `failed (failed)` and so on.
    pub state: String,
    /// How often systemd has restarted it.
    pub restarts: Option<u64>,
    /// Seconds since its last ping, where it has a watchdog.
    pub watchdog_age_seconds: Option<f64>,
    /// Whether systemd waits for its pings.
    pub has_watchdog: bool,
    /// What it last said of itself.
    pub status: String,
}

const SHOWN: &str = "--property=Id,ActiveState,SubState,NRestarts,WatchdogTimestampMonotonic,WatchdogUSec,StatusText,LoadState";

/// Our units; none where there is no systemd, or it does not answer.
pub fn units(manager: Manager) -> Option<Vec<UnitStatus>> {
    if !std::path::Path::new("/run/systemd/system").exists() {
        return None;
    }
    let names = operations::units::UNITS.iter().map(|unit| unit.name).filter(|name| !name.contains('@'));
    let mut args = vec!["show", SHOWN];
    if manager == Manager::User {
        args.insert(0, "--user");
    }
    args.extend(names);
    let text = call(&args)?;
    // The clock that systemd's time stamps are of: it stands while the machine sleeps.
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).ok()?;
    let now = now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9;
    let blocks =
        text.split("\n\n").map(|block| block.lines().filter_map(|line| line.split_once('=')).collect());
    let shown = blocks.filter_map(|keys: BTreeMap<&str, &str>| {
        let key = |name| keys.get(name).copied().unwrap_or_default();
        if key("LoadState") == "not-found" || key("Id").is_empty() {
            return None;
        }
        let pinged: f64 = key("WatchdogTimestampMonotonic").parse().unwrap_or(0.0);
        Some(UnitStatus {
            unit: key("Id").into(),
            state: format!("{} ({})", key("ActiveState"), key("SubState")),
            restarts: key("NRestarts").parse().ok(),
            watchdog_age_seconds: (pinged > 0.0).then(|| (now - pinged / 1e6).max(0.0)),
            has_watchdog: !matches!(key("WatchdogUSec"), "" | "0" | "infinity"),
            status: key("StatusText").into(),
        })
    });
    Some(shown.collect())
}

/// The unit that this process is, as its file says.
pub fn own_unit() -> Option<String> {
    std::env::var("OPENCLAW_UNIT").ok().filter(|unit| !unit.is_empty())
}

/// One property of a unit.
pub fn property(unit: &str, name: &str) -> Option<String> {
    let text = call(&["show", "--value", &format!("--property={name}"), unit])?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
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
