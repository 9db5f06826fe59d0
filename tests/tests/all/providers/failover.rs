use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::provider::Reply;

use super::*;
use crate::support::{ended, leave, pid};

fn ask(home: &Home) -> Result<Value> {
    call(home, "ask", json!({"prompt": "hello"}))
}

fn outcomes(home: &Home, least: usize) -> Result<Vec<String>> {
    let told = |call: &Value| {
        format!(
            "{} {}",
            call["provider"].as_str().unwrap_or_default(),
            call["outcome"].as_str().unwrap_or_default()
        )
    };
    Ok(calls(home, least)?.iter().rev().map(told).collect())
}

#[test]
fn the_next_one_answers_for_whoever_is_in_trouble() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let failover = json!({"breaker": {"min_calls": 1000}});
    let (home, _daemon) = stage(&[&first, &second], "timeout = '300ms'", &failover, "")?;
    let troubles = [
        Reply::refused(500),
        Reply::refused(503),
        Reply::Status(408, String::new(), String::new()),
        Reply::too_many(None),
        Reply::Never,
        Reply::Raw(Vec::new()),
        Reply::body(""),
        Reply::body("<html>"),
    ];
    let n = troubles.len();
    for trouble in troubles {
        first.next([trouble.clone()]);
        assert_eq!(ask(&home)?, "you said: hello", "{trouble:?}");
    }
    assert_eq!((first.asked().len(), second.asked().len()), (n, n));
    let told = outcomes(&home, 2 * n)?;
    let expected = ["server", "server", "timeout", "rate_limited", "timeout", "network", "empty", "unusable"];
    let expected: Vec<_> = expected.iter().flat_map(|word| [format!("a {word}"), "b ok".into()]).collect();
    assert_eq!(told, expected);
    Ok(())
}

#[test]
fn all_of_them_are_tried_again_after_a_pause() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let (home, _daemon) = stage(&[&first, &second], "", &json!({"breaker": {"min_calls": 10}}), "")?;
    first.next([Reply::refused(502)]);
    second.next([Reply::refused(500)]);
    assert_eq!(ask(&home)?, "you said: hello");
    assert_eq!(outcomes(&home, 3)?, ["a server", "b server", "a ok"]);
    first.always(Some(Reply::refused(500)));
    second.always(Some(Reply::refused(500)));
    let error = ask(&home)?;
    assert_eq!(error["kind"], "failed");
    assert!(
        error["message"].as_str().is_some_and(|text| text.contains("no provider has answered; last `b`")),
        "{error}"
    );
    assert_eq!(outcomes(&home, 7)?.len(), 7);
    Ok(())
}

#[test]
fn who_asks_us_to_wait_is_waited_for_or_left_alone() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let (home, _daemon) = stage(&[&first, &second], "", &json!({}), "")?;
    first.next([Reply::too_many(Some("3600"))]);
    for _ in 0..3 {
        assert_eq!(ask(&home)?, "you said: hello");
    }
    assert_eq!((first.asked().len(), second.asked().len()), (1, 3));
    // Where it is the only one, the caller is told when.
    let alone = Provider::start()?;
    let (home, _daemon) = stage(&[&alone], "", &json!({}), "")?;
    alone.next([Reply::too_many(Some("1"))]);
    assert_eq!(ask(&home)?, "you said: hello");
    alone.next([Reply::too_many(Some("1000"))]);
    let error = ask(&home)?;
    assert_eq!(error["kind"], "failed", "{error}");
    assert!(error["retry_at"].is_string(), "{error}");
    assert_eq!(alone.asked().len(), 3);
    Ok(())
}

#[test]
fn an_open_breaker_is_passed_over_at_once_and_closes_by_a_probe() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let breaker = json!({"breaker": {"min_calls": 3, "open": "3s", "open_max": "3s"}});
    // It is asked until the breaker closes, however often that is.
    let config = "[supervision.rates]\nask = '100000/1s'\n";
    let (home, _daemon) = stage(&[&first, &second], "timeout = '10s'", &breaker, config)?;
    first.always(Some(Reply::refused(500)));
    for _ in 0..3 {
        assert_eq!(ask(&home)?, "you said: hello");
    }
    let open = home.component("a")?;
    assert_eq!((&open["breaker"]["state"], &open["state"]), (&"open".into(), &"open".into()), "{open}");
    assert!(open["breaker"]["open_until"].is_string(), "{open}");
    assert_eq!(ask(&home)?, "you said: hello");
    let before = first.asked().len();
    assert_eq!((before, second.asked().len()), (3, 4));
    first.always(None);
    openclaw_tests::wait_for("the breaker to close", || {
        assert_eq!(ask(&home)?, "you said: hello");
        Ok((home.component("a")?["breaker"]["state"] == "closed").then_some(()))
    })?;
    assert!(first.asked().len() > before);
    let alerts = home.ok(&["alert", "list"])?;
    assert!(alerts.contains("the provider `a` is left alone until"), "{alerts}");
    Ok(())
}

