//! What a network and a server do wrong.

use std::time::Duration;

use anyhow::Result;
use openclaw_tests::telegram::{ANN, Bot, Fault};
use openclaw_tests::wait_for;
use serde_json::json;

use super::{nowhere, stage, until};
use crate::support::tasks;

#[test]
fn what_telegram_asks_for_is_obeyed() -> Result<()> {
    let (bot, _home, _daemon) = stage("")?;
    bot.fail("sendMessage", [Fault::too_many(1)]);
    bot.say("echo one");
    bot.say("echo two");
    bot.until_sent(2)?;
    assert_eq!(bot.texts(), ["one", "two"]);
    let calls = bot.calls("sendMessage");
    assert_eq!(calls.len(), 3);
    assert!(calls[1].at - calls[0].at >= Duration::from_secs(1), "{calls:?}");
    Ok(())
}

#[test]
fn a_day_that_telegram_asks_for_is_waited_and_shown() -> Result<()> {
    let (bot, home, _daemon) = stage("")?;
    bot.fail("sendMessage", [Fault::too_many(86_400)]);
    bot.say("echo one");
    let told = wait_for("it to be shown", || {
        let told = home.component("telegram")?;
        Ok(told["reason"].as_str().is_some_and(|why| why.contains("asks to wait")).then_some(told))
    })?;
    assert_eq!(told["health"], "ok");
    let waits = tasks(&home, "telegram", "queued")?;
    let now = chrono::Utc::now();
    let at =
        |task: &serde_json::Value| task["run_at"].as_str()?.parse::<chrono::DateTime<chrono::Utc>>().ok();
    let at = waits.iter().find_map(at);
    assert!(at.is_some_and(|at| (at - now).num_hours() >= 23), "{waits:?}");
    Ok(())
}

#[test]
fn polls_that_fail_in_every_way_lose_nothing_and_double_nothing() -> Result<()> {
    let (bot, home, _daemon) = stage("poll_timeout = '1s'")?;
    let html = Fault::Status(502, json!("<html>Bad Gateway</html>"));
    bot.fail(
        "getUpdates",
        [
            html,
            Fault::Cut,
            Fault::CutAfter,
            Fault::too_many(1),
            Fault::Slow(Duration::from_millis(300)),
            Fault::Again,
        ],
    );
    let path = home.path().join("effects");
    let many = 20;
    for number in 0..many {
        bot.say(&format!("append {} {number}", path.display()));
    }
    bot.fail("getUpdates", [Fault::Again, Fault::CutAfter, Fault::Again]);
    bot.until_sent(many)?;
    bot.until_confirmed(i64::try_from(many)?)?;
    // The last faults may be still to come: the messages are there after the first good poll.
    wait_for("each fault to have come", || Ok((bot.calls("getUpdates").len() > 9).then_some(())))?;
    let said: Vec<String> = (0..many).map(|number| number.to_string()).collect();
    let effects: Vec<String> = std::fs::read_to_string(&path)?.lines().map(str::to_owned).collect();
    assert_eq!(effects, said);
    assert_eq!(bot.sent().len(), many);
    assert_eq!(tasks(&home, "misbehaving", "done")?.len(), many);
    until(&home, "ok")?;
    nowhere(&home, "")
}

#[test]
fn sends_that_fail_are_repeated_in_their_order() -> Result<()> {
    let (bot, home, _daemon) = stage("")?;
    let bad = Fault::Status(502, json!("Bad Gateway"));
    bot.fail("sendMessage", [Fault::Cut, bad, Fault::Cut]);
    for number in 0..3 {
        bot.say(&format!("echo {number}"));
    }
    bot.until_sent(3)?;
    assert_eq!(bot.texts(), ["0", "1", "2"]);
    nowhere(&home, "")
}

