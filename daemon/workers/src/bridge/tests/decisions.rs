use std::collections::{BTreeMap, BTreeSet};

use bus::heartbeat::Verdict;
use chrono::TimeDelta;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde_json::json;
use store::backend::Heartbeat;

use super::super::decide::{FORGET, MOST};
use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// Looks that found these, by a bridge that leads.
fn found(seen: &[(&str, Seen)], known: &[&str]) -> Look {
    let seen = seen.iter().map(|(name, seen)| (agent(name), seen.clone())).collect();
    Look { seen: Some(seen), known: known.iter().map(|name| agent(name)).collect(), leads: true }
}

fn heard(seconds: i64) -> Seen {
    Seen::Beat(Arc::new(beat(at(seconds))))
}

/// Looks every ten seconds; what each led to.
fn story(looks: impl IntoIterator<Item = Look>) -> (State, Vec<Effects>) {
    let mut state = State::new(INTERVAL);
    let mut all = Vec::new();
    for (n, look) in looks.into_iter().enumerate() {
        let (next, effects) = decide(state, &look, at(10 * n as i64));
        state = next;
        all.push(effects);
    }
    (state, all)
}

fn words(effects: &[Effects]) -> Vec<&'static str> {
    let first = |e: &Effects| e.signals.first().map_or("-", |signal| signal.standing.verdict.as_str());
    effects.iter().map(first).collect()
}

#[test]
fn the_name_of_the_bridge_is_one() {
    assert_eq!(super::super::service::name().as_str(), NAME);
    assert!(settings::SERVICES.contains(&NAME));
}

#[test]
fn one_that_falls_silent_is_late_then_down_and_then_back_and_each_change_is_told_once() {
    let looks = (0..12).map(|n| match n {
        0..3 => found(&[("atlas", heard(10 * n))], &[]),
        3..8 => found(&[], &[]),
        _ => found(&[("atlas", heard(10 * n))], &[]),
    });
    let (_, effects) = story(looks);
    let told = words(&effects);
    let thought = [
        "fresh", "fresh", "fresh", "fresh", "fresh", "late", "down", "down", "late", "fresh", "fresh",
        "fresh",
    ];
    assert_eq!(told, thought);
    let alarms: Vec<_> = effects.iter().flat_map(|e| &e.alarms).collect();
    let [Alarm::Down(down), Alarm::Back(back)] = alarms[..] else { panic!("{alarms:?}") };
    assert_eq!((down.agent.as_str(), down.since), ("atlas", at(60)));
    assert_eq!(down.evidence.beat.as_ref().unwrap().last_seen, at(20));
    assert!(down.evidence.alerted && !back.evidence.alerted);
    // A row for each change, and one a minute beside.
    let rows: Vec<_> =
        effects.iter().enumerate().flat_map(|(n, e)| e.rows.iter().map(move |r| (n, &r.0))).collect();
    let rows: Vec<_> = rows.iter().map(|(n, row)| (*n, row.verdict.as_str())).collect();
    assert_eq!(rows, [(0, "fresh"), (5, "late"), (6, "down"), (8, "late"), (9, "fresh")]);
    let from: Vec<_> = effects.iter().map(|e| e.signals[0].from.map(Verdict::as_str)).collect();
    assert_eq!((from[4], from[5], from[6], from[7]), (None, Some("fresh"), Some("late"), None));
}

#[test]
fn an_idle_one_is_sampled_each_minute_and_nothing_else() {
    let (_, effects) = story((0..61).map(|n| found(&[("atlas", heard(10 * n))], &["atlas"])));
    assert!(effects.iter().all(|e| e.signals.len() == 1 && e.alarms.is_empty()));
    assert_eq!(effects.iter().map(|e| e.rows.len()).sum::<usize>(), 11);
}

#[test]
fn one_that_was_stopped_by_hand_is_down_and_no_alarm() {
    let stopped = Seen::Beat(Arc::new(beat_in(heartbeat::State::Stopped, at(0))));
    let looks =
        (0..8).map(|n| if n == 0 { found(&[("atlas", stopped.clone())], &[]) } else { found(&[], &[]) });
    let (_, effects) = story(looks);
    assert_eq!(words(&effects)[7], "down");
    assert!(effects.iter().all(|e| e.alarms.is_empty()));
}