#[test]
fn the_whole_call_has_an_end() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let (home, _daemon) = stage(&[&first, &second], "timeout = '10s'", &json!({"total": "500ms"}), "")?;
    first.always(Some(Reply::Drip(Duration::from_millis(50))));
    let error = ask(&home)?;
    assert_eq!(error["kind"], "failed");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("in time; last `a`: it did not answer within")),
        "{error}"
    );
    assert!(second.asked().is_empty());
    Ok(())
}

#[test]
fn who_waits_for_so_long_is_answered_within_it() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let (home, _daemon) = stage(&[&first, &second], "timeout = '1m'", &json!({}), "")?;
    first.always(Some(Reply::Never));
    second.always(Some(Reply::Never));
    // The first would take all of its minute, and the second another one.
    let error = call(&home, "ask", json!({"prompt": "hello", "within_ms": 300}))?;
    assert_eq!(error["kind"], "failed", "{error}");
    let told = error["message"].as_str().context("a message")?;
    assert!(told.contains("in time; last `a`: it did not answer within"), "{told}");
    assert_eq!((first.asked().len(), second.asked().len()), (1, 0));
    // However often: that a caller does not wait says nothing of the provider.
    for _ in 0..10 {
        call(&home, "ask", json!({"prompt": "hello", "within_ms": 1}))?;
    }
    let component = home.component("a")?;
    assert_eq!(
        (
            &component["breaker"]["state"],
            &component["breaker"]["failures"],
            &component["provider"]["functional"]["holds"]
        ),
        (&json!("closed"), &json!(0), &Value::Null),
        "{component}"
    );
    Ok(())
}

#[test]
fn who_was_to_be_left_alone_is_so_in_the_next_life_of_the_daemon() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let (home, daemon) = stage(&[&first, &second], "", &json!({}), "")?;
    home.ok(&["breakers", "open", "provider", "a", "--reason", "its bill"])?;
    let breaker = || {
        let breaker = home.component("a")?["breaker"].clone();
        let told = [&breaker["state"], &breaker["opened"]["reason"], &breaker["opened"]["actor"]];
        anyhow::Ok(told.map(|told| told.as_str().unwrap_or_default().to_owned()))
    };
    let opened = breaker()?;
    assert_eq!((opened[0].as_str(), opened[1].as_str()), ("open", "its bill"));
    daemon.kill()?;
    let daemon = home.start_ready(&["misbehaving"])?;
    assert_eq!(breaker()?, opened);
    assert_eq!(ask(&home)?, "you said: hello");
    assert!(first.asked().is_empty());
    home.ok(&["breakers", "close", "provider", "a"])?;
    assert!(daemon.stop()?.success());
    let daemon = home.start_ready(&["misbehaving"])?;
    assert_eq!(home.component("a")?["breaker"]["state"], "closed");
    assert_eq!(ask(&home)?, "you said: hello");
    assert_eq!(first.asked().len(), 1);
    // So is one that asked us to wait.
    first.next([Reply::too_many(Some("600"))]);
    assert_eq!(ask(&home)?, "you said: hello");
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["misbehaving"])?;
    assert_eq!(ask(&home)?, "you said: hello");
    assert_eq!(first.asked().len(), 2);
    Ok(())
}

#[test]
fn a_caller_that_is_gone_leaves_its_place_to_another() -> Result<()> {
    let provider = Provider::start()?;
    let rules = json!({"rounds": 1, "breaker": {"min_calls": 1, "open": "100ms", "open_max": "100ms"}});
    let (home, _daemon) = stage(&[&provider], "timeout = '10m'", &rules, "")?;
    provider.next([Reply::refused(500)]);
    assert_eq!(ask(&home)?["kind"], "failed");
    // The one that passes holds the place for ten minutes, unless it is given back.
    provider.always(Some(Reply::Never));
    let before = provider.asked().len();
    let mut held = String::new();
    openclaw_tests::wait_for("a call to pass", || {
        if held.is_empty() || ended_by(&home, &held)? {
            held = leave(&home, "misbehaving", "call ask {\"prompt\":\"x\"}")?;
        }
        Ok((provider.asked().len() > before).then_some(()))
    })?;
    provider.always(None);
    kill(Pid::from_raw(pid(&home, "misbehaving")?), Signal::SIGKILL)?;
    let done = ended(&home, &held)?;
    assert_eq!(done["result"]["text"], "\"you said: x\"", "{done}");
    assert_eq!(home.component("a")?["breaker"]["state"], "closed");
    Ok(())
}

/// Whether a task has ended: its call came before the breaker let one pass.
fn ended_by(home: &Home, task: &str) -> Result<bool> {
    Ok(crate::support::task(home, task)?["state"] == "done")
}
