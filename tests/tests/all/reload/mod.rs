//! An agent is replaced while it works: by whatever way a new file comes, with nothing lost, and a bad one harms nobody.

mod arrival;
mod broken;
mod by_hand;
mod crash;
mod discover;
mod handover;
mod loads;
mod probation;
mod rollback;
mod scale;
mod trust;

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::variant::{NAME, UNBOXED, Variant};
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{assert_sentence, pid, quick, reply, transitions};

/// What most of these begin with, and what comes then.
const FIRST: Variant = Variant::good(1);
const SECOND: Variant = Variant::good(2);

/// Scout and the chameleon, whose keys are `own`, with files that stand still soon.
fn config(own: &str) -> String {
    quick(&format!("[libraries]\nsettle = \"50ms\"\n[agents.{NAME}]\n{UNBOXED}{own}\n"))
}

/// A daemon whose chameleon is ready as `first`.
fn stage(own: &str, first: &Variant) -> Result<(Home, Daemon)> {
    let home = Home::new(&config(own), &["scout"])?;
    home.put(first, NAME)?;
    let daemon = home.start_ready(&["scout", NAME])?;
    serves(&home, first)?;
    Ok((home, daemon))
}

/// A second agent of the same library, whose reload shows that whatever came before it has been seen to.
const OTHER: &str = "chameleon-other";

/// As [`config`], with [`OTHER`].
fn config_of_two(own: &str) -> String {
    format!("{}[agents.{OTHER}]\n{UNBOXED}", config(own))
}

/// As [`stage`], with [`OTHER`].
fn stage_of_two(own: &str, first: &Variant) -> Result<(Home, Daemon)> {
    let home = Home::new(&config_of_two(own), &["scout"])?;
    home.put(first, NAME)?;
    home.put(first, OTHER)?;
    let daemon = home.start_ready(&["scout", NAME, OTHER])?;
    Ok((home, daemon))
}

/// A new file for [`OTHER`] comes and is served: what came to the folder before has been looked at by then.
fn other_is_reloaded(home: &Home, to: &Variant) -> Result<()> {
    let before = changes_of(home, OTHER)?;
    home.put(to, OTHER)?;
    wait_for("the other to be reloaded", || Ok((changes_of(home, OTHER)? > before).then_some(())))?;
    serves_as(home, OTHER, to)
}

/// An agent answers as this version.
fn serves_as(home: &Home, name: &str, variant: &Variant) -> Result<()> {
    let said = reply(home, name, "echo hello")?;
    ensure!(said == variant.says("hello"), "{name} answers `{said}`, not as {variant:?}");
    Ok(())
}

/// The chameleon answers as this version, and its status and its host say so.
fn serves(home: &Home, variant: &Variant) -> Result<()> {
    serves_as(home, NAME, variant)?;
    let hash = variant.hash()?;
    let now = home.component(NAME)?;
    ensure!(now["sha256"] == hash, "not {hash}: {now}");
    let mapped = mapped(home, pid(home, NAME)?)?;
    ensure!(mapped == [home.kept(&hash).display().to_string()], "mapped are {mapped:?}");
    Ok(())
}

/// The files of this home that a process has mapped; that of one which is gone ends with ` (deleted)`.
fn mapped(home: &Home, pid: i32) -> Result<Vec<String>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let ours = home.path().display().to_string();
    let paths = maps.lines().filter_map(|line| line.find(&ours).map(|at| line[at..].to_owned()));
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The reasons of an agent's steps that speak of its library, oldest first.
fn reloads_of(home: &Home, name: &str) -> Result<Vec<String>> {
    let steps = transitions(home, name)?;
    let reasons = steps.iter().filter_map(|step| step["reason"].as_str());
    let ours = reasons.filter(|reason| reason.starts_with("reload: ") || reason.starts_with("rollback: "));
    Ok(ours.map(str::to_owned).collect())
}

/// The chameleon's.
fn reloads(home: &Home) -> Result<Vec<String>> {
    reloads_of(home, NAME)
}

/// Waits for such a step that has all of `words`; answers the newest.
fn until_step_of(home: &Home, name: &str, words: &[&str]) -> Result<String> {
    let mut seen = Vec::new();
    let found = wait_for(&format!("a step of {name} with {words:?}"), || {
        seen = reloads_of(home, name)?;
        Ok(seen.iter().rfind(|step| words.iter().all(|word| step.contains(word))).cloned())
    });
    found.with_context(|| format!("seen: {seen:#?}"))
}

