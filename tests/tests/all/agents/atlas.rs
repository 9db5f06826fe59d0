//! Atlas, with a look each twenty seconds of real time.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::provider::{KEY, Provider, Reply};
use openclaw_tests::server::Redis;
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use super::{alerts, says};
use crate::support::{hash, history, pid, quick, redis, reply};

/// Atlas with these grants, beside an agent that nobody brings back; every disk is fuller than a hundredth.
fn stage(grants: &[&str]) -> Result<(Home, Daemon)> {
    let config = format!(
        "[agents.misbehaving]\nrestart = 'never'\n[agents.atlas]\ngrants = {grants:?}\n\
         settings = {{ disk_warn_percent = 1, disk_critical_percent = 100 }}\n"
    );
    let home = Home::new(&quick(&config), &["scout", "misbehaving", "atlas"])?;
    let daemon = home.start_ready(&["scout", "misbehaving", "atlas"])?;
    Ok((home, daemon))
}

fn looks(home: &Home) -> Result<usize> {
    let tasks = home.json(&["tasks", "list", "-a", "atlas", "-s", "done", "-n", "1000", "--json"])?;
    Ok(tasks.as_array().context("tasks")?.iter().filter(|task: &&Value| task["kind"] == "tick").count())
}

/// Kills the agent, and lets two looks see it.
fn killed(home: &Home) -> Result<()> {
    wait_for("the first look", || Ok((looks(home)? > 0).then_some(())))?;
    kill(Pid::from_raw(pid(home, "misbehaving")?), Signal::SIGKILL)?;
    home.until("misbehaving", "stopped")?;
    looked(home, 2)
}

/// Waits for so many looks more. The first of them may have begun before what it should see.
fn looked(home: &Home, times: usize) -> Result<()> {
    let before = looks(home)?;
    (1..=times).try_for_each(|time| wait_for("a look", || Ok((looks(home)? >= before + time).then_some(()))))
}

#[test]
fn what_has_ended_by_a_failure_is_restarted_and_what_cannot_be_mended_is_told() -> Result<()> {
    let (home, _daemon) = stage(&["supervisor", "system", "memory", "alert"])?;
    killed(&home)?;
    home.until("misbehaving", "ready")?;
    assert_eq!(reply(&home, "misbehaving", "echo I am back")?, "I am back");
    let steps = history(&home, "misbehaving")?;
    let by = steps.iter().find(|step| step["actor"] == "agent atlas").context("who did it")?;
    assert!(by["reason"].as_str().is_some_and(|why| !why.is_empty()), "{by}");
    // A new process mends no disk.
    let disk = wait_for("the disk's alert", || Ok(says(&alerts(&home, "atlas")?, "% full")))?;
    assert_eq!((&disk["level"], &disk["source"]), (&"warning".into(), &"atlas".into()), "{disk}");
    let shown = reply(&home, "atlas", "/watch")?;
    assert!(shown.contains("% full") && shown.contains("misbehaving: ready"), "{shown}");
    let shown = reply(&home, "atlas", "/uptime")?;
    assert!(shown.contains("so far: looked ") && shown.contains("scout 100 %"), "{shown}");
    Ok(())
}

#[test]
fn what_it_may_not_restart_is_told() -> Result<()> {
    let (home, _daemon) = stage(&["supervisor.status", "system", "memory", "alert"])?;
    killed(&home)?;
    let told = wait_for("the alert", || Ok(says(&alerts(&home, "atlas")?, "I could not restart it")))?;
    assert!(
        told["text"].as_str().is_some_and(|text| text.contains("not granted `supervisor.restart`")),
        "{told}"
    );
    assert_eq!(home.component("misbehaving")?["state"], "stopped");
    // The refusal is recorded.
    let shown = home.ok(&["agents", "grants", "atlas"])?;
    assert!(shown.contains("supervisor.restart"), "{shown}");
    Ok(())
}

#[test]
fn a_redis_that_stopped_is_told() -> Result<()> {
    let Some(mut redis) = Redis::new()? else { return Ok(()) };
    redis.start()?;
    let agent = "[agents.atlas]\ngrants = ['supervisor.status', 'system', 'memory', 'alert']\n";
    let home = Home::new(&quick(&format!("{agent}[bus]\nurl = '{}'\n", redis.url())), &["scout", "atlas"])?;
    let _daemon = home.start_ready(&["scout", "atlas"])?;
    wait_for("the first look", || Ok((looks(&home)? > 0).then_some(())))?;
    assert!(says(&alerts(&home, "atlas")?, "bus").is_none());
    redis.kill()?;
    looked(&home, 2)?;
    let told = wait_for("the alert", || Ok(says(&alerts(&home, "atlas")?, "bus")))?;
    // The daemon has an alert of its own about its bus.
    assert_eq!((&told["level"], &told["source"]), (&"warning".into(), &"atlas".into()), "{told}");
    Ok(())
}

