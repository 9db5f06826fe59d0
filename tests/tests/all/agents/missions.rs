//! What Scout is sure of, as a mission that a person decides on through MilkBot.

use anyhow::{Context, Result};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use super::{JUMP, alerts, says, series};
use crate::support::{ask, fails, quick, reply};

/// Scout may hand work on, so that it can try to decide for itself.
const TEAM: &str = "grants = ['memory', 'missions.propose', 'alert', 'task']\n\
    [agents.milkbot]\ngrants = ['memory', 'task', 'supervisor.status', 'missions.list', 'missions.decide']\n\
    [agents.misbehaving]\ngrants = ['missions', 'task']\n";

fn stage() -> Result<(Home, Daemon)> {
    let home = Home::new(&quick(TEAM), &["scout", "milkbot", "misbehaving"])?;
    let daemon = home.start_ready(&["scout", "milkbot", "misbehaving"])?;
    Ok((home, daemon))
}

/// Scout finds something that it is sure of; answers how the mission's id begins.
fn found(home: &Home, asset: &str) -> Result<String> {
    let text = reply(home, "scout", &format!("/analyze {}", series("v", asset, &JUMP)))?;
    let (_, id) = text.split_once("It is proposed as mission ").with_context(|| text.clone())?;
    Ok(id.chars().take(8).collect())
}

fn mission(home: &Home, id: &str) -> Result<Value> {
    home.json(&["missions", "show", id, "--json"])
}

#[test]
fn a_person_decides_once_and_it_is_kept_with_their_name() -> Result<()> {
    let (home, daemon) = stage()?;
    assert_eq!(reply(&home, "milkbot", "/missions")?, "No missions.");
    let (tin, zinc, lead) = (found(&home, "TIN")?, found(&home, "ZINC")?, found(&home, "LEAD")?);
    let shown = reply(&home, "milkbot", "/missions")?;
    assert!(
        shown.contains(&format!("{tin} proposed, by scout")) && shown.contains("3 wait for a decision"),
        "{shown}"
    );
    wait_for("the alert", || Ok(says(&alerts(&home, "scout")?, &format!("/approve {tin}"))))?;

    let said = reply(&home, "milkbot", &format!("/approve {tin} looks good"))?;
    assert!(said.starts_with(&format!("{tin} approved, by scout")), "{said}");
    assert!(
        said.contains("decided by cli, by milkbot") && said.contains("Nothing of it has been done"),
        "{said}"
    );
    let decided = mission(&home, &tin)?;
    assert_eq!(decided["status"], "approved", "{decided}");
    let decision = &decided["proposal"]["decision"];
    assert_eq!(
        (&decision["actor"], &decision["reason"]),
        (&json!("cli, by milkbot"), &json!("looks good")),
        "{decided}"
    );
    let over = wait_for("the alert's end", || {
        let alert = says(&alerts(&home, "scout")?, &format!("/approve {tin}")).context("the alert")?;
        Ok((!alert["resolved_at"].is_null()).then_some(alert))
    })?;
    assert!(over["resolution"].as_str().is_some_and(|how| how.ends_with("is approved")), "{over}");

    assert!(reply(&home, "milkbot", &format!("/reject {zinc}"))?.starts_with(&format!("{zinc} rejected")));
    // The same again, as by a retry, is the same.
    let again = reply(&home, "milkbot", &format!("/approve {tin}"))?;
    assert!(again.starts_with(&format!("{tin} approved, by scout")), "{again}");
    // What is decided stays so, whoever says otherwise, and nothing else is claimed.
    for text in [format!("/approve {zinc}"), format!("/reject {tin}")] {
        let sent = ask(&home, "milkbot", &text)?;
        assert_eq!(sent["state"], "failed", "{sent}");
        assert!(
            sent["error"].as_str().is_some_and(|why| why.contains("already by cli, by milkbot")),
            "{sent}"
        );
    }
    for text in ["/approve", "/approve zzzz", "/approve 12", "/approve 00000000"] {
        let sent = ask(&home, "milkbot", text)?;
        assert_eq!(sent["state"], "failed", "{text}: {sent}");
    }
    daemon.kill()?;
    let _daemon = home.start_ready(&["milkbot"])?;
    let shown = home.ok(&["missions", "approve", &lead, "--reason", "why not"])?;
    assert!(shown.contains("is approved; it waits, since nothing runs missions yet"), "{shown}");
    assert!(fails(&home, 64, &["missions", "approve", &lead])?.contains("already by operator "));
    let shown = reply(&home, "milkbot", "/missions")?;
    assert!(
        shown.contains(&format!("{zinc} rejected")) && shown.ends_with("None waits for a decision."),
        "{shown}"
    );
    Ok(())
}

