//! A version that never becomes ready, or cannot take over: the old one goes on as if nothing had been.

use std::fs;

use anyhow::{Result, ensure};
use openclaw_tests::daemon::Home;
use openclaw_tests::variant::{NAME, Variant};
use openclaw_tests::{built, wait_for};
use serde_json::Value;

use super::{
    FIRST, SECOND, alone, canaries, changes, config, refused, reloads, serves, stage, until_now, until_step,
};
use crate::support::{beside_scout, fails, pid, reply};

/// The old one has counted, and must not forget.
const COUNTED: &str = "count a";

/// A version with this behaviour comes: it is tried once, and why it is not taken has all of `words`.
fn fails_as_canary(own: &str, behaviour: &'static str, words: &[&str]) -> Result<()> {
    let bad = Variant::new(2, behaviour);
    fails_to_take_over(own, &FIRST, &bad, words)
}

fn fails_to_take_over(own: &str, first: &Variant, second: &Variant, words: &[&str]) -> Result<()> {
    let (home, daemon) = stage(own, first)?;
    let before = pid(&home, NAME)?;
    assert_eq!(reply(&home, NAME, COUNTED)?, first.says("1"));
    assert_eq!(reply(&home, NAME, COUNTED)?, first.says("2"));
    let (new, old) = (second.short()?, first.short()?);
    beside_scout(&home, || {
        home.put(second, NAME)?;
        refused(&home, before, first, words)
    })?;
    let step = until_step(&home, words)?;
    ensure!(step.starts_with("reload: ") && step.contains(&new) && step.contains(&old), "{step}");
    assert_eq!((canaries(&home)?, changes(&home)?), (1, 0), "{:#?}", reloads(&home)?);
    // By hand it is told at once, and costs as little.
    let said = fails(&home, 1, &["agents", "reload", NAME])?;
    ensure!(words.iter().all(|word| said.contains(word)) && said.trim().lines().count() == 1, "{said}");
    assert_eq!(alone(&home)?, before);
    assert_eq!(reply(&home, NAME, COUNTED)?, first.says("3"));
    assert_eq!(home.component(NAME)?["sha256"], first.hash()?);

    // One that is well is taken nevertheless, with all that was counted.
    if *first == FIRST {
        let third = Variant::good(3);
        home.put(&third, NAME)?;
        until_now(&home, NAME, &third)?;
        assert_eq!(reply(&home, NAME, COUNTED)?, third.says("4"));
    }
    assert!(daemon.stop()?.success());
    assert_eq!(home.hosts()?, Vec::<i32>::new());
    Ok(())
}

/// Long enough for one that is well on a busy machine.
const SOON: &str = "start_timeout = \"2s\"";

#[test]
fn create_that_hangs() -> Result<()> {
    fails_as_canary(SOON, "create-hangs", &["not ready within 2 s"])
}

#[test]
fn create_that_panics() -> Result<()> {
    fails_as_canary("", "create-panics", &["told to panic in create"])
}

#[test]
fn create_that_segfaults() -> Result<()> {
    fails_as_canary("", "create-segfaults", &["SIGSEGV"])
}

#[test]
fn create_that_refuses() -> Result<()> {
    fails_as_canary("", "create-refuses", &["told to refuse its settings"])
}

#[test]
fn a_start_that_fails() -> Result<()> {
    fails_as_canary("", "start-fails", &["told to fail at the start"])
}

#[test]
fn another_agents_name() -> Result<()> {
    fails_as_canary("", "impostor", &["somebody-else"])
}

#[test]
fn a_need_that_is_not_granted() -> Result<()> {
    fails_as_canary("", "needy", &["memory", "agents.chameleon.grants"])
}

#[test]
fn a_snapshot_that_is_refused() -> Result<()> {
    fails_as_canary("", "restore-refuses", &["told to refuse the snapshot"])
}

#[test]
fn a_snapshot_that_is_never_read() -> Result<()> {
    fails_as_canary(SOON, "restore-hangs", &["snapshot"])
}

#[test]
fn a_snapshot_that_makes_the_new_one_panic() -> Result<()> {
    fails_as_canary("", "restore-panics", &["told to panic in restore"])
}

#[test]
fn a_snapshot_that_makes_the_new_one_segfault() -> Result<()> {
    fails_as_canary("", "restore-segfaults", &["SIGSEGV"])
}

#[test]
fn a_snapshot_that_the_old_one_does_not_give() -> Result<()> {
    let first = Variant::new(1, "snapshot-fails");
    fails_to_take_over("", &first, &SECOND, &["told to give no snapshot"])
}

#[test]
fn a_snapshot_that_the_old_one_never_gives() -> Result<()> {
    let first = Variant::new(1, "snapshot-hangs");
    fails_to_take_over("start_timeout = \"2s\"\nconcurrency = 4", &first, &SECOND, &["snapshot"])
}

#[test]
fn a_library_whose_panics_abort_is_taken_and_marked() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    assert_eq!(home.component(NAME)?["panic"], Value::Null);
    home.put(&SECOND.aborting(), NAME)?;
    until_now(&home, NAME, &SECOND.aborting())?;
    // Not so: `scripts/test` builds it with `cargo rustc -p aborting -- -C panic=abort`.
    assert_eq!(home.component(NAME)?["panic"], "abort", "it was not built so");
    assert_eq!(reply(&home, NAME, COUNTED)?, SECOND.says("1"));
    Ok(())
}

#[test]
fn a_library_whose_panics_abort_fails_as_any_other() -> Result<()> {
    let bad = Variant::new(2, "create-panics").aborting();
    fails_to_take_over("", &FIRST, &bad, &["told to panic in create"])
}

#[test]
fn an_agent_that_never_started_is_mended_by_a_new_file() -> Result<()> {
    for behaviour in ["start-fails", "create-refuses", "create-segfaults"] {
        let home = Home::new(&config(""), &["scout"])?;
        home.put(&Variant::new(1, behaviour), NAME)?;
        let _daemon = home.start_ready(&["scout"])?;
        wait_for("a start that fails", || {
            let now = home.component(NAME)?;
            Ok((!now["last_exit"].is_null()).then_some(()))
        })?;
        home.put(&SECOND, NAME)?;
        home.until(NAME, "ready")?;
        serves(&home, &SECOND)?;
    }
    Ok(())
}

#[test]
fn an_agent_without_a_file_starts_when_one_comes() -> Result<()> {
    let home = Home::new(&config(""), &["scout"])?;
    let _daemon = home.start_ready(&["scout"])?;
    home.until(NAME, "refused")?;
    fs::copy(built()?.join("libchameleon.so"), home.library(NAME))?;
    home.until(NAME, "ready")?;
    serves(&home, &Variant::good(0))
}