#[test]
fn one_that_should_be_there_and_never_was_is_missed() {
    let (state, effects) = story((0..6).map(|_| found(&[], &["atlas"])));
    assert_eq!(words(&effects), ["unknown", "unknown", "unknown", "unknown", "down", "down"]);
    assert_eq!(effects.iter().map(|e| e.alarms.len()).sum::<usize>(), 1);
    assert_eq!(state.standings()[&agent("atlas")].evidence.beat, None);
}

#[test]
fn who_cannot_read_says_unknown_of_all_and_alarms_nobody() {
    let blind = Look { leads: true, ..Look::default() };
    let both = |n| found(&[("atlas", heard(n)), ("scout", heard(n))], &[]);
    let (state, effects) = story([both(0), blind.clone(), blind.clone(), blind.clone(), blind, both(50)]);
    assert_eq!(words(&effects), ["fresh", "unknown", "unknown", "unknown", "unknown", "fresh"]);
    assert!(effects.iter().all(|e| e.alarms.is_empty() && e.signals.len() == 2));
    assert!(state.standings().values().all(|standing| standing.verdict == Verdict::Fresh));
}

#[test]
fn one_unreadable_hash_makes_nobody_else_unknown() {
    let (state, _) = story([found(&[("atlas", heard(0)), ("scout", Seen::Unreadable)], &["scout"])]);
    let standings = state.standings();
    assert_eq!(standings[&agent("atlas")].verdict, Verdict::Fresh);
    assert_eq!(standings[&agent("scout")].verdict, Verdict::Unknown);
}

#[test]
fn who_stands_by_judges_and_says_nothing_until_it_leads() {
    let standby = Look { leads: false, ..found(&[], &["atlas"]) };
    let (_, effects) = story((0..7).map(|n| Look { leads: n > 5, ..standby.clone() }));
    assert!(effects[..6].iter().all(|e| *e == Effects::default()));
    let last = &effects[6];
    assert_eq!((last.alarms.len(), last.rows.len(), last.signals.len()), (1, 1, 1), "{last:?}");
}

fn stored(name: &str, seconds: i64, metadata: serde_json::Value) -> Heartbeat {
    Heartbeat { id: 1, agent: name.into(), status: "down".into(), metadata, at: at(seconds) }
}

#[test]
fn what_the_one_before_has_told_is_not_told_again_but_its_end_is() {
    let rows = [
        stored("atlas", 0, json!({"alerted": true, "last_seen": at(-100)})),
        stored("resting", 0, json!({"state": "stopped"})),
        stored("scout", 0, json!({})),
        stored("ancient", 0, json!({"last_seen": at(0) - FORGET - TimeDelta::seconds(1)})),
        stored("no name", 0, json!(7)),
    ];
    let mut state = State::new(INTERVAL).remember(&rows, at(0));
    assert_eq!(state.agents().map(AgentName::as_str).collect::<Vec<_>>(), ["atlas", "resting", "scout"]);
    let mut alarms = Vec::new();
    for n in 0..8 {
        let seen: &[_] = if n < 5 { &[] } else { &[("atlas", heard(10 * n))] };
        let (next, effects) = decide(state, &found(seen, &[]), at(10 * n));
        state = next;
        alarms.extend(effects.alarms);
    }
    let [Alarm::Down(down), Alarm::Back(back)] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!((down.agent.as_str(), back.agent.as_str()), ("scout", "atlas"));
}

#[test]
fn who_is_named_by_nobody_and_silent_is_forgotten_and_who_is_named_is_not() {
    let day = FORGET.num_seconds();
    let state = State::new(INTERVAL);
    let (state, _) = decide(state, &found(&[("atlas", heard(0)), ("scout", heard(0))], &["scout"]), at(0));
    // Blind for days: nobody knows who is gone.
    let (state, _) = decide(state, &Look { leads: true, ..Look::default() }, at(3 * day));
    assert_eq!(state.agents().count(), 2);
    let (state, _) = decide(state, &found(&[], &["scout"]), at(3 * day + 10));
    assert_eq!(state.agents().map(AgentName::as_str).collect::<Vec<_>>(), ["scout"]);
}

