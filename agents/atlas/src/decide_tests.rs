use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::prelude::*;
use proptest::prelude::*;

use super::*;
use crate::PERIOD;
use crate::findings::findings;
use crate::seen::{Seen, typed};
use crate::thresholds::Thresholds;

/// A world in which time is passed in: a look each period, from `start`.
struct World {
    state: LastCheck,
    now: DateTime<Utc>,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        let now = "2025-01-01T00:00:00Z".parse().unwrap();
        Self { state: LastCheck::none(now), now, limits: Limits { restarts: 3, breakers: 3 } }
    }

    fn look(&mut self, components: Value, resources: Value) -> Vec<Action> {
        let seen = Seen {
            status: typed(json!({"components": components})),
            resources: typed(resources),
            heartbeats: Ok(None),
            budgets: Ok(None),
            units: Ok(None),
        };
        let found = findings(&seen, Some(&self.state), &Thresholds::default());
        let actions = self.decide(&found);
        self.state.restarts = seen.status.map(|status| status.restarts()).unwrap_or_default();
        actions
    }

    fn decide(&mut self, found: &[Finding]) -> Vec<Action> {
        self.now += PERIOD;
        let (state, actions) = decide(&self.state, found, self.limits, self.now);
        self.state = state;
        actions
    }
}

fn agent(state: &str, health: &str, restarts: u64) -> Value {
    json!({"name": "scout", "kind": "agent", "state": state, "health": health, "restarts": restarts})
}

fn bus(health: &str) -> Value {
    let state = if health == "ok" { "ready" } else { "backoff" };
    json!({"name": "bus", "kind": "service", "state": state, "health": health, "restarts": 0,
           "evidence": {"what": "answered a command", "at": null}})
}

fn disk(used: u64) -> Value {
    json!({"disk": {"path": "/opt", "total_bytes": 100, "free_bytes": 100 - used}})
}

/// What is said of a trouble that begins right after a look, and how long after its beginning.
fn told(mut look: impl FnMut(&mut World, bool) -> Vec<Action>) -> (String, AlertLevel, TimeDelta) {
    let mut world = World::new();
    for _ in 0..5 {
        assert_eq!(look(&mut world, false), [], "all is well");
    }
    let began = world.now;
    for _ in 0..10 {
        for action in look(&mut world, true) {
            if let Action::Raise { text, level, .. } = action {
                return (text, level, world.now - began);
            }
        }
    }
    panic!("nothing was said");
}

#[test]
fn a_killed_agent_a_full_disk_and_a_stopped_redis_are_seen_within_a_minute() {
    let minute = TimeDelta::seconds(60);
    // The supervisor has a successor at once: what can be seen is that there is one.
    let (text, level, after) = told(|world, killed| {
        world.look(json!([bus("ok"), agent("ready", "ok", u64::from(killed))]), disk(50))
    });
    assert!(text.contains("scout was restarted 1 ×") && level == AlertLevel::Warning, "{text}");
    assert!(after <= minute, "{after}");

    let (text, level, after) =
        told(|world, full| world.look(json!([agent("ready", "ok", 0)]), disk(if full { 100 } else { 50 })));
    assert!(text.contains("disk /opt is 100 % full") && level == AlertLevel::Critical, "{text}");
    assert!(after <= minute, "{after}");

    let (text, level, after) =
        told(|world, away| world.look(json!([bus(if away { "degraded" } else { "ok" })]), disk(50)));
    // The daemon has an alert of its own about its bus.
    assert!(text.contains("bus waits to be restarted") && level == AlertLevel::Warning, "{text}");
    assert!(after <= minute, "{after}");
}

