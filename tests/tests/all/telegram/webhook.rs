//! Telegram delivers.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use openclaw_tests::http::Http;
use openclaw_tests::telegram::{ANN, Bot, Fault, TOKEN};
use openclaw_tests::wait_for;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{home, until};

#[test]
fn only_who_shows_the_secret_is_listened_to_and_nothing_is_lost() -> Result<()> {
    let bot = Bot::start()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let keys = format!("mode = 'webhook'\nwebhook_url = 'https://example.org/hook'\nwebhook_bind = '{port}'");
    let home = home(&bot.url(), &keys, "")?;
    let mut command = home.command(&["run"])?;
    command.env("OPENCLAW_LOG", "trace");
    let daemon = home.start_as(command)?;
    home.until("misbehaving", "ready")?;
    let told = until(&home, "ok")?;
    assert_eq!(told["description"], "@OpenBot by a webhook");
    let call = wait_for("the webhook", || Ok(bot.calls("setWebhook").first().cloned()))?;
    assert_eq!(call.body["url"], "https://example.org/hook");
    let secret = call.body["secret_token"].as_str().unwrap_or_default().to_owned();
    assert_eq!(secret.len(), 64);
    let deliver = |secret: Option<&str>, body: &str| -> Result<u16> {
        // A connection each: one on which too much was sent is closed at some moment.
        let http = Http::at(port, None);
        let mut request = http.request("POST", "/hook").header("content-type", "application/json");
        if let Some(secret) = secret {
            request = request.header("x-telegram-bot-api-secret-token", secret);
        }
        Ok(http.send(request.body(body.to_owned())?)?.status)
    };
    let update = |id: i64, text: &str| -> Value {
        json!({"update_id": id, "message": {"message_id": id, "from": {"id": ANN, "first_name": "Ann"},
            "chat": {"id": ANN, "type": "private"}, "text": text}})
    };
    let one = update(1, "echo one").to_string();
    assert_eq!(deliver(None, &one)?, 403);
    assert_eq!(deliver(Some("wren-wrong-secret"), &one)?, 403);
    assert_eq!(deliver(Some(&secret), "{")?, 400);
    // It need not have been taken to its end.
    assert_eq!(deliver(Some(&secret), &"x".repeat(2 << 20)).unwrap_or(413), 413);
    for _ in 0..3 {
        assert_eq!(deliver(Some(&secret), &one)?, 200);
    }
    assert_eq!(deliver(Some(&secret), &update(2, "echo two").to_string())?, 200);
    bot.until_sent(2)?;
    assert_eq!(bot.texts(), ["one", "two"]);
    assert!(bot.calls("getUpdates").is_empty());
    let log = home.log();
    assert!(!log.contains(&secret) && !log.contains("wren-wrong"), "{log}");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn what_is_said_before_the_bot_knows_its_name_is_delivered_again() -> Result<()> {
    let bot = Bot::start()?;
    bot.fail("getMe", (0..1000).map(|_| Fault::Status(502, json!("Bad Gateway"))));
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let keys = format!(
        "groups = [-5]\nmode = 'webhook'\nwebhook_url = 'https://example.org/hook'\nwebhook_bind = '{port}'"
    );
    let home = home(&bot.url(), &keys, "")?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let secret = secret();
    let update = json!({"update_id": 7, "message": {"message_id": 7, "from": {"id": ANN, "first_name": "Ann"},
        "chat": {"id": -5, "type": "supergroup"}, "text": "@OpenBot echo heard"}});
    let deliver = || -> Result<u16> {
        let http = Http::at(port, None);
        let request = http.request("POST", "/hook").header("x-telegram-bot-api-secret-token", &secret);
        Ok(http.send(request.body(update.to_string())?)?.status)
    };
    assert_eq!(deliver()?, 503);
    bot.forgive("getMe");
    // As Telegram does.
    wait_for("it to be taken", || Ok((deliver()? == 200).then_some(())))?;
    bot.until_sent(1)?;
    assert_eq!(bot.texts(), ["heard"]);
    assert!(daemon.stop()?.success());
    Ok(())
}

/// What is agreed on with Telegram: made of the token alone.
fn secret() -> String {
    let digest = Sha256::digest(format!("openclaw webhook {TOKEN}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn whoever_only_connects_shuts_nobody_out() -> Result<()> {
    let bot = Bot::start()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let keys = format!("mode = 'webhook'\nwebhook_url = 'https://example.org/hook'\nwebhook_bind = '{port}'");
    let home = home(&bot.url(), &keys, "")?;
    let daemon = home.start_ready(&["misbehaving"])?;
    until(&home, "ok")?;
    let mut idle = Vec::new();
    for number in 1..=5 {
        // More than there are seats, again and again.
        for _ in 0..150 {
            idle.push(TcpStream::connect(port)?);
        }
        let update = json!({"update_id": number, "message": {"message_id": number, "text": format!("echo {number}"),
            "from": {"id": ANN, "first_name": "Ann"}, "chat": {"id": ANN, "type": "private"}}});
        let http = Http::at(port, None);
        let request = http.request("POST", "/hook").header("x-telegram-bot-api-secret-token", secret());
        let began = Instant::now();
        assert_eq!(http.send(request.body(update.to_string())?)?.status, 200);
        // Sooner than a request that does not arrive is given up.
        assert!(began.elapsed() < Duration::from_secs(8), "it waited for seats");
    }
    bot.until_sent(5)?;
    drop(idle);
    assert!(daemon.stop()?.success());
    Ok(())
}
