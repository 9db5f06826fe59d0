//! The answers to people.

use openclaw_agent_api::context::CallErrorKind;
use openclaw_agent_api::prelude::*;

use crate::Atlas;
use crate::decide::LastCheck;
use crate::findings::{self, Finding, Severity};
use crate::seen::{self, Component, Resources, Seen};
use crate::thresholds::Thresholds;

/// `/resources`.
pub fn resources(ctx: &Context, thresholds: &Thresholds) -> Result<Reply> {
    let json = match ctx.resources() {
        Ok(json) => json,
        Err(error) if error.kind == CallErrorKind::Failed => return Err(error.into()),
        Err(error) => return Ok(Reply::text(format!("I cannot see the machine's resources: {error}"))),
    };
    let resources: Resources = seen::typed(json.clone()).map_err(AgentError::failed)?;
    let found = findings::machine(&resources, None, thresholds);
    let text = format!("{}\n{}", lines(&resources), listed(&found, "Nothing to warn of."));
    let mut data = json;
    if let Value::Object(fields) = &mut data {
        fields.insert("findings".into(), json!(found));
    }
    Ok(Reply::text(text).with_data(data))
}

fn lines(resources: &Resources) -> String {
    let unknown = || "unknown".to_owned();
    let cpu = resources.cpu.clone().unwrap_or_default();
    let busy = cpu.busy_percent.map_or_else(unknown, |percent| format!("{percent:.0} %"));
    let cores = cpu.cores.map_or_else(unknown, |cores| cores.to_string());
    let load: Vec<_> = resources.load.iter().flatten().flatten().map(|load| format!("{load:.2}")).collect();
    let load = if load.is_empty() { unknown() } else { load.join(" ") };
    let memory = resources.memory.clone().unwrap_or_default();
    let disk = resources.disk.clone().unwrap_or_default();
    let used = disk.used_percent().map(|percent| format!(" ({percent:.0} % used)")).unwrap_or_default();
    let up = resources.uptime_seconds.map_or_else(unknown, span);
    format!(
        "CPU: {busy} busy, {cores} cores, load {load}\n\
         Memory: {} of {} available\n\
         Disk {}: {} of {} free{used}\n\
         Up: {up}",
        size(memory.available_bytes),
        size(memory.total_bytes),
        disk.path.as_deref().unwrap_or("?"),
        size(disk.free_bytes),
        size(disk.total_bytes),
    )
}

impl Atlas {
    /// `/watch`: what the last check found, and a fresh look, which is not remembered.
    pub(crate) fn watch(&self, ctx: &Context) -> Result<Reply> {
        let last = self.last(ctx);
        let seen = Seen::look(ctx);
        let found = findings::findings(&seen, last.as_ref(), &self.thresholds);
        let mut lines = vec![last_line(ctx, last.as_ref())];
        lines.push("Now:".into());
        let mut names = Vec::new();
        if let Ok(status) = &seen.status {
            for (name, component) in status.others() {
                lines.push(component_line(name, component));
                names.push(name);
            }
        }
        lines.push(listed(&found, "Nothing is wrong."));
        let data = json!({"last_check": last, "now": {"watched": names, "findings": found}});
        Ok(Reply::text(lines.join("\n")).with_data(data))
    }
}

impl Atlas {
    /// `/uptime`: today so far, and the newest reports.
    pub(crate) fn uptime(&self, ctx: &Context) -> Result<Reply> {
        let today = self.last(ctx).unwrap_or_else(|| LastCheck::none(ctx.now())).uptime.so_far(ctx.now());
        let mut lines = vec![today];
        for kind in ["report daily ", "report weekly "] {
            // Their names are their dates, so that the last is the newest.
            let newest = ctx.memory().keys(kind)?.into_iter().next_back();
            lines.extend(newest.map(|key| ctx.memory().get::<String>(&key)).transpose()?.flatten());
        }
        Ok(Reply::text(lines.join("\n")))
    }
}

fn last_line(ctx: &Context, last: Option<&LastCheck>) -> String {
    let Some(last) = last else { return "No check has been made yet.".into() };
    let ago = span(ctx.now().signed_duration_since(last.at).num_seconds().try_into().unwrap_or(0));
    format!("Last check, {ago} ago: {}", listed(&last.findings, "nothing found."))
}

fn component_line(name: &str, component: &Component) -> String {
    let state = component.state.as_deref().unwrap_or("state unknown");
    format!("{name}: {state}, health {}", component.health.as_deref().unwrap_or("unknown"))
}

fn listed(found: &[Finding], none: &str) -> String {
    if found.is_empty() {
        return none.into();
    }
    let lines = found.iter().map(|finding| {
        let word = match finding.severity {
            Severity::Info => "info",
            Severity::Warn => "warning",
            Severity::Critical => "CRITICAL",
        };
        format!("{word}: {}", finding.text)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Bytes in a unit that leaves a number below 1,024.
fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "unknown".into() };
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return format!("{amount:.1} {unit}");
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

fn span(seconds: u64) -> String {
    match seconds {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}
