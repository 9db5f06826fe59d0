//! The heartbeat bridge in this process, and how `openclaw status` shows it.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use bus::heartbeat::Verdict;
use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use store::{Clock, Store};
use tokio::task::JoinSet;
use workers::bridge::{self, NAME, Options, Report, Watched, Watchman};

use crate::heart::hostname;
use crate::status::{Board, Component, Evidence};
use crate::systemd;

/// A look that is older than so many intervals proves nothing.
const STALE: u32 = 3;

/// How long the end waits for the lead to be given back.
const LAST: Duration = Duration::from_millis(500);

/// What this process has of the bridge. Cheap to clone.
#[derive(Clone)]
pub struct Bridge {
    /// The verdicts.
    pub verdicts: bridge::Handle,
    interval: Duration,
}

/// Starts who watches the bridge, where a gateway runs.
pub fn watch(
    services: &mut JoinSet<()>,
    (bus, store, clock): (Arc<dyn Bus>, Store, Clock),
    interval: Duration,
) -> Watched {
    let (watchman, watched) = Watchman::new(bus, store, clock, interval);
    services.spawn(watchman.run());
    watched
}

/// Starts the bridge, which also expects the agents of this process. `alone`: nobody else is on this bus.
pub fn start(
    services: &mut JoinSet<()>,
    (bus, alone, store, clock): (Arc<dyn Bus>, bool, Store, Clock),
    interval: Duration,
    here: impl Fn() -> Vec<AgentName> + Send + Sync + 'static,
) -> Bridge {
    let (host, unit) = (hostname(), systemd::own_unit());
    let options = Options { bus, alone, store, clock, interval, here: Arc::new(here), host, unit };
    let (service, verdicts) = bridge::start(options);
    services.spawn(service.run());
    Bridge { verdicts, interval }
}

/// Once the bridge has ended: whoever stands by need not wait for the end of its lead.
pub async fn rest(store: &Store) {
    let give_back = async {
        if let Ok(name) = NAME.parse() {
            let _ = store.give_back(&name).await;
        }
    };
    // A database that does not answer keeps nobody: the lead runs out.
    let _ = tokio::time::timeout(LAST, give_back).await;
}

/// What the gateway's process sees of the bridge, wherever that runs.
pub fn seen(board: &Board, watched: &Watched) -> Component {
    let standing = watched.standing();
    let at = standing.as_ref().and_then(|standing| Some(standing.evidence.beat.as_ref()?.last_seen));
    let (state, health, reason) = match watched.verdict() {
        Verdict::Fresh => ("ready", "ok", "the heartbeat bridge beats"),
        Verdict::Late => ("ready", "degraded", "the heartbeat bridge is late"),
        Verdict::Down => {
            ("backoff", "degraded", "no heartbeat bridge beats: the agents of other processes are unwatched")
        }
        Verdict::Unknown => ("ready", "unknown", "no beat of a heartbeat bridge can be read"),
    };
    let evidence = Evidence { what: "saw the bridge's beat".into(), at };
    let since = standing.map_or(board.started_at, |standing| standing.since);
    board.service(
        "bridge-watch",
        (state, health),
        evidence,
        since,
        reason.into(),
        "watches the watcher".into(),
    )
}

/// The bridge as the status has it.
pub fn component(board: &Board, bridge: &Bridge, now: DateTime<Utc>) -> Component {
    let report = bridge.verdicts.report();
    let what = match report.agents.len() {
        _ if report.looked_at.is_none() => "has not looked yet".to_owned(),
        1 => "looked at 1 agent".to_owned(),
        many => format!("looked at {many} agents"),
    };
    let stale = TimeDelta::from_std(bridge.interval * STALE).unwrap_or(TimeDelta::MAX);
    let (state, health, reason) = match (&report.error, report.looked_at) {
        (Some(error), _) if report.is_blind() => ("backoff", "unknown", error.to_string()),
        (Some(error), _) => ("ready", "degraded", error.to_string()),
        (None, Some(at)) if now - at <= stale => ("ready", "ok", thoughts(&report)),
        (None, Some(_)) => ("ready", "unknown", "it has not looked for longer than it should take".into()),
        (None, None) => ("starting", "unknown", "it has not looked yet".into()),
    };
    let evidence = Evidence { what, at: report.looked_at };
    let description = if report.leads { "watches every agent" } else { "stands by for another process's" };
    board.service(NAME, (state, health), evidence, report.since, reason, description.into())
}

/// `3 fresh; late: scout; down: atlas, milkbot`
fn thoughts(report: &Report) -> String {
    let mut thoughts = vec![format!("{} fresh", report.thought(Verdict::Fresh).count())];
    for verdict in [Verdict::Late, Verdict::Down, Verdict::Unknown] {
        // A few names tell where to look; `agents heartbeats` has them one by one.
        let names: Vec<_> = report.thought(verdict).map(AgentName::as_str).collect();
        let (shown, more) = names.split_at(names.len().min(10));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        if !shown.is_empty() {
            thoughts.push(format!("{}: {}{more}", verdict.as_str(), shown.join(", ")));
        }
    }
    thoughts.join("; ")
}
