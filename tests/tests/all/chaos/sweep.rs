//! The crash sweep: the daemon dies at each boundary of a task's way, and is started again. Whatever it was at, each
//! accepted task ends once, with one outcome and its follow-up once.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;
use nix::sys::signal::Signal;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::ledger::Ledger;
use openclaw_tests::server::Postgres;
use store::failpoint::Boundary;
use store::task::TaskState;

use super::load::{Accepted, Client, Work};
use super::{AGENTS, CONFIG, check, settle};

/// How a daemon comes to a boundary.
#[derive(Clone, Copy)]
enum Way {
    /// By work alone.
    Work,
    /// By work that takes so long that its lease is renewed.
    LongWork,
    /// At its start, since an earlier life died with tasks in work.
    SecondLife,
    /// Whoever drives one of its hosts stalls with tasks leased, which nobody renews.
    Stalled,
    /// As another installation, which does not own what the first had leased: it waits for the lease's end. Not on SQLite, where
    /// the daemon is alone, and frees all leases at its start.
    Stranger,
}

fn ways(boundary: Boundary, shared: bool) -> &'static [Way] {
    match boundary {
        Boundary::RenewTaken | Boundary::RenewCommitted => &[Way::LongWork],
        Boundary::RecoverWritten | Boundary::RecoverCommitted => &[Way::SecondLife],
        Boundary::SweepWritten | Boundary::SweepCommitted if shared => &[Way::Stalled, Way::Stranger],
        Boundary::SweepWritten | Boundary::SweepCommitted => &[Way::Stalled],
        _ => &[Way::Work],
    }
}

impl Way {
    /// The length of a lease: the shortest there is where its third or its end is waited for.
    const fn lease(self) -> &'static str {
        match self {
            Self::Work | Self::SecondLife => "30s",
            Self::LongWork | Self::Stalled | Self::Stranger => "1s",
        }
    }

    /// What is armed in the life that comes to a fail point, which is the first or the second.
    fn armed(self, failpoint: &str) -> String {
        match self {
            // In the midst of work: before it, a turn may be the one that is to ask for tasks.
            Self::Stalled => format!("wedge@instance.turn:150,{failpoint}"),
            Self::Work | Self::LongWork | Self::SecondLife | Self::Stranger => failpoint.to_owned(),
        }
    }
}

/// At which time it dies there: at the first, and once in the midst of work. On a busy machine much is one batch.
fn times(boundary: Boundary, way: Way) -> &'static [u32] {
    match (boundary, way) {
        (Boundary::FollowUpWritten | Boundary::FollowUpCommitted, _) => &[1, 2],
        (_, Way::Work) => &[1, 7],
        _ => &[1],
    }
}

#[test]
fn sqlite_every_boundary() -> Result<()> {
    every_boundary(false, |_| Ok(None))
}

#[test]
fn postgres_every_boundary() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    every_boundary(true, |name| server.database(name).map(Some))
}

fn every_boundary(shared: bool, mut database: impl FnMut(&str) -> Result<Option<String>>) -> Result<()> {
    let mut tries = 0;
    for (boundary, name) in Boundary::ALL {
        for way in ways(boundary, shared) {
            for time in times(boundary, *way) {
                tries += 1;
                let url = database(&format!("try{tries}"))?;
                let asked = format!("{name}:{time}");
                one(&asked, *way, url.as_deref()).with_context(|| asked.clone())?;
            }
        }
    }
    Ok(())
}

fn one(failpoint: &str, way: Way, url: Option<&str>) -> Result<()> {
    let lease = format!("[tasks]\nlease = \"{}\"", way.lease());
    let mut config = CONFIG.replace("[tasks]", &lease);
    if let Some(url) = url {
        config.push_str(&format!("[database]\nurl = \"{url}\"\n"));
    }
    let home = Home::new(&config, &AGENTS)?;
    let prelude = match way {
        Way::Work | Way::LongWork | Way::Stalled => None,
        Way::SecondLife | Way::Stranger => Some(home.spawn_armed("delivered:2")?),
    };
    let first = prelude.map_or_else(|| home.spawn_armed(&way.armed(failpoint)), Ok)?;
    let (accepted, last) = thread::scope(|scope| {
        let clients = Client::all(&home, "", false, &mut Rng::with_seed(0));
        let long = matches!(way, Way::LongWork);
        let clients: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || client.run_through(long))).collect();
        let last = die_and_live(&home, failpoint, way, first);
        let joined = clients.into_iter().map(|c| c.join().map_err(|_| anyhow!("a client panicked"))?);
        let accepted: Result<Vec<Vec<Accepted>>> = joined.collect();
        Ok::<_, anyhow::Error>((accepted?, last?))
    })?;
    let accepted: Vec<_> = accepted.into_iter().flatten().collect();
    settle(&home)?;
    ensure!(last.stop()?.success(), "{}", home.log());
    let ledger = Ledger::of(&home, url, &AGENTS)?;
    let (mut wrong, _) = check::all(&ledger, &accepted)?;
    wrong.extend(recorded_once(&ledger, &accepted, way));
    ensure!(wrong.is_empty(), "{} wrong, the first: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    Ok(())
}

/// The daemon reaches the boundary and dies there; answers the one that lives after it.
fn die_and_live(home: &Home, failpoint: &str, way: Way, first: Daemon) -> Result<Daemon> {
    died(home, first)?;
    if let Way::Stranger = way {
        fs::remove_file(home.path().join("installation"))?;
    }
    if let Way::SecondLife | Way::Stranger = way {
        died(home, home.spawn_armed(failpoint)?)?;
    }
    home.start()
}

fn died(home: &Home, daemon: Daemon) -> Result<()> {
    let status = daemon.wait().with_context(|| home.log())?;
    let reached = home.log().contains("is reached: the process dies");
    ensure!(reached && status.signal() == Some(Signal::SIGABRT as i32), "{status}: {}", home.log());
    Ok(())
}

/// A try that a crash cut off does not count, and so leaves nothing behind: each task has one outcome. Not so where it is
/// to fail first; nor where leases are short, so that a busy machine loses some: then there is one for each try, which
/// [`check::all`] asks of all.
fn recorded_once(ledger: &Ledger, accepted: &[Accepted], way: Way) -> Vec<String> {
    if way.lease() == "1s" {
        return Vec::new();
    }
    let insists = |id| accepted.iter().any(|one| one.id == id && one.work == Work::Insist);
    let once = |task: &&store::task::Task| {
        let all = ledger.outcomes.get(&task.id).map_or(0, |outcomes| outcomes.all);
        all != 1 && !(insists(task.id) && all == 2 && task.state == TaskState::Done)
    };
    let wrong = ledger.tasks.iter().filter(once);
    wrong
        .map(|task| format!("{} {}: {:?}", task.queue, task.payload["text"], ledger.outcomes.get(&task.id)))
        .collect()
}
