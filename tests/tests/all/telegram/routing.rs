//! Who gets what.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result};
use openclaw_tests::telegram::{ANN, Bot};
use openclaw_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::home;
use crate::support::{fails, tasks};
use openclaw_tests::server::Redis;

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
fn what_is_routed_is_published() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_redis) = Redis::start_on(port)? else { return Ok(()) };
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", &format!("[bus]\nurl = 'redis://127.0.0.1:{port}'\n"))?;
    let _daemon = home.start_ready(&["misbehaving"])?;
    let mut stream = wait_for("Redis", || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"SUBSCRIBE gateway:events\r\n")?;
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line == ":1"));
    wait_for("the bus", || Ok((home.component("bus")?["health"] == "ok").then_some(())))?;
    bot.say("echo heard");
    let heard = lines.map_while(Result::ok).find(|line| line.starts_with('{'));
    let heard: Value = serde_json::from_str(&heard.context("a signal")?)?;
    assert_eq!(
        (&heard["source"], &heard["type"]),
        (&json!("gateway"), &json!("message.accepted")),
        "{heard}"
    );
    let data = &heard["data"];
    assert_eq!((&data["agent"], &data["sender"]), (&json!("misbehaving"), &json!(ANN)), "{heard}");
    bot.until_sent(1)?;
    let done = tasks(&home, "misbehaving", "done")?;
    assert_eq!(done[0]["id"], data["task_id"]);
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
