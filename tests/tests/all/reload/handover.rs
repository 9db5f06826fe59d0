//! What is in work, in memory and in order while one version follows another.

use std::fs;

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::Home;
use openclaw_tests::ledger::Ledger;
use openclaw_tests::socket::message;
use openclaw_tests::variant::{NAME, Variant};
use openclaw_tests::wait_for;
use serde_json::Value;
use store::task::TaskState;

use super::{FIRST, SECOND, alone, changes, config, hosts, serves, serves_as, stage, until_now, until_step};
use crate::support::{ended, leave, pid, reply, task};

/// Leaves a task that is in work until the file `over` is there, and sees it begin.
fn hold(home: &Home) -> Result<String> {
    let id = leave(home, NAME, &format!("hold {}", home.path().join("over").display()))?;
    wait_for("a task in work", || Ok((task(home, &id)?["state"] == "leased").then_some(())))?;
    Ok(id)
}

fn release(home: &Home) -> Result<()> {
    Ok(fs::write(home.path().join("over"), "")?)
}

#[test]
fn what_was_counted_is_handed_on() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    for (session, count) in [("a", "1"), ("a", "2"), ("b", "1")] {
        assert_eq!(reply(&home, NAME, &format!("count {session}"))?, FIRST.says(count));
    }
    for version in [SECOND, Variant::good(3), FIRST] {
        home.put(&version, NAME)?;
        home.ok(&["agents", "reload", NAME])?;
        serves(&home, &version)?;
    }
    for (text, said) in [("count a", "3"), ("count b", "2"), ("count c", "1"), ("total", "6")] {
        assert_eq!(reply(&home, NAME, text)?, FIRST.says(said));
    }
    assert_eq!(home.component(NAME)?["restarts"], 0);
    Ok(())
}

#[test]
fn what_is_in_work_ends_on_the_old_one_while_the_new_one_works() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let old = pid(&home, NAME)?;
    let held = hold(&home)?;
    home.put(&SECOND, NAME)?;
    home.ok(&["agents", "reload", NAME])?;
    serves(&home, &SECOND)?;
    assert_eq!(task(&home, &held)?["state"], "leased");
    let both = hosts(&home, NAME)?;
    assert!(both.contains(&old) && both.contains(&pid(&home, NAME)?) && both.len() == 2, "{both:?}");
    release(&home)?;
    let done = ended(&home, &held)?;
    assert_eq!((&done["state"], &done["attempts"]), (&"done".into(), &1.into()), "{done}");
    assert_eq!(done["result"]["text"], FIRST.says("held"), "{done}");
    assert_ne!(alone(&home)?, old);
    Ok(())
}

#[test]
fn what_outlasts_the_drain_is_done_once_by_the_new_one() -> Result<()> {
    let home = Home::new(&config("").replace("[daemon]", "[daemon]\ndrain_timeout = \"300ms\""), &["scout"])?;
    home.put(&FIRST, NAME)?;
    let daemon = home.start_ready(&["scout", NAME])?;
    let old = pid(&home, NAME)?;
    let held = hold(&home)?;
    home.put(&SECOND, NAME)?;
    home.ok(&["agents", "reload", NAME])?;
    wait_for("the old one to be gone", || Ok((!hosts(&home, NAME)?.contains(&old)).then_some(())))?;
    wait_for("the new one to have it", || Ok((task(&home, &held)?["state"] == "leased").then_some(())))?;
    release(&home)?;
    let done = ended(&home, &held)?;
    assert_eq!(
        (&done["state"], &done["attempts"]),
        (&"done".into(), &1.into()),
        "its try does not count: {done}"
    );
    assert_eq!(done["result"]["text"], SECOND.says("held"), "{done}");
    // The old one was told to go: nobody's failure, and no reason to go back.
    home.ok(&["agents", "reload", NAME])?;
    serves(&home, &SECOND)?;
    assert_eq!((changes(&home)?, &home.component(NAME)?["restarts"]), (1, &0.into()));
    assert!(daemon.stop()?.success());
    let ledger = Ledger::read(&home, &[NAME])?;
    let tasks = &ledger.tasks;
    assert!(tasks.iter().all(|task| task.state == TaskState::Done && ledger.ends.get(&task.id) == Some(&1)));
    Ok(())
}

