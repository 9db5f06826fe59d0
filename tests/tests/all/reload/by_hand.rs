//! `agents reload`, `agents load`, SIGHUP, `reload = "manual"`, and a file that is taken away.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::Home;
use openclaw_tests::variant::{NAME, Variant};
use openclaw_tests::wait_for;
use serde_json::Value;

use super::{
    FIRST, OTHER, SECOND, alone, canaries, changes, changes_of, config, library, other_is_reloaded, refused,
    serves, serves_as, stage, stage_of_two, until_note, until_now, until_step,
};
use crate::support::{fails, pid, transitions};

const MANUAL: &str = "reload = \"manual\"";

#[test]
fn reload_waits_for_the_verdict() -> Result<()> {
    let (home, _daemon) = stage(MANUAL, &FIRST)?;
    home.put(&SECOND, NAME)?;
    home.ok(&["agents", "reload", NAME])?;
    serves(&home, &SECOND)?;
    let steps = transitions(&home, NAME)?;
    let begun =
        |step: &&Value| step["reason"].as_str().is_some_and(|why| why.starts_with("reload: canary of "));
    let begun = steps.iter().find(begun).context("a canary")?;
    assert!(begun["actor"].as_str().is_some_and(|actor| actor.starts_with("operator ")), "{begun}");
    home.put(&Variant::good(3), NAME)?;
    let said = home.json(&["agents", "reload", NAME, "--json"])?;
    assert!(said.to_string().contains(&Variant::good(3).short()?), "{said}");
    serves(&home, &Variant::good(3))
}

#[test]
fn nothing_new_is_well() -> Result<()> {
    let (home, _daemon) = stage(MANUAL, &FIRST)?;
    let before = pid(&home, NAME)?;
    for _ in 0..3 {
        home.ok(&["agents", "reload", NAME])?;
        home.json(&["agents", "reload", NAME, "--json"])?;
    }
    assert_eq!((canaries(&home)?, pid(&home, NAME)?), (0, before));
    Ok(())
}

#[test]
fn manual_is_not_by_itself() -> Result<()> {
    let (home, _daemon) = stage_of_two(MANUAL, &FIRST)?;
    let before = pid(&home, NAME)?;
    home.put(&SECOND, NAME)?;
    other_is_reloaded(&home, &SECOND)?;
    assert_eq!((canaries(&home)?, pid(&home, NAME)?), (0, before));
    serves(&home, &FIRST)?;
    home.ok(&["agents", "reload", NAME])?;
    serves(&home, &SECOND)
}

#[test]
fn who_is_not_there_cannot_be_reloaded() -> Result<()> {
    let (home, daemon) = stage("", &FIRST)?;
    let said = fails(&home, 64, &["agents", "reload", "nobody"])?;
    assert!(said.contains("nobody"), "{said}");
    assert!(daemon.stop()?.success());
    for args in [["agents", "reload", NAME], ["agents", "rollback", NAME], ["agents", "libraries", NAME]] {
        fails(&home, 69, &args)?;
    }
    Ok(())
}

#[test]
fn all_are_reloaded_by_hand() -> Result<()> {
    let manual = format!("{}{MANUAL}\n", super::config_of_two(MANUAL));
    reloads_all(&manual, |home, _| home.ok(&["agents", "reload", "--all"]).map(drop))
}

#[test]
fn sighup_reloads_all() -> Result<()> {
    let manual = format!("{}{MANUAL}\n", super::config_of_two(MANUAL));
    reloads_all(&manual, |_, daemon| Ok(kill(Pid::from_raw(daemon), Signal::SIGHUP)?))
}

/// Two that are reloaded by hand only, and scout, of which there is nothing new.
fn reloads_all(config: &str, order: impl FnOnce(&Home, i32) -> Result<()>) -> Result<()> {
    let home = Home::new(config, &["scout"])?;
    home.put(&FIRST, NAME)?;
    home.put(&FIRST, OTHER)?;
    let daemon = home.start_ready(&["scout", NAME, OTHER])?;
    let scout = pid(&home, "scout")?;
    home.put(&SECOND, NAME)?;
    home.put(&SECOND, OTHER)?;
    order(&home, daemon.pid())?;
    until_now(&home, NAME, &SECOND)?;
    until_now(&home, OTHER, &SECOND)?;
    assert_eq!((changes(&home)?, changes_of(&home, OTHER)?, pid(&home, "scout")?), (1, 1, scout));
    // The daemon is the same.
    assert_eq!(home.status()?["daemon"]["pid"], daemon.pid());
    Ok(())
}

#[test]
fn load_copies_and_reloads() -> Result<()> {
    for own in [MANUAL, ""] {
        let (home, _daemon) = stage(own, &FIRST)?;
        let folder = home.path().join("built");
        fs::create_dir(&folder)?;
        let file = folder.join("libchameleon.so");
        fs::write(&file, SECOND.bytes()?)?;
        home.ok(&["agents", "load", &file.display().to_string()])?;
        serves(&home, &SECOND)?;
        assert_eq!(fs::read(home.library(NAME))?, SECOND.bytes()?);
        assert_eq!(changes(&home)?, 1);
        // Whatever is bad of it is told to who loads it.
        fs::write(&file, Variant::new(3, "create-panics").bytes()?)?;
        let said = fails(&home, 1, &["agents", "load", &file.display().to_string()])?;
        assert!(said.contains("told to panic in create"), "{said}");
        serves(&home, &SECOND)?;
    }
    Ok(())
}

