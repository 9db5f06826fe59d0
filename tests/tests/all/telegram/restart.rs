//! A daemon that dies owes nobody less.

use anyhow::Result;
use openclaw_tests::server::Postgres;
use openclaw_tests::telegram::{Bot, Fault};
use openclaw_tests::wait_for;
use serde_json::json;

use super::{home, stage};
use crate::support::tasks;

#[test]
fn a_reply_that_was_not_sent_is_sent_after_the_restart_once() -> Result<()> {
    let (bot, home, daemon) = stage("")?;
    // Nothing can be sent; the agent has answered.
    bot.fail("sendMessage", (0..100).map(|_| Fault::Status(502, json!("Bad Gateway"))));
    bot.say("echo owed");
    wait_for("the agent's answer", || Ok((!tasks(&home, "misbehaving", "done")?.is_empty()).then_some(())))?;
    wait_for("a first try", || Ok((!bot.calls("sendMessage").is_empty()).then_some(())))?;
    daemon.kill()?;
    assert_eq!(bot.sent().len(), 0);
    let address = bot.address.to_string();
    drop(bot);
    let bot = wait_for("the port", || Ok(Bot::at(&address).ok()))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    bot.until_sent(1)?;
    bot.say("echo next");
    bot.until_sent(2)?;
    assert_eq!(bot.texts(), ["owed", "next"]);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_stranger_whose_code_was_not_told_is_told_it_after_the_restart() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "poll_timeout = '1s'", "")?;
    // Who has a code is durable, and what tells it is not: it dies there.
    let mut command = home.command(&["run"])?;
    command.env("OPENCLAW_FAILPOINT", "submit.taken");
    let daemon = home.start_as(command)?;
    bot.say_as(1, "hello");
    daemon.wait()?;
    assert_eq!(bot.sent().len(), 0);
    let daemon = home.start_ready(&["misbehaving"])?;
    bot.until_sent(1)?;
    let pending = home.json(&["telegram", "pending", "--json"])?;
    let code = pending[0]["code"].as_str().unwrap_or_default();
    assert!(!code.is_empty() && bot.texts()[0].contains(code), "{pending} {:?}", bot.texts());
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn kills_at_any_moment_lose_no_reply_and_double_no_work() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "poll_timeout = '1s'", "")?;
    let path = home.path().join("effects");
    let (rounds, each) = (6, 5);
    for round in 0..rounds {
        let mut daemon = home.start_ready(&["misbehaving"])?;
        for number in 0..each {
            bot.say(&format!("append {} {}", path.display(), round * each + number));
        }
        // Each time a little further on.
        wait_for("some progress", || {
            let calls = bot.calls("getUpdates").len() + bot.calls("sendMessage").len();
            Ok((calls > round || daemon.ended()?.is_some()).then_some(()))
        })?;
        daemon.kill()?;
    }
    let _daemon = home.start_ready(&["misbehaving"])?;
    let many = rounds * each;
    bot.until_sent(many)?;
    wait_for("all to be done", || Ok((tasks(&home, "misbehaving", "done")?.len() == many).then_some(())))?;
    // A task whose worker was killed is done again, as any; each is answered, in order, and a kill between Telegram's taking
    // an answer and our knowing so doubles at most the one that was on its way.
    let effects = std::fs::read_to_string(&path)?;
    let first = |number: usize| effects.lines().position(|line| line == number.to_string());
    let order: Vec<_> = (0..many).map(first).collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{effects}");
    let sent = bot.sent().len();
    assert!(sent <= many + rounds, "{sent} answers to {many} messages");
    Ok(())
}

#[test]
fn a_server_keeps_what_is_owed_as_well() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let url = server.database("telegram")?;
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", &format!("[database]\nurl = '{url}'\n"))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    bot.fail("sendMessage", (0..20).map(|_| Fault::Status(502, json!("Bad Gateway"))));
    bot.say("echo owed");
    wait_for("a first try", || Ok((!bot.calls("sendMessage").is_empty()).then_some(())))?;
    daemon.kill()?;
    bot.forgive("sendMessage");
    let daemon = home.start_ready(&["misbehaving"])?;
    bot.say("echo next");
    bot.until_sent(2)?;
    assert_eq!(bot.texts(), ["owed", "next"]);
    // Its own queues are to be looked at as any.
    let sent = tasks(&home, "telegram", "done")?;
    assert!(sent.iter().all(|task| task["kind"] == "send") && !sent.is_empty(), "{sent:?}");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn what_came_while_the_daemon_was_away_is_answered() -> Result<()> {
    let (bot, home, daemon) = stage("")?;
    bot.say("sleep 400 slow");
    let update = bot.say("echo quick");
    bot.until_confirmed(update)?;
    assert!(daemon.stop()?.success());
    bot.say("echo late");
    let _daemon = home.start_ready(&["misbehaving"])?;
    bot.until_sent(3)?;
    assert_eq!(bot.texts(), ["slow", "quick", "late"]);
    Ok(())
}
