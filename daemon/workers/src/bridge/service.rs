//! The bridge at work: looks at each interval, and carries out what follows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bus::heartbeat::{self, Beat, Breaker, Status};
use bus::{Bus, Channel, Envelope};
use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use store::backend::{Heartbeat, NewHeartbeat};
use store::{Clock, Store};
use supervisor::alerts::{self, Level, Topic};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::decide::{Alarm, Effects, Look, Signal, State, decide};
use super::error::Error;
use super::handle::{Handle, Report};
use super::lead::{self, Lead};
use super::look::{self, is_service};
use super::{NAME, Standing};

/// The bridge's beat is believed until so many have been missed.
const MISSED: u32 = 3;

/// What the bridge works with.
#[derive(Clone)]
pub struct Options {
    /// Where agents show themselves.
    pub bus: Arc<dyn Bus>,
    /// Where heartbeats are kept, and alerts raised.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Between two beats, and two looks: `daemon.heartbeat`.
    pub interval: Duration,
    /// Whether nobody else is on this bus: then others' agents cannot be heard, and are not missed.
    pub alone: bool,
    /// The agents that should be at work in this process, whether they beat or not.
    pub here: Arc<dyn Fn() -> Vec<AgentName> + Send + Sync>,
    /// This machine.
    pub host: String,
    /// The systemd unit that this process is.
    pub unit: Option<String>,
}

/// The bridge. Works while it runs.
pub struct Service {
    options: Options,
    name: AgentName,
    started_at: DateTime<Utc>,
    report: watch::Sender<Arc<Report>>,
    state: State,
}

/// A bridge that has not looked yet, and what shows its verdicts.
pub fn start(options: Options) -> (Service, Handle) {
    let started_at = options.clock.now();
    let (report, shown) = watch::channel(Arc::new(Report { since: started_at, ..Report::default() }));
    let state = State::new(options.interval);
    (Service { name: name(), started_at, report, state, options }, Handle(shown))
}

/// The bridge's name.
pub(super) fn name() -> AgentName {
    // A constant that is one: a test reads it.
    #[allow(clippy::expect_used, reason = "a constant")]
    NAME.parse().expect("a name")
}

impl Service {
    /// Looks, for ever.
    pub async fn run(self) {
        let (told, lead) = watch::channel(Lead::default());
        let Options { store, clock, interval, alone, .. } = self.options.clone();
        let name = self.name.clone();
        let keep = async {
            match alone {
                true => lead::keep_alone(&store, interval, &told).await,
                false => lead::keep(&store, clock, &name, interval, &told).await,
            }
            // `told` lives on: who listens must not take the end of this for the end of the lead.
            std::future::pending::<()>().await;
        };
        tokio::join!(keep, self.look_on(lead));
    }

