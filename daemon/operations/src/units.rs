//! The unit files, as they stand in `units/`, and what becomes of them for a prefix, a systemd, a person's own manager.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The prefix that the files name.
const PREFIX: &str = "/opt/openclaw";

/// A unit file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub text: &'static str,
    /// The component that it runs; none for what is not a component.
    pub component: Option<&'static str>,
}

macro_rules! units {
    ($($name:literal $(=> $component:literal)?),* $(,)?) => {
        &[$(Unit {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../units/", $name)),
            component: units!(@component $($component)?),
        }),*]
    };
    (@component) => { None };
    (@component $component:literal) => { Some($component) };
}

/// All of them.
pub const UNITS: &[Unit] = units![
    "openclaw.target",
    "openclaw.socket",
    "openclaw.service" => "gateway",
    "openclaw-dashboard.service" => "dashboard",
    "openclaw-atlas.service" => "atlas",
    "openclaw-scout.service" => "scout",
    "openclaw-mission-worker.service" => "mission-worker",
    "openclaw-event-reactor.service" => "event-reactor",
    "openclaw-learning.service" => "learning",
    "openclaw-heartbeat-bridge.service" => "heartbeat-bridge",
    "openclaw-health.service",
    "openclaw-health.timer",
    "openclaw-backup.service",
    "openclaw-backup.timer" => "backup",
    "openclaw-alert@.service",
    "cloudflared.service",
];

/// What cron jobs tell the operator with.
pub const ALERT_SCRIPT: &str = include_str!("../../../scripts/alert-telegram.sh");

/// The polkit rule.
pub const POLKIT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../units/50-openclaw.rules"));

/// Who runs the units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// The machine's.
    System,
    /// A person's own: one process runs everything.
    User,
}

/// What a person's own manager cannot do, or has not: other users, the machine's units, file systems.
const NOT_FOR_USERS: &[&str] = &[
    "User=",
    "Group=",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=",
    "ProtectHome=",
    "ReadWritePaths=",
    "ReadOnlyPaths=",
    "PrivateTmp=",
    "PrivateDevices=",
    "PrivateUsers=",
    "ProtectProc=",
    "ProtectHostname=",
    "ProtectClock=",
    "ProtectKernel",
    "ProtectControlGroups=",
    "RemoveIPC=",
    "KeyringMode=",
    "IPAddress",
    "LoadCredential=",
    "After=redis",
    "Wants=redis",
    "RestrictNamespaces=",
];

/// The units that a person's own manager gets.
pub fn of(manager: Manager) -> impl Iterator<Item = &'static Unit> {
    let own = [
        "openclaw.target",
        "openclaw.service",
        "openclaw.socket",
        "openclaw-alert@.service",
        "openclaw-health.service",
        "openclaw-health.timer",
    ];
    UNITS.iter().filter(move |unit| manager == Manager::System || own.contains(&unit.name))
}

/// The directives of all units that a systemd of this version does not know, and since when there are: they are left out.
pub fn unknown(systemd: u32) -> BTreeMap<&'static str, u32> {
    let lines = UNITS.iter().flat_map(|unit| unit.text.lines());
    let later = lines.filter_map(later).filter(|(since, _)| *since > systemd);
    later.filter_map(|(since, directive)| Some((directive.split_once('=')?.0, since))).collect()
}

/// A directive that older ones do not know, `#254: RestartSteps=5`, and since when there is.
fn later(line: &str) -> Option<(u32, &str)> {
    let (since, directive) = line.strip_prefix('#')?.split_once(": ")?;
    Some((since.parse().ok()?, directive))
}

/// The prefix that a rendered unit is of.
pub fn home(text: &str) -> Option<PathBuf> {
    let quoted = text.lines().find_map(|line| line.strip_prefix("Environment=\"OPENCLAW_HOME="))?;
    Some(quoted.strip_suffix('"')?.replace("%%", "%").into())
}

/// A text of these for a prefix, which is valid, and a systemd of this version.
pub fn render(text: &str, prefix: &Path, manager: Manager, systemd: u32) -> String {
    // In units, `%` begins a specifier.
    let prefix = prefix.display().to_string().replace('%', "%%");
    let mut rendered = String::with_capacity(text.len());
    for line in text.lines() {
        let line = match later(line) {
            Some((since, _)) if since > systemd => continue,
            Some((_, directive)) => directive,
            None => line,
        };
        if manager == Manager::User {
            if NOT_FOR_USERS.iter().any(|not| line.starts_with(not)) {
                continue;
            }
            let line =
                line.replace(" run gateway milkbot", " run").replace("multi-user.target", "default.target");
            let line = line.replace("exec systemctl", "exec systemctl --user");
            rendered.push_str(&line.replace(PREFIX, &prefix));
        } else {
            rendered.push_str(&line.replace(PREFIX, &prefix));
        }
        rendered.push('\n');
    }
    rendered
}

#[cfg(test)]
mod tests;
