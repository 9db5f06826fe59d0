//! Each agent's heartbeat: how it stands, shown to whoever reads the bus, at each interval and soon after each change.
//! It is a projection: what was flushed or lost is whole again at the next beat.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bus::heartbeat::{Beat, Breaker, State, Status};
use bus::{Bus, Fields, Key, Projection};
use chrono::{DateTime, SecondsFormat, Utc};
use openclaw_agent_api::AgentName;
use providers::ProviderStatus;
use store::Clock;
use supervisor::{AgentStatus, Handle, Health, policy};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{provided, systemd};

/// A beat is believed until so many have been missed.
const MISSED: u32 = 3;
/// Changes that come together are one beat.
const TOGETHER: Duration = Duration::from_millis(100);

/// Beats until the supervisor is gone.
pub async fn beat(
    supervisor: Handle,
    providers: providers::Handle,
    bus: Arc<dyn Bus>,
    clock: Clock,
    interval: Duration,
) {
    let place = Place { host: hostname(), unit: systemd::own_unit() };
    let (mut changes, mut breakers) = (supervisor.changes(), providers.changes());
    loop {
        changes.mark_unchanged();
        breakers.mark_unchanged();
        let next = Instant::now() + interval;
        let Ok(agents) = supervisor.status().await else { break };
        let now = clock.now();
        let led = agents.iter().filter(|agent| agent.led);
        let ttl = interval * MISSED;
        let agents = led.flat_map(|agent| shown(agent, &place, now, ttl));
        let providers = providers.providers();
        let shown = agents.chain(providers.iter().filter_map(|one| of_provider(one, ttl))).collect();
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
            // Its sender is the handle's own.
            _ = breakers.changed() => sleep(TOGETHER).await,
        }
    }
    // Its end is the daemon's: who waits for this task would take that for a defect.
    std::future::pending::<()>().await;
}

/// Where an agent runs.
struct Place {
    host: String,
    /// Under systemd.
    unit: Option<String>,
}

/// The agents that are led here, each with its process.
pub async fn ours(supervisor: &Handle) -> Vec<(AgentName, Option<u32>)> {
    let agents = supervisor.status().await.unwrap_or_default();
    agents.into_iter().filter(|agent| agent.led).map(|agent| (agent.name, agent.vitals.pid)).collect()
}

/// After a drain: those who were stopped with the daemon say so until they expire, so that nobody misses them; unless
/// another process has begun with them.
pub async fn rest(bus: &dyn Bus, ours: Vec<(AgentName, Option<u32>)>, interval: Duration) {
    let (agents, pids): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
    let keys: Vec<_> = agents.into_iter().map(Key::AgentStatus).collect();
    let Ok(shown) = bus.read_all(&keys).await else { return };
    let rested = keys.into_iter().zip(shown).zip(pids).filter_map(|((key, fields), pid)| {
        let beat = Beat::from_fields(&fields?).ok()?;
        if beat.pid.is_some() && beat.pid != pid {
            return None;
        }
        let (status, state) = (Status::Unknown, State::Stopped);
        let beat = Beat { status, state, pid: None, started_at: None, uptime_seconds: None, ..beat };
        let beat = Beat { current_task: None, current_since: None, ..beat };
        Some(Projection { key, fields: beat.to_fields(), ttl: Some(interval * MISSED) })
    });
    if let Err(error) = bus.project_all(rested.collect()).await {
        tracing::debug!(%error, "the last heartbeat was not shown");
    }
}

/// An agent's status, and its breaker.
fn shown(agent: &AgentStatus, place: &Place, now: DateTime<Utc>, ttl: Duration) -> Vec<Projection> {
    let mut shown = vec![Projection {
        key: Key::AgentStatus(agent.name.clone()),
        fields: of(agent, place, now).to_fields(),
        ttl: Some(ttl),
    }];
    if let Ok(key) = Key::breaker("agent", agent.name.as_str()) {
        shown.push(Projection { key, fields: breaker(agent), ttl: Some(ttl) });
    }
    shown
}

