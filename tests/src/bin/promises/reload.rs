//! What a reload costs those who wait for answers.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use openclaw_tests::daemon::Home;
use openclaw_tests::socket::{Socket, message};
use openclaw_tests::steady::{Pace, Steady};
use openclaw_tests::variant::{NAME, UNBOXED, Variant};
use serde_json::json;

use crate::Options;
use crate::measure::pause;
use crate::row::{Bound, Row};

pub const PAUSE: &str = "reload at half the sustained load, longest gap between two ends";
pub const COPY: &str = "cp of a library → new version answers, settling included";

const VERSIONS: [Variant; 2] = [Variant::good(1), Variant::good(2)];

/// Work for the agent on so many sessions.
const SESSIONS: usize = 64;
/// Under way at once while the sustained maximum is measured.
const WINDOW: usize = 512;
/// After each verdict: the old one ends what it has in work and goes, which is a part of the reload.
const REST: Duration = Duration::from_millis(30);

/// The agent's configuration; nothing it lacks is what is measured.
fn config() -> String {
    let budget = "[daemon]\nrestart_budget = 1000000\n";
    format!("{budget}[agents.{NAME}]\n{UNBOXED}concurrency = {SESSIONS}\n")
}

/// Reloads, two versions in turn, under a load of messages with an effect each. A sample is the longest time between
/// two ends of messages from a reload's order until it is over, verdict and drain. Fails where an effect is lost, there
/// twice, or out of its session's order.
pub fn pauses(options: &Options) -> Result<Vec<Row>> {
    let home = Home::new(&config(), &[])?;
    home.put(&VERSIONS[0], NAME)?;
    let daemon = home.start_ready(&[NAME])?;
    let mut work = Steady::new(&home, SESSIONS)?;
    let length = options.sustained();
    let rest = |_: &AtomicU64| {
        pause(length);
        Ok(())
    };
    let (ends, ()) = beside(&mut work, Pace::Window(WINDOW), rest)?;
    let sustained = ends.len() as f64 / length.as_secs_f64();
    let half = sustained / 2.0;
    eprintln!("  sustained {sustained:.0} messages/s, reloads at {half:.0}");

    let mut socket = home.socket()?;
    let rounds = options.samples(200);
    let (ends, windows) = beside(&mut work, Pace::PerSecond(half), |done| {
        until_flowing(done)?;
        let reloads = (0..rounds).map(|round| reload(&home, &mut socket, &VERSIONS[(round + 1) % 2]));
        reloads.collect::<Result<Vec<_>>>()
    })?;
    work.check()?;
    daemon.stop()?;
    let gaps = windows.iter().map(|window| gap(&ends, *window)).collect::<Result<Vec<_>>>()?;
    eprintln!("  {} messages, none lost, none done twice, each session in order", work.sent());
    Ok(vec![Row::new(PAUSE, "ms", &[Bound::P99(20.0)], gaps)])
}

/// Works while `body` runs; answers when each message ended, and what the body did.
fn beside<T>(
    work: &mut Steady,
    pace: Pace,
    body: impl FnOnce(&AtomicU64) -> Result<T>,
) -> Result<(Vec<Instant>, T)> {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let working = scope.spawn(|| work.run(pace, &stop, &done));
        let did = body(&done);
        stop.store(true, Ordering::Relaxed);
        let ends = working.join().map_err(|_| anyhow!("the thread that sends panicked"))?;
        // What was wrong with the work says more than what came of it.
        Ok((ends?, did?))
    })
}

/// Nothing before the load is steady is a reload's doing.
fn until_flowing(done: &AtomicU64) -> Result<()> {
    for _ in 0..600 {
        pause(Duration::from_millis(50));
        if done.load(Ordering::Relaxed) > 1000 {
            return Ok(());
        }
    }
    bail!("less than 1000 messages have ended within 30 s")
}

/// From the order of a reload until it is over.
fn reload(home: &Home, socket: &mut Socket, to: &Variant) -> Result<(Instant, Instant)> {
    home.put(to, NAME)?;
    // What the file costs the disk is not the reload's.
    pause(Duration::from_millis(20));
    let began = Instant::now();
    let answer = socket.call(json!({"reload": {"name": NAME}}))?;
    let answer = answer.map_err(|error| anyhow!("a reload failed: {error}"))?;
    ensure!(answer["state"] == "ready", "a reload was answered {answer}");
    pause(REST);
    Ok((began, Instant::now()))
}

/// The longest time, in milliseconds, between two ends next to one another that touches the window.
fn gap(ends: &[Instant], (began, over): (Instant, Instant)) -> Result<f64> {
    let from = ends.partition_point(|end| *end < began).saturating_sub(1);
    let to = (ends.partition_point(|end| *end <= over) + 1).min(ends.len());
    let longest = ends[from..to].windows(2).map(|pair| pair[1] - pair[0]).max();
    Ok(longest.context("no message ended during a reload")?.as_secs_f64() * 1e3)
}

/// From before the copy, in place, until the first answer of the new version, as an operator would see it.
pub fn copy(options: &Options) -> Result<Vec<Row>> {
    let home = Home::new(&config(), &[])?;
    home.put(&VERSIONS[0], NAME)?;
    let daemon = home.start_ready(&[NAME])?;
    let mut socket = home.socket()?;
    let mut samples = Vec::new();
    for round in 0..options.samples(10) {
        // Each a library that was never seen before.
        let version = Variant::good(10 + round as u32);
        let bytes = version.bytes()?;
        let began = Instant::now();
        fs::write(home.library(NAME), bytes)?;
        while !answers(&mut socket, &version)? {
            ensure!(began.elapsed() < Duration::from_secs(30), "{version:?} does not answer: {}", home.log());
            pause(Duration::from_millis(2));
        }
        samples.push(began.elapsed().as_secs_f64());
        pause(Duration::from_millis(200));
    }
    daemon.stop()?;
    Ok(vec![Row::new(COPY, "s", &[Bound::Median(1.0)], samples)])
}

fn answers(socket: &mut Socket, version: &Variant) -> Result<bool> {
    let answer = socket.call(message(NAME, "echo x", None, Some(30_000)))?;
    let answer = answer.map_err(|error| anyhow!("a message was refused: {error}"))?;
    ensure!(answer["state"] == "done", "a message was answered {answer}");
    Ok(answer["result"]["text"] == version.says("x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_that_of_the_window_and_of_its_edges() {
        let zero = Instant::now();
        let at = |millis: u64| zero + Duration::from_millis(millis);
        let ends: Vec<_> = [0, 100, 110, 113, 120, 300].map(at).into();
        assert_eq!(gap(&ends, (at(111), at(119))).unwrap(), 7.0);
        assert_eq!(gap(&ends, (at(101), at(125))).unwrap(), 180.0);
        assert_eq!(gap(&ends, (at(90), at(111))).unwrap(), 100.0);
        assert!(gap(&[], (at(0), at(1))).is_err());
    }
}
