//! Hosts and the daemon are killed at random moments while work flows, the daemon stands still for longer than its leases, and its
//! wall clock is set; afterwards every task is accounted for.
//!
//! `OPENCLAW_CHAOS_ROUNDS` says how many blows are struck, or `OPENCLAW_CHAOS_SECONDS` for how long; `OPENCLAW_CHAOS_SEED` makes
//! the same choices again (what they meet depends on the machine).

mod check;
mod load;
mod sweep;
mod world;

use std::env;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use chrono::TimeDelta;
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::ledger::Ledger;
use openclaw_tests::wait_for;
use serde_json::json;

use load::{Accepted, Client};

/// Takes some 40 seconds on two cores that are free.
const ROUNDS: u32 = 200;

/// The wall clock is set to at most so many seconds before the machine's, or after it: less than what ends is kept for.
const STEP: i64 = 6 * 3600;

/// Those who do the work.
pub const AGENTS: [&str; 2] = ["misbehaving", "twin"];

/// Nothing may keep an agent down for long here: neither backoff nor breaker nor budget is what is tried.
const CONFIG: &str = r#"
[daemon]
drain_timeout = "500ms"
restart_budget = 1000000
restart_refill = "1ms"
[tasks]
max_attempts = 100
retry_initial = "1ms"
retry_max = "20ms"
keep_rows = 100000000
[supervision]
ping_interval = "200ms"
ping_timeout = "1s"
[supervision.backoff]
initial = "1ms"
max = "10ms"
reset_after = "100ms"
[supervision.breaker]
intensity = 1000
period = "1s"
min_calls = 1000000
[agents.misbehaving]
sandbox = "off"
grants = ["task"]
[agents.twin]
sandbox = "off"
"#;

#[test]
fn whatever_is_killed_every_task_ends_once_and_sessions_keep_their_order() -> Result<()> {
    let length = Length::or(ROUNDS)?;
    let seed = number("OPENCLAW_CHAOS_SEED")?.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("OPENCLAW_CHAOS_SEED={seed} {length:?}");
    let mut rng = Rng::with_seed(seed);

    // Short, so that they run out.
    let home = Home::new(&CONFIG.replace("[tasks]", "[tasks]\nlease = \"1s\""), &AGENTS)?;
    let daemon = home.start_as(home.stepped()?)?;
    for agent in AGENTS {
        home.until(agent, "ready")?;
    }
    let (stop, done) = (AtomicBool::new(false), AtomicU32::new(0));
    let (struck, accepted) = thread::scope(|scope| {
        let clients: Vec<_> = Client::all(&home, "", true, &mut rng)
            .into_iter()
            .map(|c| scope.spawn(|| c.run(&stop, &done)))
            .collect();
        let struck = strike(&home, daemon, length, &done, &mut rng);
        stop.store(true, Ordering::Relaxed);
        let accepted: Result<Vec<_>> =
            clients.into_iter().map(|c| c.join().map_err(|_| anyhow!("a client panicked"))?).collect();
        Ok::<_, anyhow::Error>((struck?, accepted?))
    })?;
    let Struck { daemon, blows } = struck;
    let accepted: Vec<Accepted> = accepted.into_iter().flatten().collect();

    settle(&home)?;
    assert!(daemon.stop()?.success(), "{}", home.log());
    assert_eq!(home.hosts()?, Vec::<i32>::new());
    wait_for("everything that was started to be gone", || Ok(home.processes()?.is_empty().then_some(())))?;
    let ledger = Ledger::read(&home, &AGENTS)?;
    let (wrong, seen) = check::all(&ledger, &accepted)?;
    eprintln!("{blows:?}; {seen}");
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} wrong, the first: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
    Ok(())
}

/// A number that the environment names.
pub fn number(name: &str) -> Result<Option<u64>> {
    Ok(env::var(name).ok().map(|text| text.parse()).transpose()?)
}

/// How long blows are struck.
#[derive(Clone, Copy, Debug)]
enum Length {
    /// So many.
    Rounds(u32),
    /// For so many seconds.
    Seconds(u64),
}

