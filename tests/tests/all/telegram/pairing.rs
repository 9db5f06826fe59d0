//! Who may talk with the team.

use anyhow::Result;
use openclaw_tests::wait_for;
use serde_json::json;

use super::stage;
use crate::support::{fails, tasks};

#[test]
fn a_stranger_gets_a_code_once_and_is_let_in_by_it() -> Result<()> {
    let (bot, home, daemon) = stage("")?;
    bot.say_as(1, "echo let me in");
    bot.say_as(1, "echo please");
    let sent = bot.until_sent(1)?;
    assert_eq!(sent[0]["chat_id"], 1);
    let pending = home.json(&["telegram", "pending", "--json"])?;
    let code = pending[0]["code"].as_str().unwrap_or_default().to_owned();
    assert!(sent[0]["text"].as_str().is_some_and(|text| text.contains(&code)) && code.len() == 8, "{sent:?}");
    // Three at the most wait; who comes then is not answered.
    for stranger in 2..9 {
        bot.say_as(stranger, "hello");
    }
    let last = bot.say("echo known");
    bot.until_confirmed(last)?;
    bot.until_sent(4)?;
    let pending = home.json(&["telegram", "pending", "--json"])?;
    assert_eq!(pending.as_array().map(Vec::len), Some(3), "{pending}");
    assert!(home.ok(&["telegram", "pending"])?.contains(&code));

    let told = fails(&home, 64, &["telegram", "approve", "NOTACODE"])?;
    assert!(told.contains("NOTACODE") && told.contains("telegram pending"), "{told}");
    let told = home.ok(&["telegram", "approve", &code.to_lowercase()])?;
    assert!(told.contains("user1 (id 1)"), "{told}");
    fails(&home, 64, &["telegram", "approve", &code])?;
    bot.say_as(1, "echo inside");
    wait_for("the answer", || Ok(bot.texts().contains(&"inside".into()).then_some(())))?;
    assert!(bot.texts().iter().any(|text| text.starts_with("You are in.")));
    assert_eq!(bot.sent().len(), 6, "{:?}", bot.texts());

    // It outlives the daemon.
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["misbehaving"])?;
    bot.say_as(1, "echo still inside");
    wait_for("the answer", || Ok(bot.texts().contains(&"still inside".into()).then_some(())))?;
    assert!(home.ok(&["telegram", "status"])?.contains("1 user1, by operator "));
    let told = home.ok(&["telegram", "revoke", "1"])?;
    assert!(told.contains("stranger"), "{told}");
    fails(&home, 64, &["telegram", "revoke", "1"])?;
    let before = tasks(&home, "misbehaving", "done")?.len();
    let update = bot.say_as(1, "echo outside");
    bot.until_confirmed(update)?;
    assert_eq!(tasks(&home, "misbehaving", "done")?.len(), before);
    Ok(())
}

#[test]
fn groups_are_listened_to_only_when_allowed_and_by_mention() -> Result<()> {
    let (bot, home, _daemon) = stage("groups = [-5]")?;
    let say = |chat: i64, sender: i64, text: &str| {
        bot.push(json!({"from": {"id": sender, "first_name": "x"}, "chat": {"id": chat, "type": "supergroup"}, "text": text}))
    };
    let ann = openclaw_tests::telegram::ANN;
    say(-6, ann, "@OpenBot echo another group");
    say(-5, ann, "echo not to the bot");
    say(-5, 9, "@OpenBot echo a stranger");
    say(-5, ann, "/status@OtherBot");
    let heard = say(-5, ann, "@OpenBot echo heard");
    let sent = bot.until_sent(1)?;
    bot.until_confirmed(heard)?;
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!((&sent[0]["text"], &sent[0]["chat_id"]), (&json!("heard"), &json!(-5)));
    assert_eq!(sent[0]["reply_parameters"]["message_id"], heard);
    assert_eq!(home.json(&["telegram", "pending", "--json"])?, json!([]));
    Ok(())
}

#[test]
fn without_a_token_there_is_no_bot_and_a_wrong_one_is_not_told() -> Result<()> {
    let home = openclaw_tests::daemon::Home::new(&crate::support::quick(""), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let told = fails(&home, 69, &["telegram", "status"])?;
    assert!(told.contains("TELEGRAM_BOT_TOKEN"), "{told}");
    assert!(home.component("telegram").is_err());
    assert!(daemon.stop()?.success());
    let output = home.command(&["run"])?.env("TELEGRAM_BOT_TOKEN", "no-token-at-all").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("TELEGRAM_BOT_TOKEN") && !said.contains("no-token"), "{said}");
    Ok(())
}
