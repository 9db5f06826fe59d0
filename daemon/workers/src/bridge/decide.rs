//! What a look at all agents leads to. Pure: the time comes in, effects go out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bus::heartbeat::{self, Beat, Judgement, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use store::backend::Heartbeat;

use super::standing::{Evidence, Standing};

/// The most agents that are watched: as many as a listing of the bus has.
pub(super) const MOST: usize = bus::Listing::MOST;
/// An agent that nobody names any more and that is not heard is forgotten after this: over a weekend's machine that is
/// down, Monday still knows it by its record; a name that was taken out of the configuration is gone the next day.
pub(super) const FORGET: TimeDelta = TimeDelta::days(1);
/// Between two samples of an agent whose verdict does not change.
const SAMPLE: TimeDelta = TimeDelta::minutes(1);

/// What a look found of one agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A beat.
    Beat(Arc<Beat>),
    /// There is none.
    Missing,
    /// What is there is no beat.
    Unreadable,
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Of each agent whose key was read; one that is not in here and watched is missing. None when nothing could be
    /// read.
    pub seen: Option<BTreeMap<AgentName, Seen>>,
    /// Who there should be: configured here, or lately at work anywhere.
    pub known: BTreeSet<AgentName>,
    /// Whether this process speaks for all: without it nothing is said, written or alerted.
    pub leads: bool,
}

/// A message for `agent:heartbeat`.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// How the agent stands.
    pub standing: Standing,
    /// What was thought of it before, if that has changed.
    pub from: Option<Verdict>,
}

/// A row for `agent_heartbeats`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Standing);

/// What the operator is to hear.
#[derive(Clone, Debug, PartialEq)]
pub enum Alarm {
    /// It is down, and nobody stopped it.
    Down(Standing),
    /// It is heard again.
    Back(Standing),
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// To be published.
    pub signals: Vec<Signal>,
    /// To be stored.
    pub rows: Vec<Row>,
    /// To be raised.
    pub alarms: Vec<Alarm>,
}

/// What is known of one agent.
#[derive(Clone, Debug)]
struct Watched {
    judgement: Judgement,
    beat: Option<Arc<Beat>>,
    /// Its last known state: of the beat, or of what was stored before this life.
    state: Option<heartbeat::State>,
    /// When it was named or heard last.
    known_at: DateTime<Utc>,
    sampled_at: Option<DateTime<Utc>>,
    alerted: bool,
}

impl Watched {
    fn new(now: DateTime<Utc>) -> Self {
        Self {
            judgement: Judgement::new(now),
            beat: None,
            state: None,
            known_at: now,
            sampled_at: None,
            alerted: false,
        }
    }

    fn standing(&self, agent: &AgentName) -> Standing {
        Standing {
            agent: agent.clone(),
            verdict: self.judgement.verdict,
            since: self.judgement.since,
            evidence: Evidence { beat: self.beat.clone(), alerted: self.alerted },
        }
    }

    fn see(&mut self, seen: &Seen, now: DateTime<Utc>, interval: Duration) {
        let look = match seen {
            Seen::Beat(beat) => {
                self.known_at = now;
                self.state = Some(beat.state);
                self.beat = Some(beat.clone());
                heartbeat::Look::Beat { last_seen: beat.last_seen }
            }
            Seen::Missing => heartbeat::Look::Missing,
            Seen::Unreadable => heartbeat::Look::Unreadable,
        };
        self.judgement = self.judgement.after(look, now, interval);
    }

    /// Whether the operator should hear of it now. One that was stopped by hand, or is done, is not missed.
    fn alarm(&mut self) -> Option<fn(Standing) -> Alarm> {
        match self.judgement.verdict {
            Verdict::Down if !self.alerted && self.state != Some(heartbeat::State::Stopped) => {
                self.alerted = true;
                Some(Alarm::Down)
            }
            Verdict::Fresh if self.alerted => {
                self.alerted = false;
                Some(Alarm::Back)
            }
            _ => None,
        }
    }
}

/// Everybody who is watched; at most `MOST`.
#[derive(Clone, Debug)]
pub struct State {
    /// Between two beats, and two looks.
    interval: Duration,
    watched: BTreeMap<AgentName, Watched>,
}

impl State {
    /// Nobody yet.
    pub fn new(interval: Duration) -> Self {
        Self { interval, watched: BTreeMap::new() }
    }

    /// Who is watched.
    pub fn agents(&self) -> impl Iterator<Item = &AgentName> {
        self.watched.keys()
    }

    /// How each stands.
    pub fn standings(&self) -> BTreeMap<AgentName, Standing> {
        self.watched.iter().map(|(agent, watched)| (agent.clone(), watched.standing(agent))).collect()
    }

    /// What whoever led before has stored last of each agent: those of late are watched, and what the operator was told is
    /// not told again.
    #[must_use]
    pub fn remember<'a>(
        mut self,
        stored: impl IntoIterator<Item = &'a Heartbeat>,
        now: DateTime<Utc>,
    ) -> Self {
        // What was thought while another one spoke, or nobody, is not stored.
        self.watched.values_mut().for_each(|watched| watched.sampled_at = None);
        for row in stored {
            let Ok(agent) = row.agent.parse::<AgentName>() else { continue };
            let text = |field: &str| row.metadata.get(field).and_then(|value| value.as_str());
            let heard = text("last_seen").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
            let heard = heard.map_or(row.at, |at| at.to_utc()).min(now);
            if !self.watched.contains_key(&agent) && (now - heard > FORGET || self.watched.len() >= MOST) {
                continue;
            }
            let new = || Watched { known_at: heard, ..Watched::new(now) };
            let watched = self.watched.entry(agent).or_insert_with(new);
            watched.alerted |= row.metadata.get("alerted").is_some_and(|told| told == true);
            watched.state = watched.state.or_else(|| text("state")?.parse().ok());
        }
        self
    }
}

/// The state after a look at `now`, and what is to be done.
#[must_use]
pub fn decide(mut state: State, look: &Look, now: DateTime<Utc>) -> (State, Effects) {
    join(&mut state, look, now);
    let mut effects = Effects::default();
    for (agent, watched) in &mut state.watched {
        let before = watched.judgement.verdict;
        if look.known.contains(agent) {
            watched.known_at = now;
        }
        let seen = match &look.seen {
            Some(seen) => seen.get(agent).unwrap_or(&Seen::Missing),
            None => &Seen::Unreadable,
        };
        watched.see(seen, now, state.interval);
        if !look.leads {
            continue;
        }
        let alarm = watched.alarm();
        let standing = watched.standing(agent);
        let from = (before != standing.verdict).then_some(before);
        let due = watched.sampled_at.is_none_or(|at| now - at >= SAMPLE);
        if due || from.is_some() {
            watched.sampled_at = Some(now);
            effects.rows.push(Row(standing.clone()));
        }
        effects.alarms.extend(alarm.map(|alarm| alarm(standing.clone())));
        effects.signals.push(Signal { standing, from });
    }
    // Who could not read does not know who is gone.
    if look.seen.is_some() {
        state.watched.retain(|_, watched| now - watched.known_at <= FORGET);
    }
    (state, effects)
}

/// Takes up whoever is new, as long as there is room; those who are heard first.
fn join(state: &mut State, look: &Look, now: DateTime<Utc>) {
    let heard = look.seen.iter().flatten().filter(|(_, seen)| matches!(seen, Seen::Beat(_)));
    for agent in heard.map(|(agent, _)| agent).chain(&look.known) {
        if state.watched.len() < MOST && !state.watched.contains_key(agent) {
            state.watched.insert(agent.clone(), Watched::new(now));
        }
    }
}
