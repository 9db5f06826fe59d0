//! A group that becomes a supergroup, which has another id.

use anyhow::Result;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::telegram::Bot;
use serde_json::{Value, json};

use super::home;

const OLD: i64 = -5;
const NEW: i64 = -1_005;

/// A group that is allowed, in which misbehaving answers, by a rule; elsewhere scout does.
fn stage() -> Result<(Bot, Home, Daemon)> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), &format!("groups = [{OLD}]"), "")?;
    let config = std::fs::read_to_string(home.path().join("config/openclaw.toml"))?;
    let rules =
        format!("[routing]\ndefault = 'scout'\nrules = [{{ chat = {OLD}, agent = 'misbehaving' }}]\n");
    home.configure(&config.replace("[routing]\ndefault = 'misbehaving'\n", &rules))?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    Ok((bot, home, daemon))
}

/// What was said, and where.
fn said(sent: &Value) -> (Option<&str>, i64) {
    (sent["text"].as_str(), sent["chat_id"].as_i64().unwrap_or_default())
}

#[test]
fn a_reply_follows_the_group_and_what_was_allowed_there_is_allowed_still() -> Result<()> {
    let (bot, home, daemon) = stage()?;
    // Another group is nobody's business.
    let update = bot.say_in(-6, "echo elsewhere");
    bot.say_in(OLD, "echo one");
    assert_eq!(said(&bot.until_sent(1)?[0]), (Some("one"), OLD));
    bot.until_confirmed(update)?;
    bot.migrate(OLD, NEW);
    bot.say_in(OLD, "echo two");
    assert_eq!(said(&bot.until_sent(2)?[1]), (Some("two"), NEW));
    bot.say_in(NEW, "echo three");
    assert_eq!(said(&bot.until_sent(3)?[2]), (Some("three"), NEW));
    assert!(daemon.stop()?.success());
    // It is remembered.
    let _daemon = home.start_ready(&["scout", "misbehaving"])?;
    let tried = bot.calls("sendMessage").len();
    bot.say_in(NEW, "echo four");
    bot.say_in(OLD, "echo five");
    let sent = bot.until_sent(5)?;
    let mut last = [said(&sent[3]), said(&sent[4])];
    last.sort_unstable();
    assert_eq!(last, [(Some("five"), NEW), (Some("four"), NEW)]);
    assert_eq!(bot.calls("sendMessage").len(), tried + 2, "the old id is not tried again");
    Ok(())
}

#[test]
fn groups_of_strangers_leave_no_room_taken() -> Result<()> {
    let (bot, home, _daemon) = stage()?;
    for group in 1..=300 {
        bot.push(
            json!({"chat": {"id": -10_000 - group, "type": "group"}, "migrate_to_chat_id": -20_000 - group}),
        );
    }
    bot.push(json!({"chat": {"id": OLD, "type": "group"}, "migrate_to_chat_id": NEW}));
    bot.say_in(NEW, "echo here");
    assert_eq!(said(&bot.until_sent(1)?[0]), (Some("here"), NEW));
    let log = home.log();
    assert_eq!(log.matches("became a supergroup").count(), 1, "{log}");
    Ok(())
}

#[test]
fn a_group_that_tells_of_its_new_id_is_believed() -> Result<()> {
    for told in [
        json!({"chat": {"id": OLD, "type": "group"}, "migrate_to_chat_id": NEW}),
        json!({"chat": {"id": NEW, "type": "supergroup"}, "migrate_from_chat_id": OLD}),
    ] {
        let (bot, _home, _daemon) = stage()?;
        bot.push(told);
        bot.say_in(NEW, "echo here");
        assert_eq!(said(&bot.until_sent(1)?[0]), (Some("here"), NEW));
    }
    Ok(())
}
