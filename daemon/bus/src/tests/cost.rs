//! What the beats of a thousand agents cost. Run by hand:
//! `cargo test --release -p bus -- --ignored --nocapture cost`

use std::time::{Duration, Instant};

use chrono::DateTime;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use uuid::Uuid;

use super::server::Server;
use super::{Running, status};
use crate::heartbeat::{Beat, Breaker, State, Status};
use crate::{Bus, Projection};

fn beats() -> Vec<Projection> {
    let beat = Beat {
        status: Status::Ok,
        state: State::Ready,
        pid: Some(12345),
        version: Some("1.2.3".into()),
        sha256: Some("0123456789abcdef".repeat(4)),
        unit: Some("openclaw.service".into()),
        host: "machine.example".into(),
        started_at: Some(DateTime::UNIX_EPOCH),
        last_seen: DateTime::UNIX_EPOCH,
        uptime_seconds: Some(12345),
        restarts: 3,
        breaker: Breaker::Closed,
        current_task: Some(Uuid::from_u128(7)),
        current_since: Some(DateTime::UNIX_EPOCH),
        last_pong: Some(DateTime::UNIX_EPOCH),
        last_done: Some(DateTime::UNIX_EPOCH),
    };
    let ttl = Some(Duration::from_secs(30));
    let one = |n| Projection { key: status(&format!("agent-{n}")), fields: beat.to_fields(), ttl };
    (0..1000).map(one).collect()
}

fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_a_thousand_beats() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    const ROUNDS: u32 = 50;
    let theirs = || {
        let told = server.tell(&["INFO", "cpu"]);
        let of = |key: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().parse::<f64>().unwrap()
        };
        of("used_cpu_sys:") + of("used_cpu_user:")
    };
    for batched in [true, false] {
        let (began, ours, servers) = (Instant::now(), used(), theirs());
        for _ in 0..ROUNDS {
            if batched {
                bus.project_all(beats()).await.unwrap();
            } else {
                for beat in beats() {
                    bus.project(beat.key, beat.fields, beat.ttl).await.unwrap();
                }
            }
        }
        let percent = |seconds: f64| seconds / f64::from(ROUNDS) * 100.0;
        println!(
            "1,000 beats a second, {}: {:.1} % of a core here, {:.1} % in Redis, {:.1} ms each thousand",
            if batched { "a hundred at once" } else { "one by one" },
            percent((used() - ours).as_secs_f64()),
            percent(theirs() - servers),
            began.elapsed().as_secs_f64() * 1000.0 / f64::from(ROUNDS),
        );
    }
}
