//! What agents ask of providers, through the shipped binary, of servers that the tests start.

mod bad_answers;
mod budgets;
mod failover;
mod fetch;
mod first;
mod health;
mod thinking;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::provider::{KEY, Provider};
use serde_json::{Value, json};

use crate::support::{quick, reply};

/// A daemon whose `misbehaving` may ask, search and fetch, with these files beside its configuration.
fn with(files: &[(&str, String)], config: &str) -> Result<(Home, Daemon)> {
    let agent = "[agents.misbehaving]\nconcurrency = 60\ngrants = ['ask', 'search', 'fetch']\n";
    let home = Home::new(&quick(&format!("{agent}{config}")), &["scout", "misbehaving"])?;
    for (name, text) in files {
        let path = home.path().join("config").join(name);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text)?;
    }
    let secrets = home.path().join("config/.env");
    fs::write(&secrets, format!("TEST_API_KEY={KEY}\n"))?;
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    Ok((home, daemon))
}

/// The same with these providers for chat, in this order; they are called a, b, …
fn stage(providers: &[&Provider], more: &str, failover: &Value, config: &str) -> Result<(Home, Daemon)> {
    let names: Vec<_> = ('a'..).take(providers.len()).map(String::from).collect();
    let mut order = json!({"chat": names, "pause": "20ms", "pause_max": "1s"});
    if let (Some(order), Some(more)) = (order.as_object_mut(), failover.as_object()) {
        order.extend(more.clone());
    }
    let files = names.iter().zip(providers);
    let mut files: Vec<_> =
        files.map(|(name, provider)| (format!("providers/{name}.toml"), provider.described(more))).collect();
    files.push(("failover.json".into(), order.to_string()));
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    with(&files, config)
}

/// What the host answered to a call: its answer, or `{kind, message}`.
fn call(home: &Home, method: &str, payload: Value) -> Result<Value> {
    let text = reply(home, "misbehaving", &format!("call {method} {payload}"))?;
    serde_json::from_str(&text).with_context(|| text)
}

/// The newest calls that have ended, newest first, once there are so many.
fn calls(home: &Home, least: usize) -> Result<Vec<Value>> {
    openclaw_tests::wait_for(&format!("{least} recorded calls"), || {
        let told = home.json(&["budget", "-n", "1000", "--json"])?;
        let mut calls = told["calls"].as_array().context("calls")?.clone();
        calls.retain(|call| call["outcome"] != "under_way");
        Ok((calls.len() >= least).then_some(calls))
    })
}

/// The key is nowhere: not in the log, not in what the command line shows, not in the database.
fn keeps_its_secret(home: &Home) -> Result<()> {
    let database: Vec<_> = fs::read_dir(home.path())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("openclaw.db")))
        .collect();
    assert!(!database.is_empty());
    for path in database {
        let bytes = fs::read(&path)?;
        assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "in {}", path.display());
    }
    assert!(!home.log().contains(KEY), "{}", home.log());
    for args in [
        &["status", "--json"][..],
        &["budget", "-n", "100", "--json"],
        &["alert", "list", "--json"],
        &["config", "show"],
    ] {
        let said = home.cli(args)?;
        assert!(!String::from_utf8_lossy(&said.stdout).contains(KEY), "{args:?}");
    }
    Ok(())
}
