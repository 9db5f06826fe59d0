use openclaw_agent_api::abi::methods;
use openclaw_agent_api::agent::ErrorClass;
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

fn called(agent: &TestAgent<Atlas>, method: &str) -> Vec<Value> {
    agent.host().calls().into_iter().filter(|(name, _)| name == method).map(|(_, payload)| payload).collect()
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

#[test]
fn an_alarm_is_told_once_and_its_end_too() {
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("failed"))
        .answer(methods::SUPERVISOR_STATUS, team("failed"))
        .answer(methods::SUPERVISOR_STATUS, team("ok"))
        .answer(methods::PUBLISH, Value::Null);
    let agent = atlas(host);
    agent.tick(CHECK).unwrap();
    agent.tick(CHECK).unwrap();
    assert_eq!(logged(&agent, "warn"), ["critical: scout has failed"]);
    assert_eq!(called(&agent, methods::MEMORY_SET).len(), 2);
    agent.tick(CHECK).unwrap();
    agent.tick(CHECK).unwrap();
    assert_eq!(logged(&agent, "warn").len(), 1);
    assert_eq!(logged(&agent, "info"), ["no longer: scout has failed"]);
    let published = called(&agent, methods::PUBLISH);
    assert_eq!(published.len(), 2);
    assert_eq!(published[0]["type"], "atlas.findings");
    assert_eq!(published[0]["data"]["findings"][0]["subject"], "scout");
}

#[test]
fn another_process_goes_on_from_memory() {
    let left = json!({"at": "2025-01-01T00:00:00Z", "restarts": {"scout": 0}, "findings": [{
        "area": "team", "subject": "scout", "problem": "failed", "severity": "critical", "text": "scout has failed",
    }]});
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("failed"))
        .answer(methods::MEMORY_GET, left);
    let agent = atlas(host);
    agent.tick(CHECK).unwrap();
    assert!(logged(&agent, "warn").is_empty());
    assert_eq!(called(&agent, methods::MEMORY_GET)[0]["key"], KEY);
}

#[test]
fn a_store_that_is_away_fails_the_check_but_does_not_repeat_the_alarm() {
    let away = || CallError::new(CallErrorKind::Failed, "the store is away");
    let host = TestHost::default()
        .answer(methods::SUPERVISOR_STATUS, team("failed"))
        .fail(methods::MEMORY_GET, away())
        .fail(methods::MEMORY_SET, away());
    let agent = atlas(host);
    assert!(agent.tick(CHECK).is_err());
    assert!(agent.tick(CHECK).is_err());
    assert_eq!(logged(&agent, "warn").iter().filter(|line| line.contains("scout")).count(), 1);
}

#[test]
fn publishing_is_extra() {
    for (kind, warned) in [(CallErrorKind::NotGranted, 0), (CallErrorKind::Failed, 1)] {
        let host = TestHost::default()
            .answer(methods::SUPERVISOR_STATUS, team("failed"))
            .fail(methods::PUBLISH, CallError::new(kind, "no bus"));
        let agent = atlas(host);
        agent.tick(CHECK).unwrap();
        assert_eq!(logged(&agent, "warn").iter().filter(|line| line.contains("no bus")).count(), warned);
    }
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
    assert_eq!((manifest.schedules[0].name.as_str(), manifest.schedules[0].every_seconds), ("check", 60));
    let agent = atlas(TestHost::default());
    assert_eq!(agent.send("/what").unwrap_err().class, ErrorClass::Invalid);
    assert_eq!(agent.send("").unwrap_err().class, ErrorClass::Invalid);
    agent.tick("another").unwrap();
    assert!(agent.host().calls().is_empty());
}
