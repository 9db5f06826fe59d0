//! What an agent may ask for is what the config grants, and what it did is told.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use openclaw_agent_api::abi::methods;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::ledger::Ledger;
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use crate::support::{ask, ended, history, leave, pid, quick, reply, scout_answers, task, tasks};

fn granted(grants: &[&str]) -> Result<(Home, Daemon)> {
    let config = format!(
        "[agents.misbehaving]\ngrants = {grants:?}\n[agents.milkbot]\ngrants = [\"memory\", \"task\", \"ask\"]\n"
    );
    let home = Home::new(&quick(&config), &["scout", "misbehaving", "milkbot"])?;
    let daemon = home.start_ready(&["scout", "misbehaving", "milkbot"])?;
    Ok((home, daemon))
}

/// What the host answered to a call: its answer, or `{kind, message}`.
fn call(home: &Home, method: &str, payload: Value) -> Result<Value> {
    let text = reply(home, "misbehaving", &format!("call {method} {payload}"))?;
    serde_json::from_str(&text).with_context(|| text)
}

#[test]
fn without_a_grant_every_door_is_shut_and_says_which_key_opens_it() -> Result<()> {
    let (home, _daemon) = granted(&[])?;
    let doors = [
        ("system.resources", json!({})),
        ("system.services", json!({})),
        ("supervisor.status", json!({})),
        ("supervisor.restart", json!({"agent": "scout"})),
        ("supervisor.heartbeats", json!({})),
        ("supervisor.budgets", json!({})),
        ("alert.raise", json!({"key": "k", "level": "critical", "text": "t"})),
        ("alert.resolve", json!({"key": "k", "text": "t"})),
        ("memory.get", json!({"key": "k"})),
        ("memory.set", json!({"key": "k", "value": 1})),
        ("memory.delete", json!({"key": "k"})),
        ("memory.list", json!({"prefix": ""})),
        ("memory.remember", json!({"session": "s", "role": "user", "text": "t"})),
        ("memory.turns", json!({"session": "s", "limit": 1})),
        ("publish", json!({"type": "t"})),
        ("ask", json!({"prompt": "p"})),
        ("search", json!({"query": "q"})),
        ("fetch", json!({"url": "http://127.0.0.1/"})),
        ("notify", json!({"key": "k", "text": "t"})),
        ("task.run", json!({"agent": "scout", "text": "t", "timeout_ms": 1})),
        ("task.list", json!({"limit": 1})),
        ("missions.propose", json!({"mission": {"title": "t"}})),
        ("missions.list", json!({})),
        ("missions.decide", json!({"id": "0000", "verdict": "approved"})),
        ("system.restart", json!({"unit": "openclaw-atlas.service"})),
        ("breaker.open", json!({"scope": "agent", "name": "scout", "reason": "r"})),
        ("breaker.close", json!({"scope": "agent", "name": "scout", "reason": "r"})),
        ("no.such.door", json!({})),
    ];
    // Work is handed over with a result.
    let handed = methods::TASK_SUBMIT;
    let tried: BTreeSet<_> = doors.iter().map(|(method, _)| *method).chain([handed]).collect();
    assert!(methods::GRANTED.iter().all(|method| tried.contains(method)), "{tried:?}");
    for (method, payload) in doors {
        let error = call(&home, method, payload)?;
        assert_eq!(error["kind"], "not_granted", "{method}: {error}");
        let message = error["message"].as_str().context("a message")?;
        assert!(message.contains(method) && message.contains("agents.misbehaving.grants"), "{message}");
    }
    assert_eq!(home.component("scout")?["restarts"], 0);
    // These two need none.
    assert!(call(&home, "now", json!({}))?.is_string());
    assert_eq!(call(&home, "log", json!({"level": "info", "text": "a line of its own"}))?, Value::Null);
    Ok(())
}

#[test]
fn a_grant_opens_its_own_door_and_no_other() -> Result<()> {
    let (home, _daemon) = granted(&["system.resources", "supervisor.status"])?;
    let resources = call(&home, "system.resources", json!({}))?;
    assert!(resources["memory"]["total_bytes"].as_u64() > Some(0), "{resources}");
    let status = call(&home, "supervisor.status", json!({}))?;
    let names = status["components"].as_array().context("components")?;
    assert!(names.iter().any(|component| component["name"] == "scout"), "{status}");
    for method in ["system.services", "supervisor.restart", "memory.get"] {
        assert_eq!(call(&home, method, json!({"agent": "scout"}))?["kind"], "not_granted", "{method}");
    }
    Ok(())
}