#[test]
fn what_is_seen_once_is_chance_and_what_flutters_is_one_alarm() {
    let mut world = World::new();
    for round in 0..20 {
        let used = if round % 2 == 0 { 95 } else { 50 };
        assert_eq!(world.look(json!([]), disk(used)), []);
    }
    world.look(json!([]), disk(95));
    assert_eq!(world.look(json!([]), disk(95)).len(), 1);
    for round in 0..20 {
        let used = if round % 3 == 0 { 95 } else { 50 };
        assert_eq!(world.look(json!([]), disk(used)), [], "it is said already, and not over");
    }
    let over: Vec<_> = (0..CLEAR).flat_map(|_| world.look(json!([]), disk(50))).collect();
    assert!(matches!(&over[..], [Action::Resolve { .. }]), "{over:?}");
}

#[test]
fn a_warning_that_becomes_critical_is_said_again() {
    let mut world = World::new();
    world.look(json!([]), disk(85));
    let levels = |actions: Vec<Action>| -> Vec<AlertLevel> {
        let levels = actions.into_iter().filter_map(|action| match action {
            Action::Raise { level, .. } => Some(level),
            _ => None,
        });
        levels.collect()
    };
    assert_eq!(levels(world.look(json!([]), disk(85))), [AlertLevel::Warning]);
    assert_eq!(levels(world.look(json!([]), disk(95))), [AlertLevel::Critical]);
    assert_eq!(levels(world.look(json!([]), disk(85))), []);
}

#[test]
fn a_restart_is_verified_and_what_it_does_not_mend_is_escalated() {
    let wedged = || json!([agent("ready", "unknown", 0)]);
    // It helps.
    let mut world = World::new();
    assert_eq!(world.look(wedged(), disk(1)), []);
    let acted = world.look(wedged(), disk(1));
    assert!(matches!(&acted[..], [Action::Act { subject, .. }] if subject == "scout"), "{acted:?}");
    let after: Vec<_> = (0..6).flat_map(|_| world.look(json!([agent("ready", "ok", 1)]), disk(1))).collect();
    assert!(matches!(&after[..], [Action::Note { text }] if text.contains("well since")), "{after:?}");

    // It does not.
    let mut world = World::new();
    world.look(wedged(), disk(1));
    world.look(wedged(), disk(1));
    let after: Vec<_> = (0..10).flat_map(|_| world.look(wedged(), disk(1))).collect();
    let [Action::Raise { level: AlertLevel::Critical, text, .. }] = &after[..] else { panic!("{after:?}") };
    assert!(text.contains("that did not help"), "{text}");

    // It is not granted: that is told of both ways in which it was found, and none is remembered as a restart.
    let two = ["unproved", "stopped"].map(|problem| Finding {
        area: Area::Team,
        subject: "scout".into(),
        problem: problem.into(),
        severity: Severity::Critical,
        text: format!("scout is {problem}"),
        remedy: Some(Remedy::Restart),
    });
    let refused = CallError::new(CallErrorKind::NotGranted, "`atlas` is not granted it");
    let mut world = World::new();
    world.decide(&two);
    let acted = world.decide(&two);
    let [Action::Act { subject, .. }] = &acted[..] else { panic!("{acted:?}") };
    let said = not_done(&mut world.state, Remedy::Restart, subject, &refused);
    let is_said = |action: &Action| matches!(action, Action::Raise { text, .. } if text.contains("could not restart it: `atlas`"));
    assert!(said.len() == 2 && said.iter().all(is_said), "{said:?}");
    assert!(world.state.acts.is_empty());
    assert_eq!((0..10).flat_map(|_| world.decide(&two)).collect::<Vec<_>>(), []);
}

