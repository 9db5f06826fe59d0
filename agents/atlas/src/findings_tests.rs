use openclaw_agent_api::prelude::*;

use super::*;
use crate::seen::typed;

fn seen(components: Value, resources: Value) -> Seen {
    Seen {
        status: typed(json!({"components": components})),
        resources: typed(resources),
        heartbeats: Ok(None),
        budgets: Ok(None),
        units: Ok(None),
    }
}

fn last(findings: Vec<Finding>) -> LastCheck {
    let at = "2025-01-01T00:00:00Z".parse().unwrap();
    LastCheck { findings, restarts: [("scout".to_owned(), 2)].into(), ..LastCheck::none(at) }
}

/// `subject problem severity`, for each.
fn keys(found: &[Finding]) -> Vec<String> {
    found.iter().map(|f| format!("{} {} {:?}", f.subject, f.problem, f.severity)).collect()
}

fn of_component(component: Value) -> Vec<String> {
    keys(&findings(&seen(json!([component]), json!({})), Some(&last(vec![])), &Thresholds::default()))
}

fn of_machine(resources: Value, previous: Option<&LastCheck>) -> Vec<String> {
    keys(&findings(&seen(json!([]), resources), previous, &Thresholds::default()))
}

#[test]
fn every_condition_has_its_finding() {
    for (component, expected) in [
        (json!({"state": "ready", "health": "ok"}), None),
        (json!({"state": "starting", "health": "unknown"}), Some("scout unknown Info")),
        (json!({"state": null, "health": null}), Some("scout unknown Info")),
        (json!({"state": "ready", "health": "degraded"}), Some("scout degraded Warn")),
        (json!({"state": "ready", "health": "failed"}), Some("scout failed Critical")),
        (json!({"state": "backoff", "health": "degraded"}), Some("scout backoff Warn")),
        (json!({"state": "refused", "health": "failed"}), Some("scout refused Critical")),
        (
            json!({"state": "ready", "health": "ok", "breaker": {"state": "open"}}),
            Some("scout breaker_open Critical"),
        ),
        (
            json!({"state": "ready", "health": "ok", "breaker": {"state": "half_open"}}),
            Some("scout on_trial Warn"),
        ),
        (json!({"state": "stopped", "health": "failed"}), Some("scout stopped Info")),
        (
            json!({"state": "stopped", "last_exit": {"class": "clean", "detail": null}}),
            Some("scout stopped Info"),
        ),
        (
            json!({"state": "stopped", "evidence": {"what": "stopped by cli:uid=0"}, "last_exit": {"class": "hang"}}),
            Some("scout stopped Info"),
        ),
        (
            json!({"state": "stopped", "evidence": {"what": "finished a task"}, "last_exit": {"class": "hang"}}),
            Some("scout stopped Warn"),
        ),
        // Its own words.
        (
            json!({"state": "stopped", "last_exit": {"class": "panic", "detail": "stopped by the operator + of None"}}),
            Some("scout stopped Warn"),
        ),
        (json!({"state": "stopped", "last_exit": {"class": "signal"}}), Some("scout stopped Warn")),
    ] {
        let mut component = component;
        component["name"] = json!("scout");
        assert_eq!(of_component(component.clone()), Vec::from_iter(expected), "{component}");
    }
}

#[test]
fn it_never_watches_itself() {
    let itself = json!({"name": "atlas", "state": "backoff", "health": "failed", "restarts": 9});
    assert!(of_component(itself).is_empty());
}

#[test]
fn restarts_are_told_when_there_are_more_than_before() {
    let ready =
        |restarts: u64| json!({"name": "scout", "state": "ready", "health": "ok", "restarts": restarts});
    assert_eq!(of_component(ready(5)), ["scout restarted Warn"]);
    assert!(of_component(ready(2)).is_empty());
    // A daemon that counts from zero again has restarted nothing.
    assert!(of_component(ready(0)).is_empty());
}

fn disk(used: u64) -> Value {
    json!({"disk": {"path": "/", "total_bytes": 1000, "free_bytes": 1000 - used}})
}

