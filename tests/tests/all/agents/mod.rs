//! The team's own agents, through the shipped binary: what they do with what they are granted.

mod atlas;

use anyhow::{Context, Result};
use openclaw_tests::daemon::Home;
use serde_json::Value;

/// The alerts that an agent raised, newest first.
fn alerts(home: &Home, agent: &str) -> Result<Vec<Value>> {
    let alerts = home.json(&["alert", "list", "-n", "1000", "--json"])?;
    let alerts = alerts.as_array().context("alerts")?;
    let its =
        |alert: &&Value| alert["key"].as_str().is_some_and(|key| key.starts_with(&format!("{agent}:agent:")));
    Ok(alerts.iter().filter(its).cloned().collect())
}

/// The one of these whose text says so.
fn says(alerts: &[Value], text: &str) -> Option<Value> {
    alerts.iter().find(|alert| alert["text"].as_str().is_some_and(|told| told.contains(text))).cloned()
}