impl Length {
    /// As the environment has it, or so many.
    fn or(rounds: u32) -> Result<Self> {
        Ok(match (number("OPENCLAW_CHAOS_SECONDS")?, number("OPENCLAW_CHAOS_ROUNDS")?) {
            (Some(seconds), _) => Self::Seconds(seconds),
            (None, rounds_asked) => Self::Rounds(rounds_asked.map_or(rounds, |asked| asked as u32)),
        })
    }

    /// One more item for each blow that is to be struck.
    fn blows(self) -> impl Iterator<Item = ()> {
        let began = Instant::now();
        (0..).map_while(move |struck: u32| {
            let more = match self {
                Self::Rounds(rounds) => struck < rounds,
                Self::Seconds(seconds) => began.elapsed().as_secs() < seconds,
            };
            more.then_some(())
        })
    }
}

struct Struck {
    daemon: Daemon,
    blows: Blows,
}

/// What was done to them.
#[derive(Debug, Default)]
struct Blows {
    hosts_killed: u32,
    hosts_frozen: u32,
    daemons_killed: u32,
    killed_at_boot: u32,
    daemons_stopped: u32,
    daemons_paused: u32,
    clocks_set: u32,
}

fn strike(home: &Home, daemon: Daemon, length: Length, done: &AtomicU32, rng: &mut Rng) -> Result<Struck> {
    let mut struck = Struck { daemon, blows: Blows::default() };
    for () in length.blows() {
        // Mostly into the midst of work, now and then into a start.
        if rng.u32(0..5) > 0 {
            let enough = done.load(Ordering::Relaxed) + rng.u32(1..30);
            wait_for("work to be done", || Ok((done.load(Ordering::Relaxed) >= enough).then_some(())))?;
        }
        pause(rng.u64(0..30));
        let Struck { mut daemon, mut blows } = struck;
        match rng.u32(0..100) {
            0..5 => {
                daemon.kill()?;
                blows.daemons_killed += 1;
                while rng.bool() {
                    let young = home.spawn_by(home.stepped()?)?;
                    pause(rng.u64(0..40));
                    young.kill()?;
                    blows.killed_at_boot += 1;
                }
                daemon = home.start_as(home.stepped()?)?;
            }
            5..7 => {
                let ended = daemon.stop()?;
                assert!(ended.success(), "{ended}: {}", home.log());
                blows.daemons_stopped += 1;
                daemon = home.start_as(home.stepped()?)?;
            }
            7..9 => {
                // For longer than a lease.
                daemon.signal(Signal::SIGSTOP)?;
                pause(rng.u64(1_200..3_000));
                daemon.signal(Signal::SIGCONT)?;
                blows.daemons_paused += 1;
            }
            9..14 => {
                home.step(any_step(rng))?;
                blows.clocks_set += 1;
            }
            14..16 => blows.hosts_frozen += signal_one(home, Signal::SIGSTOP, rng)?,
            _ => blows.hosts_killed += signal_one(home, Signal::SIGKILL, rng)?,
        }
        struck = Struck { daemon, blows };
    }
    Ok(struck)
}

/// Where the wall clock is set to, from the machine's.
fn any_step(rng: &mut Rng) -> TimeDelta {
    TimeDelta::seconds(rng.i64(-STEP..STEP))
}

fn signal_one(home: &Home, signal: Signal, rng: &mut Rng) -> Result<u32> {
    let mut hosts = Vec::new();
    wait_for("a host", || {
        hosts = home.hosts()?;
        Ok((!hosts.is_empty()).then_some(()))
    })?;
    let host = rng.choice(hosts).context("a host")?;
    // It may have been gone already.
    Ok(kill(Pid::from_raw(host), signal).map_or(0, |()| 1))
}

/// Waits until nothing is queued or at work any more.
fn settle(home: &Home) -> Result<()> {
    let mut socket = home.socket()?;
    wait_for("all tasks to end", || {
        for state in ["queued", "leased"] {
            let tasks = socket.call(json!({"tasks": {"state": state, "limit": 1}}))?;
            let tasks = tasks.map_err(|failure| anyhow!("{failure}"))?;
            if tasks.as_array().is_none_or(|tasks| !tasks.is_empty()) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

/// The pace of the blows and of those who knock again: nothing is expected to have happened after it.
#[allow(clippy::disallowed_methods, reason = "a load generator's pace")]
pub fn pause(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}