#[test]
fn the_disk_is_judged_at_its_thresholds() {
    assert!(of_machine(disk(799), None).is_empty());
    assert_eq!(of_machine(disk(800), None), ["disk full Warn"]);
    assert_eq!(of_machine(disk(899), None), ["disk full Warn"]);
    assert_eq!(of_machine(disk(900), None), ["disk full Critical"]);
    assert!(of_machine(json!({"disk": {"total_bytes": 0, "free_bytes": 0}}), None).is_empty());
    assert!(of_machine(json!({"disk": {"total_bytes": 10, "free_bytes": 20}}), None).is_empty());
}

#[test]
fn a_value_at_the_edge_is_one_finding() {
    let thresholds = Thresholds::default();
    let before = last(findings(&seen(json!([]), disk(900)), None, &thresholds));
    assert_eq!(of_machine(disk(885), Some(&before)), ["disk full Critical"]);
    assert_eq!(of_machine(disk(879), Some(&before)), ["disk full Warn"]);
    assert!(of_machine(disk(779), Some(&before)).is_empty());
}

#[test]
fn memory_and_load_are_judged() {
    let of = |mib: u64, load: f64| {
        let resources = json!({
            "cpu": {"cores": 2, "busy_percent": null}, "load": [0.0, load, 0.0],
            "memory": {"total_bytes": null, "available_bytes": mib * MIB},
        });
        of_machine(resources, None)
    };
    assert!(of(256, 4.0).is_empty());
    assert_eq!(of(255, 4.1), ["memory low Critical", "load high Warn"]);
}

#[test]
fn what_is_null_is_not_judged() {
    let nothing = json!({"cpu": null, "memory": null, "disk": null, "load": null, "uptime_seconds": null});
    assert!(of_machine(nothing, None).is_empty());
    assert!(of_machine(json!({"cpu": {"cores": 0}, "load": [null, null, null]}), None).is_empty());
}

#[test]
fn not_to_see_is_not_to_be_mended() {
    let thresholds = Thresholds::default();
    let failed = json!([{"name": "scout", "state": "ready", "health": "failed"}]);
    let before = last(findings(&seen(failed, disk(950)), None, &thresholds));
    let blind =
        Seen { status: Err("away".into()), resources: Err("away".into()), ..seen(json!([]), json!({})) };
    let first = findings(&blind, Some(&before), &thresholds);
    let expected =
        ["scout failed Critical", "disk full Critical", "the team unseen Warn", "the machine unseen Warn"];
    assert_eq!(keys(&first), expected);
    // And does not pile up.
    assert_eq!(keys(&findings(&blind, Some(&last(first)), &thresholds)), expected);
}

#[test]
fn of_whom_a_process_that_does_not_answer_runs_the_findings_stay() {
    let thresholds = Thresholds::default();
    let failed = json!([
        {"name": "scout", "state": "ready", "health": "failed"}, {"name": "far", "state": "ready", "health": "failed"},
    ]);
    let before = last(findings(&seen(failed, json!({})), None, &thresholds));
    let look = |silent: Value, before: &LastCheck| {
        let status =
            json!({"components": [{"name": "far", "state": "ready", "health": "ok"}], "silent": silent});
        findings(&Seen { status: typed(status), ..seen(json!([]), json!({})) }, Some(before), &thresholds)
    };
    let first = look(json!(["scout-1"]), &before);
    assert_eq!(keys(&first), ["scout-1 no_answer Critical", "scout failed Critical"]);
    let then = last(first);
    assert_eq!(
        keys(&look(json!(["scout-1"]), &then)),
        ["scout-1 no_answer Critical", "scout failed Critical"]
    );
    assert_eq!(keys(&look(json!([]), &then)), Vec::<String>::new());
    // That it stands by elsewhere says nothing of it.
    let scout = json!({"name": "scout", "state": "standby", "health": "unknown"});
    let status = typed(json!({"components": [scout], "silent": ["scout-1"]}));
    let seen = Seen { status, ..seen(json!([]), json!({})) };
    assert!(keys(&findings(&seen, Some(&then), &thresholds)).contains(&"scout failed Critical".to_owned()));
    assert!(!seen.there().contains("scout"));
}

