//! A version that is ready and then bad: what ran before it comes back, and it is not tried again.

use std::fs;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::arrival::Way;
use openclaw_tests::daemon::Home;
use openclaw_tests::variant::{NAME, Variant};
use openclaw_tests::wait_for;
use serde_json::Value;

use super::{
    FIRST, OTHER, SECOND, alone, canaries, changes, config, library, other_is_reloaded, reloads, serves,
    serves_as, stage, stage_of_two, told, until_alert, until_now, until_step,
};
use crate::support::{assert_sentence, beside_scout, ended, leave, pid, reply};

const MORTAL: Variant = Variant::new(2, "mortal");

/// The version before is back, by itself, and why has all of `words`.
fn rolled_back(home: &Home, from: &Variant, to: &Variant, words: &[&str]) -> Result<()> {
    let step = until_step(home, &["rollback: ", &to.short()?])?;
    assert_sentence(&step, words);
    ensure!(step.contains(&format!("back to {}", to.short()?)), "{step}");
    home.until(NAME, "ready")?;
    serves(home, to)?;
    told(home, words)?;
    let now = home.component(NAME)?;
    ensure!(now["breaker"]["state"] == "closed" && now["library"]["probation_until"].is_null(), "{now}");
    let list = home.json(&["agents", "libraries", NAME, "--json"])?;
    let hash = from.hash()?;
    let bad = list.as_array().and_then(|list| list.iter().find(|one| one["hash"] == hash));
    let bad = bad.with_context(|| format!("no {hash} in {list}"))?;
    ensure!(bad["verdict"] == "bad", "{bad}");
    assert_sentence(bad["reason"].as_str().context("a reason")?, words);
    alone(home).map(drop)
}

#[test]
fn a_crash_in_probation_goes_back() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    reply(&home, NAME, "count a")?;
    home.put(&MORTAL, NAME)?;
    until_now(&home, NAME, &MORTAL)?;
    assert!(library(&home)?["probation_until"].is_string());
    let killer = leave(&home, NAME, "die")?;
    rolled_back(&home, &MORTAL, &FIRST, &["SIGABRT"])?;
    // The message was no worse than the version that it met.
    let done = ended(&home, &killer)?;
    assert_eq!(
        (&done["state"], &done["result"]["text"]),
        (&"done".into(), &FIRST.says("lives").into()),
        "{done}"
    );
    Ok(())
}

#[test]
fn one_that_is_ready_and_dies_by_itself_does_not_stay() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let bad = Variant::new(2, "dies-after-ready");
    beside_scout(&home, || {
        home.put(&bad, NAME)?;
        // While it was the canary, or in its probation: that is up to the machine.
        told(&home, &["SIGABRT"])
    })?;
    home.until(NAME, "ready")?;
    alone(&home)?;
    serves(&home, &FIRST)?;
    assert_eq!(canaries(&home)?, 1, "{:#?}", reloads(&home)?);
    Ok(())
}

#[test]
fn a_breaker_that_trips_in_probation_goes_back() -> Result<()> {
    let own =
        "breaker = { intensity = 1000, min_calls = 5, failure_rate = 0.5, open = \"1h\", open_max = \"1h\" }";
    let home = Home::new(&config(own).replace("max_attempts = 2", "max_attempts = 100"), &["scout"])?;
    home.put(&FIRST, NAME)?;
    let _daemon = home.start_ready(&["scout", NAME])?;
    let bad = Variant::new(2, "errors");
    home.put(&bad, NAME)?;
    until_step(&home, &["reload: now ", &bad.short()?])?;
    let ids =
        (0..8).map(|number| leave(&home, NAME, &format!("echo {number}"))).collect::<Result<Vec<_>>>()?;
    beside_scout(&home, || rolled_back(&home, &bad, &FIRST, &["tasks failed in"]))?;
    // None of them is lost.
    for (number, id) in ids.iter().enumerate() {
        let done = ended(&home, id)?;
        assert_eq!(done["result"]["text"], FIRST.says(&number.to_string()), "{done}");
    }
    Ok(())
}

#[test]
fn what_was_bad_is_not_tried_again_until_it_changes() -> Result<()> {
    let (home, daemon) = stage_of_two("", &FIRST)?;
    home.put(&MORTAL, NAME)?;
    until_now(&home, NAME, &MORTAL)?;
    leave(&home, NAME, "die")?;
    rolled_back(&home, &MORTAL, &FIRST, &["SIGABRT"])?;
    let tried = canaries(&home)?;
    assert_eq!(tried, 1);

    // Touched, and the same content once more by any way.
    fs::File::open(home.library(NAME))?.set_modified(SystemTime::now())?;
    other_is_reloaded(&home, &SECOND)?;
    for (version, way) in (3..).zip([Way::Copied, Way::Moved, Way::HardLinked]) {
        way.bring(&home, &MORTAL, NAME)?;
        other_is_reloaded(&home, &Variant::good(version))?;
    }
    assert_eq!(canaries(&home)?, tried);
    serves(&home, &FIRST)?;

    // Not by the next daemon either.
    assert!(daemon.stop()?.success());
    let daemon = home.start_ready(&["scout", NAME, OTHER])?;
    other_is_reloaded(&home, &FIRST)?;
    daemon.kill()?;
    let _daemon = home.start_ready(&["scout", NAME, OTHER])?;
    other_is_reloaded(&home, &SECOND)?;
    assert_eq!(canaries(&home)?, tried);
    serves(&home, &FIRST)?;
    told(&home, &["SIGABRT"])?;

    // Another one is.
    let mended = Variant::good(9);
    home.put(&mended, NAME)?;
    until_now(&home, NAME, &mended)?;
    assert_eq!(canaries(&home)?, tried + 1);
    assert_eq!(library(&home)?["note"], Value::Null);
    Ok(())
}