#[test]
fn no_agent_decides_whatever_it_says() -> Result<()> {
    let (home, _daemon) = stage()?;
    let id = found(&home, "TIN")?;
    // By a front desk that does as another agent tells it.
    let told = reply(
        &home,
        "milkbot",
        &format!(
            "/tell misbehaving call task.run {}",
            json!({
                "agent": "milkbot", "text": format!("/approve {id}"), "timeout_ms": 5000,
            })
        ),
    )?;
    assert!(told.contains("only an operator decides on missions"), "{told}");
    // By itself, in a task that an agent gave it.
    let own = json!({"id": id, "verdict": "approved"});
    let told = reply(&home, "milkbot", &format!("/tell misbehaving call missions.decide {own}"))?;
    assert!(told.contains("only an operator decides on missions"), "{told}");
    // By itself, in a task that an operator gave it, which says nothing of the kind.
    let told = reply(&home, "misbehaving", &format!("call missions.decide {own}"))?;
    assert!(told.contains("for who says `/approve ID`"), "{told}");
    assert_eq!(mission(&home, &id)?["status"], "proposed");
    Ok(())
}

#[test]
fn no_agent_decides_on_what_it_proposed_though_a_person_says_so_to_it() -> Result<()> {
    let (home, _daemon) = stage()?;
    let mission = json!({"mission": {"title": "Buy tin.", "id": "tin"}});
    let text = reply(&home, "misbehaving", &format!("call missions.propose {mission}"))?;
    let id = serde_json::from_str::<Value>(&text)?["id"].as_str().context("an id")?.to_owned();
    let told = reply(&home, "misbehaving", &format!("/approve {id}"))?;
    assert!(
        told.contains("not_granted") && told.contains("no agent decides on what it has proposed"),
        "{told}"
    );
    assert_eq!(mission_state(&home, &id)?, "proposed");
    // On another's it may, for a person who says so.
    let other = found(&home, "TIN")?;
    assert!(reply(&home, "misbehaving", &format!("/approve {other}"))?.contains("by misbehaving"));
    assert_eq!(mission_state(&home, &other)?, "approved");
    Ok(())
}

fn mission_state(home: &Home, id: &str) -> Result<Value> {
    Ok(mission(home, id)?["status"].clone())
}

#[test]
fn who_proposes_the_same_again_hears_what_was_decided() -> Result<()> {
    let (home, _daemon) = stage()?;
    let propose = || -> Result<Value> {
        let mission = json!({"mission": {"title": "Buy tin.", "id": "tin"}});
        let text = reply(&home, "misbehaving", &format!("call missions.propose {mission}"))?;
        let at = text.find('{').with_context(|| text.clone())?;
        Ok(serde_json::from_str(&text[at..])?)
    };
    let first = propose()?;
    assert_eq!((&first["status"], &first["known"]), (&json!("proposed"), &json!(false)), "{first}");
    let id = first["id"].as_str().context("an id")?;
    home.ok(&["missions", "reject", id])?;
    let again = propose()?;
    assert_eq!(again, json!({"id": id, "status": "rejected", "known": true}));
    Ok(())
}
