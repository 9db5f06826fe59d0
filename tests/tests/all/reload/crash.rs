//! The daemon is killed in the midst of reloads: the next one finds an agent that is whole.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use openclaw_tests::ledger::Ledger;
use openclaw_tests::variant::{NAME, Variant};
use openclaw_tests::wait_for;
use store::task::TaskState;

use super::{FIRST, alone, serves, stage};
use crate::chaos::pause;
use crate::support::{ended, leave};

const ROUNDS: u32 = 12;
/// In each round.
const TASKS: u32 = 5;

#[test]
fn a_daemon_that_is_killed_while_it_reloads() -> Result<()> {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (home, mut daemon) = stage("", &FIRST)?;
    let lines = home.path().join("lines");
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let version = Variant::good(2 + round);
        for _ in 0..TASKS {
            ids.push(leave(&home, NAME, &format!("append {} {}", lines.display(), ids.len()))?);
        }
        home.put(&version, NAME)?;
        let mut asking = home.command(&["agents", "reload", NAME])?;
        let mut asking = asking.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        pause(rng.u64(0..60));
        daemon.kill()?;
        asking.wait()?;
        daemon = home.start()?;
        // Whatever it was in the midst of, the file is what is wanted.
        let hash = version.hash()?;
        let seen = wait_for("the version of the file", || {
            let now = home.component(NAME)?;
            Ok((now["state"] == "ready" && now["sha256"] == hash && now["library"]["reload"].is_null())
                .then_some(now))
        });
        let seen = seen.with_context(|| format!("seed {seed}, round {round}: {}", home.log()))?;
        serves(&home, &version)?;
        ensure!(seen["library"]["note"].is_null(), "seed {seed}: {seen}");
        alone(&home)?;
    }
    for id in &ids {
        ensure!(ended(&home, id)?["state"] == "done", "seed {seed}: {id}");
    }
    assert!(daemon.stop()?.success());
    wait_for("everything that was started to be gone", || Ok(home.processes()?.is_empty().then_some(())))?;

    let ledger = Ledger::read(&home, &[NAME])?;
    assert!(ledger.tasks.iter().all(|task| task.state == TaskState::Done));
    assert!(ledger.tasks.iter().all(|task| ledger.ends.get(&task.id) == Some(&1)));
    // An effect may be there again when the daemon died before it knew of it, and none is missing.
    let mut effects: BTreeMap<usize, usize> = BTreeMap::new();
    for line in fs::read_to_string(&lines)?.lines() {
        *effects.entry(line.parse()?).or_default() += 1;
    }
    assert_eq!(effects.keys().copied().collect::<Vec<_>>(), (0..ids.len()).collect::<Vec<_>>());
    // Nothing half-copied stays in the store.
    let files = fs::read_dir(home.path().join("libraries"))?;
    for file in files {
        let name = file?.file_name().to_string_lossy().into_owned();
        let whole = name.strip_suffix(".so").map(|hash| {
            let bytes = fs::read(home.path().join("libraries").join(&name))?;
            Ok::<_, std::io::Error>(openclaw_tests::variant::hash(&bytes) == hash)
        });
        ensure!(whole.transpose()? != Some(false), "{name} is not what its name says");
    }
    Ok(())
}
