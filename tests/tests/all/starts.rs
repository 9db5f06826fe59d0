//! An agent that cannot start: the right class, tried again as configured, and ready once it is mended.

use anyhow::Result;
use openclaw_tests::daemon::Home;
use openclaw_tests::wait_for;

use crate::support::{beside_scout, fails, gone, quick, reply, transitions};

/// Fails in `mode` again and again, and is well once it is told to be.
fn fails_to_start(mode: &str, class: &str, detail: &str) -> Result<()> {
    let config = |mode: &str| {
        let limit = if mode == "hang" { "300ms" } else { "10s" };
        let own = format!("start_timeout = \"{limit}\"\nsettings = {{ start = \"{mode}\" }}\n");
        // A start that hangs is not waited for when it is to stop.
        quick(&format!("[agents.misbehaving]\n{own}"))
            .replace("[daemon]", "[daemon]\ndrain_timeout = \"300ms\"")
    };
    let home = Home::new(&config(mode), &["scout", "misbehaving"])?;
    let daemon = home.start_ready(&["scout"])?;
    let seen = beside_scout(&home, || {
        wait_for("three starts that fail", || {
            let seen = home.component("misbehaving")?;
            Ok((seen["restarts"].as_u64() >= Some(2)).then_some(seen))
        })
    })?;
    assert_eq!(seen["last_exit"]["class"], class, "{seen}");
    assert!(seen["last_exit"]["detail"].as_str().is_some_and(|said| said.contains(detail)), "{seen}");
    assert!(["starting", "backoff", "draining"].iter().any(|state| seen["state"] == *state), "{seen}");
    assert_eq!(seen["health"], "degraded", "{seen}");
    let steps = transitions(&home, "misbehaving")?;
    assert!(!steps.is_empty() && steps.iter().all(|step| step["to"] != "ready"), "{steps:#?}");

    // It can be stopped in the middle of that, and the daemon as well.
    home.ok(&["agents", "stop", "misbehaving"])?;
    assert_eq!(home.component("misbehaving")?["state"], "stopped");
    assert!(daemon.stop()?.success());
    for host in home.hosts()? {
        gone(host)?;
    }

    home.configure(&config("ok"))?;
    let _daemon = home.start_ready(&["scout"])?;
    assert_eq!(home.component("misbehaving")?["state"], "stopped");
    home.ok(&["agents", "start", "misbehaving"])?;
    assert_eq!(reply(&home, "misbehaving", "echo well")?, "well");
    Ok(())
}

#[test]
fn a_start_that_hangs() -> Result<()> {
    fails_to_start("hang", "start_timeout", "not ready within 300 ms")
}

#[test]
fn a_start_that_panics() -> Result<()> {
    fails_to_start("panic", "panic", "told to panic at the start")
}

#[test]
fn a_start_that_exits() -> Result<()> {
    fails_to_start("exit", "error", "exit code 3")
}

#[test]
fn a_start_that_answers_an_error() -> Result<()> {
    fails_to_start("error", "error", "told to fail at the start")
}

#[test]
fn a_start_that_segfaults() -> Result<()> {
    fails_to_start("segfault", "signal", "SIGSEGV")
}

#[test]
fn a_start_by_hand_that_fails_is_told_with_its_reason() -> Result<()> {
    let own = "restart = \"never\"\nsettings = { start = \"error\" }\n";
    let home = Home::new(&quick(&format!("[agents.misbehaving]\n{own}")), &["scout", "misbehaving"])?;
    let _daemon = home.start_ready(&["scout"])?;
    let stopped = home.until("misbehaving", "stopped")?;
    assert_eq!(stopped["health"], "failed", "{stopped}");
    let said = fails(&home, 1, &["agents", "start", "misbehaving"])?;
    assert!(said.contains("told to fail at the start"), "{said}");
    Ok(())
}
