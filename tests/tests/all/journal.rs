//! The daemon's own lines where there is no journald, and what of an edited configuration is applied at once.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::socket::message;
use openclaw_tests::{built, wait_for};
use serde_json::Value;

const CONFIG: &str = "[agents.misbehaving]\nsandbox = \"off\"\n";

/// The daemon's line that says `what`.
fn line(home: &Home, what: &str) -> Result<String> {
    wait_for(&format!("a line with `{what}`"), || {
        let text = home.log();
        Ok(text.lines().find(|line| line.contains(what)).map(str::to_owned))
    })
}

#[test]
fn as_json_each_line_has_its_fields() -> Result<()> {
    let home = Home::new(CONFIG, &["misbehaving"])?;
    let mut command = home.command(&["run", "--log-format", "json"])?;
    // Nobody listens there, and nobody is missed.
    command.env("NOTIFY_SOCKET", home.path().join("nobody")).env("JOURNAL_STREAM", "1:1");
    let daemon = home.start_as(command)?;
    home.until("misbehaving", "ready")?;
    let sent = home.socket()?.call(message("misbehaving", "log it is odd", Some("s-17"), Some(30_000)))?;
    let sent = sent.map_err(anyhow::Error::msg)?;
    let said: Value = serde_json::from_str(&line(&home, "it is odd")?)?;
    for (field, value) in [
        ("level", "WARN"),
        ("agent", "misbehaving"),
        ("session", "s-17"),
        ("task_id", sent["task_id"].as_str().context("a task's id")?),
        ("message", "it is odd"),
    ] {
        assert_eq!(said[field], value, "{field} of {said}");
    }
    assert!(daemon.stop()?.success());
    let log = home.log();
    // The first screen is for people, and on standard output.
    let lines = log.lines().filter(|line| line.starts_with('{'));
    assert!(lines.clone().count() > 2, "{log}");
    for line in lines {
        let line: Value = serde_json::from_str(line)?;
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    Ok(())
}

#[test]
fn an_edit_is_applied_where_it_can_be_and_else_its_keys_are_named() -> Result<()> {
    let home = Home::new(&format!("[daemon]\nlog = \"off\"\n{CONFIG}"), &["misbehaving"])?;
    let daemon = home.start()?;
    home.until("misbehaving", "ready")?;
    let edited = format!("[daemon]\nlog = \"info\"\n[libraries]\nkeep = 9\n{CONFIG}concurrency = 7\n");
    fs::write(home.path().join("config/openclaw.toml"), edited)?;
    daemon.signal(Signal::SIGHUP)?;
    // That it is written at all says that the log's new filter is in effect.
    let said = line(&home, "the configuration was edited")?;
    let keys = "restart needed for agents.misbehaving.concurrency, libraries.keep";
    assert!(said.contains(keys), "{said}");
    assert!(daemon.stop()?.success());
    Ok(())
}

/// A daemon whose journald is this socket.
fn with_journald(home: &Home) -> Result<Daemon> {
    let log = fs::File::create(home.path().join("daemon.log"))?.metadata()?;
    let script = "mount -t tmpfs openclaw-test /run && mkdir -p /run/systemd/journal && touch /run/systemd/journal/socket && \
                  mount --bind \"$1/journald\" /run/systemd/journal/socket && exec \"$2/openclaw\" --home \"$1\" run --log trace";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(home.path()).arg(built()?).current_dir(home.path());
    command.env("JOURNAL_STREAM", format!("{}:{}", log.st_dev(), log.st_ino()));
    command.env("OPENCLAW_GATEWAY__BIND", "127.0.0.1:0");
    home.start_as(command)
}

fn is_root() -> bool {
    let is = nix::unistd::Uid::effective().is_root();
    if !is {
        eprintln!("skipped: a journald of its own needs root");
    }
    is
}

/// A journald that is there and reads nothing: its queue is soon full.
#[test]
fn a_journald_that_stands_still_does_not_hold_up_the_daemon() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let home = Home::new(CONFIG, &["misbehaving"])?;
    let journald = UnixDatagram::bind(home.path().join("journald"))?;
    let daemon = with_journald(&home)?;
    home.until("misbehaving", "ready")?;
    // More lines than a queue has room for; each is answered.
    for n in 0..300 {
        assert_eq!(crate::support::reply(&home, "misbehaving", &format!("echo {n}"))?, n.to_string());
    }
    // It reads again: what was lost meanwhile is said, beside it.
    journald.set_nonblocking(true)?;
    let (mut heard, mut line) = (0, vec![0; 1 << 20]);
    wait_for("what was dropped to be said", || {
        while journald.recv(&mut line).is_ok() {
            heard += 1;
        }
        crate::support::reply(&home, "misbehaving", "echo again")?;
        Ok(home.log().contains("lines were dropped").then_some(()))
    })?;
    assert!(heard > 0, "nothing went to the journald");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_journald_that_stands_still_does_not_hold_up_the_start() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let home = Home::new(CONFIG, &["misbehaving"])?;
    let _journald = UnixDatagram::bind(home.path().join("journald"))?;
    let full = UnixDatagram::unbound()?;
    full.set_nonblocking(true)?;
    while full.send_to(b"MESSAGE=full", home.path().join("journald")).is_ok() {}
    let daemon = with_journald(&home)?;
    home.until("misbehaving", "ready")?;
    // As where there is none: lines to standard error.
    assert!(home.log().contains("OpenClaw"), "{}", home.log());
    assert!(daemon.stop()?.success());
    Ok(())
}
