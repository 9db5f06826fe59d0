//! An agent that does everything wrong while it works: the right class, the right end of its task, and nobody else
//! notices.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::Home;
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{
    ask, beside_scout, gone, group, history, leave, pid, quick, reply, scout_answers, stage, task,
};

/// Its host is back, and does what it is told.
fn assert_back(home: &Home) -> Result<()> {
    home.until("misbehaving", "ready")?;
    assert_eq!(reply(home, "misbehaving", "echo back again")?, "back again");
    scout_answers(home)
}

/// Each try costs the host: both tries are made, the task is a dead letter that says why, and the agent comes back.
fn costs_its_host(own: &str, text: &str, class: &str, detail: &str, error: &str) -> Result<()> {
    let (home, daemon) = stage(own)?;
    let first = pid(&home, "misbehaving")?;
    let sent = beside_scout(&home, || ask(&home, "misbehaving", text))?;
    assert_eq!((&sent["state"], &sent["attempts"]), (&"failed".into(), &2.into()), "{sent}");
    assert!(sent["error"].as_str().is_some_and(|said| said.contains(error)), "{sent}");
    let after = wait_for("both ends to be counted", || {
        let after = home.component("misbehaving")?;
        Ok((after["restarts"].as_u64() >= Some(2)).then_some(after))
    })?;
    assert_eq!(after["restarts"], 2, "{after}");
    assert_eq!(after["last_exit"]["class"], class, "{after}");
    assert!(after["last_exit"]["detail"].as_str().is_some_and(|said| said.contains(detail)), "{after}");
    gone(first)?;
    assert_back(&home)?;
    assert!(daemon.stop()?.success());
    assert_eq!(home.hosts()?, Vec::<i32>::new());
    Ok(())
}

/// The host goes on: no restart, and `state` after so many `tries`.
fn costs_no_host(own: &str, text: &str, state: &str, tries: u32, error: Option<&str>) -> Result<Home> {
    let (home, daemon) = stage(own)?;
    let first = pid(&home, "misbehaving")?;
    let sent = beside_scout(&home, || ask(&home, "misbehaving", text))?;
    assert_eq!((&sent["state"], &sent["attempts"]), (&state.into(), &tries.into()), "{sent}");
    let said = sent["error"].as_str();
    assert!(error.map_or(said.is_none(), |error| said.is_some_and(|said| said.contains(error))), "{sent}");
    assert_back(&home)?;
    let after = home.component("misbehaving")?;
    assert_eq!((&after["restarts"], &after["last_exit"]), (&0.into(), &Value::Null), "{after}");
    assert_eq!(pid(&home, "misbehaving")?, first);
    assert!(daemon.stop()?.success());
    Ok(home)
}

#[test]
fn an_error_is_retried_and_then_a_dead_letter() -> Result<()> {
    costs_no_host("", "error the moon is full", "failed", 2, Some("the moon is full")).map(drop)
}

#[test]
fn a_senders_mistake_is_not_retried() -> Result<()> {
    costs_no_host("", "invalid no such coin", "failed", 1, Some("no such coin")).map(drop)
}

#[test]
fn an_error_of_any_length_is_stored_in_part() -> Result<()> {
    let (home, _daemon) = stage("")?;
    let sent = ask(&home, "misbehaving", &format!("error {}", "ü".repeat(100_000)))?;
    let error = sent["error"].as_str().context("an error")?;
    assert!(error.starts_with("üüü") && error.ends_with('…'), "{error}");
    assert!(error.chars().count() <= 2001, "{}", error.len());
    Ok(())
}

#[test]
fn a_panic_of_any_length_is_a_sentence() -> Result<()> {
    let (home, _daemon) = stage("")?;
    ask(&home, "misbehaving", &format!("panic one\ntwo {}", "ü".repeat(100_000)))?;
    let after = home.until("misbehaving", "ready")?;
    let detail = after["last_exit"]["detail"].as_str().context("a detail")?;
    crate::support::assert_sentence(detail, &["one two üüü"]);
    for step in history(&home, "misbehaving")? {
        crate::support::assert_sentence(step["reason"].as_str().context("a reason")?, &[]);
    }
    Ok(())
}

#[test]
fn a_panic() -> Result<()> {
    costs_its_host("", "panic told to", "panic", "told to", "told to")
}

#[test]
fn an_abort() -> Result<()> {
    costs_its_host("", "abort", "signal", "SIGABRT", "signal 6 (SIGABRT)")
}

#[test]
fn a_segfault() -> Result<()> {
    costs_its_host("", "segfault", "signal", "SIGSEGV", "signal 11 (SIGSEGV)")
}

#[test]
fn an_exit_that_looks_well() -> Result<()> {
    costs_its_host("", "exit 0", "clean", "exit code 0", "ended while at work on it: exit code 0")
}

