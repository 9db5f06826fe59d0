//! Reloads in the midst of work: nothing is lost, nothing is done twice, and every session keeps its order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Result, anyhow};
use openclaw_tests::ledger::Ledger;
use openclaw_tests::steady::{Pace, Steady};
use openclaw_tests::variant::NAME;
use openclaw_tests::wait_for;
use store::task::TaskState;

use super::{FIRST, SECOND, alone, changes, serves, stage};

const ROUNDS: usize = 30;

#[test]
fn thirty_reloads_under_load_lose_nothing() -> Result<()> {
    let (home, daemon) = stage("reload = \"manual\"\nconcurrency = 8", &FIRST)?;
    let mut work = Steady::new(&home, 8)?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let working = scope.spawn(|| work.run(Pace::Window(64), &stop, &done));
        let reload = || -> Result<()> {
            for round in 0..ROUNDS {
                let enough = done.load(Ordering::Relaxed) + 20;
                wait_for("work to be done", || Ok((done.load(Ordering::Relaxed) >= enough).then_some(())))?;
                home.put(if round % 2 == 0 { &SECOND } else { &FIRST }, NAME)?;
                home.ok(&["agents", "reload", NAME])?;
            }
            Ok(())
        };
        let reloaded = reload();
        stop.store(true, Ordering::Relaxed);
        let worked = working.join().map_err(|_| anyhow!("the thread that sends panicked"))?;
        reloaded.and(worked.map(drop))
    })?;
    assert_eq!(changes(&home)?, ROUNDS);
    work.check()?;
    serves(&home, &FIRST)?;
    alone(&home)?;
    assert_eq!(home.component(NAME)?["restarts"], 0);
    assert!(daemon.stop()?.success());
    assert_eq!(home.hosts()?, Vec::<i32>::new());

    // The database says the same: one end each, at the first try.
    let ledger = Ledger::read(&home, &[NAME])?;
    for task in &ledger.tasks {
        assert_eq!((task.state, task.attempts), (TaskState::Done, 1), "{task:?}");
        assert_eq!(ledger.ends.get(&task.id), Some(&1), "{task:?}");
    }
    // And `echo hello`, twice.
    assert_eq!(ledger.tasks.len() as u64, work.sent() + 2);
    Ok(())
}
