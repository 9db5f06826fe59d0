//! What agents were told, kept, and the agents run again on it: each of the three.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::provider::{KEY, Provider, Reply};
use openclaw_tests::{variant, wait_for};
use serde_json::{Value, json};

use super::{page, provided};
use crate::support::{ask, fails, quick, tasks};

const TEAM: &str = "grants = ['memory', 'search', 'ask', 'missions', 'alert']\n\
    [agents.atlas]\ngrants = ['supervisor', 'system', 'memory', 'alert']\n\
    settings = { disk_warn_percent = 1, disk_critical_percent = 100 }\n\
    [agents.milkbot]\ngrants = ['memory', 'task', 'supervisor.status', 'supervisor.budgets', 'ask']\n\
    [providers]\nrecord = 'records'\n";

fn stage(chat: &Provider, search: &Provider) -> Result<(Home, Daemon)> {
    let home = Home::new(&quick(TEAM), &["scout", "atlas", "milkbot"])?;
    provided(&home, chat, search)?;
    let daemon = home.start_ready(&["scout", "atlas", "milkbot"])?;
    Ok((home, daemon))
}

/// A message's task, done.
fn done(home: &Home, agent: &str, text: &str) -> Result<String> {
    let sent = ask(home, agent, text)?;
    ensure!(sent["state"] == "done", "{sent}");
    Ok(sent["task_id"].as_str().context("a task's id")?.to_owned())
}

fn record(home: &Home, task: &str) -> PathBuf {
    home.path().join(format!("records/{task}.1.jsonl"))
}

/// The task, run again: nothing differs.
fn same(home: &Home, task: &str) -> Result<Value> {
    let replayed = home.json(&["replay", task, "--json"])?;
    ensure!(replayed["same"] == true && replayed["differences"] == json!([]), "{replayed:#}");
    Ok(replayed)
}

/// Changes a line of a record that holds `marked`.
fn edit(home: &Home, task: &str, marked: &str, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(record(home, task))?;
    let line = text.lines().find(|line| line.contains(marked)).context("the line")?;
    ensure!(line.contains(from), "{line}");
    Ok(fs::write(record(home, task), text.replace(line, &line.replace(from, to)))?)
}

#[test]
fn each_agent_does_the_same_again_on_what_it_was_told_without_a_daemon_or_a_call() -> Result<()> {
    let (chat, search) = (Provider::start()?, Provider::start()?);
    let (home, daemon) = stage(&chat, &search)?;
    search.always(Some(Reply::body(page(&format!("Tin is dear, and the key is {KEY}.")))));
    let findings = json!({"findings": [{"text": "Tin is dear.", "source": 1, "confidence": 0.9}]});
    chat.next([
        // Milkbot's model asks scout, whose model reads the page; milkbot's says the rest.
        Reply::says(&json!({"tool": "tell", "agent": "scout", "text": "/research tin"}).to_string()),
        Reply::says(&findings.to_string()),
        Reply::says("Tin is dear, says example.org."),
    ]);
    let milkbot = done(&home, "milkbot", "what about tin?")?;
    let scout = tasks(&home, "scout", "done")?[0]["id"].as_str().context("scout's task")?.to_owned();
    let look = |count: usize| {
        wait_for("atlas's looks", || {
            let all = tasks(&home, "atlas", "done")?;
            let ticks: Vec<_> = all.iter().filter(|task| task["kind"] == "tick").collect();
            Ok((ticks.len() >= count).then(|| ticks[0]["id"].as_str().unwrap_or_default().to_owned()))
        })
    };
    // The second look knows of the first by its memory alone.
    let atlas = look(2)?;
    let signals = done(&home, "scout", "/signals")?;
    let analyzed = done(&home, "scout", r#"/analyze {"venue":"kraken","asset":"BTC","prices":[]}"#)?;
    daemon.stop()?;
    let called = (chat.asked().len(), search.asked().len());
    let database = fs::read(home.path().join("openclaw.db"))?;

    assert!(fs::read_to_string(record(&home, &milkbot))?.contains("\"timeout_ms\":"), "its time is told");
    let replayed = same(&home, &milkbot)?;
    let text = replayed["outcome"]["answer"]["text"].as_str().context("a text")?;
    assert!(text.contains("Tin is dear, says example.org.\n(Done: asked scout; nothing else.)"), "{text}");
    let replayed = same(&home, &scout)?;
    assert!(replayed["answered"].as_u64().is_some_and(|calls| calls >= 2), "{replayed:#}");
    for task in [&atlas, &signals, &analyzed] {
        same(&home, task)?;
    }
    let said = home.ok(&["replay", &atlas])?;
    assert!(said.starts_with("atlas, try 1 of ") && said.trim_end().ends_with("the same"), "{said}");

    assert_eq!(called, (chat.asked().len(), search.asked().len()));
    assert!(database == fs::read(home.path().join("openclaw.db"))?, "the database is as it was");
    let left: Vec<_> = fs::read_dir(home.path().join("run"))?.flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("replay")), "{left:?}");
    let records = fs::read_dir(home.path().join("records"))?.flatten();
    for path in records.map(|entry| entry.path()) {
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600, "{}", path.display());
        assert!(!fs::read_to_string(&path)?.contains(KEY), "{}", path.display());
    }
    assert!(fs::read_to_string(record(&home, &scout))?.contains("the key is ***"));
    Ok(())
}

