//! What agents do by themselves is neither missed nor doubled when the daemon is started anew.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use openclaw_tests::daemon::Home;
use openclaw_tests::ledger::Ledger;
use openclaw_tests::wait_for;
use serde_json::Value;
use store::task::{Task, TaskState};

/// The period of the agent `ticking`.
const PERIOD: u64 = 2;

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The ticks by their slot; one slot twice is an error.
fn slots<'t>(tasks: impl IntoIterator<Item = &'t Task>, name: &str) -> Result<BTreeMap<u64, &'t Task>> {
    let mut slots = BTreeMap::new();
    for task in tasks.into_iter().filter(|task| task.kind == "tick") {
        let key = task.dedupe_key.as_deref().context("a tick's key")?;
        let slot = key.strip_prefix(&format!("schedule:{name}:")).with_context(|| key.to_owned())?;
        if slots.insert(slot.parse()?, task).is_some() {
            bail!("the slot {slot} was done twice");
        }
    }
    Ok(slots)
}

fn ticks_done(home: &Home, agent: &str) -> Result<usize> {
    let tasks = home.json(&["tasks", "list", "--agent", agent, "--state", "done", "-n", "1000", "--json"])?;
    Ok(tasks
        .as_array()
        .map_or(0, |tasks| tasks.iter().filter(|task: &&Value| task["kind"] == "tick").count()))
}

#[test]
fn each_slot_is_one_task_over_restarts() -> Result<()> {
    let home = Home::new("[agents.ticking]", &["ticking"])?;
    let (mut down, mut kills) = (Vec::new(), 0);
    let mut daemon = home.start_ready(&["ticking"])?;
    for round in 0..6 {
        let before = ticks_done(&home, "ticking")?;
        // The first of a new daemon may be of a slot that its predecessor has done.
        wait_for("a tick", || Ok((ticks_done(&home, "ticking")? > before).then_some(())))?;
        let since = now()?;
        if round % 2 == 0 {
            assert!(daemon.stop()?.success());
        } else {
            daemon.kill()?;
            kills += 1;
        }
        daemon = home.start_ready(&["ticking"])?;
        down.push(since..=now()?);
    }
    assert!(daemon.stop()?.success());

    let ledger = Ledger::read(&home, &["ticking"])?;
    let slots = slots(&ledger.tasks, "tick")?;
    let (first, last) = (slots.keys().next().context("ticks")?, slots.keys().next_back().context("ticks")?);
    for slot in (*first..=*last).step_by(PERIOD as usize) {
        let excused = down.iter().any(|down| *down.start() <= slot && slot + PERIOD <= *down.end());
        assert!(slots.contains_key(&slot) || excused, "the slot {slot} was missed: {:?}", slots.keys());
    }
    // One that a stop caught may be waiting for the next start.
    let done = slots.values().filter(|task| task.state == TaskState::Done).count();
    assert!(
        slots.values().all(|task| task.state != TaskState::Failed) && done + 1 >= slots.len(),
        "{slots:?}"
    );
    let effects = fs::read_to_string(home.path().join("workspace/ticking/ticks"))?.lines().count();
    assert!((done..=slots.len() + kills).contains(&effects), "{effects} effects of {done} ticks");
    Ok(())
}

#[test]
fn atlas_checks_once_a_period_however_often_the_daemon_starts() -> Result<()> {
    let home = Home::new("[agents.atlas]\ngrants = [\"supervisor\", \"system\", \"memory\"]", &["atlas"])?;
    let since = now()?;
    for round in 0..4 {
        let daemon = home.start_ready(&["atlas"])?;
        wait_for("the first check", || Ok((ticks_done(&home, "atlas")? > 0).then_some(())))?;
        // By the time this is answered, this daemon has submitted its slot as well.
        home.ok(&["send", "atlas", "/resources"])?;
        if round % 2 == 0 { daemon.kill()? } else { assert!(daemon.stop()?.success()) }
    }
    let periods = now()? / 20 - since / 20 + 1;
    let ledger = Ledger::read(&home, &["atlas"])?;
    let slots = slots(&ledger.tasks, "check")?;
    assert!((1..=periods).contains(&(slots.len() as u64)), "{slots:?} in {periods} periods");
    assert!(slots.values().all(|task| task.state != TaskState::Failed), "{slots:?}");
    Ok(())
}