#[test]
fn heartbeats_budgets_and_units_are_judged() {
    let status = json!([
        {"name": "scout", "kind": "agent", "state": "ready", "health": "ok"},
        {"name": "gone", "kind": "agent", "state": "stopped", "health": "unknown"},
    ]);
    let beats = json!([
        {"agent": "scout", "status": "down"}, {"agent": "gone", "status": "down"}, {"agent": "far", "status": "down"},
        {"agent": "milkbot", "status": "late"}, {"agent": "atlas", "status": "down"}, {"agent": null, "status": null},
    ]);
    let budgets = json!([
        {"budget": "a", "percent": 74.9}, {"budget": "b", "percent": 75.0}, {"budget": "c", "percent": 90.0},
        {"budget": null, "percent": null},
    ]);
    let units = json!([
        {"unit": "a.service", "state": "active (running)"}, {"unit": "b.service", "state": "failed (failed)"},
        {"unit": "c.service", "state": "activating (auto-restart)"}, {"unit": "d.service", "state": "failed (failed)", "exit_code": 78},
        {"unit": "e.timer", "state": "failed (failed)"}, {"unit": null, "state": null},
    ]);
    let seen = Seen {
        heartbeats: typed(beats).map(Some),
        budgets: typed(budgets).map(Some),
        units: typed(units).map(Some),
        ..seen(status, json!({}))
    };
    let found = findings(&seen, None, &Thresholds::default());
    assert_eq!(
        keys(&found),
        [
            "c spent Critical",
            "b.service unit_failed Critical",
            "d.service unit_failed Critical",
            "e.timer unit_failed Critical",
            "scout silent Warn",
            "far silent Warn",
            "b spent Warn",
            "c.service unit_restarting Warn",
            "gone stopped Info",
        ]
    );
    // Only whom this daemon runs can be restarted, and what systemd gave up.
    let remedies: Vec<_> = found.iter().filter(|f| f.remedy.is_some()).map(|f| f.subject.as_str()).collect();
    assert_eq!(remedies, ["b.service", "scout"]);
}

#[test]
fn a_process_that_does_not_answer_is_found_and_who_was_led_there() {
    let status = json!({
        "components": [{"name": "scout", "kind": "agent", "state": "standby", "health": "unknown"}],
        "silent": ["scout"],
    });
    let beats = json!([{"agent": "scout", "status": "down"}]);
    let seen =
        Seen { status: typed(status), heartbeats: typed(beats).map(Some), ..seen(json!([]), json!({})) };
    let found = findings(&seen, None, &Thresholds::default());
    assert_eq!(keys(&found), ["scout no_answer Critical", "scout silent Warn"]);
    assert!(found.iter().all(|finding| finding.remedy.is_none()));
}

#[test]
fn a_restart_is_the_remedy_where_it_may_help() {
    for (component, helps) in [
        (json!({"kind": "agent", "state": "ready", "health": "unknown"}), true),
        (json!({"kind": "agent", "state": "ready", "health": "failed"}), true),
        (
            json!({"kind": "agent", "state": "stopped", "health": "failed", "last_exit": {"class": "signal"}}),
            true,
        ),
        (json!({"kind": "agent", "state": "stopped", "health": "unknown"}), false),
        (json!({"kind": "agent", "state": "starting", "health": "degraded"}), false),
        (json!({"kind": "agent", "state": "backoff", "health": "degraded"}), false),
        (json!({"kind": "agent", "state": "open", "health": "failed"}), false),
        (json!({"kind": "agent", "state": "refused", "health": "failed"}), false),
        (json!({"kind": "service", "state": "ready", "health": "failed"}), false),
        (json!({"kind": "provider", "state": "ready", "health": "degraded"}), false),
    ] {
        let mut component = component;
        component["name"] = json!("scout");
        let found = findings(&seen(json!([component]), json!({})), None, &Thresholds::default());
        assert_eq!(found.iter().any(|f| f.remedy.is_some()), helps, "{component}");
    }
}

#[test]
fn providers_that_nobody_asked_are_no_finding_and_misconfigured_ones_are() {
    let provider = |state: &str, health: &str| {
        of_component(json!({"kind": "provider", "state": state, "health": health}).as_object_mut().map_or(
            Value::Null,
            |fields| {
                fields.insert("name".into(), json!("xai"));
                json!(fields)
            },
        ))
    };
    assert!(provider("ready", "unknown").is_empty() && provider("ready", "ok").is_empty());
    assert_eq!(provider("misconfigured", "degraded"), ["xai misconfigured Warn"]);
    assert_eq!(provider("ready", "degraded"), ["xai degraded Warn"]);
}
