//! What it costs to show a large team on Redis.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bus::heartbeat::{Beat, Breaker, State, Status};
use bus::{Address, Bus, Key, Options as Place, Projection, RedisBus};
use chrono::Utc;
use openclaw_tests::server::Redis;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Options;
use crate::measure::processor_time;
use crate::row::{Bound, Row};

pub const HEARTBEATS: &str = "heartbeats of 1,000 agents a second to Redis, the daemon's part";

const AGENTS: u32 = 1000;

/// The processor time that this side of the bus takes of each second. Redis' own is not counted.
pub fn heartbeats(options: &Options) -> Result<Vec<Row>> {
    let Some(mut redis) = Redis::new()? else { bail!("there is no redis-server") };
    redis.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let samples = runtime.block_on(seconds(redis.socket(), options.samples(10)))?;
    Ok(vec![Row::new(HEARTBEATS, "% of a core", &[Bound::Median(5.0)], samples)])
}

async fn seconds(socket: PathBuf, n: usize) -> Result<Vec<f64>> {
    let (bus, service) = RedisBus::new(Place::at(Address::Unix(socket)));
    let mut signalling = JoinSet::new();
    signalling.spawn(service.run());
    let connected = async {
        // Refused without waiting: the service, on this same thread, has its turn in between.
        while bus.project_all(beats()?).await.is_err() {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(10), connected).await.context("Redis is not reached")??;
    let own = i32::try_from(std::process::id())?;
    let mut samples = Vec::new();
    for _ in 0..n {
        let (next, before) = (Instant::now() + Duration::from_secs(1), processor_time(own)?);
        bus.project_all(beats()?).await?;
        sleep_until(next).await;
        samples.push((processor_time(own)? - before).as_secs_f64() * 100.0);
    }
    Ok(samples)
}

fn beats() -> Result<Vec<Projection>> {
    let now = Utc::now();
    let beat = Beat {
        status: Status::Ok,
        state: State::Ready,
        pid: Some(12345),
        version: Some("1.2.3".into()),
        sha256: Some("0123456789abcdef".repeat(4)),
        unit: None,
        host: "machine.example".into(),
        started_at: Some(now),
        last_seen: now,
        uptime_seconds: Some(12345),
        restarts: 3,
        breaker: Breaker::Closed,
        current_task: None,
        current_since: None,
        last_pong: None,
        last_done: None,
    };
    let one = |n: u32| {
        let key = Key::AgentStatus(format!("agent-{n}").parse()?);
        Ok(Projection { key, fields: beat.to_fields(), ttl: Some(Duration::from_secs(30)) })
    };
    (0..AGENTS).map(one).collect()
}
