//! Atlas, with a look each twenty seconds of real time.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::server::Redis;
use openclaw_tests::wait_for;
use serde_json::Value;

use super::{alerts, says};
use crate::support::{history, pid, quick, reply};

/// Atlas with these grants, beside an agent that nobody brings back; every disk is fuller than a hundredth.
fn stage(grants: &[&str]) -> Result<(Home, Daemon)> {
    let config = format!(
        "[agents.misbehaving]\nrestart = 'never'\n[agents.atlas]\ngrants = {grants:?}\n\
         settings = {{ disk_warn_percent = 1, disk_critical_percent = 100 }}\n"
    );
    let home = Home::new(&quick(&config), &["scout", "misbehaving", "atlas"])?;
    let daemon = home.start_ready(&["scout", "misbehaving", "atlas"])?;
    Ok((home, daemon))
}

fn looks(home: &Home) -> Result<usize> {
    let tasks = home.json(&["tasks", "list", "-a", "atlas", "-s", "done", "-n", "1000", "--json"])?;
    Ok(tasks.as_array().context("tasks")?.iter().filter(|task: &&Value| task["kind"] == "tick").count())
}

/// Kills the agent, and lets two looks see it.
fn killed(home: &Home) -> Result<()> {
    wait_for("the first look", || Ok((looks(home)? > 0).then_some(())))?;
    kill(Pid::from_raw(pid(home, "misbehaving")?), Signal::SIGKILL)?;
    home.until("misbehaving", "stopped")?;
    two_looks(home)
}

/// The first of these may have begun before what it should see; the next one after them says what it sees.
fn two_looks(home: &Home) -> Result<()> {
    let before = looks(home)?;
    wait_for("a look", || Ok((looks(home)? > before).then_some(())))?;
    wait_for("another look", || Ok((looks(home)? > before + 1).then_some(())))
}

#[test]
fn what_has_ended_by_a_failure_is_restarted_and_what_cannot_be_mended_is_told() -> Result<()> {
    let (home, _daemon) = stage(&["supervisor", "system", "memory", "alert"])?;
    killed(&home)?;
    home.until("misbehaving", "ready")?;
    assert_eq!(reply(&home, "misbehaving", "echo I am back")?, "I am back");
    let steps = history(&home, "misbehaving")?;
    let by = steps.iter().find(|step| step["actor"] == "agent atlas").context("who did it")?;
    assert!(by["reason"].as_str().is_some_and(|why| !why.is_empty()), "{by}");
    // A new process mends no disk.
    let disk = wait_for("the disk's alert", || Ok(says(&alerts(&home, "atlas")?, "% full")))?;
    assert_eq!((&disk["level"], &disk["source"]), (&"warning".into(), &"atlas".into()), "{disk}");
    let shown = reply(&home, "atlas", "/watch")?;
    assert!(shown.contains("% full") && shown.contains("misbehaving: ready"), "{shown}");
    let shown = reply(&home, "atlas", "/uptime")?;
    assert!(shown.contains("so far: looked ") && shown.contains("scout 100 %"), "{shown}");
    Ok(())
}

#[test]
fn what_it_may_not_restart_is_told() -> Result<()> {
    let (home, _daemon) = stage(&["supervisor.status", "system", "memory", "alert"])?;
    killed(&home)?;
    let told = wait_for("the alert", || Ok(says(&alerts(&home, "atlas")?, "I could not restart it")))?;
    assert!(
        told["text"].as_str().is_some_and(|text| text.contains("not granted `supervisor.restart`")),
        "{told}"
    );
    assert_eq!(home.component("misbehaving")?["state"], "stopped");
    // The refusal is recorded.
    let shown = home.ok(&["agents", "grants", "atlas"])?;
    assert!(shown.contains("supervisor.restart"), "{shown}");
    Ok(())
}

#[test]
fn a_redis_that_stopped_is_told() -> Result<()> {
    let Some(mut redis) = Redis::new()? else { return Ok(()) };
    redis.start()?;
    let agent = "[agents.atlas]\ngrants = ['supervisor.status', 'system', 'memory', 'alert']\n";
    let home = Home::new(&quick(&format!("{agent}[bus]\nurl = '{}'\n", redis.url())), &["scout", "atlas"])?;
    let _daemon = home.start_ready(&["scout", "atlas"])?;
    wait_for("the first look", || Ok((looks(&home)? > 0).then_some(())))?;
    assert!(says(&alerts(&home, "atlas")?, "bus").is_none());
    redis.kill()?;
    two_looks(&home)?;
    let told = wait_for("the alert", || Ok(says(&alerts(&home, "atlas")?, "bus")))?;
    // The daemon has an alert of its own about its bus.
    assert_eq!((&told["level"], &told["source"]), (&"warning".into(), &"atlas".into()), "{told}");
    Ok(())
}