#[test]
fn an_exit_with_a_code() -> Result<()> {
    costs_its_host("", "exit 3", "error", "exit code 3", "ended while at work on it: exit code 3")
}

#[test]
fn an_exit_with_the_code_of_a_refusal_is_none() -> Result<()> {
    costs_its_host("", "exit 78", "error", "exit code 78", "exit code 78")
}

#[test]
fn a_loop_without_end() -> Result<()> {
    let own = "handler_timeout = \"300ms\"";
    costs_its_host(own, "loop", "hang", "handler_timeout, 300ms", "longer than handler_timeout, 300ms")
}

#[test]
fn memory_without_end() -> Result<()> {
    let own = "memory_limit = \"64 MiB\"";
    costs_its_host(own, "eat", "out_of_memory", "memory allocation of", "out of memory")
}

#[test]
fn a_hang_costs_the_tasks_beside_it_no_try() -> Result<()> {
    let (home, _daemon) = stage("handler_timeout = \"1s\"\nconcurrency = 2")?;
    let hung = leave(&home, "misbehaving", "loop")?;
    wait_for("the loop to run", || Ok((home.component("misbehaving")?["running"] == 1).then_some(())))?;
    // It waits for a reader beside the loop when the host is killed, and has time of its own left.
    let fifo = home.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let innocent = leave(&home, "misbehaving", &format!("append {} effect", fifo.display()))?;
    wait_for("both to run", || Ok((home.component("misbehaving")?["running"] == 2).then_some(())))?;
    wait_for("a successor", || Ok((home.component("misbehaving")?["restarts"] == 1).then_some(())))?;
    assert_eq!(fs::read_to_string(&fifo)?, "effect\n");
    let innocent = crate::support::ended(&home, &innocent)?;
    assert_eq!((&innocent["state"], &innocent["attempts"]), (&"done".into(), &1.into()), "{innocent}");
    let hung = crate::support::ended(&home, &hung)?;
    assert_eq!((&hung["state"], &hung["attempts"]), (&"failed".into(), &2.into()), "{hung}");
    Ok(())
}

#[test]
fn a_flood_of_lines_is_bounded_and_the_loss_is_told() -> Result<()> {
    let home = costs_no_host("", "flood 100000", "done", 1, None)?;
    let mut size = 0;
    let mut text = String::new();
    for name in ["misbehaving.log", "misbehaving.log.1"] {
        let Ok(part) = fs::read_to_string(home.path().join("logs").join(name)) else { continue };
        size += part.len();
        text.push_str(&part);
    }
    assert!(text.contains("flood line 0"), "{text}");
    assert!(text.contains("lines were dropped: over log_rate"), "the loss is not told in {size} bytes");
    assert!(size < 10 << 20 && text.matches("flood line").count() < 50_000, "{size} bytes");
    let journal = home.log().len();
    assert!(journal < 10 << 20, "{journal} bytes");
    // What is left of it reads, without a daemon.
    let shown = home.ok(&["agents", "logs", "misbehaving", "-n", "100000"])?;
    assert!(shown.contains("flood line 0") && shown.contains("stderr"), "{shown}");
    assert!(home.ok(&["agents", "logs", "misbehaving", "-n", "3"])?.lines().count() == 3);
    Ok(())
}

#[test]
fn garbage_on_stdout_is_a_bounded_log() -> Result<()> {
    for bytes in ["1000000", "999999"] {
        let home = costs_no_host("", &format!("garbage {bytes}"), "done", 1, None)?;
        let log = fs::read_to_string(home.path().join("logs/misbehaving.log"))?;
        assert!(log.contains("\"source\":\"stdout\""), "{log}");
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let text = line["text"].as_str().context("a line's text")?;
            // 4096 bytes, each of which became a replacement character of three.
            assert!(text.len() <= 3 * 4096 + 3, "a line of {} bytes", text.len());
        }
        assert!(log.len() < 10 << 20, "{} bytes", log.len());
    }
    Ok(())
}

#[test]
fn a_closed_standard_input_is_not_the_socket() -> Result<()> {
    costs_no_host("", "closefd", "done", 1, None).map(drop)
}

#[test]
fn a_reply_over_the_limit_is_the_askers_mistake() -> Result<()> {
    costs_no_host("", "big 2000000", "failed", 1, Some("over tasks.max_payload, 1 MiB"))?;
    // Even over the limit of a frame.
    costs_no_host("", "big 9000000", "failed", 1, Some("limit of a frame"))?;
    let home = costs_no_host("", "big 1000000", "done", 1, None)?;
    assert!(home.log().len() < 1 << 20);
    Ok(())
}

