//! The operator is told of what goes wrong: once, whatever is away meanwhile.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::server::{Postgres, Redis};
use openclaw_tests::telegram::{ANN, Bot, Emulator, Fault};
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use super::{home, nowhere};
use crate::support::{binary, fails, leave};

const OPERATOR: &str = "operators = [4711]";

/// A server, and a daemon whose operator is Ann, with `[alerts]`.
fn staged(alerts: &str) -> Result<(Bot, Home, Daemon)> {
    assert_eq!(ANN, 4711);
    let bot = Bot::start()?;
    let home = home(&bot.url(), OPERATOR, &format!("[alerts]\n{alerts}"))?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    Ok((bot, home, daemon))
}

fn raise(home: &Home, level: &str, text: &str, key: &str) -> Result<String> {
    home.ok(&["alert", "raise", level, text, "--key", key, "--source", "cron"])
}

fn alert(home: &Home, key: &str) -> Result<Value> {
    let all = home.json(&["alert", "list", "-n", "1000", "--json"])?;
    let found = all.as_array().into_iter().flatten().find(|alert| alert["key"] == key);
    found.cloned().with_context(|| format!("no alert {key}: {all:#}"))
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
}

fn mentions(texts: &[String], what: &str) -> usize {
    texts.iter().filter(|text| text.contains(what)).count()
}

/// Waits until so many messages have these words.
fn until_mentioned(bot: &Bot, what: &str, many: usize) -> Result<Vec<String>> {
    let found = wait_for(&format!("{many} messages with `{what}`"), || {
        let texts = bot.texts();
        Ok((mentions(&texts, what) >= many).then_some(texts))
    });
    found.with_context(|| format!("sent: {:#?}", bot.texts()))
}

#[test]
fn a_test_goes_the_whole_way_and_says_where_it_arrived() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    let said = home.ok(&["alert", "test"])?;
    ensure!(said.starts_with("delivered to chat 4711 on Telegram in "), "{said}");
    let sent = bot.until_sent(1)?;
    ensure!(
        sent[0]["chat_id"] == ANN && mentions(&bot.texts(), "CRITICAL openclaw: this is a test") == 1,
        "{sent:?}"
    );
    let list = home.json(&["alert", "list", "--json"])?;
    ensure!(list[0]["acked_by"].as_str().is_some_and(|who| who.starts_with("operator ")), "{list}");
    wait_for("its arrival to be known", || {
        Ok(home.json(&["alert", "list", "--json"])?[0]["delivered_at"].is_string().then_some(()))
    })?;
    // Telegram does not take it: neither is that hidden.
    bot.fail("sendMessage", (0..9).map(|_| Fault::refused(403, "Forbidden: bot was blocked by the user")));
    let said = fails(&home, 1, &["alert", "test"])?;
    assert_says(&said, &["not delivered", "4711", "blocked by the user"]);
    nowhere(&home, &said)?;
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn where_nobody_can_be_told_the_test_says_so() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", "")?;
    let daemon = home.start_ready(&["misbehaving"])?;
    assert_says(
        &fails(&home, 1, &["alert", "test", "--timeout", "1s"])?,
        &["not delivered", "operators", "[alerts]"],
    );
    ensure!(bot.sent().is_empty() && daemon.stop()?.success());
    Ok(())
}

