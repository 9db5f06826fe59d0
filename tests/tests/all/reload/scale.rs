//! Many reloads leave as much behind as one; of many at once each has its turn.

use std::fs;

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::Home;
use openclaw_tests::variant::{NAME, UNBOXED, Variant};
use serde_json::Value;

use super::{
    FIRST, SECOND, alone, changes, changes_of, config, mapped, reloads_of, serves, stage, until_now,
};
use crate::support::{quick, reply, transitions};

const MANUAL: &str = "reload = \"manual\"";

/// A process's private memory, in KiB.
fn private(pid: i32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let dirty = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let number = dirty.and_then(|rest| rest.trim().strip_suffix("kB")).context("Private_Dirty")?;
    Ok(number.trim().parse()?)
}

fn descriptors(pid: i32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

#[test]
fn fifty_reloads_leave_one_host_one_library_and_no_memory() -> Result<()> {
    let (home, daemon) = stage(MANUAL, &FIRST)?;
    let mut after_ten = None;
    for round in 0..50 {
        // Each a library that was never seen before.
        let version = Variant::good(100 + round);
        home.put(&version, NAME)?;
        home.ok(&["agents", "reload", NAME])?;
        assert_eq!(reply(&home, NAME, "count a")?, version.says(&(round + 1).to_string()));
        if round == 9 {
            alone(&home)?;
            after_ten = Some((private(daemon.pid())?, descriptors(daemon.pid())?));
        }
    }
    let host = alone(&home)?;
    assert_eq!(changes(&home)?, 50);
    let last = Variant::good(149);
    serves(&home, &last)?;
    assert_eq!(mapped(&home, host)?, [home.kept(&last.hash()?).display().to_string()]);
    assert_eq!(home.hosts()?.len(), 2, "that of scout and this");
    assert_eq!(home.component(NAME)?["restarts"], 0);

    let (memory, files) = after_ten.context("ten reloads")?;
    let (memory_now, files_now) = (private(daemon.pid())?, descriptors(daemon.pid())?);
    // 100 KiB for each of 40 would be a leak; what an allocator keeps aside is less.
    ensure!(memory_now < memory + 4000, "{memory} KiB became {memory_now}");
    ensure!(files_now <= files + 2, "{files} descriptors became {files_now}");
    // Three that are good, what runs, and what ran before it; of scout the one it has.
    let kept = home.all_kept()?;
    let list = home.json(&["agents", "libraries", NAME, "--json"])?;
    let listed = list.as_array().map_or(0, Vec::len);
    ensure!(
        listed <= 5 && kept.len() <= 5 + 1,
        "{} files, of which {listed} are listed: {kept:?}",
        kept.len()
    );
    Ok(())
}

#[test]
fn two_versions_in_turn_are_two_files() -> Result<()> {
    let (home, _daemon) = stage(MANUAL, &FIRST)?;
    for round in 0..20 {
        let version = if round % 2 == 0 { SECOND } else { FIRST };
        home.put(&version, NAME)?;
        home.ok(&["agents", "reload", NAME])?;
        serves(&home, &version)?;
    }
    assert_eq!((changes(&home)?, home.all_kept()?.len()), (20, 3));
    alone(&home).map(drop)
}

/// Of each reload in a history, when it began and when it was over.
fn spans(steps: &[Value]) -> Result<Vec<(String, String)>> {
    let mut spans = Vec::new();
    let mut began = None;
    for step in steps {
        let (reason, at) =
            (step["reason"].as_str().context("a reason")?, step["at"].as_str().context("a time")?);
        if reason.starts_with("reload: canary of ") {
            began = Some(at.to_owned());
        } else if reason.starts_with("reload: now ") {
            spans.push((began.take().context("a canary")?, at.to_owned()));
        }
    }
    Ok(spans)
}

#[test]
fn many_agents_are_reloaded_one_by_one() -> Result<()> {
    let names: Vec<String> = (0..6).map(|number| format!("chameleon-{number}")).collect();
    let tables: String = names.iter().map(|name| format!("[agents.{name}]\n{UNBOXED}")).collect();
    let home = Home::new(&quick(&format!("[libraries]\nsettle = \"50ms\"\n{tables}")), &["scout"])?;
    for name in &names {
        home.put(&FIRST, name)?;
    }
    let all: Vec<&str> = names.iter().map(String::as_str).chain(["scout"]).collect();
    let _daemon = home.start_ready(&all)?;
    for name in &names {
        home.put(&SECOND, name)?;
    }
    home.ok(&["agents", "reload", "--all"])?;
    let mut turns = Vec::new();
    for name in &names {
        until_now(&home, name, &SECOND)?;
        assert_eq!(changes_of(&home, name)?, 1, "{:#?}", reloads_of(&home, name)?);
        turns.extend(spans(&transitions(&home, name)?)?);
    }
    turns.sort();
    assert_eq!(turns.len(), names.len());
    let apart = turns.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    assert!(apart, "two at once: {turns:#?}");
    Ok(())
}

#[test]
fn the_budget_of_all_holds_for_reloads() -> Result<()> {
    let own = config(MANUAL).replace("restart_budget = 1000", "restart_budget = 2\nrestart_refill = \"1h\"");
    let home = Home::new(&own, &["scout"])?;
    home.put(&FIRST, NAME)?;
    let _daemon = home.start_ready(&["scout", NAME])?;
    for version in [SECOND, Variant::good(3)] {
        home.put(&version, NAME)?;
        home.ok(&["agents", "reload", NAME])?;
        serves(&home, &version)?;
    }
    // The third has to wait until there is a token: what runs goes on.
    home.put(&Variant::good(4), NAME)?;
    let mut waiting = home.command(&["agents", "reload", NAME])?;
    let mut waiting =
        waiting.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    for _ in 0..20 {
        serves(&home, &Variant::good(3))?;
    }
    let ended = waiting.try_wait()?;
    waiting.kill()?;
    waiting.wait()?;
    ensure!(ended.is_none_or(|status| !status.success()), "it was reloaded over the budget");
    assert_eq!(changes(&home)?, 2);
    Ok(())
}
