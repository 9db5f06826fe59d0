//! What several of these modules use.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::socket::message;
use openclaw_tests::{built, wait_for};
use serde_json::{Value, json};

/// Failures follow one another in milliseconds, and no breaker opens: for tests of something else.
const QUICK: &str = r#"
[daemon]
restart_budget = 1000
[tasks]
max_attempts = 2
retry_initial = "10ms"
retry_max = "20ms"
[supervision]
kill_grace = "100ms"
[supervision.backoff]
initial = "10ms"
max = "20ms"
[supervision.breaker]
intensity = 1000
min_calls = 1000
[agents.scout]
"#;

/// For an agent whose effects are counted outside its workspace, or that runs programs.
pub const UNBOUND: &str = r#"sandbox = "off""#;

/// Scout and whatever `more` says, with failures that follow one another in milliseconds.
pub fn quick(more: &str) -> String {
    format!("{QUICK}{more}")
}

/// A daemon with scout and misbehaving, both ready; `own` are misbehaving's keys.
pub fn stage(own: &str) -> Result<(Home, Daemon)> {
    let home =
        Home::new(&quick(&format!("[agents.misbehaving]\n{UNBOUND}\n{own}\n")), &["scout", "misbehaving"])?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    Ok((home, daemon))
}

/// Sends a message and waits for its end.
pub fn ask(home: &Home, agent: &str, text: &str) -> Result<Value> {
    let answer = home.socket()?.call(message(agent, text, None, Some(30_000)))?;
    answer.map_err(|error| anyhow::anyhow!("`{text:.200}` to {agent}: {error}"))
}

/// Sends a message, whose task must be done; answers the reply's text.
pub fn reply(home: &Home, agent: &str, text: &str) -> Result<String> {
    let sent = ask(home, agent, text)?;
    ensure!(sent["state"] == "done", "`{text}` to {agent}: {sent}");
    Ok(sent["result"]["text"].as_str().context("a reply's text")?.to_owned())
}

/// Sends a message and does not wait; answers its task's id.
pub fn leave(home: &Home, agent: &str, text: &str) -> Result<String> {
    match home.socket()?.call(message(agent, text, None, None))? {
        Ok(sent) => Ok(sent["task_id"].as_str().context("a task's id")?.to_owned()),
        Err(error) => bail!("`{text}` to {agent}: {error}"),
    }
}

/// A task as it stands.
pub fn task(home: &Home, id: &str) -> Result<Value> {
    home.json(&["tasks", "show", id, "--json"])
}

/// Waits for a task's end.
pub fn ended(home: &Home, id: &str) -> Result<Value> {
    wait_for(&format!("the end of task {id}"), || {
        let task = task(home, id)?;
        Ok(["done", "failed", "cancelled"].iter().any(|state| task["state"] == *state).then_some(task))
    })
}

/// An agent's tasks in a state.
pub fn tasks(home: &Home, agent: &str, state: &str) -> Result<Vec<Value>> {
    let list = home.json(&["tasks", "list", "-a", agent, "-s", state, "-n", "1000", "--json"])?;
    Ok(list.as_array().context("a list of tasks")?.clone())
}

/// The transitions that are stored of an agent, oldest first.
pub fn transitions(home: &Home, agent: &str) -> Result<Vec<Value>> {
    let list = home.json(&["agents", "history", agent, "-n", "1000", "--json"])?;
    Ok(list.as_array().context("a history")?.clone())
}

/// An agent's transitions, oldest first, up to the state that it is in: they are stored a moment after they happen.
pub fn history(home: &Home, agent: &str) -> Result<Vec<Value>> {
    wait_for(&format!("the history of {agent}"), || {
        let now = home.component(agent)?;
        let steps = transitions(home, agent)?;
        let newest = steps.iter().rev().find(|step| step["from"] != step["to"] || step["at"] == now["since"]);
        let whole = newest.is_some_and(|step| step["to"] == now["state"] && step["at"] == now["since"]);
        Ok(whole.then_some(steps))
    })
    .with_context(|| home.log())
}

