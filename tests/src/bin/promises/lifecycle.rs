//! How fast things come up and go down.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::socket::Socket;
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use crate::Options;
use crate::measure::{SHIPPED, TEAM, pause, ready, status};
use crate::row::{Bound, Row};

pub const RESTART: &str = "SIGKILL of a host → successor ready";
pub const FRESH: &str = "exec → three agents ready, new home";
pub const AGAIN: &str = "exec → three agents ready, home of an earlier run";
pub const STOP: &str = "SIGTERM → exit, idle";

/// Every restart is a first one, as if the last had been long ago.
const PATIENT: &str = r#"
[daemon]
restart_budget = 1000000
[supervision.backoff]
reset_after = "1ms"
[supervision.breaker]
intensity = 1000000
period = "1ms"
[agents.milkbot]
grants = ["memory", "task", "supervisor.status"]
[agents.atlas]
grants = ["supervisor", "system", "memory"]
[agents.scout]
grants = ["memory"]
"#;

/// From just before `kill(2)` to the moment that the history has for the successor's `ready`: both of one clock, so
/// that looking costs nothing.
pub fn restart(options: &Options) -> Result<Vec<Row>> {
    let home = Home::new(PATIENT, &TEAM)?;
    let daemon = home.start_ready(&TEAM)?;
    let mut socket = home.socket()?;
    let mut samples = Vec::new();
    for round in 0..options.samples(300) {
        let name = TEAM[round % TEAM.len()];
        pause(Duration::from_millis(10));
        let now = status(&mut socket)?;
        let (_, host) =
            ready(&now).into_iter().find(|(n, _)| *n == name).with_context(|| format!("{name} is ready"))?;
        let killed_at = Utc::now();
        kill(Pid::from_raw(host), Signal::SIGKILL)?;
        // Out of the way while it happens.
        pause(Duration::from_millis(10));
        let ready_at = wait_for("the successor", || ready_since(&mut socket, name, killed_at))?;
        samples.push(millis((ready_at - killed_at).to_std()?));
    }
    daemon.stop()?;
    Ok(vec![Row::new(RESTART, "ms", &[Bound::Median(3.0), Bound::P99(20.0)], samples)])
}

/// When it became ready after `killed_at`, if it has.
fn ready_since(socket: &mut Socket, name: &str, killed_at: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    // The successor's `starting` and `ready`, and that its restarts are counted anew.
    let history = socket.call(json!({"history": {"name": name, "limit": 3}}))?;
    let Ok(Value::Array(history)) = history else { bail!("no history: {history:?}") };
    let ready = |event: &&Value| event["payload"]["from"] == "starting" && event["payload"]["to"] == "ready";
    let Some(newest) = history.iter().find(ready) else { return Ok(None) };
    let at: DateTime<Utc> = newest["payload"]["at"].as_str().context("a transition's time")?.parse()?;
    Ok((at > killed_at).then_some(at))
}

/// A new home, its first start, a stop, its second start, a stop.
pub fn start_and_stop(options: &Options) -> Result<Vec<Row>> {
    let (mut fresh, mut again, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.samples(25) {
        let home = Home::new(SHIPPED, &TEAM)?;
        for samples in [&mut fresh, &mut again] {
            let began = Instant::now();
            let daemon = home.spawn()?;
            until_ready(&home)?;
            samples.push(millis(began.elapsed()));
            pause(Duration::from_millis(300));
            stops.push(millis(stop(daemon)?));
        }
    }
    let most = |most| [Bound::Median(most)];
    Ok(vec![
        Row::new(FRESH, "ms", &most(40.0), fresh),
        Row::new(AGAIN, "ms", &most(40.0), again),
        Row::new(STOP, "ms", &most(50.0), stops),
    ])
}

/// Until a status is answered that shows all three ready, as a prober of `/readyz` would look.
fn until_ready(home: &Home) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut connection = None;
    while Instant::now() < deadline {
        match &mut connection {
            None => connection = home.socket().ok(),
            Some(socket) => {
                if ready(&status(socket)?).len() == TEAM.len() {
                    return Ok(());
                }
            }
        }
        pause(Duration::from_micros(500));
    }
    bail!("the agents are not ready within 30 s: {}", home.log())
}

fn stop(mut daemon: Daemon) -> Result<Duration> {
    let began = Instant::now();
    daemon.signal(Signal::SIGTERM)?;
    while began.elapsed() < Duration::from_secs(30) {
        if let Some(status) = daemon.ended()? {
            let took = began.elapsed();
            return if status.success() { Ok(took) } else { bail!("the daemon ended with {status}") };
        }
        pause(Duration::from_micros(200));
    }
    bail!("the daemon did not end within 30 s")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