#[test]
fn what_is_not_configured_says_so() -> Result<()> {
    let (home, _daemon) = granted(&["ask", "search", "fetch", "notify", "system"])?;
    let error = call(&home, "ask", json!({"prompt": "who are you?"}))?;
    assert_eq!(error["kind"], "not_configured", "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("config/failover.json")), "{error}");
    for (method, payload) in [
        ("search", json!({"query": "q"})),
        ("notify", json!({"key": "k", "text": "t"})),
        ("system.services", json!({})),
    ] {
        assert_eq!(call(&home, method, payload)?["kind"], "not_configured", "{method}");
    }
    // The front desk passes it on to the person.
    let said = reply(&home, "milkbot", "/ask who are you?")?;
    assert!(said.contains("o language model is configured"), "{said}");
    Ok(())
}

#[test]
fn calls_that_do_not_read_are_the_callers_mistake() -> Result<()> {
    let (home, _daemon) = granted(&["memory", "task", "supervisor"])?;
    for (method, payload) in [
        ("memory.get", json!({})),
        ("memory.get", json!([])),
        ("memory.set", json!({"key": "", "value": 1})),
        ("memory.set", json!({"key": "k".repeat(257), "value": 1})),
        ("memory.turns", json!({"session": "s", "limit": -1})),
        ("memory.burn", json!({})),
        ("task.run", json!({"agent": "scuot", "text": "t", "timeout_ms": 1})),
        ("supervisor.restart", json!({"agent": "scuot"})),
    ] {
        let error = call(&home, method, payload)?;
        assert_eq!(error["kind"], "invalid", "{method}: {error}");
    }
    // Another agent's name that nearly is one.
    let error = call(&home, "supervisor.restart", json!({"agent": "scuot"}))?;
    assert!(error["message"].as_str().is_some_and(|text| text.contains("did you mean `scout`?")), "{error}");
    assert_eq!(call(&home, "memory.list", json!({"prefix": ""}))?, json!([]));
    Ok(())
}

#[test]
fn an_alert_is_the_agents_own_and_what_is_seen_is_what_is_there() -> Result<()> {
    let (home, _daemon) = granted(&["alert", "supervisor.budgets", "supervisor.heartbeats"])?;
    let alert = |text: &str| json!({"key": "milkbot:breaker", "level": "warning", "text": text});
    assert_eq!(call(&home, "alert.raise", alert("too warm"))?, Value::Null);
    assert_eq!(call(&home, "alert.raise", alert("still too warm"))?, Value::Null);
    let its = |alerts: &Value| {
        let all = alerts.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|alert| alert["source"] == "misbehaving" && alert["count"] == 2)
    };
    let shown = openclaw_tests::wait_for("the alert", || Ok(its(&home.json(&["alert", "list", "--json"])?)))?;
    assert_eq!(shown["key"], "misbehaving:agent:milkbot:breaker", "another's cannot be spoken of: {shown}");
    call(&home, "alert.resolve", json!({"key": "milkbot:breaker", "text": "cooler"}))?;
    openclaw_tests::wait_for("its end", || {
        let alert = its(&home.json(&["alert", "list", "--json"])?);
        Ok(alert.is_none_or(|alert| alert["resolution"] == "cooler").then_some(()))
    })?;
    for bad in [
        json!({"key": "", "level": "info", "text": "t"}),
        json!({"key": "k".repeat(101), "level": "info", "text": "t"}),
        json!({"key": "k", "level": "info", "text": " "}),
        json!({"key": "k", "level": "loud", "text": "t"}),
    ] {
        assert_eq!(call(&home, "alert.raise", bad.clone())?["kind"], "invalid", "{bad}");
    }
    let budgets = call(&home, "supervisor.budgets", json!({}))?;
    assert_eq!(budgets.as_array().map(Vec::len), Some(2), "{budgets}");
    assert!(call(&home, "supervisor.heartbeats", json!({}))?.is_array());
    Ok(())
}

