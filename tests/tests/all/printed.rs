//! What people read: the help, the table of the status, the configuration in effect.

use anyhow::Result;
use openclaw_tests::daemon::Home;

use crate::support::quick;

fn help(args: &[&str]) -> Result<String> {
    Home::new("", &[])?.ok(args)
}

#[test]
fn help_of_all() -> Result<()> {
    insta::assert_snapshot!(help(&["--help"])?);
    Ok(())
}

#[test]
fn help_of_run() -> Result<()> {
    insta::assert_snapshot!(help(&["run", "--help"])?);
    Ok(())
}

#[test]
fn help_of_send() -> Result<()> {
    insta::assert_snapshot!(help(&["send", "--help"])?);
    Ok(())
}

/// Whoever runs this test.
fn by_anybody(line: &str) -> String {
    match line.split_once("stopped by operator ") {
        Some((before, _)) => format!("{before}stopped by operator [user]"),
        None => line.to_owned(),
    }
}

/// Cells are apart by two spaces or more; what changes from run to run is left out.
fn cells(line: &str, volatile: &[usize]) -> String {
    let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).enumerate();
    let shown =
        cells.map(|(place, cell)| if volatile.contains(&place) && cell != "-" { "[volatile]" } else { cell });
    shown.collect::<Vec<_>>().join(" | ")
}

#[test]
fn status() -> Result<()> {
    let home = Home::new(&quick("[agents.missing]\n[agents.misbehaving]\n"), &["scout", "misbehaving"])?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    home.until("missing", "refused")?;
    home.ok(&["agents", "stop", "misbehaving"])?;
    let output = home.cli(&["status"])?;
    let shown = String::from_utf8(output.stdout)?;
    let home_shown = home.path().display().to_string();
    let pid = format!("pid {},", daemon.pid());
    let mut lines = Vec::new();
    for (number, line) in shown.lines().enumerate() {
        let line = line.replace(&home_shown, "[home]").replace(&pid, "pid [pid],");
        let is_row = line.starts_with(' ');
        lines.push(match number {
            0 => line.split(", up ").next().unwrap_or_default().to_owned(),
            // Name, state, health; evidence, pid and since depend on the moment.
            _ if is_row => cells(&line, &[3, 4, 5]),
            2 => cells(&line, &[]),
            _ => by_anybody(line.trim_end()),
        });
    }
    insta::assert_snapshot!(lines.join("\n"));
    Ok(())
}

#[test]
fn config_show() -> Result<()> {
    let home = Home::new(&quick("[agents.misbehaving]\nhandler_timeout = \"300ms\"\n"), &[])?;
    let shown = home.ok(&["config", "show"])?;
    insta::assert_snapshot!(shown.replace(&home.path().display().to_string(), "[home]"));
    Ok(())
}
