//! Restart policies and the breaker: what fails too often is left alone for a while, and nothing of it is forgotten.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{
    ask, beside_scout, ended, history, leave, pid, quick, reply, scout_answers, stage, states, tasks,
};

/// Opens at the fifth task that fails, for `open`; a run of `reset_after` is stable.
fn fragile(open: &str, reset_after: &str) -> String {
    format!(
        "concurrency = 1\nbackoff = {{ initial = \"10ms\", max = \"20ms\", reset_after = \"{reset_after}\" }}\n\
         breaker = {{ intensity = 1000, min_calls = 5, failure_rate = 0.5, open = \"{open}\", open_max = \"{open}\" }}"
    )
}

/// A daemon whose misbehaving has just been opened: four tries of two tasks, and one of a third, which waits.
fn opened(open: &str, reset_after: &str) -> Result<(Home, Daemon)> {
    let (home, daemon) = stage(&fragile(open, reset_after))?;
    beside_scout(&home, || {
        for n in 0..3 {
            leave(&home, "misbehaving", &format!("error number {n}"))?;
        }
        home.until("misbehaving", "open")
    })?;
    Ok((home, daemon))
}

#[track_caller]
fn assert_told(history: &[Value]) {
    for step in history {
        let told = |field: &str| step[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(["from", "to", "actor", "reason", "at"].iter().all(|field| told(field)), "{step}");
    }
    let chained = history
        .windows(2)
        .all(|pair| pair[0]["to"] == pair[1]["from"] && pair[0]["at"].as_str() <= pair[1]["at"].as_str());
    assert!(chained, "a step is missing: {history:#?}");
}

#[test]
fn an_agent_that_answers_with_errors_is_opened_and_its_tasks_wait() -> Result<()> {
    let (home, _daemon) = opened("1h", "1h")?;
    let open = home.component("misbehaving")?;
    assert_eq!((&open["health"], &open["breaker"]["state"]), (&"failed".into(), &"open".into()), "{open}");
    assert!(open["breaker"]["open_until"].is_string() && open["pid"].is_null(), "{open}");
    assert!(open["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{open}");
    assert_eq!(open["restarts"], 0, "{open}");
    let steps = history(&home, "misbehaving")?;
    assert_eq!(states(&steps), ["starting", "ready", "draining", "open"]);
    assert_told(&steps);
    let why = steps[2]["reason"].as_str().context("a reason")?;
    assert!(why.contains("the breaker is open") && why.contains("tasks failed in"), "{why}");

    // What comes now waits as well.
    for n in 0..3 {
        leave(&home, "misbehaving", &format!("echo later {n}"))?;
    }
    assert_eq!(tasks(&home, "misbehaving", "leased")?.len(), 0);
    let (waiting, dead) = (tasks(&home, "misbehaving", "queued")?, tasks(&home, "misbehaving", "failed")?);
    assert_eq!(waiting.len() + dead.len(), 6, "{waiting:#?} {dead:#?}");
    assert!(waiting.len() >= 4, "{waiting:#?}");
    scout_answers(&home)
}

#[test]
fn half_open_admits_one_task_and_opens_again_when_that_fails() -> Result<()> {
    let (home, _daemon) = stage(&fragile("1h", "1h").replace("concurrency = 1", "concurrency = 4"))?;
    for n in 0..3 {
        leave(&home, "misbehaving", &format!("error number {n}"))?;
    }
    home.until("misbehaving", "open")?;
    for task in tasks(&home, "misbehaving", "queued")? {
        home.ok(&["tasks", "cancel", task["id"].as_str().context("an id")?])?;
    }
    // One each: a reader that is about to close would be another writer's as well.
    let fifo = |number: usize| home.path().join(format!("fifo{number}"));
    let writes = |number| {
        nix::unistd::mkfifo(&fifo(number), nix::sys::stat::Mode::S_IRWXU)?;
        leave(&home, "misbehaving", &format!("append {} effect", fifo(number).display()))
    };
    let ids = (0..3).map(writes).collect::<Result<Vec<_>>>()?;

    let said = home.ok(&["agents", "start", "misbehaving"])?;
    assert_eq!(said.trim(), "misbehaving is half_open");
    let half = home.component("misbehaving")?;
    assert_eq!((&half["breaker"]["state"], &half["health"]), (&"half_open".into(), &"degraded".into()));
    // One at a time: each waits for a reader, and no other runs meanwhile.
    for (number, id) in ids.iter().enumerate() {
        wait_for("a task to run", || {
            Ok(tasks(&home, "misbehaving", "leased")?.iter().any(|task| task["id"] == **id).then_some(()))
        })?;
        leave(&home, "scout", crate::support::ANALYZE)?;
        assert_eq!(tasks(&home, "misbehaving", "leased")?.len(), 1);
        assert_eq!(fs::read_to_string(fifo(number))?, "effect\n");
        assert_eq!(ended(&home, id)?["state"], "done");
    }
    assert_eq!(home.component("misbehaving")?["state"], "half_open");

    leave(&home, "misbehaving", "error on probation")?;
    let open = home.until("misbehaving", "open")?;
    assert_eq!(open["breaker"]["state"], "open", "{open}");
    let steps = history(&home, "misbehaving")?;
    assert_told(&steps);
    assert!(
        steps
            .iter()
            .any(|step| step["reason"].as_str().is_some_and(|why| why.contains("the probe's task failed"))),
        "{steps:#?}"
    );
    assert_eq!(tasks(&home, "misbehaving", "queued")?.len(), 1);
    Ok(())
}

#[test]
fn an_open_breaker_tries_by_itself_and_closes_after_a_stable_run() -> Result<()> {
    let (home, _daemon) = stage(&fragile("200ms", "300ms"))?;
    // Fails so often that the breaker opens, and is well from then on.
    let path = home.path().join("tries");
    let ids = (0..5)
        .map(|_| leave(&home, "misbehaving", &format!("fail-until {} 6", path.display())))
        .collect::<Result<Vec<_>>>()?;
    for id in &ids {
        ended(&home, id)?;
    }
    let closed = home.until("misbehaving", "ready")?;
    assert_eq!(closed["breaker"]["state"], "closed", "{closed}");
    let steps = history(&home, "misbehaving")?;
    assert_told(&steps);
    let seen = states(&steps);
    assert_eq!(seen[..4], ["starting", "ready", "draining", "open"], "{seen:?}");
    assert_eq!(seen[seen.len() - 3..], ["half_open", "half_open", "ready"], "{seen:?}");
    assert_eq!(steps[steps.len() - 1]["reason"], "a stable run: the breaker is closed");
    assert_eq!(steps[steps.len() - 1]["actor"], "supervisor");
    // Each task has ended once, and none before the agent was well is lost.
    assert_eq!(
        tasks(&home, "misbehaving", "queued")?.len() + tasks(&home, "misbehaving", "leased")?.len(),
        0
    );
    assert_eq!(reply(&home, "misbehaving", "echo well")?, "well");
    Ok(())
}

#[test]
fn an_open_breaker_outlives_the_daemon_however_that_ends() -> Result<()> {
    let (home, daemon) = opened("1h", "1h")?;
    let before = home.component("misbehaving")?;
    let waiting = tasks(&home, "misbehaving", "queued")?.len();
    assert!(waiting >= 1);
    daemon.kill()?;
    let daemon = home.start_ready(&["scout"])?;
    for state in [home.component("misbehaving")?, {
        assert!(daemon.stop()?.success());
        let _daemon = home.start_ready(&["scout"])?;
        let after = home.component("misbehaving")?;
        assert_eq!(tasks(&home, "misbehaving", "queued")?.len(), waiting);

        // A person may let it try at once.
        assert_eq!(home.ok(&["agents", "start", "misbehaving"])?.trim(), "misbehaving is half_open");
        let steps = history(&home, "misbehaving")?;
        assert_told(&steps);
        let by = steps.iter().rfind(|step| step["from"] == "open").context("a start")?;
        assert!(by["actor"].as_str().is_some_and(|actor| actor.starts_with("operator ")), "{by}");
        after
    }] {
        assert_eq!((&state["state"], &state["pid"]), (&"open".into(), &Value::Null), "{state}");
        assert_eq!(state["breaker"], before["breaker"], "{state}");
        assert_eq!(state["last_exit"], before["last_exit"], "{state}");
        let reason = state["reason"].as_str().context("a reason")?;
        assert!(reason.contains("breaker"), "{reason}");
    }
    Ok(())
}

#[test]
fn too_many_crashes_open_the_breaker() -> Result<()> {
    let own = "backoff = { initial = \"10ms\", max = \"20ms\" }\n\
               breaker = { intensity = 3, open = \"1h\", open_max = \"1h\" }";
    let (home, _daemon) = stage(own)?;
    for n in 0..4 {
        let host = wait_for("a host", || {
            let now = home.component("misbehaving")?;
            Ok((now["state"] == "ready" && now["restarts"] == n).then_some(now["pid"].as_i64()))
        })?;
        kill(Pid::from_raw(i32::try_from(host.context("a pid")?)?), Signal::SIGKILL)?;
    }
    let open = home.until("misbehaving", "open")?;
    assert_eq!((&open["restarts"], &open["breaker"]["state"]), (&3.into(), &"open".into()), "{open}");
    let reason = open["reason"].as_str().context("a reason")?;
    assert!(reason.contains("4 restarts were needed") && reason.contains("SIGKILL"), "{reason}");
    scout_answers(&home)
}

#[test]
fn an_operators_stop_is_remembered() -> Result<()> {
    let (home, daemon) = stage("")?;
    assert_eq!(home.ok(&["agents", "stop", "misbehaving"])?.trim(), "misbehaving is stopped");
    let id = leave(&home, "misbehaving", "echo later")?;
    daemon.kill()?;
    let daemon = home.start_ready(&["scout"])?;
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["scout"])?;
    let stopped = home.component("misbehaving")?;
    assert_eq!((&stopped["state"], &stopped["health"]), (&"stopped".into(), &"unknown".into()), "{stopped}");
    for said in [&stopped["reason"], &stopped["evidence"]["what"]] {
        assert!(said.as_str().is_some_and(|said| said.contains("stopped by operator ")), "{stopped}");
    }
    let steps = history(&home, "misbehaving")?;
    assert_told(&steps);
    assert!(steps[2]["actor"].as_str().is_some_and(|actor| actor.starts_with("operator ")), "{steps:#?}");
    home.ok(&["agents", "start", "misbehaving"])?;
    assert_eq!(ended(&home, &id)?["state"], "done");
    Ok(())
}

#[test]
fn a_restart_by_hand_gives_a_new_host_and_its_reason_stands() -> Result<()> {
    let (home, _daemon) = stage("")?;
    let before = pid(&home, "misbehaving")?;
    home.ok(&["agents", "restart", "misbehaving", "--reason", "it looked pale"])?;
    let after = home.component("misbehaving")?;
    assert!(after["pid"] != before && after["state"] == "ready" && after["restarts"] == 1, "{after}");
    assert_eq!(after["last_exit"]["class"], "clean", "{after}");
    let steps = history(&home, "misbehaving")?;
    assert_told(&steps);
    assert!(steps.iter().any(|step| step["reason"] == "it looked pale"), "{steps:#?}");
    Ok(())
}

#[test]
fn restart_never_leaves_it_at_that() -> Result<()> {
    let (home, _daemon) = stage("restart = \"never\"")?;
    kill(Pid::from_raw(pid(&home, "misbehaving")?), Signal::SIGKILL)?;
    let stopped = home.until("misbehaving", "stopped")?;
    assert_eq!((&stopped["health"], &stopped["restarts"]), (&"failed".into(), &0.into()), "{stopped}");
    let reason = stopped["reason"].as_str().context("a reason")?;
    assert!(reason.contains("SIGKILL") && reason.contains("restart"), "{reason}");
    scout_answers(&home)?;
    home.ok(&["agents", "start", "misbehaving"])?;
    assert_eq!(reply(&home, "misbehaving", "echo by hand")?, "by hand");
    Ok(())
}

#[test]
fn restart_on_failure_knows_a_clean_end() -> Result<()> {
    let (home, _daemon) = stage("restart = \"on-failure\"")?;
    let sent = ask(&home, "misbehaving", "exit 3")?;
    assert_eq!((&sent["state"], &sent["attempts"]), (&"failed".into(), &2.into()), "{sent}");
    home.until("misbehaving", "ready")?;
    // With that its host is gone, and the task waits for the next one.
    let id = leave(&home, "misbehaving", "exit 0")?;
    let stopped = home.until("misbehaving", "stopped")?;
    assert_eq!((&stopped["health"], &stopped["restarts"]), (&"unknown".into(), &2.into()), "{stopped}");
    assert_eq!(stopped["last_exit"]["class"], "clean", "{stopped}");
    wait_for("the task to be given back", || {
        Ok((crate::support::task(&home, &id)?["state"] == "queued").then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_storm_of_restarts_is_held_up_by_the_budget_of_all() -> Result<()> {
    let config = quick("[agents.misbehaving]\nsettings = { start = \"exit\" }\n")
        .replace("restart_budget = 1000", "restart_budget = 3\nrestart_refill = \"1h\"");
    let home = Home::new(&config, &["scout", "misbehaving"])?;
    let _daemon = home.start_ready(&["scout"])?;
    let held = wait_for("the budget to be used up", || {
        let seen = home.component("misbehaving")?;
        let why = seen["reason"].as_str().unwrap_or_default();
        Ok((seen["state"] == "backoff" && why.contains("too many agents restart at once")).then_some(seen))
    })?;
    assert_eq!(held["restarts"], 3, "{held}");
    // Each look takes longer than the longest pause between two restarts, were it not for the budget.
    let answers = ask(&home, "scout", crate::support::ANALYZE)?;
    assert_eq!(answers["state"], "done");
    for _ in 0..5 {
        let now = home.component("misbehaving")?;
        assert_eq!(
            (&now["restarts"], &now["state"], &now["since"]),
            (&3.into(), &held["state"], &held["since"])
        );
    }
    scout_answers(&home)
}