#[test]
fn memory_is_each_agents_own_and_outlives_host_and_daemon() -> Result<()> {
    let (home, daemon) = granted(&["memory"])?;
    let own = json!({"session": "shared", "limit": 10});
    // The front desk remembers that this conversation begins.
    let said = home.ok(&["send", "milkbot", "/new", "--session", "shared"])?;
    ensure!(said.contains("A new conversation"), "{said}");
    assert_eq!(call(&home, "memory.turns", own.clone())?, json!([]));

    let kept = json!({"deep": ["er", 1.5, null], "text": "ünï\n\"code\""});
    assert_eq!(call(&home, "memory.get", json!({"key": "k"}))?, Value::Null);
    assert_eq!(call(&home, "memory.set", json!({"key": "k", "value": kept}))?, Value::Null);
    call(&home, "memory.set", json!({"key": "k2", "value": 2}))?;
    call(&home, "memory.delete", json!({"key": "k2"}))?;
    call(&home, "memory.remember", json!({"session": "shared", "role": "user", "text": "mine"}))?;

    home.ok(&["agents", "restart", "misbehaving"])?;
    assert_eq!(call(&home, "memory.get", json!({"key": "k"}))?, kept);
    daemon.kill()?;
    let _daemon = home.start_ready(&["misbehaving", "milkbot"])?;
    assert_eq!(call(&home, "memory.get", json!({"key": "k"}))?, kept);
    assert_eq!(call(&home, "memory.list", json!({"prefix": ""}))?, json!(["k"]));
    let turns = call(&home, "memory.turns", own)?;
    assert_eq!(turns.as_array().map(Vec::len), Some(1), "{turns}");
    assert_eq!(turns[0]["text"], "mine");
    Ok(())
}

#[test]
fn a_restart_by_an_agent_is_told_with_its_name() -> Result<()> {
    let (home, _daemon) = granted(&["supervisor.restart"])?;
    let before = pid(&home, "scout")?;
    let asked = json!({"agent": "scout", "reason": "it looked pale"});
    assert_eq!(call(&home, "supervisor.restart", asked)?, Value::Null);
    openclaw_tests::wait_for("scout's successor", || {
        let scout = home.component("scout")?;
        Ok((scout["state"] == "ready" && scout["pid"] != before).then_some(()))
    })?;
    let steps = history(&home, "scout")?;
    let by = steps.iter().find(|step| step["actor"] == "agent misbehaving").context("its name")?;
    assert_eq!((&by["to"], &by["reason"]), (&"draining".into(), &"it looked pale".into()), "{by}");
    scout_answers(&home)?;

    // It may restart itself: its own task ends first.
    let me = pid(&home, "misbehaving")?;
    assert_eq!(call(&home, "supervisor.restart", json!({"agent": "misbehaving"}))?, Value::Null);
    openclaw_tests::wait_for("its own successor", || {
        let seen = home.component("misbehaving")?;
        Ok((seen["state"] == "ready" && seen["pid"] != me).then_some(()))
    })?;
    let steps = history(&home, "misbehaving")?;
    let by = steps.iter().find(|step| step["actor"] == "agent misbehaving").context("its name")?;
    assert!(by["reason"].as_str().is_some_and(|why| !why.is_empty()), "no reason: {by}");
    Ok(())
}

#[test]
fn whoever_is_no_operator_restarts_nobody_through_an_agent_that_may() -> Result<()> {
    let (home, _daemon) = granted(&["supervisor.restart", "system.restart", "breaker"])?;
    let before = pid(&home, "scout")?;
    let scout = json!({"scope": "agent", "name": "scout"});
    for (method, payload) in [
        ("supervisor.restart", json!({"agent": "scout"})),
        ("system.restart", json!({"unit": "openclaw-scout.service"})),
        ("breaker.open", scout.clone()),
        ("breaker.close", scout),
    ] {
        let told = reply(&home, "milkbot", &format!("/tell misbehaving call {method} {payload}"))?;
        assert!(
            told.contains("not_granted") && told.contains("this was said by `agent:milkbot`"),
            "{method}: {told}"
        );
    }
    assert_eq!(pid(&home, "scout")?, before);
    // For an operator it does.
    assert_eq!(call(&home, "supervisor.restart", json!({"agent": "scout"}))?, Value::Null);
    Ok(())
}

