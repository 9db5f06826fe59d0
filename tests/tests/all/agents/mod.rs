//! The team's own agents, through the shipped binary: what they do with what they are granted.

mod atlas;
mod milkbot;
mod missions;
mod replay;
mod scout;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use chrono::{TimeDelta, Utc};
use openclaw_tests::daemon::Home;
use openclaw_tests::provider::{KEY, Provider};
use serde_json::{Value, json};

/// The alerts that an agent raised, newest first.
fn alerts(home: &Home, agent: &str) -> Result<Vec<Value>> {
    let alerts = home.json(&["alert", "list", "-n", "1000", "--json"])?;
    let alerts = alerts.as_array().context("alerts")?;
    let its = |alert: &&Value| alert["key"].as_str().is_some_and(|key| key.starts_with(&format!("{agent}:")));
    Ok(alerts.iter().filter(its).cloned().collect())
}

/// The one of these whose text says so.
fn says(alerts: &[Value], text: &str) -> Option<Value> {
    alerts.iter().find(|alert| alert["text"].as_str().is_some_and(|told| told.contains(text))).cloned()
}

/// Who is asked, and who is searched, in a home's configuration.
fn provided(home: &Home, chat: &Provider, search: &Provider) -> Result<()> {
    let folder = home.path().join("config");
    fs::create_dir_all(folder.join("providers"))?;
    fs::write(folder.join("providers/chat.toml"), chat.described(""))?;
    let brave = format!("kind = 'brave'\nbase_url = '{}'\nkey = 'TEST_API_KEY'\n", search.url());
    fs::write(folder.join("providers/brave.toml"), brave)?;
    fs::write(folder.join("failover.json"), r#"{"chat": ["chat"], "search": ["brave"]}"#)?;
    fs::write(folder.join(".env"), format!("TEST_API_KEY={KEY}\n"))?;
    Ok(fs::set_permissions(folder.join(".env"), fs::Permissions::from_mode(0o600))?)
}

/// A series for Scout: a price a minute, the last of them now.
fn series(venue: &str, asset: &str, prices: &[f64]) -> Value {
    let (now, last) = (Utc::now(), prices.len().saturating_sub(1) as i64);
    let at = |minute: i64| now - TimeDelta::minutes(last - minute);
    let points: Vec<_> =
        (0..).zip(prices).map(|(minute, price)| json!({"at": at(minute), "price": price})).collect();
    json!({"venue": venue, "asset": asset, "prices": points})
}

/// Prices that Scout is sure of: nothing for eleven minutes, then a jump.
const JUMP: [f64; 12] = [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 150.0];

/// What a search finds: a page whose excerpt is this.
fn page(snippet: &str) -> String {
    let hit = json!({"title": "A title", "url": "https://example.org/a", "description": snippet});
    json!({"type": "search", "web": {"results": [hit]}}).to_string()
}
