//! Tables for people, and times as people say them.

use chrono::{DateTime, Utc};
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

/// A table without lines; coloured and fitted to the window only on a terminal.
pub fn table(head: &[&str], on_terminal: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().map(|name| name.to_uppercase()));
    if on_terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic).enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// A cell in the colour of its health or state.
pub fn judged(word: &str, on_terminal: bool) -> Cell {
    let colour = match word {
        "ok" | "ready" | "done" | "fresh" => Some(Color::Green),
        "failed" | "open" | "refused" | "down" => Some(Color::Red),
        "degraded" | "late" | "backoff" | "half_open" | "starting" | "draining" => Some(Color::Yellow),
        _ => None,
    };
    let cell = Cell::new(word);
    match colour {
        Some(colour) if on_terminal && std::env::var_os("NO_COLOR").is_none() => cell.fg(colour),
        _ => cell,
    }
}

/// `3 s ago`; `-` when never.
pub fn ago(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    at.map_or_else(|| "-".into(), |at| format!("{} ago", span((now - at).num_seconds())))
}

/// `3 s`, `5 min`, `2 h`, `4 days`.
pub fn span(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 48 * 3600 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

/// One line, at most so many characters.
pub fn short(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut = line.chars().count() > most || text.lines().nth(1).is_some();
    let kept: String = line.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if cut { format!("{kept}…") } else { kept }
}

/// Several lines, without what a terminal would obey.
pub fn printable(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(shown).collect()
}
