//! Who gets what.

use anyhow::Result;
use openclaw_tests::telegram::{ANN, Bot};
use serde_json::json;

use super::home;
use crate::support::{fails, tasks};

#[test]
fn rules_decide_and_the_rows_say_where_it_came_from() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", "")?;
    let config = std::fs::read_to_string(home.path().join("config/openclaw.toml"))?;
    let rules = "[routing]\nrules = [{ sender = 5, agent = 'misbehaving' }, { mention = 'scout', agent = 'scout' }]\n";
    home.configure(&config.replace("[routing]\n", rules))?;
    let _daemon = home.start_ready(&["misbehaving", "scout"])?;
    bot.say("echo to the default");
    bot.until_sent(1)?;
    bot.say("/nothing for @Scout");
    bot.until_sent(2)?;
    let texts = bot.texts();
    assert!(texts[0] == "to the default" && texts[1].starts_with("scout could not do this"), "{texts:?}");
    assert_eq!(tasks(&home, "misbehaving", "done")?.len(), 1);
    let other = tasks(&home, "scout", "failed")?;
    let task = &other[0];
    assert_eq!(
        (&task["source"], &task["session"]),
        (&json!(format!("telegram:{ANN}")), &json!(format!("telegram:{ANN}")))
    );
    assert_eq!((&task["dedupe_key"], &task["priority"]), (&json!("telegram:2"), &json!(0)));
    Ok(())
}

#[test]
fn a_rule_that_cannot_hold_is_refused() -> Result<()> {
    let home = home("http://127.0.0.1:1", "", "")?;
    let config = std::fs::read_to_string(home.path().join("config/openclaw.toml"))?;
    let rules = "[routing]\nrules = [{ command = 'x', agent = 'scuot' }, { prefix = 'y' }]\n";
    home.configure(&config.replace("[routing]\n", rules))?;
    let told = fails(&home, 78, &["config", "check"])?;
    for word in ["`scuot`", "did you mean `scout`", "without its `/`", "rule 2 of [routing] names no agent"] {
        assert!(told.contains(word), "no {word} in {told}");
    }
    Ok(())
}