#[test]
fn what_failed_as_canary_is_not_tried_again_by_itself() -> Result<()> {
    let (home, _daemon) = stage_of_two("", &FIRST)?;
    let bad = Variant::new(2, "create-panics");
    home.put(&bad, NAME)?;
    told(&home, &["told to panic in create"])?;
    fs::File::open(home.library(NAME))?.set_modified(SystemTime::now())?;
    other_is_reloaded(&home, &SECOND)?;
    home.put(&bad, NAME)?;
    other_is_reloaded(&home, &Variant::good(3))?;
    assert_eq!(canaries(&home)?, 1);
    home.put(&FIRST, NAME)?;
    other_is_reloaded(&home, &Variant::good(4))?;
    // What runs is what lies there: all is well.
    assert_eq!((&library(&home)?["note"], canaries(&home)?), (&Value::Null, 1));
    Ok(())
}

#[test]
fn a_crash_after_probation_is_but_a_crash() -> Result<()> {
    let (home, _daemon) = stage("probation = \"100ms\"", &FIRST)?;
    home.put(&SECOND, NAME)?;
    until_step(&home, &[&format!("reload: probation of {} passed", SECOND.short()?)])?;
    assert_eq!(library(&home)?["probation_until"], Value::Null);
    kill(Pid::from_raw(pid(&home, NAME)?), Signal::SIGKILL)?;
    wait_for("a successor", || Ok((home.component(NAME)?["restarts"] == 1).then_some(())))?;
    home.until(NAME, "ready")?;
    serves(&home, &SECOND)?;
    assert!(reloads(&home)?.iter().all(|step| !step.starts_with("rollback")), "{:#?}", reloads(&home)?);
    Ok(())
}

#[test]
fn a_stop_in_probation_is_nobodys_failure() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    home.put(&SECOND, NAME)?;
    until_now(&home, NAME, &SECOND)?;
    home.ok(&["agents", "restart", NAME])?;
    serves(&home, &SECOND)?;
    home.ok(&["agents", "stop", NAME])?;
    home.ok(&["agents", "start", NAME])?;
    serves(&home, &SECOND)?;
    assert!(reloads(&home)?.iter().all(|step| !step.starts_with("rollback")), "{:#?}", reloads(&home)?);
    Ok(())
}

#[test]
fn probation_outlives_the_daemon() -> Result<()> {
    for killed in [true, false] {
        let (home, daemon) = stage("probation = \"1h\"", &FIRST)?;
        home.put(&MORTAL, NAME)?;
        until_now(&home, NAME, &MORTAL)?;
        assert!(library(&home)?["probation_until"].is_string());
        if killed {
            daemon.kill()?;
        } else {
            assert!(daemon.stop()?.success());
        }
        let _daemon = home.start_ready(&["scout", NAME])?;
        serves(&home, &MORTAL)?;
        let now = library(&home)?;
        // Time that it did not run proves nothing: it begins anew.
        ensure!(now["probation_until"].is_string() && now["previous"] == FIRST.hash()?, "{now}");
        leave(&home, NAME, "die")?;
        rolled_back(&home, &MORTAL, &FIRST, &["SIGABRT"])?;
    }
    Ok(())
}

#[test]
fn a_reload_and_a_rollback_raise_an_alert() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    home.put(&MORTAL, NAME)?;
    until_now(&home, NAME, &MORTAL)?;
    assert_eq!(until_alert(&home, &[&MORTAL.short()?])?, "info");
    leave(&home, NAME, "die")?;
    rolled_back(&home, &MORTAL, &FIRST, &["SIGABRT"])?;
    assert_ne!(until_alert(&home, &["SIGABRT", &FIRST.short()?])?, "info");
    // Newest first, and for people too.
    let all = super::alerts(&home, NAME)?;
    assert!(
        all.windows(2).all(|pair| pair[0]["last_at"].as_str() >= pair[1]["last_at"].as_str()),
        "{all:#?}"
    );
    let shown = home.ok(&["alert", "list"])?;
    assert!(shown.contains("SIGABRT"), "{shown}");
    Ok(())
}

#[test]
fn a_bad_one_upon_one_in_probation_goes_back_to_that() -> Result<()> {
    let (home, _daemon) = stage("probation = \"1h\"", &FIRST)?;
    home.put(&SECOND, NAME)?;
    until_now(&home, NAME, &SECOND)?;
    let bad = Variant::new(3, "start-fails");
    home.put(&bad, NAME)?;
    told(&home, &["told to fail at the start"])?;
    serves(&home, &SECOND)?;
    assert_eq!(changes(&home)?, 1);
    serves_as(&home, NAME, &SECOND)
}