/// What is proved of an agent, in the form of its hash.
fn of(agent: &AgentStatus, place: &Place, now: DateTime<Utc>) -> Beat {
    let (record, vitals) = (&agent.record, &agent.vitals);
    let status = match agent.health(now) {
        Health::Ok => Status::Ok,
        Health::Degraded => Status::Degraded,
        Health::Failed => Status::Failed,
        Health::Unknown => Status::Unknown,
    };
    Beat {
        status,
        // The words are the same; a test compares them.
        state: State::from_str(record.state.name()).unwrap_or(State::Stopped),
        pid: vitals.pid,
        version: agent.manifest.as_ref().map(|manifest| manifest.version.clone()),
        sha256: agent.library.installed.current.as_ref().map(ToString::to_string),
        unit: place.unit.clone(),
        host: place.host.clone(),
        started_at: vitals.started_at,
        last_seen: seen(&record.state, agent.evidence().1, agent.stale, now)
            .or(vitals.started_at)
            .unwrap_or(record.since),
        uptime_seconds: vitals.started_at.map(|at| (now - at).num_seconds().max(0).unsigned_abs()),
        restarts: record.restarts,
        breaker: open(&record.state),
        current_task: vitals.oldest_task.map(Into::into),
        current_since: vitals.oldest_since,
        last_pong: vitals.pong_at,
        last_done: vitals.done_at,
    }
}

/// A host proves that it is there; without one, or while it starts, its supervisor does, by looking after it. A proof
/// holds for as long as the next may take, whatever the pace of the beats: idle, and pinged seldom, is not down.
fn seen(
    state: &policy::State,
    proof: Option<DateTime<Utc>>,
    stale: Duration,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if !state.is_ready() && !matches!(state, policy::State::Draining { .. }) {
        return Some(now);
    }
    proof.map(|at| if (now - at).abs().to_std().is_ok_and(|age| age <= stale) { now } else { at })
}

const fn open(state: &policy::State) -> Breaker {
    match state {
        policy::State::Open { .. } => Breaker::Open,
        policy::State::HalfOpen { .. } => Breaker::HalfOpen,
        _ => Breaker::Closed,
    }
}

/// `circuit:breaker:agent:<name>`: by whom and why it is open, else who brought the agent where it is.
fn breaker(agent: &AgentStatus) -> Fields {
    let record = &agent.record;
    let until = match &record.state {
        policy::State::Open { until } => Some(*until),
        _ => None,
    };
    let state = open(&record.state);
    let opened = record.breaker.opened.as_ref().filter(|_| state != Breaker::Closed);
    let (actor, reason) = match opened {
        Some(opened) => (&opened.actor, &opened.reason),
        None => (&agent.actor, &agent.reason),
    };
    let opened_at = until.map(|_| opened.map_or(record.since, |opened| opened.at));
    fields(state.as_str(), record.breaker.failures, (opened_at, until), (actor, reason))
}

/// `circuit:breaker:provider:<name>`, as this process's calls have left it.
fn of_provider(one: &ProviderStatus, ttl: Duration) -> Option<Projection> {
    let opened = one.opened.as_ref();
    let (actor, reason) = opened.map_or(("", ""), |opened| (&opened.actor, &opened.reason));
    let times = (opened.map(|opened| opened.at), one.free_at.filter(|_| opened.is_some()));
    let fields = fields(provided::breaker(one), one.failures, times, (actor, reason));
    Some(Projection { key: Key::breaker("provider", &one.name).ok()?, fields, ttl: Some(ttl) })
}

/// The hash of a breaker.
fn fields(
    state: &str,
    failures: u64,
    (opened_at, until): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    (actor, reason): (&str, &str),
) -> Fields {
    let time = |at: Option<DateTime<Utc>>| {
        at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true)).unwrap_or_default()
    };
    let fields = [
        ("state", state.to_owned()),
        ("failures", failures.to_string()),
        ("opened_at", time(opened_at)),
        ("open_until", time(until)),
        ("reason", reason.to_owned()),
        ("actor", actor.to_owned()),
    ];
    fields.map(|(name, text)| (name.to_owned(), text)).into()
}

pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_until_the_next_is_due_and_no_longer() {
        let (now, stale) = (DateTime::UNIX_EPOCH + Duration::from_secs(1000), Duration::from_secs(60));
        let ready = policy::State::Ready { since: now };
        let ago = |seconds| now - Duration::from_secs(seconds);
        assert_eq!(seen(&ready, Some(ago(60)), stale, now), Some(now));
        assert_eq!(seen(&ready, Some(ago(61)), stale, now), Some(ago(61)));
        assert_eq!(seen(&ready, None, stale, now), None);
        let starting = policy::State::Starting { deadline: now };
        let backoff = policy::State::Backoff { until: now, attempt: 1 };
        for looked_after in [starting, backoff] {
            assert_eq!(seen(&looked_after, None, stale, now), Some(now));
        }
    }

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
