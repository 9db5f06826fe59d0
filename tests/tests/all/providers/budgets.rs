use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::provider::Reply;
use openclaw_tests::socket::message;

use super::*;
use crate::support::pid;

fn budgets(home: &Home) -> Result<Value> {
    Ok(home.json(&["budget", "--json"])?["budgets"].clone())
}

#[test]
fn a_budget_warns_and_then_refuses() -> Result<()> {
    let provider = Provider::start()?;
    let config = "[providers]\nbudgets = [{ agent = 'misbehaving', provider = 'a', requests = 10 }]\n";
    let (home, daemon) = stage(&[&provider], "", &json!({}), config)?;
    for n in 1..=10 {
        assert_eq!(call(&home, "ask", json!({"prompt": n.to_string()}))?, format!("you said: {n}"));
        calls(&home, n)?;
    }
    let error = call(&home, "ask", json!({"prompt": "one more"}))?;
    assert_eq!(error["kind"], "over_budget", "{error}");
    assert!(error["retry_at"].as_str().is_some_and(|at| at.ends_with("T00:00:00Z")), "{error}");
    let text = error["message"].as_str().context("a message")?;
    assert!(text.contains("10 requests of 10 requests") && text.contains("[providers] budgets"), "{text}");
    assert_eq!(provider.asked().len(), 10);
    let alerts = openclaw_tests::wait_for("three alerts", || {
        let alerts = home.json(&["alert", "list", "--json"])?;
        let alerts = alerts.as_array().context("alerts")?.clone();
        Ok((alerts.len() >= 3).then_some(alerts))
    })?;
    let told: Vec<_> = alerts
        .iter()
        .rev()
        .map(|alert| (alert["level"].as_str(), alert["text"].as_str().map(|text| &text[..4])))
        .collect();
    assert_eq!(
        told,
        [(Some("warning"), Some("75 %")), (Some("critical"), Some("90 %")), (Some("critical"), Some("the "))],
        "{alerts:?}"
    );
    // Refusals are events, and a restart forgets nothing.
    daemon.stop()?;
    let _daemon = home.start_ready(&["misbehaving"])?;
    assert_eq!(call(&home, "ask", json!({"prompt": "one more"}))?["kind"], "over_budget");
    let standing = budgets(&home)?;
    assert_eq!((&standing[0]["used"], &standing[0]["percent"]), (&json!(10.0), &json!(100.0)), "{standing}");
    Ok(())
}

#[test]
fn money_is_reserved_for_the_worst_and_settled_by_what_was_used() -> Result<()> {
    let provider = Provider::start()?;
    // A call reserves some 2 USD per million of 2048 tokens written: 0.0041 USD, and uses 0.002.
    let config = "[providers]\nbudgets = [{ usd = 0.0065, period = 'month' }]\n";
    let (home, _daemon) = stage(&[&provider], "", &json!({}), config)?;
    for n in 1..=2 {
        assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?, "you said: x");
        calls(&home, n)?;
    }
    // 0.004 is used; another one might take more than is left.
    let error = call(&home, "ask", json!({"prompt": "x"}))?;
    assert_eq!(error["kind"], "over_budget", "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("has not so much left")), "{error}");
    assert_eq!(call(&home, "ask", json!({"prompt": "x", "max_tokens": 100}))?, "you said: x");
    let standing = budgets(&home)?;
    assert_eq!(standing[0]["reserved"], 0.0, "{standing}");
    // What is refused by the provider costs nothing, what nobody answered may have cost all.
    let before = calls(&home, 4)?.len();
    provider.next([Reply::refused(401)]);
    assert_eq!(call(&home, "ask", json!({"prompt": "x", "max_tokens": 1}))?["kind"], "not_configured");
    assert_eq!(calls(&home, before + 1)?[0]["cost"], 0);
    Ok(())
}