#[test]
fn a_session_keeps_its_order_from_one_version_to_the_next() -> Result<()> {
    let (home, _daemon) = stage("concurrency = 4", &FIRST)?;
    let lines = home.path().join("lines");
    let mut socket = home.socket()?;
    let session = |text: &str, wait| message(NAME, text, Some("one"), wait);
    let mut asked =
        socket.asks([session(&format!("hold {}", home.path().join("over").display()), Some(60_000))])?;
    wait_for("the first to be in work", || Ok((home.component(NAME)?["running"] == 1).then_some(())))?;
    let append = |number| session(&format!("append {} {number}", lines.display()), Some(60_000));
    asked.extend(socket.asks((0..20).map(append))?);
    home.put(&SECOND, NAME)?;
    home.ok(&["agents", "reload", NAME])?;
    // It is the new one's turn, and all of the session waits for what the old one has in work.
    serves(&home, &SECOND)?;
    assert!(!lines.exists());
    asked.extend(socket.asks((20..40).map(append))?);
    release(&home)?;
    let mut said = Vec::new();
    while !asked.is_empty() {
        let (id, answer) = socket.answer()?;
        let place = asked.iter().position(|other| *other == id).context("an answer to nothing")?;
        asked.remove(place);
        let answer = answer.map_err(|error| anyhow::anyhow!("{error}"))?;
        ensure!(answer["state"] == "done" && answer["attempts"] == 1, "{answer}");
        said.push(answer["result"]["text"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(said[0], FIRST.says("held"));
    assert!(said[1..].iter().all(|said| *said == SECOND.says("appended")), "{said:?}");
    let written = fs::read_to_string(&lines)?;
    assert_eq!(written, (0..40).map(|number| format!("{number}\n")).collect::<String>());
    Ok(())
}

#[test]
fn a_stopped_agent_starts_as_the_new_version() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    home.ok(&["agents", "stop", NAME])?;
    home.put(&SECOND, NAME)?;
    home.ok(&["agents", "reload", NAME])?;
    let stopped = home.component(NAME)?;
    assert_eq!((&stopped["state"], &stopped["pid"]), (&"stopped".into(), &Value::Null), "{stopped}");
    assert_eq!(hosts(&home, NAME)?, Vec::<i32>::new());
    home.ok(&["agents", "start", NAME])?;
    serves(&home, &SECOND)
}

#[test]
fn a_restart_is_of_the_version_that_runs() -> Result<()> {
    let (home, _daemon) = stage("reload = \"manual\"", &FIRST)?;
    home.put(&SECOND, NAME)?;
    home.ok(&["agents", "restart", NAME])?;
    serves(&home, &FIRST)?;
    home.ok(&["agents", "reload", NAME])?;
    serves(&home, &SECOND)
}

#[test]
fn three_files_in_a_row_end_with_the_last() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let held = hold(&home)?;
    let third = Variant::good(3);
    // The first of them may still be in the midst of it when the others come.
    home.put(&SECOND, NAME)?;
    until_step(&home, &["reload: canary of ", &SECOND.short()?])?;
    home.put(&third, NAME)?;
    home.put(&Variant::good(4), NAME)?;
    until_now(&home, NAME, &Variant::good(4))?;
    release(&home)?;
    assert_eq!(ended(&home, &held)?["result"]["text"], FIRST.says("held"));
    alone(&home)?;
    home.ok(&["agents", "reload", NAME])?;
    serves_as(&home, NAME, &Variant::good(4))
}

#[test]
fn a_slow_version_answers_what_it_began() -> Result<()> {
    let slow = Variant::new(1, "slow");
    let home = Home::new(&config("concurrency = 2"), &["scout"])?;
    home.put(&slow, NAME)?;
    let _daemon = home.start_ready(&["scout", NAME])?;
    let ids =
        (0..6).map(|number| leave(&home, NAME, &format!("echo {number}"))).collect::<Result<Vec<_>>>()?;
    wait_for("two in work", || Ok((home.component(NAME)?["running"] == 2).then_some(())))?;
    home.put(&SECOND, NAME)?;
    home.ok(&["agents", "reload", NAME])?;
    // What it has not begun, the new one does meanwhile.
    for (number, id) in ids.iter().enumerate().skip(2) {
        assert_eq!(ended(&home, id)?["result"]["text"], SECOND.says(&number.to_string()));
    }
    fs::write(home.path().join("workspace").join(NAME).join("released"), "")?;
    for (number, id) in ids.iter().enumerate().take(2) {
        let done = ended(&home, id)?;
        assert_eq!(
            (&done["result"]["text"], &done["attempts"]),
            (&slow.says(&number.to_string()).into(), &1.into())
        );
    }
    Ok(())
}