/// Waits for such a step of the chameleon.
fn until_step(home: &Home, words: &[&str]) -> Result<String> {
    until_step_of(home, NAME, words)
}

/// Waits until an agent's newest reload or rollback has made it this version, and it answers so.
fn until_now(home: &Home, name: &str, variant: &Variant) -> Result<()> {
    until_step_of(home, name, &[&format!("reload: now {}", variant.short()?)])?;
    serves_as(home, name, variant)
}

/// How often an agent has become another version.
fn changes_of(home: &Home, name: &str) -> Result<usize> {
    Ok(reloads_of(home, name)?.iter().filter(|step| step.starts_with("reload: now ")).count())
}

/// How often the chameleon has.
fn changes(home: &Home) -> Result<usize> {
    changes_of(home, NAME)
}

/// How often a host of another version was started for the chameleon.
fn canaries(home: &Home) -> Result<usize> {
    Ok(reloads(home)?.iter().filter(|step| step.starts_with("reload: canary of ")).count())
}

/// Waits until the chameleon's host is its only one; scout has another.
fn alone(home: &Home) -> Result<i32> {
    wait_for("one host of the chameleon", || {
        let (now, hosts) = (pid(home, NAME)?, hosts(home, NAME)?);
        Ok((hosts == [now]).then_some(now))
    })
}

/// The hosts of one agent: its name is their last argument.
fn hosts(home: &Home, name: &str) -> Result<Vec<i32>> {
    let mut hosts = home.hosts()?;
    hosts.retain(|host| {
        let line = std::fs::read(format!("/proc/{host}/cmdline")).unwrap_or_default();
        let mut args = line.split(|byte| *byte == 0);
        args.rfind(|arg| !arg.is_empty()).is_some_and(|last| last == name.as_bytes())
    });
    Ok(hosts)
}

/// What the status says of an agent's library.
fn library(home: &Home) -> Result<Value> {
    Ok(home.component(NAME)?["library"].clone())
}

/// Waits until the status says why the file in the folder is not what runs, with all of `words`.
fn until_note(home: &Home, words: &[&str]) -> Result<String> {
    let mut last = Value::Null;
    let note = wait_for(&format!("a note with {words:?}"), || {
        last = home.component(NAME)?;
        let note = last["library"]["note"].as_str();
        Ok(note.filter(|note| words.iter().all(|word| note.contains(word))).map(str::to_owned))
    });
    note.with_context(|| format!("last seen: {last}"))
}

/// The alerts about an agent, newest first.
fn alerts(home: &Home, name: &str) -> Result<Vec<Value>> {
    let all = home.json(&["alert", "list", "--json"])?;
    let mut all = all.as_array().context("a list of alerts")?.clone();
    all.retain(|alert| alert["source"] == name);
    Ok(all)
}

/// Waits for an alert about the chameleon with all of `words`; answers its level.
fn until_alert(home: &Home, words: &[&str]) -> Result<String> {
    let mut seen = Vec::new();
    let found = wait_for(&format!("an alert with {words:?}"), || {
        seen = alerts(home, NAME)?;
        let text = |alert: &&Value| {
            alert["text"].as_str().is_some_and(|text| words.iter().all(|word| text.contains(word)))
        };
        Ok(seen.iter().find(text).cloned())
    });
    let alert = found.with_context(|| format!("seen: {seen:#?}"))?;
    assert_sentence(alert["text"].as_str().context("an alert's text")?, words);
    ensure!(alert["last_at"].is_string(), "{alert}");
    Ok(alert["level"].as_str().context("an alert's level")?.to_owned())
}

/// Why a file is not what runs is one sentence with all of `words`: in the status, the history and the alerts.
fn told(home: &Home, words: &[&str]) -> Result<()> {
    assert_sentence(&until_note(home, words)?, words);
    assert_sentence(&until_step(home, words)?, words);
    let level = until_alert(home, words)?;
    ensure!(level == "warning" || level == "critical", "the alert is but of level {level}");
    Ok(())
}

/// A file came that cannot be: why is [`told`], and `before`, the process that ran, goes on as `variant`.
fn refused(home: &Home, before: i32, variant: &Variant, words: &[&str]) -> Result<()> {
    told(home, words)?;
    ensure!(alone(home)? == before, "what ran does not run on: {:#?}", reloads(home)?);
    serves(home, variant)?;
    ensure!(changes(home)? == 0, "{:#?}", reloads(home)?);
    ensure!(home.component(NAME)?["restarts"] == 0, "{}", home.component(NAME)?);
    Ok(())
}
