//! Every stop is a drain with a deadline; a second signal ends it at once.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use nix::sys::signal::Signal;
use openclaw_tests::daemon::Home;
use openclaw_tests::ledger::Ledger;
use openclaw_tests::socket::message;
use openclaw_tests::wait_for;
use serde_json::Value;
use store::task::TaskState;

/// One handler at a time, so that what is queued behind it can be seen to wait.
const CONFIG: &str = "[agents.misbehaving]\nsandbox = \"off\"\nconcurrency = 1\n";
const AGENT: &[&str] = &["misbehaving"];

struct Case {
    home: Home,
    file: PathBuf,
}

impl Case {
    fn new(drain_timeout: &str) -> Result<Self> {
        let config = format!("[daemon]\ndrain_timeout = \"{drain_timeout}\"\n{CONFIG}");
        let home = Home::new(&config, AGENT)?;
        let file = home.path().join("effects");
        Ok(Self { home, file })
    }

    /// Leaves a message, and does not wait.
    fn leave(&self, text: &str) -> Result<()> {
        let accepted = self.home.socket()?.call(message("misbehaving", text, None, None))?;
        assert!(accepted.is_ok(), "{accepted:?}");
        Ok(())
    }

    fn effects(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn until_effects(&self, effects: &str) -> Result<()> {
        wait_for(&format!("the effects {effects:?}"), || Ok((self.effects() == effects).then_some(())))
    }

    fn until_log(&self, line: &str) -> Result<()> {
        wait_for(&format!("{line:?} in the log"), || Ok(self.home.log().contains(line).then_some(())))
    }

    /// State and attempts of a task while no daemon runs.
    fn stored(&self, text: &str) -> Result<(TaskState, u32)> {
        let ledger = Ledger::read(&self.home, AGENT)?;
        let task = ledger.task(text)?;
        Ok((task.state, task.attempts))
    }

    /// A new daemon does what was left.
    fn next_start_does(&self, text: &str) -> Result<()> {
        let daemon = self.home.start()?;
        wait_for(&format!("`{text}` to be done"), || {
            let tasks = self.home.json(&["tasks", "list", "--state", "done", "--json"])?;
            let done = |task: &&Value| task["payload"]["text"] == text;
            Ok(tasks.as_array().and_then(|tasks| tasks.iter().find(done)).map(|_| ()))
        })?;
        assert!(daemon.stop()?.success());
        assert_eq!(self.stored(text)?, (TaskState::Done, 1), "the try that was cut off does not count");
        Ok(())
    }
}

fn drains(signal: Signal) -> Result<()> {
    let case = Case::new("30s")?;
    let daemon = case.home.start_ready(AGENT)?;
    let (work, next) =
        (format!("span {} 500 a", case.file.display()), format!("append {} b", case.file.display()));
    case.leave(&work)?;
    case.leave(&next)?;
    case.until_effects("a(\n")?;
    daemon.signal(signal)?;
    assert!(daemon.wait()?.success(), "{}", case.home.log());
    assert_eq!(case.effects(), "a(\na)\n", "what runs ends, and nothing else begins");
    assert_eq!(case.home.hosts()?, Vec::<i32>::new());
    assert_eq!(case.stored(&work)?, (TaskState::Done, 1));
    assert_eq!(case.stored(&next)?, (TaskState::Queued, 0));
    case.next_start_does(&next)?;
    assert_eq!(case.effects(), "a(\na)\nb\n");
    Ok(())
}

#[test]
fn ctrl_c_drains() -> Result<()> {
    drains(Signal::SIGINT)
}

#[test]
fn sigterm_drains() -> Result<()> {
    drains(Signal::SIGTERM)
}

fn twice_stops_at_once(first: Signal, second: Signal) -> Result<()> {
    let case = Case::new("10m")?;
    let daemon = case.home.start_ready(AGENT)?;
    let work = format!("linger {} 3600000", case.file.display());
    case.leave(&work)?;
    case.until_effects("here\n")?;
    daemon.signal(first)?;
    case.until_log("once more stops at once")?;
    daemon.signal(second)?;
    let ended = daemon.wait()?;
    assert_eq!(ended.code(), Some(1), "{}", case.home.log());
    wait_for("the hosts to be gone", || Ok(case.home.processes()?.is_empty().then_some(())))?;
    case.next_start_does(&work)
}

#[test]
fn ctrl_c_twice_stops_at_once() -> Result<()> {
    twice_stops_at_once(Signal::SIGINT, Signal::SIGINT)
}

#[test]
fn a_second_signal_of_another_kind_stops_at_once_too() -> Result<()> {
    twice_stops_at_once(Signal::SIGTERM, Signal::SIGINT)
}

#[test]
fn a_handler_that_outlasts_the_drain_is_cut_off() -> Result<()> {
    let case = Case::new("200ms")?;
    let daemon = case.home.start_ready(AGENT)?;
    let work = format!("linger {} 3600000", case.file.display());
    case.leave(&work)?;
    case.until_effects("here\n")?;
    assert!(daemon.stop()?.success(), "{}", case.home.log());
    assert_eq!(case.home.hosts()?, Vec::<i32>::new());
    assert_eq!(case.stored(&work)?, (TaskState::Queued, 0), "its try does not count");
    case.next_start_does(&work)?;
    assert_eq!(case.effects(), "here\nhere\n");
    Ok(())
}

#[test]
fn a_signal_while_agents_start_drains() -> Result<()> {
    let config = "[agents.misbehaving]\nsettings = { start = \"hang\" }\n[daemon]\ndrain_timeout = \"100ms\"";
    let home = Home::new(config, AGENT)?;
    let daemon = home.start()?;
    home.until("misbehaving", "starting")?;
    assert!(daemon.stop()?.success(), "{}", home.log());
    wait_for("the host to be gone", || Ok(home.processes()?.is_empty().then_some(())))
}
