//! Each agent's heartbeat: how it stands, shown to whoever reads the bus, at each interval and soon after each change.
//! It is a projection: what was flushed or lost is whole again at the next beat.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bus::heartbeat::{Beat, Breaker, State, Status};
use bus::{Bus, Fields, Key, Projection};
use chrono::{DateTime, SecondsFormat, Utc};
use store::Clock;
use supervisor::{AgentStatus, Handle, Health, policy};
use tokio::time::{Instant, sleep, sleep_until};

/// A beat is believed until so many have been missed.
const MISSED: u32 = 3;
/// Changes that come together are one beat.
const TOGETHER: Duration = Duration::from_millis(100);

/// Beats until the supervisor is gone.
pub async fn beat(supervisor: Handle, bus: Arc<dyn Bus>, clock: Clock, interval: Duration) {
    let host = hostname();
    let mut changes = supervisor.changes();
    loop {
        changes.mark_unchanged();
        let next = Instant::now() + interval;
        let Ok(agents) = supervisor.status().await else { break };
        let now = clock.now();
        let led = agents.iter().filter(|agent| agent.led);
        let shown = led.flat_map(|agent| shown(agent, &host, now, interval * MISSED)).collect();
        if let Err(error) = bus.project_all(shown).await {
            // Status shows how the bus is; the next beat tries again.
            tracing::debug!(%error, "a heartbeat was not shown");
        }
        tokio::select! {
            () = sleep_until(next) => {}
            changed = changes.changed() => match changed {
                Ok(()) => sleep(TOGETHER).await,
                Err(_) => break,
            },
        }
    }
    // Its end is the daemon's: who waits for this task would take that for a defect.
    std::future::pending::<()>().await;
}

/// An agent's status, and its breaker.
fn shown(agent: &AgentStatus, host: &str, now: DateTime<Utc>, ttl: Duration) -> Vec<Projection> {
    let mut shown = vec![Projection {
        key: Key::AgentStatus(agent.name.clone()),
        fields: of(agent, host, now).to_fields(),
        ttl: Some(ttl),
    }];
    if let Ok(key) = Key::breaker("agent", agent.name.as_str()) {
        shown.push(Projection { key, fields: breaker(agent), ttl: Some(ttl) });
    }
    shown
}

/// What is proved of an agent, in the form of its hash.
fn of(agent: &AgentStatus, host: &str, now: DateTime<Utc>) -> Beat {
    let (record, vitals) = (&agent.record, &agent.vitals);
    let status = match agent.health(now) {
        Health::Ok => Status::Ok,
        Health::Degraded => Status::Degraded,
        Health::Failed => Status::Failed,
        Health::Unknown => Status::Unknown,
    };
    // A host proves that it is there; without one its supervisor does, by looking after it.
    let seen = if record.state.has_host() { agent.evidence().1 } else { Some(now) };
    Beat {
        status,
        // The words are the same; a test compares them.
        state: State::from_str(record.state.name()).unwrap_or(State::Stopped),
        pid: vitals.pid,
        version: agent.manifest.as_ref().map(|manifest| manifest.version.clone()),
        sha256: agent.library.installed.current.as_ref().map(ToString::to_string),
        unit: None,
        host: host.into(),
        started_at: vitals.started_at,
        last_seen: seen.or(vitals.started_at).unwrap_or(record.since),
        uptime_seconds: vitals.started_at.map(|at| (now - at).num_seconds().max(0).unsigned_abs()),
        restarts: record.restarts,
        breaker: open(&record.state),
        current_task: vitals.oldest_task.map(Into::into),
    }
}

const fn open(state: &policy::State) -> Breaker {
    match state {
        policy::State::Open { .. } => Breaker::Open,
        policy::State::HalfOpen { .. } => Breaker::HalfOpen,
        _ => Breaker::Closed,
    }
}

/// `circuit:breaker:agent:<name>`
fn breaker(agent: &AgentStatus) -> Fields {
    let record = &agent.record;
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let (opened_at, until) = match &record.state {
        policy::State::Open { until } => (time(record.since), time(*until)),
        _ => Default::default(),
    };
    let fields = [
        ("state", open(&record.state).as_str().to_owned()),
        ("failures", record.breaker.failures.to_string()),
        ("opened_at", opened_at),
        ("open_until", until),
        ("reason", agent.reason.clone()),
        ("actor", agent.actor.clone()),
    ];
    fields.map(|(name, text)| (name.to_owned(), text)).into()
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_state_are_the_same_everywhere() {
        let now = DateTime::UNIX_EPOCH;
        let why = policy::StopReason::NotStarted;
        let probe = policy::Probe::Running { since: now };
        for state in [
            policy::State::Stopped { why: why.clone() },
            policy::State::Starting { deadline: now },
            policy::State::Ready { since: now },
            policy::State::Backoff { until: now, attempt: 1 },
            policy::State::Open { until: now },
            policy::State::HalfOpen { probe },
            policy::State::Draining { deadline: now, next: policy::Next::Stopped { why } },
            policy::State::Refused { why: "no".into() },
        ] {
            assert_eq!(State::from_str(state.name()).map(State::as_str), Ok(state.name()));
        }
    }
}