#[test]
fn work_is_handed_over_by_who_may_to_who_is_there() -> Result<()> {
    let (home, _daemon) = granted(&[])?;
    let sent = ask(&home, "misbehaving", "hand scout /analyze")?;
    assert_eq!((&sent["state"], &sent["attempts"]), (&"failed".into(), &1.into()), "{sent}");
    assert!(sent["error"].as_str().is_some_and(|why| why.contains("agents.misbehaving.grants")), "{sent}");
    let sent = ask(&home, "misbehaving", "run scout /analyze")?;
    assert_eq!(sent["state"], "failed", "{sent}");
    assert!(sent["error"].as_str().is_some_and(|why| why.contains("agents.misbehaving.grants")), "{sent}");
    assert_eq!(home.json(&["tasks", "list", "-a", "scout", "--json"])?, json!([]));

    let (home, _daemon) = granted(&["task"])?;
    let sent = ask(&home, "misbehaving", "hand scuot hello")?;
    assert_eq!((&sent["state"], &sent["attempts"]), (&"failed".into(), &1.into()), "{sent}");
    assert!(sent["error"].as_str().is_some_and(|why| why.contains("`scuot`, which is no agent")), "{sent}");
    let sent = ask(&home, "misbehaving", "run misbehaving echo hello")?;
    assert_eq!(sent["state"], "failed", "{sent}");
    assert!(sent["error"].as_str().is_some_and(|why| why.contains("waits for itself")), "{sent}");
    let sent = ask(&home, "misbehaving", "run scuot hello")?;
    assert_eq!(sent["state"], "failed", "{sent}");
    assert!(sent["error"].as_str().is_some_and(|why| why.contains("did you mean `scout`?")), "{sent}");
    assert_eq!(home.json(&["tasks", "list", "-a", "scout", "--json"])?, json!([]));

    // And what may be, is: once.
    assert_eq!(reply(&home, "misbehaving", &format!("hand scout {}", crate::support::ANALYZE))?, "handed");
    let handed = home.json(&["tasks", "list", "-a", "scout", "--json"])?;
    assert_eq!(handed.as_array().map(Vec::len), Some(1), "{handed}");
    assert_eq!(handed[0]["source"], "agent:misbehaving");
    assert_eq!(ended(&home, handed[0]["id"].as_str().context("an id")?)?["state"], "done");
    let said = reply(&home, "misbehaving", &format!("run scout {}", crate::support::ANALYZE))?;
    assert!(said.contains("No signal"), "{said}");
    assert_eq!(tasks(&home, "scout", "done")?.len(), 2);
    Ok(())
}

#[test]
fn what_an_agent_did_is_counted_and_its_restarts_have_a_limit() -> Result<()> {
    let (home, _daemon) = granted(&["supervisor.restart", "memory"])?;
    let restart = || call(&home, "supervisor.restart", json!({"agent": "scout"}));
    for _ in 0..12 {
        assert_eq!(restart()?, Value::Null);
    }
    let error = restart()?;
    assert!(error["kind"] == "too_soon" && error["retry_at"].is_string(), "{error}");
    call(&home, "memory.burn", json!({}))?;
    call(&home, "memory.get", json!({"key": "k"}))?;
    let grants = home.json(&["agents", "grants", "misbehaving", "--json"])?;
    let counted = json!([
        {"method": "memory.get", "outcome": "ok", "count": 1},
        {"method": "supervisor.restart", "outcome": "ok", "count": 12},
        {"method": "supervisor.restart", "outcome": "too_soon", "count": 1},
        {"method": "unknown", "outcome": "invalid", "count": 1},
    ]);
    assert_eq!(grants["asked"], counted, "{grants}");
    let shown = home.ok(&["agents", "grants", "misbehaving"])?;
    assert!(
        shown.contains("12 × supervisor.restart · ok") && shown.contains("supervisor.restart 12/1h"),
        "{shown}"
    );
    Ok(())
}

/// How often a method was asked for today, with that outcome.
fn asked(home: &Home, method: &str, outcome: &str) -> Result<u64> {
    let grants = home.json(&["agents", "grants", "misbehaving", "--json"])?;
    let counts = grants["asked"].as_array().context("counts")?;
    let its = |one: &&Value| one["method"] == method && one["outcome"] == outcome;
    Ok(counts.iter().find(its).and_then(|one| one["count"].as_u64()).unwrap_or_default())
}

