use openclaw_agent_api::abi::methods;
use openclaw_agent_api::agent::ErrorClass;
use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::testkit::{TestAgent, TestHost};

use super::*;
use crate::check::KEY;

fn resources(free: u64) -> Value {
    json!({
        "cpu": {"cores": 2, "busy_percent": 12.5},
        "memory": {"total_bytes": 4_294_967_296_u64, "available_bytes": 2_147_483_648_u64},
        "disk": {"path": "/opt", "total_bytes": 1_099_511_627_776_u64, "free_bytes": free},
        "load": [0.1, 0.2, 0.3],
        "uptime_seconds": 93_600,
    })
}

fn team(health: &str) -> Value {
    json!({"components": [
        {"name": "atlas", "kind": "agent", "state": "ready", "health": "failed"},
        {"name": "scout", "kind": "agent", "state": "ready", "health": health, "restarts": 0},
    ]})
}

const PLENTY: u64 = 549_755_813_888;

fn atlas(host: TestHost) -> TestAgent<Atlas> {
    let at = "2025-01-01T00:01:00Z".parse().unwrap();
    let host = host.answer(methods::SYSTEM_RESOURCES, resources(PLENTY)).at(at);
    TestAgent::with_host(json!({}), host).unwrap()
}

fn logged(agent: &TestAgent<Atlas>, level: &str) -> Vec<String> {
    let calls = agent.host().calls().into_iter().filter(|(name, _)| name == methods::LOG);
    let lines = calls.filter(|(_, line)| line["level"] == level);
    lines.map(|(_, line)| line["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn resources_are_lines_and_data() {
    let agent = atlas(TestHost::default());
    for text in ["/resources", "resources", " /resources please"] {
        let reply = agent.send(text).unwrap();
        let lines: Vec<_> = reply.text.lines().collect();
        assert_eq!(
            lines,
            [
                "CPU: 12 % busy, 2 cores, load 0.10 0.20 0.30",
                "Memory: 2.0 GiB of 4.0 GiB available",
                "Disk /opt: 512.0 GiB of 1.0 TiB free (50 % used)",
                "Up: 1 d 2 h",
                "Nothing to warn of.",
            ]
        );
        assert_eq!(reply.data["findings"], json!([]));
        assert_eq!(reply.data["cpu"]["cores"], 2);
    }
}

#[test]
fn resources_warn_by_the_settings() {
    let host = TestHost::default().answer(methods::SYSTEM_RESOURCES, resources(PLENTY));
    let agent =
        TestAgent::<Atlas>::with_host(json!({"disk_warn_percent": 40, "disk_critical_percent": 50}), host)
            .unwrap();
    let reply = agent.send("/resources").unwrap();
    assert!(reply.text.ends_with("CRITICAL: disk /opt is 50 % full"), "{}", reply.text);
    assert_eq!(reply.data["findings"][0]["severity"], "critical");
}

#[test]
fn resources_that_cannot_be_read_are_said_or_retried() {
    let answer = |kind| {
        let host = TestHost::default().fail(methods::SYSTEM_RESOURCES, CallError::new(kind, "no /proc"));
        TestAgent::<Atlas>::with_host(json!({}), host).unwrap().send("/resources")
    };
    assert_eq!(answer(CallErrorKind::Failed).unwrap_err().class, ErrorClass::Failed);
    assert!(answer(CallErrorKind::NotGranted).unwrap().text.contains("no /proc"));
    let nulls = TestHost::default().answer(methods::SYSTEM_RESOURCES, Value::Null);
    let text = TestAgent::<Atlas>::with_host(json!({}), nulls).unwrap().send("/resources").unwrap().text;
    assert!(text.contains("CPU: unknown busy") && text.contains("unknown of unknown available"), "{text}");
}

/// Lets looks be made, each a period after the last.
fn looks(agent: &TestAgent<Atlas>, from: i64, count: i64) {
    for look in from..from + count {
        let start: DateTime<Utc> = "2025-01-01T00:01:00Z".parse().unwrap();
        agent.host().set_time(start + TimeDelta::seconds(20 * look));
        agent.tick(CHECK).unwrap();
    }
}

fn allowed(host: TestHost) -> TestHost {
    [methods::ALERT_RAISE, methods::ALERT_RESOLVE, methods::SUPERVISOR_RESTART, methods::PUBLISH]
        .into_iter()
        .fold(host, |host, method| host.answer(method, Value::Null))
}

#[test]
fn an_alarm_is_told_once_and_its_end_too() {
    let agent = atlas(allowed(TestHost::default().answer(methods::SUPERVISOR_STATUS, team("ok"))));
    looks(&agent, 0, 2);
    agent.host().set(methods::SYSTEM_RESOURCES, resources(0));
    looks(&agent, 2, 5);
    let raised = agent.host().called(methods::ALERT_RAISE);
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert_eq!((&raised[0]["key"], &raised[0]["level"]), (&json!("machine:full:disk"), &json!("critical")));
    assert_eq!(logged(&agent, "warn"), ["critical: disk /opt is 100 % full"]);
    agent.host().set(methods::SYSTEM_RESOURCES, resources(PLENTY));
    looks(&agent, 7, 5);
    let over = agent.host().called(methods::ALERT_RESOLVE);
    assert_eq!(over.len(), 1, "{over:?}");
    assert_eq!(over[0]["key"], raised[0]["key"]);
    assert_eq!(logged(&agent, "info"), ["no longer: disk /opt is 100 % full"]);
    let published = agent.host().called(methods::PUBLISH);
    assert_eq!((published.len(), &published[0]["type"]), (2, &json!("atlas.findings")));
}

#[test]
fn an_agent_that_proves_nothing_is_restarted_and_the_operator_hears_when_that_does_not_help() {
    let agent = atlas(allowed(TestHost::default().answer(methods::SUPERVISOR_STATUS, team("unknown"))));
    looks(&agent, 0, 2);
    let restarted = agent.host().called(methods::SUPERVISOR_RESTART);
    assert_eq!((restarted.len(), &restarted[0]["agent"]), (1, &json!("scout")));
    // It was remembered before it was done.
    let calls: Vec<_> = agent.host().calls().into_iter().map(|(method, _)| method).collect();
    let at = |method: &str| calls.iter().rposition(|call| call == method).unwrap();
    assert!(at(methods::MEMORY_SET) < at(methods::SUPERVISOR_RESTART));
    looks(&agent, 2, 10);
    assert_eq!(agent.host().called(methods::SUPERVISOR_RESTART).len(), 1);
    let raised = agent.host().called(methods::ALERT_RAISE);
    assert_eq!((raised.len(), &raised[0]["level"]), (1, &json!("critical")));
    assert!(raised[0]["text"].as_str().unwrap().contains("that did not help"), "{raised:?}");
}

#[test]
fn a_restart_that_is_refused_is_escalated_at_once_and_never_said_to_be_done() {
    let refused = CallError::new(CallErrorKind::NotGranted, "`atlas` is not granted `supervisor.restart`");
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("unknown"))
        .fail(methods::SUPERVISOR_RESTART, refused)
        .answer(methods::ALERT_RAISE, Value::Null);
    let agent = atlas(host);
    looks(&agent, 0, 10);
    let raised = agent.host().called(methods::ALERT_RAISE);
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(raised[0]["text"].as_str().unwrap().contains("could not restart it: `atlas` is not granted"));
    let kept = agent.host().called(methods::MEMORY_SET).pop().unwrap()["value"].clone();
    assert_eq!(
        (&kept["acts"], &kept["cases"]["team:unproved:scout"]["phase"]["raised"]["level"]),
        (&json!([]), &raised[0]["level"])
    );
}

#[test]
fn another_process_goes_on_from_memory() {
    let first = atlas(allowed(TestHost::default().answer(methods::SUPERVISOR_STATUS, team("degraded"))));
    looks(&first, 0, 2);
    let left = first.host().called(methods::MEMORY_SET).last().unwrap()["value"].clone();
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("degraded"))
        .answer(methods::MEMORY_GET, left);
    let agent = atlas(allowed(host));
    looks(&agent, 2, 1);
    assert!(agent.host().called(methods::SUPERVISOR_RESTART).is_empty());
    assert_eq!(agent.host().called(methods::MEMORY_GET)[0]["key"], KEY);
}