#[test]
fn an_alert_outlives_telegrams_absence_and_the_daemons_death_and_arrives_once() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    bot.fail("sendMessage", (0..1000).map(|_| Fault::Status(502, json!("Bad Gateway"))));
    raise(&home, "CRITICAL", "the disk burns", "disk")?;
    wait_for("a try", || Ok((!bot.calls("sendMessage").is_empty()).then_some(())))?;
    let said = fails(&home, 1, &["alert", "test", "--timeout", "1s"])?;
    assert_says(&said, &["not delivered to chat 4711 within 1s", "kept"]);
    daemon.kill()?;
    let address = bot.address.to_string();
    drop(bot);
    // Neither daemon nor Telegram: it waits in a file.
    let said = home.ok(&["alert", "raise", "critical", "the house burns", "--key", "house"])?;
    assert_says(said.lines().next().unwrap_or_default(), &["no daemon runs in"]);
    ensure!(said.contains("waits in a file"), "{said}");
    let daemon = home.start_ready(&["misbehaving"])?;
    wait_for("the file to be taken", || Ok(alert(&home, "operator:house").ok()))?;
    let bot = wait_for("the port", || Ok(Bot::at(&address).ok()))?;
    until_mentioned(&bot, "the disk burns", 1)?;
    until_mentioned(&bot, "the house burns", 1)?;
    // A death between Telegram's taking a message and our knowing so would have it sent twice, as any message.
    for key in ["cron:disk", "operator:house"] {
        wait_for("its arrival to be known", || {
            Ok(alert(&home, key)?["delivered_at"].is_string().then_some(()))
        })?;
    }
    daemon.kill()?;
    let daemon = home.start_ready(&["misbehaving"])?;
    bot.say("echo marker");
    let texts = until_mentioned(&bot, "marker", 1)?;
    for once in ["the disk burns", "the house burns"] {
        ensure!(mentions(&texts, once) == 1, "{texts:#?}");
    }
    ensure!(home.log().contains("critical alert, cron: the disk burns"));
    ensure!(daemon.stop()?.success());
    Ok(())
}

/// Ten thousand of one alert, through the control socket; answers how many times a period of so many seconds began meanwhile.
fn flood(home: &Home, period: u64) -> Result<u64> {
    let now = || -> Result<u64> { Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()) };
    // From the beginning of one, so that all of it is in one where the machine is quick enough.
    wait_for("a period to begin", || Ok((now()? % period == 0).then_some(())))?;
    let began = now()? / period;
    let mut socket = home.socket()?;
    let ask =
        json!({"raise": {"level": "critical", "text": "the same failure", "source": "cron", "key": "flood"}});
    for _ in 0..100 {
        let ids = socket.asks((0..100).map(|_| ask.clone()))?;
        for _ in ids {
            let (_, answer) = socket.answer()?;
            ensure!(answer.as_ref().is_ok_and(|raised| raised["key"] == "cron:flood"), "{answer:?}");
        }
    }
    Ok(now()? / period - began)
}

#[test]
fn ten_thousand_failures_are_one_alert_and_one_summary() -> Result<()> {
    let (bot, home, daemon) = staged("summary = \"10s\"")?;
    let periods = flood(&home, 10)?;
    let of_flood = |alert: &Value| alert["count"] == 10_000 && alert["level"] == "critical";
    let found = wait_for("all to be counted", || Ok(Some(alert(&home, "cron:flood")?).filter(of_flood)))?;
    let mut told = Vec::new();
    wait_for("the summary", || {
        told = bot.texts();
        Ok((times_more(&told)? == 9_999).then_some(()))
    })
    .with_context(|| format!("{told:#?}"))?;
    home.ok(&["alert", "ack", &found["id"].to_string()])?;
    // Another alert is the end of what might still come.
    raise(&home, "CRITICAL", "marker", "marker")?;
    let texts = until_mentioned(&bot, "marker", 1)?;
    ensure!(mentions(&texts, "🔴 CRITICAL cron: the same failure") == 1, "{texts:#?}");
    let summaries = mentions(&texts, "Summary of the last 10 s") as u64;
    ensure!((1..=1 + periods).contains(&summaries), "{summaries} in {periods} periods: {texts:#?}");
    ensure!(texts.len() as u64 == 2 + summaries, "{texts:#?}");
    let all = home.json(&["alert", "list", "--json"])?;
    ensure!(
        all.as_array().is_some_and(|all| all.iter().filter(|one| one["key"] == "cron:flood").count() == 1),
        "{all}"
    );
    ensure!(daemon.stop()?.success());
    Ok(())
}

/// Of how many occurrences the summaries tell, beyond the first message.
fn times_more(texts: &[String]) -> Result<u64> {
    let mut sum = 0;
    // The first message may tell of several, which came before it was made.
    for text in texts.iter().filter(|text| text.contains("the same failure")) {
        let word =
            |after: &str| text.split_once(after).map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
        sum += match (word("• CRITICAL "), word("#1, ")) {
            (Some(more), _) => more.parse::<u64>().unwrap_or(1),
            (None, Some(first)) => first.parse::<u64>()? - 1,
            (None, None) => 0,
        };
    }
    Ok(sum)
}