/// The states of a history, each as it was entered.
pub fn states(history: &[Value]) -> Vec<&str> {
    history.iter().filter_map(|transition| transition["to"].as_str()).collect()
}

/// An agent's process.
pub fn pid(home: &Home, agent: &str) -> Result<i32> {
    let pid = home.component(agent)?["pid"].as_i64().with_context(|| format!("{agent} has no process"))?;
    Ok(i32::try_from(pid)?)
}

/// Runs the command line, which must end with `code`; answers what it complained of.
pub fn fails(home: &Home, code: i32, args: &[&str]) -> Result<String> {
    said(home.cli(args)?, code, args)
}

/// As [`fails`], in a folder and a home of one's own, with a text as standard input.
pub fn fails_with(code: i32, home: &Home, args: &[&str], input: &str) -> Result<String> {
    let path = home.path().join("input");
    fs::write(&path, input)?;
    let output = home.command(args)?.stdin(fs::File::open(&path)?).output()?;
    said(output, code, args)
}

/// The binary without a home.
pub fn binary(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(built()?.join("openclaw"));
    command.args(args).stdin(Stdio::null()).env_clear().current_dir("/");
    Ok(command)
}

/// What a command that ended with `code` complained of.
pub fn said(output: Output, code: i32, args: &[&str]) -> Result<String> {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let (got, out) = (output.status.code(), String::from_utf8_lossy(&output.stdout));
    ensure!(got == Some(code), "`openclaw {}` ended with {}: {out}{err}", args.join(" "), output.status);
    Ok(err)
}

/// One sentence for people: a single line of a bearable length that names all of `names`.
#[track_caller]
pub fn assert_sentence(text: &str, names: &[&str]) {
    assert!(!text.trim().is_empty() && text.chars().count() <= 400, "{} characters: {text}", text.len());
    assert!(!text.chars().any(char::is_control), "more than a line: {text:?}");
    for name in names {
        assert!(text.contains(name), "`{name}` is not named: {text}");
    }
}

/// A series without points: scout's shortest work.
pub const ANALYZE: &str = r#"/analyze {"venue":"kraken","asset":"BTC","prices":[]}"#;

/// Scout answers.
pub fn scout_answers(home: &Home) -> Result<()> {
    let text = reply(home, "scout", ANALYZE)?;
    ensure!(text.contains("No signal for BTC on kraken"), "{text}");
    Ok(())
}

/// Says that it is over when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while scout is asked again and again, which must answer each time, without a restart.
pub fn beside_scout<T>(home: &Home, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = pid(home, "scout")?;
    let (over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let done = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                scout_answers(home)?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            scout_answers(home)
        });
        // Also when the work panics: the thread would ask for ever.
        let ends = Ends(&over);
        let done = work();
        drop(ends);
        asking.join().map_err(|_| anyhow::anyhow!("the thread that asks scout panicked"))??;
        done
    })?;
    let after = home.component("scout")?;
    ensure!(after["restarts"] == 0 && after["pid"] == before, "scout noticed: {after}");
    Ok(done)
}

/// The processes of a group; one that has ended and waits for its parent is none.
pub fn group(leader: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name is in parentheses, and may hold any others.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<_> = rest.split_whitespace().collect();
        if fields.first() != Some(&"Z") && fields.get(2) == Some(&leader.to_string().as_str()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Waits until nothing is left of a host's group.
pub fn gone(leader: i32) -> Result<()> {
    wait_for(&format!("the group of {leader} to be gone"), || Ok(group(leader)?.is_empty().then_some(())))
}

/// What a Redis answers to one command, a line each.
pub fn redis(port: u16, args: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(args).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// A hash, once it is there and `field` is `text`.
pub fn hash(port: u16, key: &str, (field, text): (&str, &str)) -> Result<Vec<(String, String)>> {
    wait_for(&format!("{key} with {field} = {text}"), || {
        let lines = redis(port, &["HGETALL", key])?;
        let fields: Vec<_> = lines.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        Ok(fields.iter().any(|(name, value)| name == field && value == text).then_some(fields))
    })
}

/// A message as the socket takes it.
pub fn send(fields: Value) -> Value {
    json!({ "send": fields })
}
