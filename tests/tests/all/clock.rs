//! The wall clock is set while the daemon works, by a file, since the machine's must not be: a debug build's, and that of
//! PostgreSQL, which decides there.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::server::Postgres;
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

/// Two daemons on one database: the first leads, the second stands by.
fn pair(server: &Postgres) -> Result<([Home; 2], [Daemon; 2])> {
    let config = quick(&format!("[agents.misbehaving]\n{UNBOUND}\n"))
        .replace("[daemon]", "[daemon]\nlead = \"2s\"")
        .replace("retry_initial = \"10ms\"", "retry_initial = \"4s\"")
        .replace("retry_max = \"20ms\"", "retry_max = \"4s\"\nlease = \"4s\"");
    let config = format!("[database]\nurl = \"{}\"\n{config}", server.url("postgres"));
    let home = || Home::new(&config, &["scout", "misbehaving"]);
    let [first, second] = [home()?, home()?];
    let leader = first.start_ready(&["scout", "misbehaving"])?;
    let stand_by = second.start()?;
    second.until("misbehaving", "standby")?;
    Ok(([first, second], [leader, stand_by]))
}

#[test]
fn a_database_s_clock_that_is_set_forward_takes_nobody_s_lead_or_work() -> Result<()> {
    let Some(server) = Postgres::with_clock()? else { return Ok(()) };
    let ([first, second], [leader, stand_by]) = pair(&server)?;
    let meeting = first.path().join("meeting");
    let id = leave(&first, "misbehaving", &format!("meet {} 2", meeting.display()))?;
    wait_for("the task to be in work", || Ok(meeting.exists().then_some(())))?;
    let host = pid(&first, "misbehaving")?;
    server.set_clock(3600)?;
    wait_for("both to see it", || {
        Ok([&first, &second].iter().all(|home| home.log().contains("clock was set")).then_some(()))
    })?;
    let began = Instant::now();
    wait_for("three leases' time", || {
        ensure!(second.hosts()?.is_empty(), "two run: {}", second.log());
        Ok((began.elapsed() > Duration::from_secs(12)).then_some(()))
    })?;
    // One that starts now knows of no step.
    ensure!(stand_by.stop()?.success());
    let stand_by = second.start()?;
    second.until("misbehaving", "standby")?;
    OpenOptions::new().append(true).open(&meeting)?.write_all(b"here\n")?;
    let met = ended(&first, &id)?;
    ensure!(met["state"] == "done" && met["attempts"] == 1, "{met}");
    ensure!(pid(&first, "misbehaving")? == host, "the agent was started anew: {}", first.log());
    ensure!(stand_by.stop()?.success() && leader.stop()?.success());
    Ok(())
}

#[test]
fn a_database_s_clock_that_is_set_back_lets_nobody_wait_for_it() -> Result<()> {
    let Some(server) = Postgres::with_clock()? else { return Ok(()) };
    let ([first, second], [leader, stand_by]) = pair(&server)?;
    let (meeting, failing) = (first.path().join("meeting"), first.path().join("failing"));
    let meets = leave(&first, "misbehaving", &format!("meet {} 2", meeting.display()))?;
    let waits = leave(&first, "misbehaving", &format!("fail-until {} 2", failing.display()))?;
    wait_for("one task in work, and one to wait for another try", || {
        let waiting = task(&first, &waits)?;
        Ok((meeting.exists() && waiting["state"] == "queued" && waiting["attempts"] == 1).then_some(()))
    })?;
    server.set_clock(-7200)?;
    leader.kill()?;
    second.until("misbehaving", "ready")?;
    let retried = ended(&second, &waits)?;
    ensure!(retried["state"] == "done" && retried["attempts"] == 2, "{retried}");
    // The one in work was lost with its worker: tried again, it finds two lines.
    let met = ended(&second, &meets)?;
    ensure!(met["state"] == "done" && met["attempts"] == 2, "{met}");
    ensure!(stand_by.stop()?.success());
    Ok(())
}
