use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::prelude::*;
use proptest::prelude::*;

use super::*;
use crate::PERIOD;
use crate::findings::findings;
use crate::seen::{Resources, Seen, Status, typed};
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
        self.see(&Seen {
            status: typed(json!({"components": components})),
            resources: typed(resources),
            heartbeats: Ok(None),
            budgets: Ok(None),
            units: Ok(None),
        })
    }

    fn see(&mut self, seen: &Seen) -> Vec<Action> {
        let found = findings(seen, Some(&self.state), &Thresholds::default());
        let actions = self.decide(&found, &seen.there());
        self.state.restarts = seen.status.as_ref().map(Status::restarts).unwrap_or_default();
        actions
    }

    fn decide(&mut self, found: &[Finding], there: &BTreeSet<String>) -> Vec<Action> {
        self.now += PERIOD;
        let (state, actions) = decide(&self.state, found, there, self.limits, self.now);
        self.state = state;
        actions
    }
}

fn unit(state: &str) -> Seen {
    Seen {
        status: Ok(Status::default()),
        resources: Ok(Resources::default()),
        heartbeats: Ok(None),
        budgets: Ok(None),
        units: typed(json!([{"unit": "a.service", "state": state}])).map(Some),
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
fn what_changes_its_word_or_is_well_at_every_other_look_is_told_within_a_minute() {
    let is_said = |looks: Vec<Seen>| {
        let mut world = World::new();
        let said: Vec<_> = looks.iter().flat_map(|seen| world.see(seen)).collect();
        said.iter().any(|action| matches!(action, Action::Raise { .. } | Action::Act { .. }))
    };
    let team = |component: Value| Seen {
        status: typed(json!({"components": [component]})),
        ..unit("active (running)")
    };
    let service =
        |health| team(json!({"name": "bus", "kind": "service", "state": "ready", "health": health}));
    // The third look after its beginning is within a minute of it.
    assert!(is_said(vec![service("degraded"), service("failed"), service("degraded")]));
    assert!(is_said(vec![team(agent("backoff", "degraded", 0)), team(agent("ready", "degraded", 0))]));
    let restarts = || unit("activating (auto-restart)");
    assert!(is_said(vec![restarts(), unit("active (running)"), restarts()]));
    assert!(!is_said(vec![service("degraded"), restarts()]), "each is seen once");
}

#[test]
fn what_is_seen_once_is_chance_and_what_flutters_is_one_alarm() {
    let mut world = World::new();
    for round in 0..20 {
        let used = if round % (CLEAR + 1) == 0 { 95 } else { 50 };
        assert_eq!(world.look(json!([]), disk(used)), []);
    }
    // What comes back before it would be over has lasted.
    for pause in 1..CLEAR {
        let mut world = World::new();
        world.look(json!([]), disk(95));
        assert_eq!((0..pause).flat_map(|_| world.look(json!([]), disk(50))).count(), 0);
        assert_eq!(world.look(json!([]), disk(95)).len(), 1);
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
    let there = ["scout".to_owned()].into();
    let mut world = World::new();
    world.decide(&two, &there);
    let acted = world.decide(&two, &there);
    let [Action::Act { subject, .. }] = &acted[..] else { panic!("{acted:?}") };
    let said = not_done(&mut world.state, Remedy::Restart, subject, &refused);
    let is_said = |action: &Action| matches!(action, Action::Raise { text, .. } if text.contains("could not restart it: `atlas`"));
    assert!(said.len() == 2 && said.iter().all(is_said), "{said:?}");
    assert!(world.state.acts.is_empty());
    assert_eq!((0..10).flat_map(|_| world.decide(&two, &there)).collect::<Vec<_>>(), []);
}

/// What is said of a restarted agent that is seen so ever after.
fn after_a_restart(then: Value) -> Vec<Action> {
    let mut world = World::new();
    for _ in 0..CONFIRM {
        world.look(json!([agent("ready", "unknown", 0)]), disk(1));
    }
    (0..20).flat_map(|_| world.look(then.clone(), disk(1))).collect()
}

fn says(actions: &[Action], words: &str) -> bool {
    actions.iter().any(|action| match action {
        Action::Raise { text, .. } | Action::Resolve { text, .. } | Action::Note { text } => {
            text.contains(words)
        }
        Action::Act { .. } => false,
    })
}

#[test]
fn a_restart_has_helped_only_who_is_there_and_well() {
    for (then, told) in [
        (json!([agent("refused", "failed", 1)]), "that did not help: scout was refused"),
        (json!([agent("backoff", "degraded", 1)]), "that did not help: scout waits to be restarted"),
        (json!([]), "cannot see whether that helped"),
    ] {
        let said = after_a_restart(then);
        assert!(says(&said, told) && !says(&said, "well since"), "{said:?}");
        let level = |action: &Action| matches!(action, Action::Raise { level: AlertLevel::Critical, text, .. } if text.contains(told));
        assert_eq!(said.iter().filter(|action| level(action)).count(), 1, "{said:?}");
    }
    // A unit that is started, and falls, again and again.
    let mut world = World::new();
    let states = ["activating (auto-restart)", "failed (failed)", "active (running)"];
    let looks = ["failed (failed)", "failed (failed)"].into_iter().chain(states.into_iter().cycle().take(30));
    let said: Vec<_> = looks.flat_map(|state| world.see(&unit(state))).collect();
    assert_eq!(moves(&said), [(Remedy::RestartUnit, "a.service")], "{said:?}");
    assert!(says(&said, "that did not help") && !says(&said, "well since"), "{said:?}");
    // The words that are looked for in the journal.
    let mut world = World::new();
    let looks = ["failed (failed)"; 2].into_iter().chain(["active (running)"; 3]);
    let said: Vec<_> = looks.flat_map(|state| world.see(&unit(state))).collect();
    assert!(says(&said, "a.service is failed (failed); I restarted it, and it is well since"), "{said:?}");
}

#[test]
fn nobody_is_restarted_again_before_it_is_seen_whether_that_helped() {
    let mut world = World::new();
    let mut look = |health| moves(&world.look(json!([agent("ready", health, 0)]), disk(1))).len();
    assert_eq!(["unknown", "unknown", "failed", "degraded", "failed"].map(&mut look), [0, 1, 0, 0, 0]);
}

#[test]
fn nobody_is_restarted_for_what_was_found_twice_but_not_in_a_row_nor_unseen() {
    let mut world = World::new();
    let mut look = |health| moves(&world.look(json!([agent("ready", health, 0)]), disk(1))).len();
    assert_eq!(["unknown", "ok", "unknown", "ok", "unknown"].map(&mut look), [0, 0, 0, 0, 1]);
    // In another word meanwhile, which was told.
    let mut world = World::new();
    let mut look = |state, health| moves(&world.look(json!([agent(state, health, 0)]), disk(1))).len();
    let looks = [("ready", "unknown"), ("backoff", "degraded"), ("ready", "unknown")];
    assert_eq!(looks.map(|(state, health)| look(state, health)), [0, 0, 1]);
    let mut world = World::new();
    world.look(json!([agent("ready", "unknown", 0)]), disk(1));
    let blind = Seen { status: Err("away".into()), ..unit("active (running)") };
    let said: Vec<_> = (0..5).flat_map(|_| world.see(&blind)).collect();
    assert_eq!(moves(&said), [], "{said:?}");
}

#[test]
fn what_is_ill_in_another_word_is_not_over() {
    let mut world = World::new();
    let said: Vec<_> = (["backoff"; 2].into_iter().chain(["ready"; 10]))
        .flat_map(|state| world.look(json!([agent(state, "degraded", 0)]), disk(1)))
        .collect();
    assert!(says(&said, "waits to be restarted") && !says(&said, "no longer"), "{said:?}");
    let over: Vec<_> =
        (0..CLEAR).flat_map(|_| world.look(json!([agent("ready", "ok", 0)]), disk(1))).collect();
    assert!(says(&over, "no longer: scout waits"), "{over:?}");
}

#[test]
fn who_is_gone_is_not_well_but_not_for_ever() {
    let mut world = World::new();
    (0..2).for_each(|_| drop(world.look(json!([agent("backoff", "degraded", 0)]), disk(1))));
    let said: Vec<_> = (0..GONE).flat_map(|_| world.look(json!([]), disk(1))).collect();
    assert!(!says(&said, "no longer"), "{said:?}");
    assert!(says(&world.look(json!([]), disk(1)), "no longer: scout waits"));
}

#[test]
fn acts_that_are_later_than_now_do_not_count() {
    let ill = |name: &str| json!([{"name": name, "kind": "agent", "state": "ready", "health": "unknown"}]);
    let mut world = World::new();
    world.limits.restarts = 1;
    world.look(ill("one"), disk(1));
    assert_eq!(moves(&world.look(ill("one"), disk(1))).len(), 1);
    world.now -= TimeDelta::days(1);
    world.look(ill("two"), disk(1));
    assert_eq!(moves(&world.look(ill("two"), disk(1))), [(Remedy::Restart, "two")]);
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

/// Something that is wrong with one agent, in whatever word.
fn ill() -> impl Strategy<Value = Finding> {
    let ill = any_finding().prop_map(|finding| Finding { subject: "agent-0".into(), ..finding });
    ill.prop_filter("it may be good to know", Finding::is_ill)
}

fn all() -> BTreeSet<String> {
    (0..4).map(|who| format!("agent-{who}")).collect()
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
            for action in world.decide(&found, &all()) {
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
            for action in world.decide(&[], &all()) {
                if let Action::Resolve { key, .. } = action {
                    prop_assert!(open.remove(&key));
                }
            }
        }
        prop_assert!(open.is_empty(), "{open:?}");
        prop_assert!(world.state.cases.is_empty());
    }

    #[test]
    fn nothing_is_well_since_or_over_while_its_subject_is_ill(looks in prop::collection::vec(ill(), 1..60)) {
        let mut world = World::new();
        let mut raised = std::collections::BTreeSet::new();
        for one in looks {
            for action in world.decide(std::slice::from_ref(&one), &all()) {
                match action {
                    Action::Raise { key, level, .. } => prop_assert!(raised.insert((key, level)), "twice"),
                    Action::Act { .. } => {}
                    over => prop_assert!(false, "{over:?}"),
                }
            }
        }
    }

    #[test]
    fn what_lasts_is_acted_on_or_told_within_a_minute(
        before in prop::collection::vec(prop::collection::vec(any_finding(), 0..6), 0..40),
        lasting in prop::collection::vec(ill(), CONFIRM as usize),
    ) {
        let mut world = World::new();
        for mut found in before {
            found.retain(|finding| finding.subject != "agent-0");
            found.dedup_by_key(|finding| finding.key());
            world.decide(&found, &all());
        }
        let began = world.now;
        let actions: Vec<_> =
            lasting.iter().flat_map(|one| world.decide(std::slice::from_ref(one), &all())).collect();
        let about = |action: &Action| match action {
            Action::Raise { key, .. } => key.ends_with("agent-0"),
            Action::Act { subject, .. } => subject == "agent-0",
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
fn one_that_is_left_alone_need_not_be_well() {
    let mut world = World::new();
    (0..CONFIRM).for_each(|_| drop(world.look(providers(CLOSED, false, true), disk(1))));
    let mut left = providers(OURS, false, true);
    (left[0]["state"], left[0]["health"]) = (json!("misconfigured"), json!("degraded"));
    let said: Vec<_> = (0..5).flat_map(|_| world.look(left.clone(), disk(1))).collect();
    assert!(says(&said, "left alone since") && !says(&said, "did not help"), "{said:?}");
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