#[test]
fn the_emulator_hears_of_a_flood_twice() -> Result<()> {
    let Some(emulator) = Emulator::start()? else { return Ok(()) };
    let home = home(&emulator.url, OPERATOR, "[alerts]\nsummary = \"10s\"")?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let periods = flood(&home, 10)?;
    let mut heard = Vec::new();
    wait_for("an alert and its summary", || {
        heard.extend(emulator.heard(ANN)?);
        Ok((times_more(&heard)? == 9_999).then_some(()))
    })
    .with_context(|| format!("{heard:#?}"))?;
    ensure!((2..=2 + periods as usize).contains(&heard.len()), "{periods}: {heard:#?}");
    ensure!(home.ok(&["alert", "test"])?.starts_with("delivered to chat 4711"));
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn an_alert_that_nobody_acknowledges_is_said_louder_and_one_that_somebody_does_is_not() -> Result<()> {
    let (bot, home, daemon) = staged("escalate = \"1s\"")?;
    raise(&home, "CRITICAL", "known soon", "known")?;
    let id = alert(&home, "cron:known")?["id"].clone();
    until_mentioned(&bot, "STILL CRITICAL and nobody said that they know (1 of 3), cron: known soon", 1)?;
    bot.say(&format!("/ack {id}"));
    until_mentioned(&bot, "nobody is reminded of it", 1)?;
    let before = mentions(&bot.texts(), "known soon");
    // Another one, that nobody knows of, is said louder three times meanwhile.
    raise(&home, "CRITICAL", "never known", "never")?;
    let texts = until_mentioned(&bot, "(3 of 3), cron: never known", 1)?;
    ensure!(mentions(&texts, "known soon") == before && mentions(&texts, "never known") == 4, "{texts:#?}");
    let known = alert(&home, "cron:known")?;
    ensure!(
        known["acked_by"] == format!("telegram {ANN} (user{ANN})") && known["acked_at"].is_string(),
        "{known}"
    );
    // What there is not cannot be acknowledged.
    bot.say("/ack 999999");
    until_mentioned(&bot, "Not done: no open alert has the id or fingerprint", 1)?;
    assert_says(
        &fails(&home, 64, &["alert", "ack", "nonsense"])?,
        &["no open alert", "nonsense", "alert list"],
    );
    ensure!(home.ok(&["alert", "ack", "all"])?.contains("acknowledged"));
    let shown = home.ok(&["alert", "list"])?;
    ensure!(shown.contains("known to telegram") && shown.contains("known to operator"), "{shown}");
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn only_operators_acknowledge() -> Result<()> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), "", &format!("[alerts]\nchats = [{ANN}]"))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    raise(&home, "CRITICAL", "it burns", "fire")?;
    until_mentioned(&bot, "it burns", 1)?;
    bot.say("/ack");
    until_mentioned(&bot, "Only operators may do that", 1)?;
    ensure!(alert(&home, "cron:fire")?["acked_at"].is_null());
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn an_alert_that_telegram_refuses_is_not_said_to_be_on_its_way() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    bot.fail("sendMessage", [Fault::refused(403, "Forbidden: bot was blocked by the user")]);
    raise(&home, "CRITICAL", "it burns", "fire")?;
    wait_for("the list to say so", || {
        let list = home.ok(&["alert", "list"])?;
        Ok((list.contains("not delivered") && list.contains("blocked by the user")).then_some(()))
    })?;
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn of_many_different_criticals_most_come_together() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    let (mut socket, began) = (home.socket()?, Instant::now());
    // One at a time, so that each could be a message of its own: until it is one, or should have been.
    let many = 20;
    for number in 0..many {
        let text = format!("failure {number}.");
        let raise =
            json!({"level": "critical", "text": text, "source": "cron", "key": format!("many-{number}")});
        socket.asks([json!({"raise": raise})])?;
        socket.answer()?.1.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let left = Instant::now();
        wait_for("it to be looked at, or to wait", || {
            let seen = mentions(&bot.texts(), &text) > 0;
            Ok((seen || left.elapsed() > Duration::from_millis(500)).then_some(()))
        })?;
    }
    let texts = wait_for("all to be told", || {
        let texts = bot.texts();
        Ok((0..many).all(|n| mentions(&texts, &format!("failure {n}.")) > 0).then_some(texts))
    })
    .with_context(|| format!("{:#?}", bot.texts()))?;
    // Ten at once, and one in six seconds.
    let most = 11 + began.elapsed().as_secs() as usize / 6;
    ensure!(texts.len() <= most, "{most}: {texts:#?}");
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn an_alert_waits_for_no_answer_and_for_no_other_alert() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    // Telegram does not take an answer in this chat for ten minutes, and one alert never.
    bot.poison("flooded", Fault::too_many(600));
    bot.poison("poisoned", Fault::Status(500, json!("Internal Server Error")));
    let tried = |words: &str| {
        let of_it = |call: &openclaw_tests::telegram::Call| {
            call.body["text"].as_str().is_some_and(|t| t.contains(words))
        };
        wait_for("a try", || Ok(bot.calls("sendMessage").iter().any(of_it).then_some(())))
    };
    bot.say("echo flooded");
    tried("flooded")?;
    raise(&home, "CRITICAL", "poisoned", "poison")?;
    tried("poisoned")?;
    raise(&home, "CRITICAL", "it burns", "fire")?;
    until_mentioned(&bot, "🔴 CRITICAL cron: it burns", 1)?;
    ensure!(alert(&home, "cron:poison")?["delivered_at"].is_null());
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn what_is_over_says_so_once() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    raise(&home, "CRITICAL", "it is cold", "cold")?;
    until_mentioned(&bot, "it is cold", 1)?;
    for _ in 0..2 {
        home.ok(&["alert", "resolve", "cold", "it is warm again", "--source", "cron"])?;
    }
    // Nothing had gone wrong.
    home.ok(&["alert", "resolve", "never", "all is well"])?;
    until_mentioned(&bot, "🟢 RESOLVED cron: it is warm again", 1)?;
    ensure!(mentions(&bot.texts(), "RESOLVED") == 1 && bot.texts().len() == 2, "{:#?}", bot.texts());
    // What is only good to know is listed alone.
    raise(&home, "INFO", "by the way", "way")?;
    ensure!(alert(&home, "cron:way")?["level"] == "info");
    raise(&home, "CRITICAL", "marker", "marker")?;
    let texts = until_mentioned(&bot, "marker", 1)?;
    ensure!(mentions(&texts, "by the way") == 0, "{texts:#?}");
    ensure!(daemon.stop()?.success());
    Ok(())
}