#[test]
fn what_differs_is_shown_and_the_exit_code_says_so() -> Result<()> {
    let (chat, search) = (Provider::start()?, Provider::start()?);
    let (home, daemon) = stage(&chat, &search)?;
    let task = done(&home, "milkbot", "/ask what is a monad?")?;
    daemon.stop()?;
    same(&home, &task)?;

    // The model had said something else.
    edit(&home, &task, "\"method\":\"ask\"", "you said", "they said")?;
    let shown = home.cli(&["replay", &task])?;
    let out = String::from_utf8_lossy(&shown.stdout);
    assert_eq!(shown.status.code(), Some(1), "{out}");
    assert!(
        out.contains(
            "the answer differs at `text`: \"they said: what is a monad?\\n(Done: nothing.)\" was \"you said"
        ),
        "{out}"
    );

    // It had asked something else, and nobody knows what a model had answered.
    edit(&home, &task, "\"method\":\"ask\"", "\"method\":\"ask\"", "\"method\":\"search\"")?;
    let shown = home.cli(&["replay", &task, "--json"])?;
    let replayed: Value = serde_json::from_slice(&shown.stdout)?;
    assert_eq!((shown.status.code(), &replayed["same"]), (Some(1), &json!(false)), "{replayed:#}");
    let kinds: Vec<_> = (replayed["differences"].as_array().context("differences")?.iter())
        .map(|difference| (difference["kind"].clone(), difference["method"].clone()))
        .collect();
    assert!(kinds.contains(&(json!("not_recorded"), json!("ask"))), "{replayed:#}");
    assert!(kinds.contains(&(json!("not_asked"), json!("search"))), "{replayed:#}");
    assert!(kinds.contains(&(json!("outcome"), Value::Null)), "{replayed:#}");

    // What is no record, and what there is none of.
    fs::write(record(&home, &task), "{}\n{}\n")?;
    assert!(fails(&home, 1, &["replay", &task])?.contains("is no whole record"));
    fs::remove_file(record(&home, &task))?;
    assert!(fails(&home, 69, &["replay", &task])?.contains("nothing is recorded of the task"));
    home.configure(&quick(""))?;
    assert!(fails(&home, 69, &["replay", &task])?.contains("set providers.record"));
    fails(&home, 64, &["replay", "no-id"])?;
    Ok(())
}

#[test]
fn an_agent_that_dies_leaves_a_record_without_an_end_and_another_library_is_tried_on_it() -> Result<()> {
    let agent = format!("[agents.{}]\n[providers]\nrecord = 'records'\n", variant::NAME);
    let home = Home::new(&quick(&agent), &["scout"])?;
    home.put(&variant::Variant::good(1), variant::NAME)?;
    let daemon = home.start_ready(&[variant::NAME])?;
    let task = done(&home, variant::NAME, "echo hello")?;
    daemon.stop()?;
    same(&home, &task)?;
    home.put(&variant::Variant::good(2), variant::NAME)?;
    let shown = home.cli(&["replay", &task])?;
    let out = String::from_utf8_lossy(&shown.stdout);
    assert_eq!(shown.status.code(), Some(1), "{out}");
    assert!(out.contains("another library: ") && out.contains("was \"v1 "), "{out}");
    // Without its last line.
    let text = fs::read_to_string(record(&home, &task))?;
    let end = text.trim_end().rfind('\n').context("more than a line")?;
    fs::write(record(&home, &task), &text[..=end])?;
    let said = home.ok(&["replay", &task])?;
    assert!(said.contains("the recorded try has no end"), "{said}");
    Ok(())
}

#[test]
fn each_agent_still_does_what_is_on_record() -> Result<()> {
    let home = Home::new(&quick(""), &["scout", "atlas", "milkbot"])?;
    // Of a real run each, that of the first test: OPENCLAW_TESTS_KEEP keeps its home, where an agent that changed has a new one.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/agents/records");
    let mut agents = Vec::new();
    for file in fs::read_dir(&folder)? {
        let name = file?.file_name().into_string().map_err(|name| anyhow!("{}", name.display()))?;
        let (task, _) = name.split_once('.').context("TASK.TRY.jsonl")?;
        let replayed = home.cli(&["replay", task, "--record", &folder.to_string_lossy(), "--json"])?;
        let replayed: Value = serde_json::from_slice(&replayed.stdout)?;
        assert_eq!((&replayed["same"], &replayed["ended"]), (&json!(true), &json!(true)), "{replayed:#}");
        agents.push(replayed["agent"].as_str().context("an agent")?.to_owned());
    }
    agents.sort();
    assert_eq!(agents, ["atlas", "milkbot", "scout"]);
    Ok(())
}
