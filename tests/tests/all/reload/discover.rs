//! `agents.discover`: a library that nobody has named becomes an agent, or does not.

use std::fs;

use anyhow::Result;
use openclaw_tests::daemon::Home;
use openclaw_tests::variant::{NAME, Variant};
use openclaw_tests::wait_for;

use super::{FIRST, OTHER, SECOND, config, hosts, other_is_reloaded, serves_as, stage, until_now};
use crate::support::{fails, quick, scout_answers};

fn discovering() -> Result<Home> {
    let more = "[libraries]\nsettle = \"50ms\"\n[agents]\ndiscover = true\n";
    Home::new(&quick(more), &["scout"])
}

/// Waits until there is such an agent, and it is ready.
fn appears(home: &Home, name: &str) -> Result<()> {
    wait_for(&format!("an agent `{name}`"), || {
        let status = home.status()?;
        let components = status["components"].as_array().cloned().unwrap_or_default();
        let there = components.iter().any(|part| part["name"] == name && part["state"] == "ready");
        Ok(there.then_some(()))
    })
}

#[test]
fn a_new_file_becomes_an_agent() -> Result<()> {
    let home = discovering()?;
    let daemon = home.start_ready(&["scout"])?;
    home.put(&FIRST, NAME)?;
    appears(&home, NAME)?;
    serves_as(&home, NAME, &FIRST)?;
    // It is one like any other.
    home.put(&SECOND, NAME)?;
    until_now(&home, NAME, &SECOND)?;
    home.put(&FIRST, OTHER)?;
    appears(&home, OTHER)?;
    // It is there after the next start too, as it was.
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["scout"])?;
    appears(&home, NAME)?;
    appears(&home, OTHER)?;
    serves_as(&home, NAME, &SECOND)?;
    scout_answers(&home)
}

#[test]
fn a_file_that_is_there_at_the_start_becomes_one() -> Result<()> {
    let home = discovering()?;
    home.put(&FIRST, NAME)?;
    let _daemon = home.start_ready(&["scout"])?;
    appears(&home, NAME)?;
    serves_as(&home, NAME, &FIRST)
}

#[test]
fn a_loaded_file_becomes_one() -> Result<()> {
    let home = discovering()?;
    let _daemon = home.start_ready(&["scout"])?;
    let folder = home.path().join("built");
    fs::create_dir(&folder)?;
    let file = folder.join("libchameleon.so");
    fs::write(&file, FIRST.bytes()?)?;
    home.ok(&["agents", "load", &file.display().to_string()])?;
    appears(&home, NAME)?;
    serves_as(&home, NAME, &FIRST)
}

#[test]
fn what_is_no_agent_becomes_none_that_runs() -> Result<()> {
    let home = discovering()?;
    let _daemon = home.start_ready(&["scout"])?;
    let agents = home.path().join("agents");
    fs::write(agents.join("libletter.so"), "Not a library,\nbut a letter.\n")?;
    fs::write(agents.join("README"), "Not even called so.\n")?;
    fs::write(agents.join("lib.so"), FIRST.bytes()?)?;
    fs::write(agents.join("libchameleon.so.new"), FIRST.bytes()?)?;
    home.install("bare", "bare")?;
    // By then the others have been looked at.
    home.put(&FIRST, OTHER)?;
    appears(&home, OTHER)?;
    let status = home.status()?;
    let components = status["components"].as_array().cloned().unwrap_or_default();
    let ready = components.iter().filter(|part| part["kind"] == "agent" && part["state"] == "ready");
    let mut names: Vec<_> = ready.filter_map(|part| part["name"].as_str()).collect();
    names.sort();
    assert_eq!(names, [OTHER, "scout"], "{components:#?}");
    assert_eq!(hosts(&home, NAME)?, Vec::<i32>::new());
    scout_answers(&home)
}

#[test]
fn without_it_nobody_comes_in() -> Result<()> {
    let home = Home::new(&super::config_of_two("enabled = false"), &["scout"])?;
    home.put(&FIRST, OTHER)?;
    let _daemon = home.start_ready(&["scout", OTHER])?;
    home.put(&FIRST, "chameleon-stranger")?;
    other_is_reloaded(&home, &SECOND)?;
    other_is_reloaded(&home, &Variant::good(3))?;
    assert!(home.component("chameleon-stranger").is_err());
    fails(&home, 64, &["agents", "load", &home.library("chameleon-stranger").display().to_string()])?;
    Ok(())
}

#[test]
fn one_that_is_named_stays_what_it_is() -> Result<()> {
    let found = config("").replace("[libraries]", "[agents]\ndiscover = true\n[libraries]");
    let home = Home::new(&found, &["scout"])?;
    home.put(&FIRST, NAME)?;
    let daemon = home.start_ready(&["scout", NAME])?;
    home.put(&SECOND, NAME)?;
    until_now(&home, NAME, &SECOND)?;
    let status = home.status()?;
    let agents = status["components"]
        .as_array()
        .map_or(0, |parts| parts.iter().filter(|part| part["kind"] == "agent").count());
    assert_eq!(agents, 2, "{status}");
    assert!(daemon.stop()?.success());
    // Nor does one without the switch.
    let (home, _daemon) = stage("", &FIRST)?;
    serves_as(&home, NAME, &FIRST)
}