/// Raises an alert and has it over, as often as that, each seen before the next.
fn flap(home: &Home, times: u64) -> Result<()> {
    for _ in 0..times {
        raise(home, "CRITICAL", "it flaps", "flap")?;
        wait_for("it to be seen", || Ok(alert(home, "cron:flap")?["resolved_at"].is_null().then_some(())))?;
        home.ok(&["alert", "resolve", "flap", "it is well", "--source", "cron"])?;
        wait_for("its end", || Ok(alert(home, "cron:flap")?["resolved_at"].is_string().then_some(())))?;
    }
    Ok(())
}

#[test]
fn what_comes_and_goes_within_the_cooldown_is_one_alert_and_a_line_of_the_summary() -> Result<()> {
    let (bot, home, daemon) = staged("summary = \"5s\"")?;
    flap(&home, 1)?;
    until_mentioned(&bot, "🟢 RESOLVED cron: it is well", 1)?;
    flap(&home, 9)?;
    // Where a summary told of the last one before it was over, its end is said alone.
    let over =
        |texts: &[String]| mentions(texts, ", over, cron: it flaps") > 0 || mentions(texts, "RESOLVED") > 1;
    wait_for("the summary", || Ok(over(&bot.texts()).then_some(())))
        .with_context(|| format!("{:#?}", bot.texts()))?;
    raise(&home, "CRITICAL", "marker", "marker")?;
    let texts = until_mentioned(&bot, "marker", 1)?;
    ensure!(mentions(&texts, "🔴 CRITICAL cron: it flaps") <= 1, "{texts:#?}");
    // At once of an end only where a summary has told of what it ends.
    let (alone, summaries) = (mentions(&texts, "RESOLVED"), mentions(&texts, "Summary of"));
    ensure!(alone <= 1 + summaries, "{texts:#?}");
    let all = home.json(&["alert", "list", "--json"])?;
    let of_it = |one: &&Value| one["key"] == "cron:flap";
    let rows: Vec<_> = all.as_array().into_iter().flatten().filter(of_it).collect();
    ensure!(rows.len() == 1 && rows[0]["count"] == 10, "{all:#}");
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn what_comes_back_after_the_cooldown_is_another_alert() -> Result<()> {
    let (bot, home, daemon) = staged("cooldown = \"1s\"")?;
    flap(&home, 1)?;
    let over = Instant::now();
    wait_for("the cooldown to pass", || Ok((over.elapsed() > Duration::from_secs(1)).then_some(())))?;
    flap(&home, 1)?;
    until_mentioned(&bot, "RESOLVED", 2)?;
    let all = home.json(&["alert", "list", "--json"])?;
    ensure!(all.as_array().is_some_and(|all| all.len() == 2), "{all:#}");
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_breaker_that_opens_is_an_alert_on_the_bus_and_the_phone_until_it_closes() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_redis) = Redis::start_on(port)? else { return Ok(()) };
    let bot = Bot::start()?;
    let agent = "concurrency = 1\nbackoff = { initial = \"10ms\", max = \"20ms\", reset_after = \"100ms\" }\n\
                 breaker = { intensity = 1000, min_calls = 5, failure_rate = 0.5, open = \"300ms\", open_max = \"300ms\" }";
    let home = home(&bot.url(), OPERATOR, &format!("{agent}\n[bus]\nurl = \"redis://localhost:{port}\""))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    wait_for("the bus", || Ok((home.component("bus")?["state"] == "ready").then_some(())))?;
    let mut listener = redis_listener(port)?;
    for _ in 0..5 {
        leave(&home, "misbehaving", "error always")?;
    }
    until_mentioned(&bot, "CRITICAL misbehaving: its breaker is open", 1)?;
    let heard = listener.hear("alert.raised")?;
    ensure!(heard["data"]["key"] == "misbehaving:breaker" && heard["data"]["level"] == "critical", "{heard}");
    until_mentioned(&bot, "RESOLVED misbehaving: it is ready", 1)?;
    listener.hear("alert.over")?;
    ensure!(daemon.stop()?.success());
    Ok(())
}

