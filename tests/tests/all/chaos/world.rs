//! Two homes on one PostgreSQL and one Redis, all of which are killed, stopped in their tracks and started again at
//! random, for longer than leases and leads last as well, while work flows through both; and their wall clocks are set.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::ledger::Ledger;
use openclaw_tests::server::{Postgres, Redis};
use openclaw_tests::wait_for;

use super::load::{Accepted, Client};
use super::{AGENTS, CONFIG, Length, any_step, check, number, pause, settle};

/// Takes some 70 seconds on two cores that are free.
const ROUNDS: u32 = 60;

/// Short, so that tasks are lost and leads move while it runs. Whoever lost its lead has no hosts any more before another may
/// begin, so that no task is done beside itself, though many are done again.
const LEASE: &str = "2s";
const LEAD: &str = "3s";
/// What lasts shorter than a lease.
const SHORT_MS: Range<u64> = 0..1_500;
/// What outlasts leases and leads.
const LONG_MS: Range<u64> = 3_100..6_000;

/// What was done.
#[derive(Debug, Default)]
struct Blows {
    postgres_killed: u32,
    postgres_paused: u32,
    redis_killed: u32,
    redis_paused: u32,
    redis_flushed: u32,
    daemons_killed: u32,
    daemons_paused: u32,
    hosts_killed: u32,
    clocks_set: u32,
    /// Of these, what outlasted a lead.
    long: u32,
}

struct World<'w> {
    homes: &'w [Home; 2],
    daemons: [Daemon; 2],
    postgres: &'w Postgres,
    redis: Redis,
    rng: Rng,
    blows: Blows,
}

#[test]
fn with_servers_that_come_and_go_every_task_ends_once() -> Result<()> {
    let length = Length::or(ROUNDS)?;
    let seed = number("OPENCLAW_CHAOS_SEED")?.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("OPENCLAW_CHAOS_SEED={seed} {length:?}");
    let mut rng = Rng::with_seed(seed);
    let (Some(postgres), Some(mut redis)) = (Postgres::start()?, Redis::new()?) else { return Ok(()) };
    redis.start()?;
    let url = postgres.database("chaos")?;
    let config = CONFIG.replace("[daemon]", &format!("[daemon]\nlead = \"{LEAD}\""));
    let config = config.replace("[tasks]", &format!("[tasks]\nlease = \"{LEASE}\""));
    let config = format!("{config}[database]\nurl = \"{url}\"\n[bus]\nurl = \"{}\"\n", redis.url());
    let homes = [Home::new(&config, &AGENTS)?, Home::new(&config, &AGENTS)?];
    // The first makes the tables, and has the agents if only one may have them.
    let first = homes[0].start_ready(&AGENTS)?;
    let second = homes[1].start_as(homes[1].stepped()?)?;
    // The lead moves once in any case, and is known to.
    homes[1].until(AGENTS[0], "standby")?;
    first.kill()?;
    homes[1].until(AGENTS[0], "ready")?;
    let daemons = [homes[0].start_as(homes[0].stepped()?)?, second];

    let (stop, done) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut world = World {
        homes: &homes,
        daemons,
        postgres: &postgres,
        redis,
        rng: rng.fork(),
        blows: Blows::default(),
    };
    let (struck, accepted) = thread::scope(|scope| {
        let clients = homes.iter().zip(["a-", "b-"]);
        let clients: Vec<_> = clients.flat_map(|(home, at)| Client::all(home, at, true, &mut rng)).collect();
        let clients: Vec<_> = clients.into_iter().map(|c| scope.spawn(|| c.run(&stop, &done))).collect();
        let struck = world.strike(length, &done);
        stop.store(true, Ordering::Relaxed);
        let joined = clients.into_iter().map(|c| c.join().map_err(|_| anyhow!("a client panicked"))?);
        (struck, joined.collect::<Result<Vec<_>>>())
    });
    let logs = || format!("seed {seed}\n{}\n{}", tail(&homes[0]), tail(&homes[1]));
    struck.with_context(logs)?;
    let accepted: Vec<Accepted> = accepted.with_context(logs)?.into_iter().flatten().collect();
    settle(&homes[0]).with_context(logs)?;
    let World { daemons, blows, .. } = world;
    for (daemon, home) in daemons.into_iter().zip(&homes) {
        let ended = daemon.stop()?;
        assert!(ended.success(), "{ended}: {}", tail(home));
        wait_for("everything that was started to be gone", || {
            Ok(home.processes()?.is_empty().then_some(()))
        })?;
    }
    let ledger = Ledger::of(&homes[0], Some(&url), &AGENTS)?;
    let (wrong, seen) = check::all(&ledger, &accepted)?;
    eprintln!("{blows:?}; {seen}");
    let first = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} wrong, the first: {first:#?}\n{}", wrong.len(), logs());
    Ok(())
}