    pub(super) async fn look_on(mut self, mut lead: watch::Receiver<Lead>) {
        let mut ticks = interval(self.options.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // Whoever takes the lead beats and speaks at once.
                _ = lead.changed() => lead.mark_changed(),
            }
            // Also when it changed during the last look and this is a tick: who speaks must know what has been said.
            if lead.has_changed().unwrap_or(false) {
                let stored = lead.borrow_and_update().stored.clone();
                let (ours, now) = (self.ours(&stored), self.options.clock.now());
                self.state = self.state.remember(ours, now);
            }
            self = self.look(&lead).await;
        }
    }

    /// Whether it may speak at this moment: asked right before each thing that others see.
    fn may_speak(&self, lead: &watch::Receiver<Lead>) -> bool {
        lead.borrow().term.holds(self.options.clock.steady())
    }

    /// Of what was stored, what this process can hear of.
    fn ours<'a>(&self, stored: &'a [Heartbeat]) -> impl Iterator<Item = &'a Heartbeat> + use<'a> {
        let here = self.options.alone.then(|| (self.options.here)());
        stored
            .iter()
            .filter(move |row| here.as_ref().is_none_or(|here| here.iter().any(|a| a.as_str() == row.agent)))
    }

    async fn look(mut self, lead: &watch::Receiver<Lead>) -> Self {
        let mut known = lead.borrow().known.clone();
        known.extend((self.options.here)().into_iter().filter(|name| !is_service(name)));
        let wanted: BTreeSet<_> = self.state.agents().chain(&known).cloned().collect();
        let read = look::team(&*self.options.bus, wanted).await;
        let now = self.options.clock.now();
        let (seen, error) = match read {
            Ok(seen) => (Some(seen), lead.borrow().error.clone()),
            Err(error) => (None, Some(Error::Read(error))),
        };
        let blind = seen.is_none();
        // Nothing is waited for from here until what follows is stored: what is noted as told is told.
        let leads = self.may_speak(lead);
        let (state, effects) = decide(self.state, &Look { seen, known, leads }, now);
        self.state = state;
        self.show(leads, error, now);
        let signals = self.keep(effects, now);
        if self.may_speak(lead)
            && let Err(error) = self.options.bus.publish_all(Channel::AgentHeartbeat, signals).await
        {
            // Signals may be lost; the next look sends all anew.
            tracing::debug!(%error, "heartbeats were not published");
        }
        if self.may_speak(lead) {
            self.beat(blind, now).await;
        }
        self
    }

    fn show(&self, leads: bool, error: Option<Error>, now: DateTime<Utc>) {
        let before = self.report.borrow().clone();
        let mut report =
            Report { leads, looked_at: Some(now), since: now, error, agents: self.state.standings() };
        if report.is_blind() {
            report.looked_at = before.looked_at;
        }
        if report.is_blind() == before.is_blind() {
            report.since = before.since;
        } else {
            match &report.error {
                Some(error) if report.is_blind() => {
                    tracing::warn!("{error}; all are `unknown` until they can")
                }
                _ => tracing::info!("the agents' heartbeats can be read again"),
            }
        }
        self.report.send_replace(Arc::new(report));
    }

    /// Alerts and rows are handed to the store; answers what is to be published.
    fn keep(&self, effects: Effects, now: DateTime<Utc>) -> Vec<Envelope> {
        let Options { store, alone, .. } = &self.options;
        // Where it hears nobody else, an agent that falls silent may be at work in another process.
        if !(*alone && store.shared()) {
            effects.alarms.iter().for_each(|alarm| raise(store, alarm, now));
        }
        let row = |standing: Standing| NewHeartbeat {
            metadata: serde_json::to_string(&standing.evidence).unwrap_or_else(|_| "{}".into()),
            status: standing.verdict.as_str(),
            agent: standing.agent,
            at: now,
        };
        store.heartbeat(effects.rows.into_iter().map(|one| row(one.0)).collect());
        effects.signals.iter().map(|signal| envelope(signal, now)).collect()
    }

    /// The bridge's own, for whoever watches it.
    async fn beat(&self, blind: bool, now: DateTime<Utc>) {
        let stored = self.options.store.health().error.is_none();
        let beat = Beat {
            status: if blind || !stored { Status::Degraded } else { Status::Ok },
            state: heartbeat::State::Ready,
            pid: Some(std::process::id()),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            sha256: None,
            unit: self.options.unit.clone(),
            host: self.options.host.clone(),
            started_at: Some(self.started_at),
            last_seen: now,
            uptime_seconds: Some((now - self.started_at).num_seconds().max(0).unsigned_abs()),
            restarts: 0,
            breaker: Breaker::Closed,
            current_task: None,
            current_since: None,
            last_pong: None,
            last_done: None,
        };
        let key = bus::Key::AgentStatus(self.name.clone());
        let ttl = self.options.interval * MISSED;
        if let Err(error) = self.options.bus.project(key, beat.to_fields(), Some(ttl)).await {
            tracing::debug!(%error, "the bridge's beat was not shown");
        }
    }
}

fn envelope(signal: &Signal, now: DateTime<Utc>) -> Envelope {
    let mut data = serde_json::to_value(&signal.standing).unwrap_or_default();
    if let (Some(from), Some(data)) = (signal.from, data.as_object_mut()) {
        data.insert("from".into(), from.as_str().into());
    }
    Envelope::new(NAME, format!("heartbeat.{}", signal.standing.verdict.as_str()), data, now)
}

/// Tells the operator.
pub(super) fn raise(store: &Store, alarm: &Alarm, now: DateTime<Utc>) {
    let (Alarm::Down(standing) | Alarm::Back(standing)) = alarm;
    let Standing { agent, since, evidence, .. } = standing;
    let host = evidence.beat.as_ref().map(|beat| beat.host.as_str());
    match alarm {
        Alarm::Down(_) => {
            let text = down(standing);
            tracing::warn!(%agent, %since, host, "{text}");
            alerts::raise(store, Level::Critical, agent, Topic::Heartbeat, &text, now);
        }
        Alarm::Back(_) => {
            let text = format!("{agent} is heard again");
            tracing::info!(%agent, %since, host, "{text}");
            alerts::over(store, agent, Topic::Heartbeat, &text, now);
        }
    }
}

fn down(standing: &Standing) -> String {
    let agent = &standing.agent;
    let Some(beat) = &standing.evidence.beat else {
        return format!("{agent} is down: it shows no heartbeat; see whether its daemon runs");
    };
    let seen = beat.last_seen.format("%F %T");
    format!("{agent} is down: no heartbeat from {} since {seen} UTC; see whether its daemon runs", beat.host)
}
