//! Telegram, through the shipped binary.

mod alerts;
mod briefings;
mod commands;
mod emulator;
mod faults;
mod files;
mod moves;
mod pairing;
mod restart;
mod routing;
mod webhook;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::telegram::{ANN, Bot, TOKEN};
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::quick;

/// A home whose bot is at `url`, with the token; misbehaving answers, and Ann may talk with it.
fn home(url: &str, telegram: &str, more: &str) -> Result<Home> {
    let config = format!(
        "[telegram]\napi = '{url}'\nallow = [{ANN}]\n{telegram}\n[routing]\ndefault = 'misbehaving'\n[agents.misbehaving]\n\
         sandbox = 'off'\n{more}"
    );
    let home = Home::new(&quick(&config), &["scout", "misbehaving"])?;
    let file = home.path().join("config/.env");
    fs::write(&file, format!("TELEGRAM_BOT_TOKEN={TOKEN}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(home)
}

/// A scripted server, and a daemon that listens to it.
fn stage(telegram: &str) -> Result<(Bot, Home, Daemon)> {
    let bot = Bot::start()?;
    let home = home(&bot.url(), telegram, "")?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    Ok((bot, home, daemon))
}

/// Waits until the bot's health is that.
fn until(home: &Home, health: &str) -> Result<Value> {
    wait_for(&format!("a bot that is {health}"), || {
        let bot = home.component("telegram")?;
        Ok((bot["health"] == health).then_some(bot))
    })
}

/// The token is in nothing that is shown or kept.
fn nowhere(home: &Home, shown: &str) -> Result<()> {
    let secret = TOKEN.split(':').nth(1).unwrap_or_default();
    assert!(!shown.contains(secret), "{shown}");
    for text in [home.ok(&["status", "--json"])?, home.ok(&["config", "show"])?, home.log()] {
        assert!(!text.contains(secret), "{text}");
    }
    for file in ["openclaw.db", "openclaw.db-wal"] {
        let bytes = fs::read(home.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{file}");
    }
    Ok(())
}