#[test]
fn a_store_that_is_away_keeps_nobody_from_being_told_but_nobody_is_restarted() {
    let away = || CallError::new(CallErrorKind::Failed, "the store is away");
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("unknown"))
        .fail(methods::MEMORY_GET, away())
        .fail(methods::MEMORY_SET, away());
    let agent = atlas(allowed(host));
    agent.host().set(methods::SYSTEM_RESOURCES, resources(0));
    for second in [0, 20, 40, 41, 42] {
        let start: DateTime<Utc> = "2025-01-01T00:01:00Z".parse().unwrap();
        agent.host().set_time(start + TimeDelta::seconds(second));
        assert!(agent.tick(CHECK).is_err());
    }
    assert!(agent.host().called(methods::SUPERVISOR_RESTART).is_empty());
    let raised = agent.host().called(methods::ALERT_RAISE);
    let keys: Vec<_> = raised.iter().map(|alert| alert["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["machine:full:disk", "team:unproved:scout"]);
}

#[test]
fn publishing_and_alerts_are_extra() {
    // What failed is tried again, and what is refused is not.
    for (kind, warned, tried) in [(CallErrorKind::NotGranted, 0, 1), (CallErrorKind::Failed, 1, 2)] {
        let host = TestHost::default()
            .answer(methods::SUPERVISOR_STATUS, team("ok"))
            .fail(methods::ALERT_RAISE, CallError::new(kind, "no way"))
            .fail(methods::PUBLISH, CallError::new(kind, "no bus"));
        let agent = atlas(host);
        agent.host().set(methods::SYSTEM_RESOURCES, resources(0));
        looks(&agent, 0, 3);
        let warnings = logged(&agent, "warn");
        assert_eq!(warnings.iter().filter(|line| line.contains("no bus")).count(), warned, "{warnings:?}");
        assert_eq!(warnings.iter().filter(|line| line.contains("was not told: no way")).count(), tried);
    }
}

/// The calls of a look that remember or tell.
fn steps(agent: &TestAgent<Atlas>) -> Vec<String> {
    let calls = agent.host().calls().into_iter();
    let calls = calls.filter(|(method, _)| method.starts_with("alert.") || method == methods::MEMORY_SET);
    calls
        .map(|(method, payload)| format!("{method} {}", payload["key"].as_str().unwrap_or_default()))
        .collect()
}

#[test]
fn what_is_told_is_told_before_it_is_remembered() {
    let agent = atlas(allowed(TestHost::default().answer(methods::SUPERVISOR_STATUS, team("ok"))));
    agent.host().set(methods::SYSTEM_RESOURCES, resources(0));
    looks(&agent, 0, 2);
    let set = format!("{} {KEY}", methods::MEMORY_SET);
    let raise = format!("{} machine:full:disk", methods::ALERT_RAISE);
    assert_eq!(steps(&agent), [set.clone(), raise, set.clone()]);
    agent.host().set(methods::SYSTEM_RESOURCES, resources(PLENTY));
    looks(&agent, 2, 3);
    let resolve = format!("{} machine:full:disk", methods::ALERT_RESOLVE);
    assert_eq!(steps(&agent)[5..], [resolve, set.clone()]);
    // A day has ended.
    agent.host().set_time("2025-01-02T00:00:20Z".parse().unwrap());
    agent.tick(CHECK).unwrap();
    let all = steps(&agent);
    assert!(all[7].ends_with(" report daily 2025-01-01") && all[8].ends_with(" daily 2025-01-01"), "{all:?}");
    assert_eq!(all[9], set);
}

#[test]
fn what_could_not_be_told_is_told_at_the_next_look() {
    let away = || CallError::new(CallErrorKind::Failed, "the store is away");
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("ok"))
        .fail(methods::ALERT_RAISE, away())
        .fail(methods::ALERT_RAISE, away());
    let agent = atlas(allowed(host));
    agent.host().set(methods::SYSTEM_RESOURCES, resources(0));
    looks(&agent, 0, 8);
    let raised = agent.host().called(methods::ALERT_RAISE);
    assert_eq!(raised.len(), 3, "{raised:?}");
    assert!(
        raised.iter().all(|alert| alert["key"] == "machine:full:disk" && alert["level"] == "critical"),
        "{raised:?}"
    );
    assert_eq!(logged(&agent, "warn").iter().filter(|line| line.starts_with("critical: disk")).count(), 1);

    // What is over meanwhile is not raised any more.
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("ok"))
        .fail(methods::ALERT_RAISE, away())
        .answer(methods::ALERT_RESOLVE, Value::Null);
    let agent = atlas(host);
    agent.host().set(methods::SYSTEM_RESOURCES, resources(0));
    looks(&agent, 0, 2);
    agent.host().set(methods::SYSTEM_RESOURCES, resources(PLENTY));
    looks(&agent, 2, 8);
    // Raised at the look that found it, and tried again until it was over.
    assert_eq!(agent.host().called(methods::ALERT_RAISE).len(), 3);
    assert_eq!(agent.host().called(methods::ALERT_RESOLVE).len(), 1);
}

