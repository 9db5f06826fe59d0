//! What people read of alerts. Pure.

use chrono::TimeDelta;
use store::alert::Alert;

use super::policy::{LOUDER, Say};

/// The alerts that one message tells of; beyond, it says how many there are.
const MOST: usize = 20;

/// One message of these.
pub fn message(said: &[(&Alert, Say)]) -> String {
    let lines = said.iter().take(MOST).map(|(alert, say)| line(alert, *say));
    let mut lines: Vec<String> = lines.collect();
    if said.len() > MOST {
        lines.push(format!("… and {} more: openclaw alert list", said.len() - MOST));
    }
    lines.join("\n\n")
}

/// The summary of a period.
pub fn summary(said: &[(&Alert, Say)], period: TimeDelta) -> String {
    let period = humantime(period);
    let head = format!("Summary of the last {period}: what was not worth a message of its own");
    let lines = said.iter().take(MOST).map(|(alert, say)| line(alert, *say));
    let mut lines: Vec<String> = std::iter::once(head).chain(lines).collect();
    if said.len() > MOST {
        lines.push(format!("… and {} more: openclaw alert list", said.len() - MOST));
    }
    lines.join("\n")
}

fn line(alert: &Alert, say: Say) -> String {
    let Alert { id, level, source, text, count, .. } = alert;
    let level = level.as_str().to_uppercase();
    let times = if *count > 1 { format!(", {count} times") } else { String::new() };
    match say {
        Say::First => format!("🔴 {level} {source}: {text}\n#{id}{times} · /ack {id}"),
        Say::Again => format!("🔴 {level} again, {source}: {text}\n#{id}{times} · /ack {id}"),
        Say::Louder(nth) => format!(
            "🔴🔴 STILL {level} and nobody said that they know ({nth} of {LOUDER}), {source}: {text}\n#{id}{times} · /ack {id}"
        ),
        Say::Over => {
            let end = alert.resolved_at.unwrap_or(alert.last_at);
            let how = alert.resolution.as_deref().unwrap_or("it is over");
            format!(
                "🟢 RESOLVED {source}: {how}\n#{id}{times}, after {}: {text}",
                humantime(end - alert.created_at)
            )
        }
        Say::Summary(more) => {
            let over = if alert.resolved_at.is_some() { ", over" } else { "" };
            let times = match more {
                1 => String::new(),
                more if more < *count => format!(" {more} times more"),
                more => format!(" {more} times"),
            };
            format!("• {level}{times}{over}, {source}: {text} (#{id})")
        }
    }
}

fn humantime(time: TimeDelta) -> String {
    match time.num_seconds().max(0) {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