/// Looks until two in a row have seen it, as a provider's trouble and its end are confirmed.
const CONFIRMED: usize = 3;

/// Atlas with these grants beside `misbehaving`, who may ask `a` and then `b`; both are looked at each second.
fn asking(a: &Provider, b: &Provider, grants: &[&str], bus: &str) -> Result<(Home, Daemon)> {
    let config = format!(
        "[agents.misbehaving]\ngrants = ['ask']\n[agents.atlas]\ngrants = {grants:?}\n[providers]\nprobe = '1s'\n{bus}"
    );
    let home = Home::new(&quick(&config), &["scout", "misbehaving", "atlas"])?;
    let folder = home.path().join("config");
    fs::create_dir_all(folder.join("providers"))?;
    for (name, provider) in [("a", a), ("b", b)] {
        fs::write(folder.join(format!("providers/{name}.toml")), provider.described(""))?;
    }
    fs::write(folder.join("failover.json"), r#"{"chat": ["a", "b"]}"#)?;
    fs::write(folder.join(".env"), format!("TEST_API_KEY={KEY}\n"))?;
    fs::set_permissions(folder.join(".env"), fs::Permissions::from_mode(0o600))?;
    let daemon = home.start_ready(&["scout", "misbehaving", "atlas"])?;
    Ok((home, daemon))
}

fn said(home: &Home) -> Result<Value> {
    Ok(serde_json::from_str(&reply(home, "misbehaving", &format!("call ask {}", json!({"prompt": "x"})))?)?)
}

#[test]
fn a_provider_in_the_way_is_left_alone_and_asked_again_once_it_is_well() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_redis) = Redis::start_on(port)? else { return Ok(()) };
    let (a, b) = (Provider::start()?, Provider::start()?);
    a.always(Some(Reply::refused(401)));
    let bus = format!("[bus]\nurl = 'redis://127.0.0.1:{port}'\n");
    let grants = ["supervisor.status", "system", "memory", "alert", "breaker"];
    let (home, _daemon) = asking(&a, &b, &grants, &bus)?;
    // What is misconfigured is never failed over.
    assert_eq!(said(&home)?["kind"], "not_configured");

    let key = "circuit:breaker:provider:a";
    looked(&home, CONFIRMED)?;
    let open = hash(port, key, ("state", "open"))?;
    let field = |name: &str| open.iter().find(|(field, _)| field == name).map_or("", |(_, text)| text);
    assert_eq!(field("actor"), "agent atlas", "{open:?}");
    assert!(field("reason").contains("refuses our key, and is asked before others"), "{open:?}");
    assert!(field("opened_at").ends_with('Z') && field("open_until").ends_with('Z'), "{open:?}");
    assert_eq!(said(&home)?, "you said: x");
    let shown = home.component("a")?;
    let opened = &shown["breaker"]["opened"];
    assert_eq!(
        (&shown["breaker"]["state"], &opened["actor"]),
        (&json!("open"), &json!("agent atlas")),
        "{shown}"
    );
    wait_for("the operator to be told", || {
        Ok(home.ok(&["alert", "list"])?.contains("its breaker was opened by agent atlas").then_some(()))
    })?;
    let grants = home.ok(&["agents", "grants", "atlas"])?;
    assert!(grants.contains("breaker.open · ok"), "{grants}");

    // The key is known again: looks show that, and atlas closes what it opened.
    a.always(None);
    looked(&home, CONFIRMED)?;
    hash(port, key, ("state", "closed"))?;
    let before = a.asked().len();
    assert_eq!(said(&home)?, "you said: x");
    let asked = a.asked()[before..].iter().filter(|one| one.line.starts_with("POST")).count();
    assert_eq!(asked, 1, "the first is asked first again");
    assert!(home.ok(&["agents", "grants", "atlas"])?.contains("breaker.close · ok"));
    // Both are shown anew after a loss.
    redis(port, &["FLUSHALL"])?;
    hash(port, key, ("state", "closed"))?;
    Ok(())
}

#[test]
fn a_breaker_that_it_may_not_open_stays_closed_and_that_is_told() -> Result<()> {
    let (a, b) = (Provider::start()?, Provider::start()?);
    a.always(Some(Reply::refused(401)));
    let (home, _daemon) = asking(&a, &b, &["supervisor", "system", "memory", "alert"], "")?;
    looked(&home, CONFIRMED)?;
    let told = wait_for("the alert", || Ok(says(&alerts(&home, "atlas")?, "I could not open its breaker")))?;
    let text = told["text"].as_str().unwrap_or_default();
    assert!(text.contains("not granted `breaker.open`") && told["level"] == "info", "{told}");
    assert_eq!(home.component("a")?["breaker"]["state"], "closed");
    assert_eq!(said(&home)?["kind"], "not_configured");
    Ok(())
}