#[test]
fn past_the_limit_the_operator_is_told_instead() {
    let mut world = World::new();
    world.limits.restarts = 1;
    let two = || {
        let ill = |name: &str| json!({"name": name, "kind": "agent", "state": "ready", "health": "unknown"});
        json!([ill("one"), ill("two")])
    };
    world.look(two(), disk(1));
    let actions = world.look(two(), disk(1));
    assert!(matches!(&actions[0], Action::Act { .. }), "{actions:?}");
    assert!(
        matches!(&actions[1], Action::Raise { text, .. } if text.contains("1 agents and units an hour")),
        "{actions:?}"
    );
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let severity = prop_oneof![Just(Severity::Info), Just(Severity::Warn), Just(Severity::Critical)];
    let problem = prop_oneof![Just("unproved"), Just("restarted"), Just("full"), Just("stopped")];
    (0..4_u8, problem, severity, any::<bool>()).prop_map(|(who, problem, severity, helps)| Finding {
        area: Area::Team,
        subject: format!("agent-{who}"),
        problem: problem.into(),
        severity,
        text: "something".into(),
        remedy: (helps && problem != "restarted").then_some(Remedy::Restart),
    })
}

proptest! {
    #[test]
    fn restarts_stay_within_the_hour_and_every_alert_that_is_over_was_raised(
        looks in prop::collection::vec((prop::collection::vec(any_finding(), 0..6), 1..400_u32), 1..120),
        limit in 0..4_u32,
    ) {
        let mut world = World::new();
        world.limits = Limits { restarts: limit, breakers: limit };
        let mut restarts: Vec<DateTime<Utc>> = Vec::new();
        let mut open = std::collections::BTreeSet::new();
        for (mut found, pause) in looks {
            found.sort_by_key(Finding::key);
            found.dedup_by_key(|finding| finding.key());
            world.now += TimeDelta::seconds(i64::from(pause));
            for action in world.decide(&found) {
                match action {
                    Action::Act { .. } => restarts.push(world.now),
                    Action::Raise { key, .. } => drop(open.insert(key)),
                    Action::Resolve { key, .. } => prop_assert!(open.remove(&key), "{key} was never raised"),
                    Action::Note { .. } => {}
                }
            }
            let lately = restarts.iter().filter(|at| world.now - **at < HOUR).count();
            prop_assert!(lately <= limit as usize);
            prop_assert!(world.state.acts.len() <= limit as usize);
        }
        // Once all is well for long enough, nothing is open.
        for _ in 0..=CLEAR_EVENT {
            for action in world.decide(&[]) {
                if let Action::Resolve { key, .. } = action {
                    prop_assert!(open.remove(&key));
                }
            }
        }
        prop_assert!(open.is_empty(), "{open:?}");
        prop_assert!(world.state.cases.is_empty());
    }

    #[test]
    fn what_lasts_is_acted_on_or_told_within_a_minute(
        before in prop::collection::vec(prop::collection::vec(any_finding(), 0..6), 0..40),
        lasting in any_finding(),
    ) {
        prop_assume!(lasting.severity != Severity::Info && !lasting.is_event());
        let mut world = World::new();
        for mut found in before {
            found.retain(|finding| finding.key() != lasting.key());
            found.dedup_by_key(|finding| finding.key());
            world.decide(&found);
        }
        let began = world.now;
        let actions: Vec<_> = (0..CONFIRM).flat_map(|_| world.decide(std::slice::from_ref(&lasting))).collect();
        let about = |action: &Action| match action {
            Action::Raise { key, .. } => *key == lasting.key(),
            Action::Act { subject, .. } => *subject == lasting.subject,
            _ => false,
        };
        prop_assert!(actions.iter().any(about), "{actions:?}");
        prop_assert!(world.now - began <= TimeDelta::seconds(60));
    }
}

/// A provider of answers, with another one behind it.
fn providers((breaker, actor): (&str, &str), authenticated: bool, look: bool) -> Value {
    let at = "2025-01-01T00:00:00Z";
    let one = |name: &str, breaker: Value, authenticated: bool, look: bool| {
        json!({
            "name": name, "kind": "provider", "process": "openclaw", "state": "ready", "health": "ok", "breaker": breaker,
            "provider": {
                "answers": "chat", "authenticated": {"holds": authenticated, "at": at},
                "functional": {"holds": authenticated, "at": at}, "look": {"holds": look, "at": "2025-01-01T00:09:00Z"},
            },
        })
    };
    let breaker = json!({"state": breaker, "opened": {"at": at, "actor": actor}});
    json!([one("a", breaker, authenticated, look), one("b", json!({"state": "closed"}), true, true)])
}

