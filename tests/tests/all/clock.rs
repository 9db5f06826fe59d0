//! The wall clock is set while the daemon works: a debug build's, by a file, since the machine's must not be.

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{UNBOUND, ended, leave, pid, quick, reply, task};

/// A daemon whose wall clock can be set.
fn stage(own: &str) -> Result<(Home, Daemon)> {
    let home = Home::new(&quick(&format!("[agents.misbehaving]\n{UNBOUND}\n{own}\n")), &["misbehaving"])?;
    let daemon = home.start_as(home.stepped()?)?;
    home.until("misbehaving", "ready")?;
    Ok((home, daemon))
}

/// Whether a time of the daemon's is now, by a clock that is ahead by so much.
fn is_now(at: &Value, step: TimeDelta) -> Result<bool> {
    let at: DateTime<Utc> = serde_json::from_value(at.clone()).with_context(|| format!("a time: {at}"))?;
    Ok((at - Utc::now() - step).abs() < TimeDelta::minutes(5))
}

#[test]
fn a_clock_that_is_set_is_followed_and_takes_no_work_away() -> Result<()> {
    let (home, daemon) = stage("")?;
    let host = pid(&home, "misbehaving")?;
    for hours in [3, -4] {
        let step = TimeDelta::hours(hours);
        let meeting = home.path().join(format!("meeting{hours}"));
        let id = leave(&home, "misbehaving", &format!("meet {} 2", meeting.display()))?;
        wait_for("the task to be in work", || Ok(meeting.exists().then_some(())))?;
        home.step(step)?;
        wait_for("the clock to be followed", || {
            Ok(is_now(&home.status()?["daemon"]["now"], step)?.then_some(()))
        })?;
        OpenOptions::new().append(true).open(&meeting)?.write_all(b"here\n")?;
        let met = ended(&home, &id)?;
        ensure!(met["state"] == "done" && met["attempts"] == 1, "{met}");
        ensure!(is_now(&met["finished_at"], step)?, "{met}");
        let after = leave(&home, "misbehaving", "echo after")?;
        ensure!(ended(&home, &after)?["state"] == "done");
        ensure!(is_now(&task(&home, &after)?["created_at"], step)?, "{}", task(&home, &after)?);
        ensure!(pid(&home, "misbehaving")? == host, "the agent was started anew: {}", home.log());
    }
    ensure!(daemon.stop()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn a_clock_that_is_set_back_lengthens_no_wait() -> Result<()> {
    let breaker =
        "breaker = { intensity = 1000, min_calls = 1, failure_rate = 0.5, open = \"3s\", open_max = \"3s\" }";
    let (home, daemon) = stage(breaker)?;
    leave(&home, "misbehaving", "error once")?;
    home.until("misbehaving", "open")?;
    let step = TimeDelta::hours(-6);
    home.step(step)?;
    let open = wait_for("the clock to be followed", || {
        let open = home.component("misbehaving")?;
        let until = &open["breaker"]["open_until"];
        Ok((until.is_null() || is_now(until, step)?).then_some(open))
    })?;
    ensure!(open["state"] != "open" || is_now(&open["since"], step)?, "{open}");
    wait_for("the breaker to let one try", || {
        Ok((home.component("misbehaving")?["state"] != "open").then_some(()))
    })?;
    reply(&home, "misbehaving", "echo again")?;
    ensure!(daemon.stop()?.success(), "{}", home.log());
    Ok(())
}