#[test]
fn fifty_at_once_at_ninety_nine_per_cent_are_not_one_too_many() -> Result<()> {
    let provider = Provider::start()?;
    let config = "[supervision.rates]\nask = '1000/1s'\n[providers]\nbudgets = [{ requests = 100 }]\n";
    let (home, _daemon) = stage(&[&provider], "", &json!({"rounds": 1}), config)?;
    let mut socket = home.socket()?;
    let ask = |text: &str| {
        message("misbehaving", &format!("call ask {}", json!({"prompt": text})), None, Some(30_000))
    };
    for n in 0..99 {
        let sent = socket.call(ask(&n.to_string()))?.map_err(|error| anyhow::anyhow!("{error}"))?;
        assert_eq!(sent["state"], "done", "{sent}");
    }
    calls(&home, 99)?;
    // All of them are under way at once: the provider takes its time.
    provider.always(Some(Reply::After(Duration::from_millis(300))));
    let kinds: Vec<_> = std::thread::scope(|scope| {
        let racing: Vec<_> =
            (0..50).map(|_| scope.spawn(|| call(&home, "ask", json!({"prompt": "race"})))).collect();
        racing
            .into_iter()
            .map(|one| one.join().map_err(|_| anyhow::anyhow!("a thread"))?)
            .collect::<Result<_>>()
    })?;
    let won = kinds.iter().filter(|answer| *answer == "you said: race").count();
    let refused = kinds.iter().filter(|answer| answer["kind"] == "over_budget").count();
    assert_eq!((won, refused), (1, 49));
    assert_eq!(provider.asked().len(), 100);
    let standing = budgets(&home)?;
    assert_eq!((&standing[0]["used"], &standing[0]["reserved"]), (&json!(100.0), &json!(0.0)), "{standing}");
    Ok(())
}

#[test]
fn who_calls_in_a_loop_is_told_when_to_come_again() -> Result<()> {
    let provider = Provider::start()?;
    let config = "[supervision.rates]\nask = '3/1h'\n";
    let (home, _daemon) = stage(&[&provider], "", &json!({}), config)?;
    for _ in 0..3 {
        assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?, "you said: x");
    }
    let error = call(&home, "ask", json!({"prompt": "x"}))?;
    assert_eq!(error["kind"], "too_soon", "{error}");
    let text = error["message"].as_str().unwrap_or_default();
    assert!(error["retry_at"].is_string() && text.contains("agents.misbehaving.rates"), "{error}");
    assert_eq!(provider.asked().len(), 3);
    Ok(())
}

#[test]
fn what_a_killed_agent_had_under_way_is_settled() -> Result<()> {
    let provider = Provider::start()?;
    let config = "[providers]\nbudgets = [{ requests = 10 }]\n";
    let (home, _daemon) = stage(&[&provider], "", &json!({}), config)?;
    provider.always(Some(Reply::Never));
    let sent = home.socket()?.call(message("misbehaving", "call ask {\"prompt\":\"x\"}", None, None))?;
    sent.map_err(|error| anyhow::anyhow!("{error}"))?;
    openclaw_tests::wait_for("the call", || Ok((!provider.asked().is_empty()).then_some(())))?;
    assert_eq!(budgets(&home)?[0]["reserved"], 1.0);
    provider.always(None);
    kill(Pid::from_raw(pid(&home, "misbehaving")?), Signal::SIGKILL)?;
    // Its task is tried again, and asks again.
    let recorded = calls(&home, 2)?;
    let told: Vec<_> = recorded.iter().rev().map(|call| &call["outcome"]).collect();
    assert_eq!(told, ["abandoned", "ok"], "{recorded:?}");
    let standing = budgets(&home)?;
    assert_eq!((&standing[0]["used"], &standing[0]["reserved"]), (&json!(2.0), &json!(0.0)), "{standing}");
    Ok(())
}