/// Who listens on `system:alerts`; ended with the test.
struct Listener {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

fn redis_listener(port: u16) -> Result<Listener> {
    use std::io::BufRead;
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string(), "SUBSCRIBE", "system:alerts"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
    let mut lines = std::io::BufReader::new(child.stdout.take().context("its output")?).lines();
    // It is subscribed once it says so.
    for line in lines.by_ref().take(3) {
        line?;
    }
    Ok(Listener { child, lines })
}

impl Listener {
    fn hear(&mut self, kind: &str) -> Result<Value> {
        for line in self.lines.by_ref().take(300) {
            let Ok(signal) = serde_json::from_str::<Value>(&line?) else { continue };
            if signal["type"] == kind {
                return Ok(signal);
            }
        }
        anyhow::bail!("{kind} is not heard")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn of_two_daemons_on_one_database_one_speaks() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let bot = Bot::start()?;
    let database = format!("[database]\nurl = \"{}\"\n[alerts]\nescalate = \"1s\"", server.url("postgres"));
    let homes = [home(&bot.url(), OPERATOR, &database)?, home(&bot.url(), OPERATOR, &database)?];
    let daemons = [homes[0].start()?, homes[1].start()?];
    for number in 0..20 {
        for home in &homes {
            let text = format!("seen by both, {number}");
            raise(home, "CRITICAL", &text, &format!("both-{}", number % 4))?;
        }
    }
    let key = |texts: &[String], number: usize, mark: &str| {
        let about = |text: &&String| {
            text.split("\n\n").any(|part| {
                part.contains(mark)
                    && (number..20).step_by(4).any(|n| part.contains(&format!("seen by both, {n}\n")))
            })
        };
        texts.iter().filter(about).count()
    };
    // Each escalates by its own time, and they were raised one after another.
    let texts = wait_for("all to be said three times louder", || {
        let texts = bot.texts();
        Ok((0..4).all(|number| key(&texts, number, "(3 of 3)") > 0).then_some(texts))
    })
    .with_context(|| format!("{:#?}", bot.texts()))?;
    for number in 0..4 {
        ensure!(key(&texts, number, "🔴 CRITICAL cron") == 1, "{texts:#?}");
        ensure!(key(&texts, number, "(1 of 3)") == 1 && key(&texts, number, "(2 of 3)") == 1, "{texts:#?}");
        let row = alert(&homes[1], &format!("cron:both-{number}"))?;
        ensure!(row["count"] == 10, "{row}");
    }
    for daemon in daemons {
        ensure!(daemon.stop()?.success());
    }
    Ok(())
}

#[test]
fn what_no_alert_is_is_refused_and_what_is_odd_is_told_as_it_is() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    assert_says(&fails(&home, 64, &["alert", "raise", "LOUD", "x"])?, &["LOUD", "INFO, WARNING or CRITICAL"]);
    assert_says(&fails(&home, 64, &["alert", "raise", "INFO", " \n"])?, &["without a text"]);
    fails(&home, 64, &["alert", "raise", "INFO", "x", "--source", "no name"])?;
    fails(&home, 64, &["alert", "raise", "INFO"])?;
    let long = "long ".repeat(20_000);
    let said = raise(&home, "CRITICAL", &long, "long")?;
    ensure!(said.contains("the first 1000 characters"), "{said}");
    let text = alert(&home, "cron:long")?["text"].as_str().context("a text")?.to_owned();
    ensure!(text.chars().count() == 1000 && text.ends_with('…'), "{text}");
    let odd = "<b>bold</b> & <a href='x'>y</a> **stars** `code` \u{202e}gnorts\u{202c}\nnext \u{7}line 🦎";
    raise(&home, "CRITICAL", odd, "odd")?;
    until_mentioned(&bot, "next", 1)?;
    let sent = bot.sent();
    let sent = sent
        .iter()
        .find(|sent| sent["text"].as_str().is_some_and(|text| text.contains("gnorts")))
        .context("it")?;
    // As HTML it is what was said.
    ensure!(sent["parse_mode"] == "HTML", "{sent}");
    let plain = "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;a href='x'&gt;y&lt;/a&gt; **stars** `code` \u{fffd}gnorts\u{fffd} next \u{fffd}line 🦎";
    ensure!(sent["text"].as_str().is_some_and(|text| text.contains(plain)), "{sent}");
    // Two texts are two alerts, where no key says otherwise.
    home.ok(&["alert", "raise", "WARNING", "one"])?;
    home.ok(&["alert", "raise", "WARNING", "two"])?;
    let all = home.json(&["alert", "list", "--json"])?;
    ensure!(
        all.as_array().is_some_and(|all| all.iter().filter(|one| one["source"] == "operator").count() == 2),
        "{all}"
    );
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn the_script_for_cron_needs_no_token() -> Result<()> {
    let (bot, home, daemon) = staged("")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/alert-telegram.sh");
    let program = binary(&[])?.get_program().to_owned();
    let call = |args: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(script);
        command.args(args).env("OPENCLAW_BIN", &program).env("OPENCLAW_HOME", home.path());
        let output = command.env_remove("TELEGRAM_BOT_TOKEN").output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    };
    let (code, said) = call(&["CRITICAL", "-the backup failed", "--key", "backup"])?;
    ensure!(code == Some(0) && said.contains("taken: operator:backup"), "{code:?} {said}");
    until_mentioned(&bot, "-the backup failed", 1)?;
    ensure!(
        call(&["CRITICAL"])?.0 == Some(64)
            && call(&["LOUD", "x"])?.0 == Some(64)
            && call(&["INFO", ""])?.0 == Some(64)
    );
    ensure!(daemon.stop()?.success());
    let (code, said) = call(&["WARNING", "nobody runs"])?;
    ensure!(
        code == Some(0) && said.contains("no daemon runs") && said.contains("waits in a file"),
        "{code:?} {said}"
    );
    nowhere_in(&said);
    Ok(())
}

#[track_caller]
fn nowhere_in(said: &str) {
    assert!(!said.contains(openclaw_tests::telegram::TOKEN.split(':').nth(1).unwrap_or_default()), "{said}");
}