#[test]
fn a_report_that_was_not_handed_in_is_handed_in_later() {
    let away = CallError::new(CallErrorKind::Failed, "the store is away");
    let host =
        TestHost::default().answer(methods::SUPERVISOR_STATUS, team("ok")).fail(methods::ALERT_RAISE, away);
    let agent = atlas(allowed(host));
    looks(&agent, 0, 1);
    for time in ["2025-01-02T00:00:20Z", "2025-01-02T00:00:40Z", "2025-01-02T00:01:00Z"] {
        agent.host().set_time(time.parse().unwrap());
        agent.tick(CHECK).unwrap();
    }
    let raised = agent.host().called(methods::ALERT_RAISE);
    let keys: Vec<_> = raised.iter().map(|alert| alert["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["daily 2025-01-01"; 2]);
}

#[test]
fn a_day_that_has_ended_is_reported_and_kept() {
    let agent = atlas(allowed(TestHost::default().answer(methods::SUPERVISOR_STATUS, team("ok"))));
    looks(&agent, 0, 3);
    agent.host().set_time("2025-01-02T00:00:20Z".parse().unwrap());
    agent.tick(CHECK).unwrap();
    let raised = agent.host().called(methods::ALERT_RAISE);
    assert_eq!((&raised[0]["key"], &raised[0]["level"]), (&json!("daily 2025-01-01"), &json!("info")));
    let shown = agent.send("/uptime").unwrap().text;
    assert!(shown.contains("2025-01-02 (UTC) so far: looked 1 ×"), "{shown}");
    assert!(shown.contains("2025-01-01 (UTC): looked 3 ×") && shown.contains("scout 100 %"), "{shown}");
}

#[test]
fn watch_shows_the_last_check_and_now() {
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("ok"))
        .answer(methods::SUPERVISOR_STATUS, team("ok"))
        .answer(methods::SUPERVISOR_STATUS, team("degraded"));
    let agent = atlas(host);
    let first = agent.send("/watch").unwrap();
    assert!(first.text.starts_with("No check has been made yet."), "{}", first.text);
    agent.tick(CHECK).unwrap();
    let reply = agent.send("/watch").unwrap();
    assert_eq!(
        reply.text.lines().collect::<Vec<_>>(),
        [
            "Last check, 0 s ago: nothing found.",
            "Now:",
            "scout: ready, health degraded",
            "warning: scout is degraded",
        ]
    );
    assert_eq!(reply.data["now"]["watched"], json!(["scout"]));
}

#[test]
fn the_manifest_says_what_it_needs() {
    let manifest = Atlas::describe();
    assert_eq!(manifest.needs, ["supervisor.status", "system.resources", "memory"]);
    assert_eq!((manifest.schedules[0].name.as_str(), manifest.schedules[0].every_seconds), ("check", 20));
    let agent = atlas(TestHost::default());
    assert_eq!(agent.send("/what").unwrap_err().class, ErrorClass::Invalid);
    assert_eq!(agent.send("").unwrap_err().class, ErrorClass::Invalid);
    agent.tick("another").unwrap();
    assert!(agent.host().calls().is_empty());
}
