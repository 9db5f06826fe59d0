//! Every way in which a file can come leads to one reload, once it is whole.

use std::fs;

use anyhow::{Result, ensure};
use openclaw_tests::arrival::{Growing, Way};
use openclaw_tests::daemon::Home;
use openclaw_tests::variant::{NAME, Variant};
use serde_json::Value;

use super::{
    FIRST, SECOND, alone, canaries, changes, config, mapped, other_is_reloaded, refused, serves, stage,
    stage_of_two, until_now,
};
use crate::chaos::pause;
use crate::support::{beside_scout, pid};

fn comes_once(way: Way) -> Result<()> {
    let home = Home::new(&config(""), &["scout"])?;
    way.bring(&home, &FIRST, NAME)?;
    if way == Way::SymlinkedFolder {
        // Its folder is another one now.
        home.install("scout", "scout")?;
    }
    let _daemon = home.start_ready(&["scout", NAME])?;
    serves(&home, &FIRST)?;
    let before = pid(&home, NAME)?;
    if way == Way::SymlinkedFolder {
        let release = home.path().join("releases/release-2");
        fs::create_dir_all(&release)?;
        fs::copy(home.library("scout"), release.join("libscout.so"))?;
    }
    beside_scout(&home, || {
        way.bring(&home, &SECOND, NAME)?;
        until_now(&home, NAME, &SECOND)
    })?;
    // By hand as well there is nothing left to do.
    home.ok(&["agents", "reload", NAME])?;
    assert_eq!((canaries(&home)?, changes(&home)?), (1, 1), "{way:?}");
    ensure!(alone(&home)? != before, "the process is the old one");
    let now = home.component(NAME)?;
    assert_eq!(
        (&now["restarts"], &now["state"], &now["library"]["note"]),
        (&0.into(), &"ready".into(), &Value::Null)
    );
    assert_eq!(now["library"]["previous"], FIRST.hash()?, "{now}");
    serves(&home, &SECOND)
}

#[test]
fn by_cp_over_the_old_one() -> Result<()> {
    comes_once(Way::Copied)
}

#[test]
fn by_mv_from_another_folder() -> Result<()> {
    comes_once(Way::Moved)
}

#[test]
fn by_rsync() -> Result<()> {
    comes_once(Way::Rsynced)
}

#[test]
fn by_a_hard_link() -> Result<()> {
    comes_once(Way::HardLinked)
}

#[test]
fn by_a_linker_that_writes_on_after_it_moved() -> Result<()> {
    comes_once(Way::Linked)
}

#[test]
fn by_a_symlink_to_another_file() -> Result<()> {
    comes_once(Way::SymlinkToFile)
}

#[test]
fn by_a_symlink_to_another_release() -> Result<()> {
    comes_once(Way::SymlinkToRelease)
}

#[test]
fn by_another_folder_of_agents() -> Result<()> {
    comes_once(Way::SymlinkedFolder)
}

#[test]
fn one_way_after_the_other_is_one_reload_each() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    // Not the last one: the folder would be another.
    let ways = &Way::ALL[..Way::ALL.len() - 1];
    for (version, way) in (2..).zip(ways) {
        way.bring(&home, &Variant::good(version), NAME)?;
        until_now(&home, NAME, &Variant::good(version))?;
    }
    home.ok(&["agents", "reload", NAME])?;
    assert_eq!((canaries(&home)?, changes(&home)?), (ways.len(), ways.len()));
    Ok(())
}

#[test]
fn a_file_that_grows_is_loaded_when_it_is_whole() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    let size = SECOND.bytes()?.len();
    let mut file = Growing::begin(&home, &SECOND, NAME, 1)?;
    // For many times as long as a file must stand still.
    while !file.grow(size / 100)? {
        pause(10);
        ensure!(pid(&home, NAME)? == before && canaries(&home)? == 0, "it was tried half-written");
    }
    drop(file);
    until_now(&home, NAME, &SECOND)?;
    home.ok(&["agents", "reload", NAME])?;
    assert_eq!((canaries(&home)?, changes(&home)?), (1, 1));
    serves(&home, &SECOND)
}

#[test]
fn a_tenth_of_a_library_is_refused_and_the_whole_is_taken() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    let file = Growing::begin(&home, &SECOND, NAME, 10)?;
    let words = ["libchameleon.so", "cut short", "copy it again"];
    beside_scout(&home, || refused(&home, before, &FIRST, &words))?;
    assert_eq!(canaries(&home)?, 0, "nothing of it was executed");
    file.finish()?;
    until_now(&home, NAME, &SECOND)?;
    assert_eq!(home.component(NAME)?["library"]["note"], Value::Null);
    serves(&home, &SECOND)
}

#[test]
fn what_is_no_library_is_refused() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    fs::write(home.library(NAME), "Not a library,\nbut a letter.\n")?;
    refused(&home, before, &FIRST, &["libchameleon.so", "no 64-bit ELF library"])?;
    fs::write(home.library(NAME), "")?;
    refused(&home, before, &FIRST, &["libchameleon.so", "it is empty"])?;
    home.install("bare", NAME)?;
    refused(&home, before, &FIRST, &["export_agent!"])
}

#[test]
fn what_happens_to_the_file_does_not_reach_what_runs() -> Result<()> {
    let (home, _daemon) = stage("reload = \"manual\"", &FIRST)?;
    let before = pid(&home, NAME)?;
    let kept = home.kept(&FIRST.hash()?);
    fs::write(home.library(NAME), vec![0xff; FIRST.bytes()?.len()])?;
    serves(&home, &FIRST)?;
    fs::write(home.library(NAME), "")?;
    serves(&home, &FIRST)?;
    assert_eq!(mapped(&home, before)?, [kept.display().to_string()]);
    assert_eq!(pid(&home, NAME)?, before);
    // Nobody may write to what is mapped.
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(kept)?);
    assert_eq!(mode & 0o777, 0o444, "{mode:o}");
    Ok(())
}

#[test]
fn the_same_file_once_more_is_no_reload() -> Result<()> {
    let (home, _daemon) = stage_of_two("", &FIRST)?;
    let before = pid(&home, NAME)?;
    for way in [Way::Copied, Way::Moved, Way::HardLinked, Way::SymlinkToFile] {
        way.bring(&home, &FIRST, NAME)?;
    }
    other_is_reloaded(&home, &SECOND)?;
    home.ok(&["agents", "reload", NAME])?;
    assert_eq!((canaries(&home)?, pid(&home, NAME)?), (0, before));
    serves(&home, &FIRST)
}
