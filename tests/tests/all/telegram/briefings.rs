//! MilkBot briefs the operators at its hours: each once, whatever dies.

use anyhow::Result;
use openclaw_tests::telegram::Bot;
use openclaw_tests::wait_for;

use super::home;
use crate::support::{reply, tasks};

const HOURS: &str = "[agents.milkbot]\ngrants = ['memory', 'notify', 'task', 'supervisor.status', 'supervisor.budgets', 'missions.list']\n\
    settings = { briefings = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] }\n";

/// The first lines of the briefings that were sent, in their order.
fn briefed(bot: &Bot) -> Vec<String> {
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    bot.texts().into_iter().map(first).filter(|line| line.starts_with("Briefing of ")).collect()
}

#[test]
fn an_hour_has_one_briefing_over_a_restart() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "operators = [4711]", HOURS)?;
    home.install("milkbot", "milkbot")?;
    let daemon = home.start_ready(&["milkbot"])?;
    wait_for("the briefing", || Ok((!briefed(&bot).is_empty()).then_some(())))?;
    let text = bot.texts().into_iter().find(|text| text.starts_with("Briefing of ")).unwrap_or_default();
    assert!(text.contains(" components are well.") && text.contains("Budgets:\nall agents"), "{text}");
    // Telegram cannot be asked whether it has a message: one that is not known to be sent is sent again.
    wait_for("its task's end", || Ok((!tasks(&home, "telegram", "done")?.is_empty()).then_some(())))?;
    daemon.kill()?;
    let _daemon = home.start_ready(&["milkbot"])?;
    // It has done what it does by itself after its start.
    assert!(reply(&home, "milkbot", "/tasks")?.contains("milkbot"));
    wait_for("its ticks to end", || {
        let ended = tasks(&home, "milkbot", "done")?.iter().filter(|task| task["kind"] == "tick").count();
        let open = tasks(&home, "milkbot", "queued")?.len() + tasks(&home, "milkbot", "leased")?.len();
        Ok((ended > 0 && open == 0).then_some(()))
    })?;
    let mut sent = briefed(&bot);
    let all = sent.len();
    sent.dedup();
    assert_eq!(sent.len(), all, "{sent:?}");
    Ok(())
}

#[test]
fn who_has_no_chat_to_tell_says_so_in_the_log() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", HOURS)?;
    home.install("milkbot", "milkbot")?;
    let _daemon = home.start_ready(&["milkbot"])?;
    wait_for("the line", || {
        Ok(home
            .ok(&["agents", "logs", "milkbot"])?
            .contains("nobody is briefed: nobody can be told")
            .then_some(()))
    })?;
    assert!(briefed(&bot).is_empty());
    Ok(())
}
