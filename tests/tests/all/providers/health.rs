//! Whether a provider is reached, knows our key and does its work: told apart, and known without an agent's asking. And who the
//! providers are, read anew.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use openclaw_tests::daemon::Home;
use openclaw_tests::provider::{KEY, Provider, Reply};
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use super::{call, calls, stage, with};

fn holds(home: &Home, name: &str) -> Result<[Value; 3]> {
    let provider = home.component(name)?["provider"].clone();
    Ok(["reachable", "authenticated", "functional"].map(|proof| provider[proof]["holds"].clone()))
}

/// The calls that were paid for.
fn spent(home: &Home) -> Result<Vec<Value>> {
    let shown = home.json(&["budget", "-n", "10", "--json"])?;
    Ok(shown["calls"].as_array().context("calls")?.clone())
}

/// A list of models; to those who show no key a refusal.
fn lists() -> [Reply; 2] {
    [Reply::body(r#"{"object": "list", "data": [{"id": "m"}]}"#), Reply::refused(401)]
}

#[test]
fn a_probe_tells_the_three_apart_and_spends_nothing() -> Result<()> {
    let (provider, search) = (Provider::start()?, Provider::start()?);
    let brave = format!("kind = 'brave'\nbase_url = '{}'\nkey = 'TEST_API_KEY'\n", search.url());
    let files = [("providers/a.toml", provider.described("")), ("providers/brave.toml", brave)];
    let (home, _daemon) = with(&files, "")?;
    let (yes, no, unknown) = (json!(true), json!(false), Value::Null);
    assert_eq!(holds(&home, "a")?, [(); 3].map(|()| Value::Null));
    let probe = |replies: Vec<Reply>| {
        provider.next(replies);
        home.cli(&["health", "--probe", "--json"])
    };

    probe(lists().into())?;
    assert_eq!(holds(&home, "a")?, [yes.clone(), yes.clone(), unknown.clone()]);
    assert_eq!(home.component("a")?["health"], "unknown");
    let asked = provider.asked();
    assert_eq!(asked.iter().map(|one| one.line.as_str()).collect::<Vec<_>>(), ["GET /v1/models"; 2]);
    assert!(asked[0].head.contains(KEY) && !asked[1].head.contains(KEY));
    // Of a search engine only that it is there; it never sees the key for that.
    assert_eq!(holds(&home, "brave")?, [yes.clone(), unknown.clone(), unknown.clone()]);
    assert!(search.asked().iter().all(|one| !one.head.contains(KEY)));

    // A key that was taken back; the operator hears of it.
    probe(vec![Reply::refused(401)])?;
    assert_eq!(holds(&home, "a")?, [yes.clone(), no.clone(), unknown.clone()]);
    let shown = home.component("a")?;
    assert_eq!((&shown["state"], &shown["health"]), (&json!("misconfigured"), &json!("degraded")), "{shown}");
    let told = wait_for("the alert", || {
        let alerts = home.json(&["alert", "list", "--json"])?;
        let all = alerts.as_array().context("alerts")?;
        Ok(all
            .iter()
            .find(|alert| alert["key"].as_str().is_some_and(|key| key.ends_with("provider:a:misconfigured")))
            .cloned())
    })?;
    assert!(told["text"].as_str().is_some_and(|text| text.contains("check TEST_API_KEY")), "{told}");

    // Something else answers there.
    probe(vec![Reply::body("<html>log in</html>")])?;
    assert_eq!(holds(&home, "a")?[1], no);
    // Who lists models to everybody says nothing of the key; it stays as it was known last.
    probe(vec![lists()[0].clone(), lists()[0].clone()])?;
    assert_eq!(holds(&home, "a")?, [yes.clone(), no.clone(), unknown.clone()]);
    assert_eq!(spent(&home)?, Vec::<Value>::new());

    // Asked for, a question: it costs.
    provider.next(lists());
    home.cli(&["health", "--probe", "--ask"])?;
    assert_eq!(holds(&home, "a")?, [yes.clone(), yes.clone(), yes]);
    let paid = calls(&home, 2)?;
    let of_a = paid.iter().find(|one| one["provider"] == "a").context("the call")?;
    assert_eq!((&of_a["agent"], &of_a["outcome"]), (&json!("openclaw"), &json!("ok")), "{of_a}");

    // Whoever is there says nothing any more.
    provider.always(Some(Reply::Raw(Vec::new())));
    home.cli(&["health", "--probe"])?;
    assert_eq!(holds(&home, "a")?[0], no);
    assert_eq!(home.component("a")?["health"], "degraded");
    Ok(())
}

#[test]
fn a_key_that_was_taken_back_is_known_before_anybody_asks() -> Result<()> {
    let provider = Provider::start()?;
    provider.always(Some(Reply::refused(401)));
    let (home, _daemon) = stage(&[&provider], "", &json!({}), "[providers]\nprobe = '200ms'\n")?;
    wait_for("the probe", || Ok((home.component("a")?["state"] == "misconfigured").then_some(())))?;
    assert_eq!(spent(&home)?, Vec::<Value>::new());
    Ok(())
}

#[test]
fn who_is_asked_is_read_anew_and_a_bad_file_changes_nothing() -> Result<()> {
    let (one, other) = (Provider::start()?, Provider::start()?);
    let (home, daemon) = stage(&[&one, &other], "", &json!({"chat": ["a"]}), "")?;
    let file = |name: &str| home.path().join("config").join(name);
    let ask = || call(&home, "ask", json!({"prompt": "x"}));
    assert_eq!(ask()?, "you said: x");
    assert_eq!((one.asked().len(), other.asked().len()), (1, 0));
    // What the first has proved outlives the change; the second one is asked now.
    fs::write(file("failover.json"), json!({"chat": ["b", "a"]}).to_string())?;
    daemon.signal(Signal::SIGHUP)?;
    wait_for("the other provider", || Ok(home.component("b").is_ok().then_some(())))?;
    assert_eq!(holds(&home, "a")?, [(); 3].map(|()| json!(true)));
    assert_eq!(ask()?, "you said: x");
    assert_eq!((one.asked().len(), other.asked().len()), (1, 1));

    // Wrong in each of the three ways: what was in effect stays so, and it is said.
    for (name, text) in [
        ("providers/b.toml", "base_url = 'ftp://nowhere'\n"),
        ("failover.json", r#"{"chat": ["nobody"]}"#),
        ("context-limits.json", r#"{"models": {"m": {"context": "much"}}}"#),
    ] {
        let (path, before) = (file(name), fs::read_to_string(file(name)).ok());
        fs::write(&path, text)?;
        let said = home.log().matches("what was in effect stays so").count();
        daemon.signal(Signal::SIGHUP)?;
        wait_for("the complaint", || {
            let log = home.log();
            Ok((log.matches("what was in effect stays so").count() > said && log.contains(name))
                .then_some(()))
        })?;
        let asked = other.asked().len();
        assert_eq!(ask()?, "you said: x");
        assert_eq!(other.asked().len(), asked + 1, "{name}");
        match before {
            Some(text) => fs::write(&path, text)?,
            None => fs::remove_file(&path)?,
        }
    }
    // A smaller context is in effect at once.
    fs::write(
        file("context-limits.json"),
        json!({"models": {"m": {"context": 200, "answer": 50}}}).to_string(),
    )?;
    daemon.signal(Signal::SIGHUP)?;
    wait_for("the limit", || {
        let answer = call(&home, "ask", json!({"prompt": "x".repeat(1000)}))?;
        Ok((answer["kind"] == "invalid").then_some(()))
    })?;
    Ok(())
}

#[test]
fn what_was_told_of_a_provider_ends_when_it_works() -> Result<()> {
    let provider = Provider::start()?;
    let failover = json!({"rounds": 1, "breaker": {"min_calls": 1, "failure_rate": 0.1, "open": "1s"}});
    let (home, _daemon) = stage(&[&provider], "", &failover, "")?;
    let over = |topic: &str, over: bool| {
        wait_for(topic, || {
            let alerts = home.json(&["alert", "list", "--json"])?;
            let all = alerts.as_array().context("alerts")?;
            let ends = |alert: &&Value| alert["key"].as_str().is_some_and(|key| key.ends_with(topic));
            let found = all.iter().find(ends);
            Ok(found.filter(|alert| alert["resolved_at"].is_null() != over).map(drop))
        })
    };
    let answered = || {
        wait_for("an answer", || {
            Ok((call(&home, "ask", json!({"prompt": "x"}))? == "you said: x").then_some(()))
        })
    };
    provider.next([Reply::refused(401)]);
    assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?["kind"], "not_configured");
    over("provider:a:misconfigured", false)?;
    answered()?;
    over("provider:a:misconfigured", true)?;

    provider.next([Reply::refused(500), Reply::refused(500)]);
    assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?["kind"], "failed");
    over("provider:a:breaker", false)?;
    provider.always(None);
    answered()?;
    over("provider:a:breaker", true)?;

    // By a look alone, too.
    let probe = |replies: Vec<Reply>| {
        provider.next(replies);
        home.cli(&["health", "--probe", "--json"])
    };
    probe(vec![Reply::refused(401)])?;
    over("provider:a:misconfigured", false)?;
    probe(lists().into())?;
    over("provider:a:misconfigured", true)
}