#[test]
fn what_a_killed_daemon_had_under_way_is_in_the_calls() -> Result<()> {
    let provider = Provider::start()?;
    let (home, daemon) = stage(&[&provider], "", &json!({}), "[providers]\nbudgets = [{ usd = 1.0 }]\n")?;
    provider.always(Some(Reply::Never));
    let sent = home.socket()?.call(message("misbehaving", "call ask {\"prompt\":\"x\"}", None, None))?;
    sent.map_err(|error| anyhow::anyhow!("{error}"))?;
    openclaw_tests::wait_for("the call", || Ok((!provider.asked().is_empty()).then_some(())))?;
    let shown = home.json(&["budget", "-n", "10", "--json"])?;
    assert_eq!(shown["calls"][0]["outcome"], "under_way", "{shown}");
    daemon.kill()?;
    provider.always(None);
    let _daemon = home.start_ready(&["misbehaving"])?;
    let ended = calls(&home, 1)?;
    let left = ended.last().context("the call")?;
    assert_eq!(left["outcome"], "abandoned", "{left}");
    assert!(left["cost"].as_i64() > Some(0), "what may have been used is told: {left}");
    Ok(())
}

#[test]
fn what_a_killed_daemon_had_reserved_counts_as_used() -> Result<()> {
    let provider = Provider::start()?;
    let config = "[providers]\nbudgets = [{ requests = 2, period = 'month' }]\n";
    let (home, daemon) = stage(&[&provider], "", &json!({}), config)?;
    provider.always(Some(Reply::Never));
    for n in 1..=2 {
        let sent = home.socket()?.call(message("misbehaving", "call ask {\"prompt\":\"x\"}", None, None))?;
        sent.map_err(|error| anyhow::anyhow!("{error}"))?;
        openclaw_tests::wait_for("the call", || Ok((provider.asked().len() == n).then_some(())))?;
    }
    daemon.kill()?;
    provider.always(None);
    let _daemon = home.start_ready(&["misbehaving"])?;
    let shown = openclaw_tests::wait_for("it to be known", || {
        let shown = home.json(&["budget", "--json"])?;
        Ok((shown["budgets"][0]["used"] == 2.0).then_some(shown))
    })?;
    assert_eq!(shown["budgets"][0]["reserved"], 0.0, "{shown}");
    let error = call(&home, "ask", json!({"prompt": "x"}))?;
    assert_eq!(error["kind"], "over_budget", "{error}");
    let told = error["message"].as_str().is_some_and(|text| text.contains("is used up"));
    assert!(told && error["retry_at"].is_string(), "{error}");
    openclaw_tests::wait_for("the operator to be told", || {
        Ok(home.ok(&["alert", "list"])?.contains("is used up").then_some(()))
    })
}

#[test]
fn what_was_told_of_a_budget_ends_with_its_period() -> Result<()> {
    let provider = Provider::start()?;
    let config = "[providers]\nbudgets = [{ requests = 1 }]\n";
    let (home, daemon) = stage(&[&provider], "", &json!({}), config)?;
    assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?, "you said: x");
    let alert = |what: &'static str, over: bool| {
        openclaw_tests::wait_for(what, || {
            let alerts = home.json(&["alert", "list", "--json"])?;
            let mut told = alerts.as_array().context("alerts")?.clone();
            told.retain(|alert| alert["key"].as_str().is_some_and(|key| key.starts_with("budget:")));
            let done = !told.is_empty() && told.iter().all(|alert| alert["resolved_at"].is_null() != over);
            Ok(done.then_some(told))
        })
    };
    alert("the alert", false)?;
    assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?["kind"], "over_budget");
    // The next life of the daemon is two days later.
    assert!(daemon.stop()?.success());
    let step = home.path().join("step");
    fs::write(&step, (2 * 86_400).to_string())?;
    let mut command = home.command(&["run"])?;
    command.env("OPENCLAW_CLOCK_STEP", &step);
    let _daemon = home.start_as(command)?;
    home.until("misbehaving", "ready")?;
    let over = alert("its end", true)?;
    assert!(over.iter().all(|alert| alert["resolution"] == "the budget has begun anew"), "{over:?}");
    assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?, "you said: x");
    Ok(())
}