#[test]
fn what_an_agent_forked_goes_with_its_host() -> Result<()> {
    for end in ["restart", "kill", "exit"] {
        let (home, daemon) = stage("")?;
        let host = pid(&home, "misbehaving")?;
        let child: i32 = reply(&home, "misbehaving", "fork")?.parse()?;
        assert!(group(host)?.contains(&child), "{child} is not in the group of {host}");
        match end {
            "restart" => drop(home.ok(&["agents", "restart", "misbehaving"])?),
            "kill" => kill(Pid::from_raw(host), Signal::SIGKILL)?,
            _ => drop(ask(&home, "misbehaving", "exit 3")?),
        }
        gone(host)?;
        assert_back(&home)?;
        // And with the daemon, whose own end is not held up by it.
        let host = pid(&home, "misbehaving")?;
        reply(&home, "misbehaving", "fork")?;
        if end == "kill" {
            daemon.kill()?;
        } else {
            assert!(daemon.stop()?.success());
        }
        gone(host)?;
    }
    Ok(())
}

#[test]
fn a_host_that_is_stopped_hangs() -> Result<()> {
    let own = "ping_interval = \"100ms\"\nping_timeout = \"1s\"";
    let (home, _daemon) = stage(own)?;
    let host = pid(&home, "misbehaving")?;
    beside_scout(&home, || {
        kill(Pid::from_raw(host), Signal::SIGSTOP)?;
        wait_for("a successor", || Ok((home.component("misbehaving")?["restarts"] == 1).then_some(())))
    })?;
    let after = home.until("misbehaving", "ready")?;
    assert_eq!(after["last_exit"]["class"], "hang", "{after}");
    assert_eq!(after["last_exit"]["detail"], "no answer to a ping within 1s", "{after}");
    gone(host)?;
    assert_back(&home)
}

#[test]
fn a_host_that_is_killed_is_replaced_and_its_task_done() -> Result<()> {
    let (home, _daemon) = stage("")?;
    let host = pid(&home, "misbehaving")?;
    let fifo = home.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    // Its handler waits until somebody reads.
    let id = leave(&home, "misbehaving", &format!("append {} effect", fifo.display()))?;
    wait_for("the task to run", || Ok((home.component("misbehaving")?["running"] == 1).then_some(())))?;
    beside_scout(&home, || {
        kill(Pid::from_raw(host), Signal::SIGKILL)?;
        wait_for("the second try", || {
            let task = task(&home, &id)?;
            Ok((task["attempts"] == 2 && task["state"] == "leased").then_some(()))
        })
    })?;
    assert_eq!(fs::read_to_string(&fifo)?, "effect\n");
    assert_eq!(crate::support::ended(&home, &id)?["state"], "done");
    let after = home.component("misbehaving")?;
    assert_eq!(after["last_exit"]["class"], "signal", "{after}");
    assert_eq!(after["last_exit"]["detail"], "signal 9 (SIGKILL)", "{after}");
    assert_eq!(after["restarts"], 1, "{after}");
    assert_back(&home)
}

#[test]
fn a_host_that_dies_again_and_again_keeps_its_history_short_and_truthful() -> Result<()> {
    let (home, daemon) = stage("")?;
    for _ in 0..5 {
        let sent = ask(&home, "misbehaving", "exit 7")?;
        ensure!(sent["state"] == "failed", "{sent}");
    }
    home.until("misbehaving", "ready")?;
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["scout", "misbehaving"])?;
    // Counted over the daemon's own end as well.
    assert_eq!(home.component("misbehaving")?["restarts"], 10);
    let history = history(&home, "misbehaving")?;
    let failures = history
        .iter()
        .filter(|step| step["reason"].as_str().is_some_and(|reason| reason.contains("exit code 7")));
    assert_eq!(failures.count(), 10, "{history:#?}");
    Ok(())
}

#[test]
fn ten_kinds_of_trouble_at_once_cost_nobody_else() -> Result<()> {
    let home = Home::new(
        &quick("[agents.misbehaving]\nhandler_timeout = \"2s\"\n[agents.milkbot]\ngrants = [\"task\"]\n"),
        &["scout", "misbehaving", "milkbot"],
    )?;
    let _daemon = home.start_ready(&["scout", "misbehaving", "milkbot"])?;
    let texts = [
        "error x",
        "invalid x",
        "panic x",
        "abort",
        "segfault",
        "exit 0",
        "exit 3",
        "flood 5000",
        "garbage 50000",
        "big 2000000",
    ];
    beside_scout(&home, || {
        let ids = texts.iter().map(|text| leave(&home, "misbehaving", text)).collect::<Result<Vec<_>>>()?;
        for (id, text) in ids.iter().zip(texts) {
            let ended = crate::support::ended(&home, id)?;
            // A neighbour's crash counts as a try of each, so what is good may be a dead letter as well.
            let good = text.starts_with("flood") || text.starts_with("garbage");
            ensure!(good || ended["state"] == "failed", "{text}: {ended}");
            ensure!(ended["attempts"].as_u64() <= Some(2), "{text}: {ended}");
        }
        Ok(())
    })?;
    assert_eq!(home.component("milkbot")?["restarts"], 0);
    assert_back(&home)
}
