//! What the API does, and for whom.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use openclaw_tests::daemon::Home;
use openclaw_tests::http::Http;
use openclaw_tests::server::Postgres;
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use super::{READ, TOKEN, problem, stage};
use crate::database::on;
use crate::support::{ANALYZE, ended, history, task};

const MESSAGES: &str = "/api/v1/messages";
const WAIT: &str = "/api/v1/messages?wait=30s";

#[test]
fn a_message_is_durable_when_it_is_accepted_and_answered_when_waited_for() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let accepted = http.post(MESSAGES, &json!({"agent": "misbehaving", "text": "echo one"}))?;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let id = accepted.json()?["task_id"].as_str().context("an id")?.to_owned();
    assert_eq!(accepted.header("location"), format!("/api/v1/tasks/{id}"));
    assert_eq!(ended(&home, &id)?["result"]["text"], "one");
    let shown = http.get(accepted.header("location"))?.json()?;
    assert_eq!((&shown["state"], &shown["result"]["text"]), (&json!("done"), &json!("one")), "{shown}");
    assert_eq!(shown, task(&home, &id)?);

    let body = json!({"agent": "scout", "text": ANALYZE, "session": "a", "priority": 3});
    let done = http.post(WAIT, &body)?;
    assert_eq!((done.status, done.json()?["state"].as_str()), (200, Some("done")), "{}", done.text);
    assert!(done.json()?["result"]["text"].as_str().is_some_and(|text| text.contains("No signal for BTC")));
    let id = done.json()?["task_id"].as_str().context("an id")?.to_owned();
    let task = task(&home, &id)?;
    assert_eq!(
        (&task["session"], &task["priority"], &task["source"]),
        (&json!("a"), &json!(3), &json!("http"))
    );

    // It failed, and that is an answer.
    let failed = http.post(WAIT, &json!({"agent": "misbehaving", "text": "error always"}))?;
    assert_eq!((failed.status, failed.json()?["state"].as_str()), (200, Some("failed")), "{}", failed.text);
    assert!(failed.json()?["error"].is_string());
    // Nobody is named, and there is no front desk here.
    let nobody = http.post(MESSAGES, &json!({"text": "hello"}))?;
    assert!(problem(&nobody, 404, "unknown_agent").contains("milkbot"));
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn data_arrives_as_it_was_sent() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let body = r#"{"agent": "misbehaving", "text": "echo x", "data": {"b": 1.10, "a": [1e3, "\u202e<b>"]}}"#;
    let request = http.request("POST", MESSAGES).header("content-type", "application/json; charset=utf-8");
    let accepted = http.send(request.body(body)?)?;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let id = accepted.json()?["task_id"].as_str().context("an id")?.to_owned();
    let data = task(&home, &id)?["payload"]["data"].clone();
    assert_eq!(data, json!({"b": 1.10, "a": [1e3, "\u{202e}<b>"]}));
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn the_same_key_is_the_same_task_in_body_and_header() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let body = json!({"agent": "misbehaving", "text": "echo one", "idempotency_key": "k1"});
    let first = http.post(WAIT, &body)?.json()?;
    assert_eq!(first["existing"], false, "{first}");
    let second = http.post(MESSAGES, &body)?;
    // It has ended, so there is no need to ask again.
    assert_eq!(second.status, 200);
    assert_eq!(second.json()?["task_id"], first["task_id"]);
    assert_eq!(second.json()?["existing"], true);
    let request = http.request("POST", WAIT).header("content-type", "application/json");
    let request = request.header("idempotency-key", "k1");
    let third = http.send(request.body(json!({"agent": "misbehaving", "text": "echo one"}).to_string())?)?;
    assert_eq!(third.json()?["task_id"], first["task_id"]);
    let tasks = http.get("/api/v1/tasks?agent=misbehaving")?.json()?;
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(1), "{tasks}");
    assert_eq!(home.json(&["tasks", "list", "--json"])?, tasks["tasks"]);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn tasks_are_listed_cancelled_and_retried() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    home.ok(&["agents", "stop", "misbehaving"])?;
    let accepted = http.post(MESSAGES, &json!({"agent": "misbehaving", "text": "echo one"}))?.json()?;
    let id = accepted["task_id"].as_str().context("an id")?;
    let count = |query: &str| -> Result<usize> {
        let tasks = http.get(&format!("/api/v1/tasks?{query}"))?.json()?;
        Ok(tasks["tasks"].as_array().context("tasks")?.len())
    };
    assert_eq!((count("state=queued")?, count("state=done")?, count("agent=scout")?), (1, 0, 0));
    // An agent that is down is not waited for.
    let waited = http.post(WAIT, &json!({"agent": "misbehaving", "text": "echo two"}))?;
    assert_eq!((waited.status, waited.json()?["state"].as_str()), (202, Some("queued")), "{}", waited.text);
    let cancelled = http.post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))?;
    assert_eq!((cancelled.status, cancelled.json()?["state"].as_str()), (200, Some("cancelled")));
    problem(&http.post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))?, 409, "wrong_state");
    let retried = http.post(&format!("/api/v1/tasks/{id}/retry"), &json!({}))?;
    assert_eq!(
        (retried.status, retried.json()?["state"].as_str()),
        (200, Some("queued")),
        "{}",
        retried.text
    );
    home.ok(&["agents", "start", "misbehaving"])?;
    assert_eq!(ended(&home, id)?["state"], "done");
    for (path, code) in [
        ("/api/v1/tasks/0190a000-0000-7000-8000-000000000000", "no_such_task"),
        ("/api/v1/tasks/nonsense", "no_such_task"),
        ("/api/v1/tasks?agent=nobody", "unknown_agent"),
    ] {
        problem(&http.get(path)?, 404, code);
    }
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn agents_are_shown_and_moved_with_the_actor_in_their_history() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let agents = http.get("/api/v1/agents")?.json()?;
    let names: Vec<_> = agents["agents"].as_array().context("agents")?.iter().map(|a| &a["name"]).collect();
    assert_eq!(names, ["misbehaving", "scout"]);
    let act = |action: &str, body: Value| http.post(&format!("/api/v1/agents/misbehaving/{action}"), &body);
    assert_eq!(act("stop", json!({}))?.json()?["state"], "stopped");
    assert_eq!(http.get("/api/v1/agents/misbehaving")?.json()?["state"], "stopped");
    assert_eq!(act("start", json!({}))?.json()?["state"], "ready");
    assert_eq!(act("restart", json!({"reason": "it is Saturday"}))?.json()?["state"], "ready");
    let reloaded = act("reload", json!({}))?.json()?;
    assert!(reloaded["verdict"].as_str().is_some_and(|told| told.contains("already")), "{reloaded}");
    problem(&act("rollback", json!({}))?, 409, "reload_failed");
    problem(&act("rollback", json!({"to": "0000"}))?, 409, "reload_failed");
    problem(&act("dance", json!({}))?, 404, "not_found");
    assert!(
        problem(&http.get("/api/v1/agents/scuot")?, 404, "unknown_agent").contains("did you mean `scout`?")
    );
    let steps = history(&home, "misbehaving")?;
    let by_http = steps.iter().filter(|step| step["actor"] == "operator over HTTP from 127.0.0.1").count();
    assert!(by_http >= 3, "{steps:?}");
    assert!(steps.iter().any(|step| step["reason"].as_str().is_some_and(|why| why.contains("Saturday"))));
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_token_lets_do_what_it_is_for() -> Result<()> {
    let (home, daemon, http) = stage("[gateway]\nbad_tokens = 100\n")?;
    let body = json!({"agent": "scout", "text": ANALYZE});
    for (token, look, act, code) in [
        (None, 401, 401, "unauthorized"),
        (Some("wrong-0123456789abcdef"), 401, 401, "invalid_token"),
        (Some(""), 401, 401, "invalid_token"),
        (Some(READ), 200, 403, "read_only_token"),
        (Some(TOKEN), 200, 202, ""),
    ] {
        let http = Http::at(http.address, token);
        for path in ["/api/v1/agents", "/api/v1/tasks", "/api/v1/openclaw/status"] {
            assert_eq!(http.get(path)?.status, look, "{token:?} {path}");
        }
        let answer = http.post(MESSAGES, &body)?;
        assert_eq!(answer.status, act, "{token:?}: {}", answer.text);
        if act != 202 {
            problem(&answer, act, code);
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge.starts_with("Bearer realm="), act == 401, "{challenge}");
        }
        // Whoever has no token is not told what there is.
        let nowhere = http.get("/api/v1/nowhere")?;
        assert_eq!(nowhere.status, if look == 401 { 401 } else { 404 }, "{token:?}");
    }
    // The scheme's case does not matter; another scheme, or two of them, do.
    let with = |headers: &[&str]| -> Result<u16> {
        let mut request = Http::at(http.address, None).request("GET", "/api/v1/agents");
        for value in headers {
            request = request.header("authorization", *value);
        }
        Ok(http.send(request.body(())?)?.status)
    };
    assert_eq!(with(&[&format!("bearer {TOKEN}")])?, 200);
    assert_eq!(with(&[&format!("Basic {TOKEN}")])?, 401);
    assert_eq!(with(&[&format!("Bearer {TOKEN}"), &format!("Bearer {READ}")])?, 401);
    assert_eq!(home.json(&["tasks", "list", "--json"])?.as_array().map(Vec::len), Some(1));
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn without_a_token_the_api_says_how_to_make_one() -> Result<()> {
    let (home, daemon, _) = stage("")?;
    assert!(daemon.stop()?.success());
    super::secrets(&home, "")?;
    let daemon = home.start_ready(&["scout"])?;
    let http = Http::of(&home, Some(TOKEN))?;
    let told = problem(&http.get("/api/v1/agents")?, 401, "no_token_configured");
    assert!(told.contains("OPENCLAW_GATEWAY_TOKEN=") && told.contains("openssl rand"), "{told}");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn the_status_is_the_command_lines_and_the_metrics_are_told() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let (here, there) = (home.status()?, http.get("/api/v1/openclaw/status")?.json()?);
    let names = |status: &Value| -> Vec<Value> {
        status["components"].as_array().into_iter().flatten().map(|part| part["name"].clone()).collect()
    };
    assert_eq!(names(&here), names(&there));
    assert_eq!(here["daemon"]["pid"], there["daemon"]["pid"]);
    for args in
        [["warning", "a disk is filling"], ["critical", "a disk is full"], ["critical", "and another"]]
    {
        home.ok(&[&["alert", "raise"][..], &args].concat())?;
    }
    let metrics = http.get("/metrics")?;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "openclaw_component_health{component=\"scout\",kind=\"agent\",health=\"ok\"} 1",
        "openclaw_agent_breaker_open{agent=\"scout\"} 0",
        "openclaw_http_responses_total{class=\"2xx\"} ",
        "openclaw_alerts_open{level=\"info\"} 0",
        "openclaw_alerts_open{level=\"warning\"} 1",
        "openclaw_alerts_open{level=\"critical\"} 2",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.text.lines().any(|told| told.starts_with(line)), "no {line} in {}", metrics.text);
    }
    let stranger = Http::at(http.address, None);
    assert_eq!(stranger.get("/metrics")?.status, 200);
    let proxied = stranger.request("GET", "/metrics").header("x-forwarded-for", "192.0.2.1").body(())?;
    assert_eq!(stranger.send(proxied)?.status, 401);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn what_is_answered_is_what_the_description_says() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let document = http.get("/api/v1/openapi.json")?.json()?;
    let keys = |schema: &str| -> Vec<String> {
        let properties = document["components"]["schemas"][schema]["properties"].as_object();
        let mut keys: Vec<_> = properties.into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    };
    let sent = http.post(WAIT, &json!({"agent": "scout", "text": ANALYZE}))?.json()?;
    let task = http.get(&format!("/api/v1/tasks/{}", sent["task_id"].as_str().context("an id")?))?.json()?;
    let agent = http.get("/api/v1/agents/scout")?.json()?;
    home.ok(&["alert", "raise", "INFO", "by the way"])?;
    let alert = http.get("/api/v1/alerts")?.json()?["alerts"][0].clone();
    let budget = http.get("/api/v1/budgets")?.json()?["budgets"][0].clone();
    assert_eq!(http.get("/api/v1/budgets")?.json()?["budgets"], home.json(&["budget", "--json"])?["budgets"]);
    let problem = http.get("/api/v1/x")?.json()?;
    for (schema, answer) in [
        ("TaskShown", &task),
        ("Component", &agent),
        ("AlertShown", &alert),
        ("BudgetShown", &budget),
        ("Problem", &problem),
    ] {
        let mut told: Vec<_> = answer.as_object().context("an object")?.keys().cloned().collect();
        told.sort();
        // What is empty may be left out.
        assert!(
            told.iter().all(|key| keys(schema).contains(key)),
            "{schema}: {told:?}, not {:?}",
            keys(schema)
        );
        let required = document["components"]["schemas"][schema]["required"].as_array().cloned();
        for key in required.unwrap_or_default() {
            assert!(
                answer.get(key.as_str().unwrap_or_default()).is_some(),
                "{schema} has no {key}: {answer}"
            );
        }
    }
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_gateway_alone_takes_messages_for_agents_of_other_processes() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let home = Home::new(&on(&server.url("postgres")), &["misbehaving"])?;
    super::secrets(&home, &super::tokens())?;
    let gateway = home.spawn_by(home.command(&["run", "gateway"])?)?;
    wait_for("the gateway", || Ok(home.component("gateway").ok().filter(|part| part["state"] == "ready")))?;
    let http = Http::of(&home, Some(TOKEN))?;
    assert_eq!(http.get("/readyz")?.status, 200);
    let accepted = http.post(MESSAGES, &json!({"agent": "misbehaving", "text": "echo one"}))?;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    problem(&http.post("/api/v1/agents/misbehaving/stop", &json!({}))?, 409, "elsewhere");
    problem(
        &http.post(MESSAGES, &json!({"agent": "misbehavign", "text": "echo one"}))?,
        404,
        "unknown_agent",
    );
    let agent = home.spawn_by(home.command(&["run", "misbehaving"])?)?;
    // The one who waits is told what the other process has done.
    let done = http.post(WAIT, &json!({"agent": "misbehaving", "text": "echo two"}))?;
    assert_eq!((done.status, done.json()?["result"]["text"].as_str()), (200, Some("two")), "{}", done.text);
    assert_eq!(http.get(accepted.header("location"))?.json()?["state"], "done");
    // It is shown and moved as if it ran here, by whoever asked.
    let all = http.get("/api/v1/agents")?.json()?;
    assert_eq!(
        (&all["agents"][0]["name"], &all["agents"][0]["state"]),
        (&json!("misbehaving"), &json!("ready"))
    );
    let stopped = http.post("/api/v1/agents/misbehaving/stop", &json!({}))?;
    assert_eq!((stopped.status, &stopped.json()?["state"]), (200, &json!("stopped")), "{}", stopped.text);
    let shown = http.get("/api/v1/agents/misbehaving")?.json()?;
    assert_eq!(shown["state"], "stopped");
    assert!(shown["reason"].as_str().is_some_and(|why| why.contains("over HTTP")), "{shown}");
    let moves = history(&home, "misbehaving")?;
    assert!(
        moves.iter().any(|step| step["actor"].as_str().is_some_and(|actor| actor.contains("over HTTP"))),
        "{moves:?}"
    );
    let refused = http.post("/api/v1/agents/misbehaving/rollback", &json!({}))?;
    problem(&refused, 409, "refused_elsewhere");
    let status = http.get("/api/v1/openclaw/status")?.json()?;
    assert_eq!(status["others"][0]["process"], "misbehaving", "{status}");
    // One that stands still is named, and the rest is told.
    agent.signal(Signal::SIGSTOP)?;
    let status = http.get("/api/v1/openclaw/status")?.json()?;
    assert_eq!(status["silent"], json!(["misbehaving"]), "{status}");
    agent.signal(Signal::SIGCONT)?;
    assert!(gateway.stop()?.success());
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
fn who_is_not_named_is_found_by_the_rules() -> Result<()> {
    let rules = "[routing]\ndefault = \"scout\"\nrules = [{ channel = \"http\", prefix = \"echo\", agent = \"misbehaving\" }]\n";
    let (home, daemon, http) = stage(rules)?;
    for (text, agent) in [("echo one", "misbehaving"), ("/help", "scout")] {
        let sent = http.post(MESSAGES, &json!({"text": text}))?.json()?;
        let id = sent["task_id"].as_str().with_context(|| sent.to_string())?;
        assert_eq!(task(&home, id)?["queue"], agent);
    }
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn whoever_waits_when_the_daemon_stops_is_answered() -> Result<()> {
    let (_home, daemon, http) = stage("")?;
    let waiting = std::thread::scope(|scope| {
        let slow = scope.spawn(|| http.post(WAIT, &json!({"agent": "misbehaving", "text": "sleep 500"})));
        wait_for("the work to begin", || {
            let agent = http.get("/api/v1/agents/misbehaving")?.json()?;
            Ok((agent["running"] == 1).then_some(()))
        })?;
        daemon.signal(Signal::SIGTERM)?;
        slow.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    })?;
    assert_eq!((waiting.status, waiting.json()?["state"].as_str()), (200, Some("done")), "{}", waiting.text);
    assert!(daemon.wait()?.success());
    Ok(())
}

#[test]
fn alerts_are_listed_and_acknowledged() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    home.ok(&["alert", "raise", "CRITICAL", "the <b>disk</b> burns", "--key", "disk"])?;
    home.ok(&["alert", "raise", "WARNING", "it is warm", "--key", "warm"])?;
    let listed = http.get("/api/v1/alerts")?.json()?;
    assert_eq!(listed["alerts"], home.json(&["alert", "list", "--json"])?);
    let one = &listed["alerts"][1];
    assert_eq!(
        (&one["key"], &one["level"], &one["count"], &one["text"]),
        (&json!("operator:disk"), &json!("critical"), &json!(1), &json!("the <b>disk</b> burns")),
        "{listed}"
    );
    let ack = format!("/api/v1/alerts/{}/ack", one["id"]);
    problem(&Http::of(&home, Some(READ))?.post(&ack, &json!({}))?, 403, "read_only_token");
    let done = http.post(&ack, &json!({}))?;
    assert_eq!((done.status, done.json()?), (200, json!({"acknowledged": 1})), "{}", done.text);
    let one = http.get("/api/v1/alerts?limit=2")?.json()?["alerts"][1].clone();
    assert!(one["acked_by"].as_str().is_some_and(|who| who.starts_with("operator over HTTP from ")), "{one}");
    assert_eq!(http.post("/api/v1/alerts/operator:warm/ack", &json!({}))?.json()?["acknowledged"], 1);
    assert_eq!(http.post("/api/v1/alerts/all/ack", &json!({}))?.json()?["acknowledged"], 0);
    problem(&http.post("/api/v1/alerts/12345/ack", &json!({}))?, 404, "no_such_alert");
    problem(&http.get("/api/v1/alerts?limit=0")?, 400, "invalid_query");
    assert!(daemon.stop()?.success());
    Ok(())
}