#[test]
fn a_message_that_the_server_always_fails_at_lets_others_pass_and_is_sent_when_it_can_be() -> Result<()> {
    let (bot, home, daemon) = stage("")?;
    bot.poison("stuck", Fault::Status(500, json!("Internal Server Error")));
    bot.say("echo stuck");
    bot.say("echo after");
    bot.until_sent(1)?;
    assert_eq!(bot.texts(), ["after"]);
    let tries = bot.calls("sendMessage").iter().filter(|call| call.body["text"] == "stuck").count();
    assert!(tries > 1, "it was tried before others passed");
    bot.cure();
    bot.until_sent(2)?;
    assert_eq!(bot.texts(), ["after", "stuck"]);
    nowhere(&home, "")?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn another_poller_and_a_wrong_token_are_named() -> Result<()> {
    let (bot, home, _daemon) = stage("poll_timeout = '1s'")?;
    until(&home, "ok")?;
    let other =
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    bot.fail("getUpdates", [Fault::refused(409, other)]);
    let told = until(&home, "failed")?["reason"].to_string();
    assert!(told.contains("another program listens to this bot (409)"), "{told}");
    let output = home.cli(&["telegram", "status"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    // It may be well again already.
    assert!(output.status.success() || said.contains("409"), "{said}");
    until(&home, "ok")?;
    bot.fail("getUpdates", [Fault::refused(401, "Unauthorized")]);
    let told = until(&home, "failed")?["reason"].to_string();
    assert!(told.contains("TELEGRAM_BOT_TOKEN"), "{told}");
    until(&home, "ok")?;
    bot.say("echo still here");
    bot.until_sent(1)?;
    nowhere(&home, "")
}

#[test]
fn a_server_that_is_away_is_degraded_and_the_token_is_in_no_error() -> Result<()> {
    let bot = Bot::start()?;
    let address = bot.address.to_string();
    drop(bot);
    let home = super::home(&format!("http://{address}"), "", "")?;
    let mut command = home.command(&["run"])?;
    command.env("OPENCLAW_LOG", "trace");
    let daemon = home.start_as(command)?;
    let told = until(&home, "degraded")?;
    assert!(told["reason"].as_str().is_some_and(|why| why.contains("cannot be reached")), "{told}");
    assert_eq!(told["evidence"]["at"].as_str(), None, "{told}");
    nowhere(&home, "")?;
    let bot = Bot::at(&address)?;
    bot.say("echo back");
    bot.until_sent(1)?;
    bot.fail("sendMessage", [Fault::Cut]);
    bot.say("echo again");
    bot.until_sent(2)?;
    nowhere(&home, "")?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn entities_that_are_refused_are_left_out() -> Result<()> {
    let (bot, _home, _daemon) = stage("")?;
    bot.fail("sendMessage", [Fault::refused(400, "Bad Request: can't parse entities")]);
    bot.say("echo **bold** & plain");
    let sent = bot.until_sent(1)?;
    assert_eq!((sent[0]["text"].as_str(), &sent[0]["parse_mode"]), (Some("bold & plain"), &json!(null)));
    let calls = bot.calls("sendMessage");
    assert_eq!(calls[0].body["text"], "<b>bold</b> &amp; plain");
    // Who has blocked the bot is not tried for ever, and holds up nobody.
    bot.fail("sendMessage", [Fault::refused(403, "Forbidden: bot was blocked by the user")]);
    bot.say("echo lost");
    bot.say("echo kept");
    bot.until_sent(2)?;
    assert_eq!(bot.texts()[1], "kept");
    Ok(())
}

#[test]
fn long_replies_are_split_and_typing_is_shown() -> Result<()> {
    let (bot, _home, _daemon) = stage("")?;
    bot.say("big 9000");
    bot.say("sleep 700 done");
    let sent = bot.until_sent(4)?;
    let lengths: Vec<_> = sent.iter().map(|sent| sent["text"].as_str().map_or(0, str::len)).collect();
    assert_eq!(lengths, [4000, 4000, 1000, 4]);
    wait_for("the bot to type", || {
        let calls = bot.calls("sendChatAction");
        Ok(calls.first().map(|call| assert_eq!(call.body, json!({"chat_id": ANN, "action": "typing"}))))
    })
}