#[test]
fn each_capability_has_a_rate_and_what_was_asked_for_outlives_the_daemon() -> Result<()> {
    let granted = "[agents.misbehaving]\ngrants = ['memory', 'publish', 'notify', 'task']\n\
                   rates = { memory = '2/1h', publish = '2/1h', notify = '2/1h', task = '2/1h', 'task.submit' = '2/1h' }\n";
    let home = Home::new(&quick(granted), &["scout", "misbehaving"])?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    for (method, payload) in [
        ("memory.get", json!({"key": "k"})),
        ("publish", json!({"type": "t"})),
        ("notify", json!({"key": "k", "text": "t"})),
        ("task.list", json!({})),
    ] {
        let answers = (0..4).map(|_| call(&home, method, payload.clone())).collect::<Result<Vec<_>>>()?;
        let too_soon = |answer: &&Value| answer["kind"] == "too_soon" && answer["retry_at"].is_string();
        assert_eq!(answers.iter().filter(too_soon).count(), 2, "{method}: {answers:?}");
        assert_eq!(asked(&home, method, "too_soon")?, 2, "{method}");
    }
    // Work that is handed over with a result waits for its turn.
    for _ in 0..2 {
        reply(&home, "misbehaving", "hand scout echo")?;
    }
    let third = leave(&home, "misbehaving", "hand scout echo")?;
    let handed = wait_for("the third to be put off", || {
        let handed = task(&home, &third)?;
        Ok(handed["error"].is_string().then_some(handed))
    })?;
    assert!(handed["state"] == "queued" && handed["error"].to_string().contains("task.submit"), "{handed}");
    assert_eq!(call(&home, "supervisor.restart", json!({"agent": "scout"}))?["kind"], "not_granted");
    let before = home.json(&["agents", "grants", "misbehaving", "--json"])?;
    assert_eq!(asked(&home, "supervisor.restart", "not_granted")?, 1, "{before}");
    for what in ["supervisor.restart", "notify", "memory", "publish", "task.submit"] {
        let told = before["refused"].as_array().context("refusals")?.iter();
        assert!(
            told.clone().any(|one| one[1].as_str().is_some_and(|why| why.contains(what))),
            "{what}: {before}"
        );
    }
    assert!(daemon.stop()?.success());
    // Each is told as an event, however many in one, and none is left behind.
    let mut told = BTreeMap::new();
    for kind in ["agent.call", "agent.refused"] {
        for event in Ledger::events(&home, "misbehaving", kind)? {
            let name = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            *told.entry((name("method"), name("outcome"))).or_insert(0) +=
                event["times"].as_u64().context("times")?;
        }
    }
    let counted = before["asked"].as_array().context("counts")?.iter();
    let counted: BTreeMap<_, _> = counted
        .map(|one| {
            let name = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
            ((name("method"), name("outcome")), one["count"].as_u64().unwrap_or_default())
        })
        .collect();
    assert_eq!(told, counted);
    let _daemon = home.start_ready(&["misbehaving"])?;
    let after = home.json(&["agents", "grants", "misbehaving", "--json"])?;
    assert_eq!(after["asked"], before["asked"]);
    Ok(())
}

#[test]
fn a_breaker_is_moved_by_who_may_and_says_who_moved_it() -> Result<()> {
    let (home, _daemon) = granted(&["breaker"])?;
    let scout = json!({"scope": "agent", "name": "scout", "reason": "it is silly"});
    assert_eq!(call(&home, "breaker.open", scout.clone())?, Value::Null);
    let open = home.until("scout", "open")?;
    assert!(open["pid"].is_null(), "{open}");
    let list = home.ok(&["breakers", "list"])?;
    assert!(list.contains("agent misbehaving") && list.contains("it is silly"), "{list}");
    assert_eq!(call(&home, "breaker.close", scout.clone())?, Value::Null);
    home.until("scout", "ready")?;
    let own = call(&home, "breaker.open", json!({"scope": "agent", "name": "misbehaving"}))?;
    assert!(own["kind"] == "invalid" && home.component("misbehaving")?["state"] == "ready", "{own}");
    let unknown = call(&home, "breaker.open", json!({"scope": "provider", "name": "nobody"}))?;
    assert_eq!(unknown["kind"], "invalid", "{unknown}");
    let (home, _daemon) = granted(&["memory"])?;
    assert_eq!(call(&home, "breaker.open", scout)?["kind"], "not_granted");
    assert_eq!(home.component("scout")?["state"], "ready");
    Ok(())
}