#[test]
fn load_knows_whose_a_file_is() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    let missing = home.path().join("libchameleon.so").display().to_string();
    fails(&home, 74, &["agents", "load", &missing])?;
    let other = home.path().join("chameleon.txt");
    fs::write(&other, SECOND.bytes()?)?;
    let output = home.cli(&["agents", "load", &other.display().to_string()])?;
    assert!(!output.status.success(), "{output:?}");
    let left = fs::read_dir(home.path().join("agents"))?.count();
    assert_eq!(left, 2, "something was left in the agents folder");
    assert_eq!(pid(&home, NAME)?, before);
    Ok(())
}

#[test]
fn a_file_that_is_taken_away_stops_nothing() -> Result<()> {
    let (home, daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    fs::remove_file(home.library(NAME))?;
    let gone = "library gone, running from store";
    assert_eq!(until_note(&home, &[gone])?, gone);
    assert_eq!(alone(&home)?, before);
    serves(&home, &FIRST)?;

    // Not even a host's end, or the daemon's.
    kill(Pid::from_raw(before), Signal::SIGKILL)?;
    wait_for("a successor", || Ok((home.component(NAME)?["restarts"] == 1).then_some(())))?;
    home.until(NAME, "ready")?;
    serves(&home, &FIRST)?;
    assert!(daemon.stop()?.success());
    let daemon = home.start_ready(&["scout", NAME])?;
    serves(&home, &FIRST)?;
    assert_eq!(until_note(&home, &[gone])?, gone);
    daemon.kill()?;
    let _daemon = home.start_ready(&["scout", NAME])?;
    serves(&home, &FIRST)?;

    // The same again is nothing new; another is.
    home.put(&FIRST, NAME)?;
    wait_for("the note to go", || Ok(library(&home)?["note"].is_null().then_some(())))?;
    assert_eq!(canaries(&home)?, 0);
    home.put(&SECOND, NAME)?;
    until_now(&home, NAME, &SECOND)
}

#[test]
fn a_file_that_changed_while_no_daemon_ran_is_taken() -> Result<()> {
    let (home, daemon) = stage("", &FIRST)?;
    assert!(daemon.stop()?.success());
    home.put(&SECOND, NAME)?;
    let daemon = home.start_ready(&["scout"])?;
    wait_for("the second version", || {
        let now = home.component(NAME)?;
        Ok((now["state"] == "ready" && now["sha256"] == SECOND.hash()?).then_some(()))
    })?;
    serves(&home, &SECOND)?;
    assert!(daemon.stop()?.success());

    // A bad one is refused as if it had come in between.
    fs::write(home.library(NAME), &FIRST.bytes()?[..1000])?;
    let daemon = home.start_ready(&["scout", NAME])?;
    serves(&home, &SECOND)?;
    super::told(&home, &["cut short"])?;
    assert!(daemon.stop()?.success());
    home.put(&Variant::new(3, "create-segfaults"), NAME)?;
    let _daemon = home.start_ready(&["scout", NAME])?;
    super::told(&home, &["SIGSEGV"])?;
    home.until(NAME, "ready")?;
    serves(&home, &SECOND)
}

#[test]
fn who_reads_a_file_in_vain_says_so() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    fs::remove_file(home.library(NAME))?;
    fs::create_dir(home.library(NAME))?;
    refused(&home, before, &FIRST, &["libchameleon.so"])
}

#[test]
fn the_libraries_are_listed() -> Result<()> {
    let (home, _daemon) = stage("probation = \"100ms\"", &FIRST)?;
    home.put(&SECOND, NAME)?;
    until_step(&home, &[&format!("probation of {} passed", SECOND.short()?)])?;
    home.put(&Variant::new(3, "start-fails"), NAME)?;
    until_note(&home, &["told to fail at the start"])?;
    let list = home.json(&["agents", "libraries", NAME, "--json"])?;
    let list = list.as_array().context("a list")?;
    let of = |variant: &Variant| {
        let hash = variant.hash()?;
        list.iter()
            .find(|one| one["hash"] == hash)
            .with_context(|| format!("{variant:?} is not in {list:#?}"))
    };
    assert_eq!(of(&SECOND)?["verdict"], "good");
    assert_eq!(of(&FIRST)?["verdict"], "good");
    let bad = of(&Variant::new(3, "start-fails"))?;
    assert_eq!(bad["verdict"], "bad");
    let why = bad["reason"].as_str().context("a reason")?;
    crate::support::assert_sentence(why, &["told to fail at the start"]);
    ensure!(list.iter().all(|one| one["first_seen"].is_string()), "{list:#?}");
    ensure!(list.iter().filter(|one| one["running"] == true).count() == 1, "{list:#?}");
    assert_eq!(of(&SECOND)?["running"], true);
    let shown = home.ok(&["agents", "libraries", NAME])?;
    assert!(shown.contains(&SECOND.short()?) && shown.contains("bad"), "{shown}");
    Ok(())
}

#[test]
fn an_agent_that_serves_two_names_is_reloaded_as_each() -> Result<()> {
    // One file, two agents.
    let one = config("")
        .replace("[libraries]", &format!("[agents.{OTHER}]\nlibrary = \"libchameleon.so\"\n[libraries]"));
    let home = Home::new(&one, &["scout"])?;
    home.put(&FIRST, NAME)?;
    let _daemon = home.start_ready(&["scout", NAME, OTHER])?;
    home.put(&SECOND, NAME)?;
    until_now(&home, NAME, &SECOND)?;
    until_now(&home, OTHER, &SECOND)?;
    serves_as(&home, OTHER, &SECOND)
}
