//! What it costs to be there.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use openclaw_tests::built;
use openclaw_tests::daemon::Home;

use crate::Options;
use crate::measure::{SHIPPED, TEAM, megabytes, pause, processor_time, ready, status};
use crate::row::{Bound, Row};

pub const RSS: &str = "daemon idle, RSS";
pub const ANON: &str = "daemon idle, anonymous";
pub const HOST: &str = "host idle, private (dirty)";
pub const BINARY: &str = "binary, stripped";
pub const CROWD: &str = "200 idle agents, all processes";

/// Agents in the crowd.
const MANY: usize = 200;

/// With the shipped three agents, two seconds after they are ready. Private is `Private_Dirty`: what the host costs
/// beyond what the page cache holds anyway, once the library that was just copied here is on the disk.
pub fn memory(options: &Options) -> Result<Vec<Row>> {
    let (mut rss, mut anonymous, mut private) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.samples(5) {
        let home = Home::new(SHIPPED, &TEAM)?;
        for name in TEAM {
            fs::File::open(home.path().join(format!("agents/lib{name}.so")))?.sync_all()?;
        }
        let daemon = home.start_ready(&TEAM)?;
        pause(Duration::from_secs(2));
        rss.push(megabytes(daemon.pid(), "status", &["VmRSS"])?);
        anonymous.push(megabytes(daemon.pid(), "status", &["RssAnon"])?);
        for host in home.hosts()? {
            private.push(megabytes(host, "smaps_rollup", &["Private_Dirty"])?);
        }
        daemon.stop()?;
    }
    Ok(vec![
        Row::new(RSS, "MB", &[Bound::Most(20.0)], rss),
        Row::new(ANON, "MB", &[Bound::Most(6.0)], anonymous),
        Row::new(HOST, "MB", &[Bound::Most(1.0)], private),
    ])
}

pub fn binary(_: &Options) -> Result<Vec<Row>> {
    let size = fs::metadata(built()?.join("openclaw"))?.len();
    Ok(vec![Row::new(BINARY, "MB", &[Bound::Most(20.0)], vec![size as f64 / 1e6])])
}

/// The processor time of the daemon and of all hosts, by their own clocks: what `/proc/PID/stat` shows is cut to
/// 10 ms for each process, which would hide nearly all of it.
pub fn crowd(options: &Options) -> Result<Vec<Row>> {
    let mut config = String::new();
    for number in 0..MANY {
        // Writing to a String cannot fail.
        let _ = writeln!(config, "[agents.crowd-{number:03}]\nlibrary = \"libmisbehaving.so\"");
    }
    let home = Home::new(&config, &["misbehaving"])?;
    let daemon = home.start()?;
    let processes = all(&home, daemon.pid())?;
    pause(Duration::from_secs(3));
    let used = || processes.iter().map(|pid| processor_time(*pid)).sum::<Result<Duration>>();
    let window = Duration::from_secs(if options.quick { 5 } else { 10 });
    let mut samples = Vec::new();
    for _ in 0..options.samples(2) {
        let (began, before) = (Instant::now(), used().context("a process has ended")?);
        pause(window);
        let share = (used().context("a process has ended")? - before).as_secs_f64();
        samples.push(100.0 * share / began.elapsed().as_secs_f64());
    }
    daemon.stop()?;
    Ok(vec![Row::new(CROWD, "% of one core", &[Bound::Most(5.0)], samples)])
}

/// The daemon and the hosts, once all are ready.
fn all(home: &Home, daemon: i32) -> Result<Vec<i32>> {
    let mut socket = home.socket()?;
    for _ in 0..600 {
        let now = status(&mut socket)?;
        let hosts = ready(&now);
        if hosts.len() == MANY {
            return Ok(hosts.into_iter().map(|(_, pid)| pid).chain([daemon]).collect());
        }
        pause(Duration::from_millis(100));
    }
    bail!("{MANY} agents are not ready within a minute: {}", home.log())
}
