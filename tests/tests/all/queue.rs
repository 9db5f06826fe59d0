//! What people do with the queue: repeat safely, retry dead letters, cancel.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::socket::message;
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::UNBOUND;

struct Case {
    home: Home,
    daemon: Option<Daemon>,
}

impl Case {
    fn new(config: &str) -> Result<Self> {
        let agent = "[agents.misbehaving]";
        let home = Home::new(&config.replace(agent, &format!("{agent}\n{UNBOUND}")), &["misbehaving"])?;
        let daemon = home.start_ready(&["misbehaving"])?;
        Ok(Self { home, daemon: Some(daemon) })
    }

    fn restart(&mut self) -> Result<()> {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill()?;
        }
        self.daemon = Some(self.home.start_ready(&["misbehaving"])?);
        Ok(())
    }

    fn path(&self, file: &str) -> String {
        self.home.path().join(file).display().to_string()
    }

    fn effects(&self, file: &str) -> usize {
        fs::read_to_string(self.path(file)).unwrap_or_default().lines().count()
    }

    fn send(&self, text: &str, more: &[&str]) -> Result<Value> {
        self.home.json(&[&["send", "misbehaving", text, "--json"], more].concat())
    }

    fn id(sent: &Value) -> Result<String> {
        Ok(sent["task_id"].as_str().context("a task's id")?.to_owned())
    }

    fn until(&self, id: &str, state: &str) -> Result<Value> {
        wait_for(&format!("task {id} to be {state}"), || {
            let task = self.home.json(&["tasks", "show", id, "--json"])?;
            Ok((task["state"] == state).then_some(task))
        })
    }

    /// The command fails with this exit code and these words.
    fn refused(&self, args: &[&str], code: i32, words: &str) -> Result<()> {
        let output = self.home.cli(args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(words), "{}: {said}", output.status);
        Ok(())
    }
}

#[test]
fn a_key_makes_a_message_once() -> Result<()> {
    let mut case = Case::new("[agents.misbehaving]")?;
    let text = format!("append {} x", case.path("effects"));
    let first = case.send(&text, &["--key", "k"])?;
    let again = case.send(&text, &["--key", "k"])?;
    let other = case.send("echo something else", &["--key", "k"])?;
    let new = case.send(&text, &["--key", "l"])?;
    assert_eq!(first["state"], "done");
    assert_eq!((&first["task_id"], &first["result"]), (&again["task_id"], &again["result"]));
    assert_eq!(first["task_id"], other["task_id"], "the key decides, not the text");
    assert_ne!(first["task_id"], new["task_id"]);
    assert_eq!(case.effects("effects"), 2);

    // One that is still at work is waited for, not begun again.
    let slow = format!("meet {} 2", case.path("meeting"));
    let first = case.send(&slow, &["--key", "m", "--no-wait"])?;
    let mut again = case.home.command(&["send", "misbehaving", &slow, "--key", "m", "--json"])?;
    let again = again.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    wait_for("the first to be at work", || Ok((case.effects("meeting") == 1).then_some(())))?;
    writeln!(OpenOptions::new().append(true).open(case.path("meeting"))?, "the test")?;
    let again: Value = serde_json::from_slice(&again.wait_with_output()?.stdout)?;
    assert_eq!((&again["task_id"], &again["state"]), (&first["task_id"], &"done".into()));
    assert_eq!(case.effects("meeting"), 2);

    // The key outlives the daemon.
    case.restart()?;
    let late = case.send(&text, &["--key", "k"])?;
    assert_eq!((&late["task_id"], &late["state"]), (&other["task_id"], &"done".into()));
    assert_eq!(case.effects("effects"), 2);
    Ok(())
}

#[test]
fn a_dead_letter_is_tried_again_when_somebody_says_so() -> Result<()> {
    let case = Case::new("[tasks]\nmax_attempts = 1\n[agents.misbehaving]")?;
    let text = format!("fail-until {} 2", case.path("tries"));
    case.refused(&["send", "misbehaving", &text], 1, "1 of 2 tries")?;
    let dead = case.home.json(&["tasks", "list", "--state", "failed", "--json"])?;
    assert_eq!((dead.as_array().map(Vec::len), &dead[0]["error"]), (Some(1), &"1 of 2 tries".into()));
    let id = dead[0]["id"].as_str().context("an id")?;
    case.home.ok(&["tasks", "retry", id])?;
    let done = case.until(id, "done")?;
    assert_eq!((case.effects("tries"), &done["error"]), (2, &Value::Null));
    case.refused(&["tasks", "retry", id], 64, "it has ended well")?;
    case.refused(&["tasks", "cancel", id], 64, "it has ended already")
}

#[test]
fn a_waiting_task_can_be_cancelled_and_a_running_one_cannot() -> Result<()> {
    let case = Case::new("[agents.misbehaving]\nconcurrency = 1")?;
    let meeting = case.path("meeting");
    let running = Case::id(&case.send(&format!("meet {meeting} 2"), &["--no-wait"])?)?;
    wait_for("the first to be at work", || Ok((case.effects("meeting") == 1).then_some(())))?;
    let text = format!("append {} x", case.path("effects"));
    let waiting = Case::id(&case.send(&text, &["--no-wait"])?)?;
    let other = Case::id(&case.send(&text, &["--no-wait"])?)?;

    case.refused(&["tasks", "cancel", &running], 64, "at work on it")?;
    case.home.ok(&["tasks", "cancel", &waiting])?;
    case.until(&waiting, "cancelled")?;
    case.refused(&["tasks", "cancel", &waiting], 64, "it has ended already")?;
    fs::write(&meeting, "here\nhere\n")?;
    case.until(&running, "done")?;
    case.until(&other, "done")?;
    assert_eq!(case.effects("effects"), 1, "what is cancelled is not done");
    case.home.ok(&["tasks", "retry", &waiting])?;
    case.until(&waiting, "done")?;
    assert_eq!(case.effects("effects"), 2);
    Ok(())
}

/// Each poisonous message costs its tries and no more, and every host that it ends is one restart.
fn is_poison(text: &str, messages: u64) -> Result<()> {
    let config = r#"
        [daemon]
        restart_budget = 1000
        [tasks]
        max_attempts = 3
        retry_initial = "1ms"
        [agents.misbehaving]
        concurrency = 1
        backoff = { initial = "1ms", max = "1ms" }
        breaker = { intensity = 1000, min_calls = 1000 }
    "#;
    let case = Case::new(config)?;
    let mut socket = case.home.socket()?;
    let sends = (0..messages).map(|_| message("misbehaving", text, None, Some(60_000)));
    for _ in socket.asks(sends)? {
        let (_, sent) = socket.answer()?;
        let sent = sent.map_err(|failure| anyhow!("{failure}"))?;
        assert_eq!((&sent["state"], &sent["attempts"]), (&"failed".into(), &3.into()), "{sent}");
    }
    // The last result comes before its host's end.
    let end = wait_for("the last restart", || {
        let now = case.home.component("misbehaving")?;
        Ok((now["state"] == "ready" && now["restarts"].as_u64() >= Some(3 * messages)).then_some(now))
    })?;
    assert_eq!(
        (&end["restarts"], &end["last_exit"]["class"]),
        (&(3 * messages).into(), &"panic".into()),
        "{end}"
    );
    Ok(())
}

#[test]
fn a_panic_is_counted_against_its_message() -> Result<()> {
    is_poison("panic at the disco", 10)
}

#[test]
fn a_panic_of_a_library_that_aborts_is_counted_against_its_message() -> Result<()> {
    is_poison("abort thread 'agent' panicked at the disco", 10)
}