/// The end of what a daemon said.
fn tail(home: &Home) -> String {
    let log = home.log();
    let lines: Vec<_> = log.lines().filter(|line| !line.contains(" agent: ")).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

impl World<'_> {
    fn strike(&mut self, length: Length, done: &AtomicU32) -> Result<()> {
        for () in length.blows() {
            if self.rng.u32(0..5) > 0 {
                let enough = done.load(Ordering::Relaxed) + self.rng.u32(1..30);
                wait_for("work to be done", || Ok((done.load(Ordering::Relaxed) >= enough).then_some(())))?;
            }
            pause(self.rng.u64(0..30));
            self.blow()?;
        }
        Ok(())
    }

    /// For how long something is away now.
    fn outage(&mut self) -> u64 {
        let long = self.rng.u32(0..4) == 0;
        self.blows.long += u32::from(long);
        self.rng.u64(if long { LONG_MS } else { SHORT_MS })
    }

    fn blow(&mut self) -> Result<()> {
        match self.rng.u32(0..100) {
            0..8 => {
                self.postgres.kill()?;
                // Now and then Redis is away as well.
                let both = self.rng.bool();
                if both {
                    self.redis.kill()?;
                }
                pause(self.outage());
                self.postgres.start_again()?;
                if both {
                    self.redis.start()?;
                }
                self.blows.postgres_killed += 1;
            }
            8..18 => {
                self.postgres.signal(Signal::SIGSTOP)?;
                pause(self.outage());
                self.postgres.signal(Signal::SIGCONT)?;
                self.blows.postgres_paused += 1;
            }
            18..24 => {
                self.redis.kill()?;
                pause(self.outage());
                self.redis.start()?;
                self.blows.redis_killed += 1;
            }
            24..30 => {
                self.redis.signal(Signal::SIGSTOP)?;
                pause(self.outage());
                self.redis.signal(Signal::SIGCONT)?;
                self.blows.redis_paused += 1;
            }
            30..34 => {
                self.redis.ask(&["FLUSHALL"])?;
                self.blows.redis_flushed += 1;
            }
            34..50 => {
                let which = self.rng.usize(0..2);
                let dead = &mut self.daemons[which];
                dead.signal(Signal::SIGKILL)?;
                wait_for("its end", || dead.ended())?;
                // Now and then for so long that the other one takes its agents over.
                if self.rng.bool() {
                    pause(self.outage());
                }
                self.daemons[which] = self.homes[which].start_as(self.homes[which].stepped()?)?;
                self.blows.daemons_killed += 1;
            }
            50..60 => {
                let which = self.rng.usize(0..2);
                self.daemons[which].signal(Signal::SIGSTOP)?;
                pause(self.outage());
                self.daemons[which].signal(Signal::SIGCONT)?;
                self.blows.daemons_paused += 1;
            }
            60..70 => {
                let which = self.rng.usize(0..2);
                self.homes[which].step(any_step(&mut self.rng))?;
                self.blows.clocks_set += 1;
            }
            _ => self.blows.hosts_killed += self.kill_a_host()?,
        }
        Ok(())
    }

    fn kill_a_host(&mut self) -> Result<u32> {
        let mut hosts = Vec::new();
        wait_for("a host", || {
            hosts = self.homes[0].hosts()?;
            hosts.extend(self.homes[1].hosts()?);
            Ok((!hosts.is_empty()).then_some(()))
        })?;
        let host = self.rng.choice(hosts).context("a host")?;
        // It may have been gone already.
        Ok(kill(Pid::from_raw(host), Signal::SIGKILL).map_or(0, |()| 1))
    }
}
