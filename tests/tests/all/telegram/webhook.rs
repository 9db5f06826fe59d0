//! Telegram delivers.

use std::net::TcpListener;

use anyhow::Result;
use openclaw_tests::http::Http;
use openclaw_tests::telegram::{ANN, Bot};
use openclaw_tests::wait_for;
use serde_json::{Value, json};

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