#[test]
fn so_many_are_watched_and_those_who_are_heard_first() {
    let name = |n: usize| agent(&format!("a{n}"));
    let known: BTreeSet<_> = (0..MOST).map(name).collect();
    let seen = BTreeMap::from([(agent("z"), heard(0))]);
    let (state, _) = decide(State::new(INTERVAL), &Look { seen: Some(seen), known, leads: true }, at(0));
    assert_eq!(state.agents().count(), MOST);
    assert!(state.agents().any(|name| name.as_str() == "z"));
}

#[test]
fn evidence_says_what_the_beat_says_and_nothing_that_it_does_not() {
    let (state, _) = story([found(&[("atlas", heard(0))], &[])]);
    let shown = serde_json::to_value(&state.standings()[&agent("atlas")]).unwrap();
    let seen = "2027-01-15T08:00:00Z";
    let evidence = json!({
        "status": "ok", "state": "ready", "last_seen": seen, "host": "there", "restarts": 3, "breaker": "closed",
        "pid": 7, "version": "1.2.3", "last_pong": seen,
    });
    assert_eq!(shown, json!({"agent": "atlas", "verdict": "fresh", "since": seen, "evidence": evidence}));
}

const NAMES: [&str; 3] = ["atlas", "milkbot", "scout"];

prop_compose! {
    /// What a look may find of three agents.
    fn any_look()(
        blind in prop::bool::weighted(0.1), leads in prop::bool::weighted(0.9),
        found in vec((0u8..10, 0i64..2000, any::<bool>()), NAMES.len()), known in btree_set(0..NAMES.len(), 0..3),
    ) -> Look {
        let seen = found.iter().zip(NAMES).filter_map(|((kind, seconds, stopped), name)| {
            let state = if *stopped { heartbeat::State::Stopped } else { heartbeat::State::Ready };
            let seen = match kind {
                0..5 => Seen::Beat(Arc::new(beat_in(state, at(*seconds)))),
                5 => Seen::Unreadable,
                6..8 => Seen::Missing,
                _ => return None,
            };
            Some((agent(name), seen))
        });
        let known = known.into_iter().map(|n| agent(NAMES[n])).collect();
        Look { seen: (!blind).then(|| seen.collect()), known, leads }
    }
}

proptest! {
    #[test]
    fn whatever_is_found_alarms_alternate_rows_follow_changes_and_the_blind_say_unknown(
        looks in vec((any_look(), 0i64..60), 1..150),
    ) {
        let (mut state, mut now) = (State::new(INTERVAL), 0);
        let (mut down, mut sampled) = (BTreeSet::new(), BTreeMap::new());
        for (look, pause) in looks {
            now += pause;
            let (next, effects) = decide(state, &look, at(now));
            state = next;
            let standings = state.standings();
            if look.seen.is_none() {
                prop_assert!(standings.values().all(|standing| standing.verdict == Verdict::Unknown));
            }
            if !look.leads {
                prop_assert_eq!(effects, Effects::default());
                continue;
            }
            // One message for each that is watched, saying what the handle says.
            let told: BTreeMap<_, _> =
                effects.signals.iter().map(|s| (s.standing.agent.clone(), s.standing.clone())).collect();
            prop_assert_eq!(told.len(), effects.signals.len());
            prop_assert_eq!(&told, &standings);
            for alarm in &effects.alarms {
                match alarm {
                    Alarm::Down(s) => {
                        prop_assert!(s.verdict == Verdict::Down && down.insert(s.agent.clone()));
                        let stopped = s.evidence.beat.as_ref().is_some_and(|b| b.state == heartbeat::State::Stopped);
                        prop_assert!(!stopped);
                    }
                    Alarm::Back(s) => prop_assert!(s.verdict == Verdict::Fresh && down.remove(&s.agent)),
                }
            }
            let rows: BTreeSet<_> = effects.rows.iter().map(|row| row.0.agent.clone()).collect();
            prop_assert_eq!(rows.len(), effects.rows.len());
            for signal in &effects.signals {
                let agent = &signal.standing.agent;
                let due = sampled.get(agent).is_none_or(|at| now - at >= 60);
                prop_assert_eq!(rows.contains(agent), due || signal.from.is_some());
                if rows.contains(agent) {
                    sampled.insert(agent.clone(), now);
                }
            }
        }
    }
}
