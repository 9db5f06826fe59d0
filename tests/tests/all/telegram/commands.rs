//! What the daemon does itself, with the sender's authority.

use anyhow::Result;
use openclaw_tests::telegram::{ANN, Bot};
use openclaw_tests::wait_for;

use super::{home, stage};
use crate::support::{history, pid};

#[test]
fn an_operator_commands_the_daemon_and_is_put_down() -> Result<()> {
    let (bot, home, _daemon) = stage(&format!("operators = [{ANN}]"))?;
    let before = pid(&home, "scout")?;
    // An agent that hangs holds up no command.
    bot.say("sleep 5000 slow");
    bot.say("/restart scout");
    let sent = bot.until_sent(1)?;
    assert!(sent[0]["text"].as_str().is_some_and(|text| text.starts_with("scout is ready")), "{sent:?}");
    assert_ne!(pid(&home, "scout")?, before);
    let steps = history(&home, "scout")?;
    let actor = format!("telegram {ANN} (user{ANN})");
    assert!(steps.iter().any(|step| step["actor"] == actor.as_str()), "{steps:?}");
    assert!(home.log().contains("a command for the daemon"));
    bot.say("/status");
    bot.say("/restart");
    bot.say("/restart nobody");
    let sent = bot.until_sent(4)?;
    let text = |at: usize| sent[at]["text"].as_str().unwrap_or_default().to_owned();
    assert!(text(1).contains("<b>misbehaving</b> ready (ok)"), "{sent:?}");
    assert!(
        text(2).starts_with("Whom?") && text(3).contains("there is no agent <code>nobody</code>"),
        "{sent:?}"
    );
    Ok(())
}

#[test]
fn whoever_is_no_operator_does_not() -> Result<()> {
    let (bot, home, _daemon) = stage("")?;
    let before = pid(&home, "scout")?;
    bot.say("/restart scout");
    bot.say("/stop scout");
    let sent = bot.until_sent(2)?;
    assert!(
        sent.iter().all(|sent| sent["text"].as_str().is_some_and(|text| text.contains("Only operators")))
    );
    assert_eq!(pid(&home, "scout")?, before);
    Ok(())
}

#[test]
fn help_and_the_menu_list_what_all_agents_say() -> Result<()> {
    let (bot, _home, _daemon) = stage("")?;
    bot.say("/help");
    let sent = bot.until_sent(1)?;
    let text = sent[0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("<b>scout</b>\n/analyze") && !text.contains("/restart"), "{text}");
    let menu = wait_for("the menu", || Ok(bot.calls("setMyCommands").first().cloned()))?;
    let commands = menu.body["commands"].as_array().cloned().unwrap_or_default();
    assert!(commands.iter().any(|command| command["command"] == "analyze"), "{commands:?}");
    Ok(())
}

#[test]
fn whoever_waits_for_an_agent_that_is_down_is_told() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", "")?;
    let config = std::fs::read_to_string(home.path().join("config/openclaw.toml"))?;
    let rule = "[routing]\nrules = [{ mention = 'scout', agent = 'scout' }]\n";
    home.configure(&config.replace("[routing]\n", rule))?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    home.ok(&["agents", "stop", "misbehaving"])?;
    bot.say("echo later");
    let sent = bot.until_sent(1)?;
    assert!(
        sent[0]["text"].as_str().is_some_and(|text| text.contains("does not run at the moment")),
        "{sent:?}"
    );
    // Others are answered meanwhile.
    bot.say("/nothing for @scout");
    let sent = bot.until_sent(2)?;
    assert!(sent[1]["text"].as_str().is_some_and(|text| text.starts_with("scout could not")), "{sent:?}");
    // Also when the daemon was away.
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["scout"])?;
    home.ok(&["agents", "start", "misbehaving"])?;
    bot.until_sent(3)?;
    assert_eq!(bot.texts()[2], "later");
    bot.say("invalid no such thing");
    bot.until_sent(4)?;
    assert_eq!(bot.texts()[3], "misbehaving could not do this: no such thing");
    Ok(())
}

#[test]
fn a_default_that_does_not_run_here_is_said() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", "enabled = false\n")?;
    let _daemon = home.start_ready(&["scout"])?;
    bot.say("echo x");
    let sent = bot.until_sent(1)?;
    assert!(sent[0]["text"].as_str().is_some_and(|text| text.contains("Not taken")), "{sent:?}");
    Ok(())
}