fn moves(actions: &[Action]) -> Vec<(Remedy, &str)> {
    let one = |action| match action {
        &Action::Act { remedy, ref subject, .. } => Some((remedy, subject.as_str())),
        _ => None,
    };
    actions.iter().filter_map(one).collect()
}

const OURS: (&str, &str) = ("open", "agent atlas");
const CLOSED: (&str, &str) = ("closed", "");

#[test]
fn a_provider_that_only_loses_calls_is_left_alone_and_asked_again_once_it_is_well() {
    let mut world = World::new();
    world.look(providers(CLOSED, false, true), disk(1));
    let actions = world.look(providers(CLOSED, false, true), disk(1));
    assert_eq!(moves(&actions), [(Remedy::OpenBreaker, "a")], "{actions:?}");
    world.look(providers(OURS, true, true), disk(1));
    let actions = world.look(providers(OURS, true, true), disk(1));
    assert_eq!(moves(&actions), [(Remedy::CloseBreaker, "a")], "{actions:?}");
    let after: Vec<_> = (0..4).flat_map(|_| world.look(providers(CLOSED, true, true), disk(1))).collect();
    assert!(
        after.iter().all(|action| matches!(action, Action::Note { .. })) && !after.is_empty(),
        "{after:?}"
    );
}

#[test]
fn what_a_person_or_the_breaker_itself_opened_is_not_closed() {
    for actor in ["openclaw", "operator", "agent scout", ""] {
        let mut world = World::new();
        for _ in 0..5 {
            let actions = world.look(providers(("open", actor), true, true), disk(1));
            assert_eq!(moves(&actions), [], "{actor}: {actions:?}");
        }
    }
}

#[test]
fn one_that_is_not_well_stays_open_and_past_the_limit_nothing_is_moved() {
    let mut world = World::new();
    for (breaker, authenticated, look) in [(OURS, true, false), (OURS, false, true)] {
        for _ in 0..3 {
            let actions = world.look(providers(breaker, authenticated, look), disk(1));
            assert_eq!(moves(&actions), [], "{actions:?}");
        }
    }
    let mut world = World::new();
    world.limits.breakers = 1;
    let moved: Vec<_> = (0..30)
        .map(|n| if n / 3 % 2 == 0 { providers(CLOSED, false, true) } else { providers(OURS, true, true) })
        .flat_map(|seen| world.look(seen, disk(1)))
        .collect();
    assert_eq!(moves(&moved).len(), 1, "{moved:?}");
    let told = |action: &Action| matches!(action, Action::Raise { text, .. } if text.contains("I may move 1 breakers an hour"));
    assert!(moved.iter().any(told), "{moved:?}");
}

#[test]
fn a_breaker_that_opens_again_or_did_not_help_is_told() {
    let mut world = World::new();
    for _ in 0..2 {
        world.look(providers(OURS, true, true), disk(1));
    }
    let actions = world.look(providers(("open", "openclaw"), true, false), disk(1));
    let told =
        |action: &Action| matches!(action, Action::Raise { text, .. } if text.contains("it opened again"));
    assert!(actions.iter().any(told), "{actions:?}");
    // It was opened, by its own word, and calls go there all the same.
    let mut world = World::new();
    let actions: Vec<_> = (0..6).flat_map(|_| world.look(providers(CLOSED, false, true), disk(1))).collect();
    let told = |action: &Action| matches!(action, Action::Raise { text, .. } if text.contains("I opened its breaker, and that did not help"));
    assert!(actions.iter().any(told), "{actions:?}");
}
