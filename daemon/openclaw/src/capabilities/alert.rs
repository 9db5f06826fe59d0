//! `alert`: what an agent wants the operator to hear. It can neither speak of another's alert nor end it.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{AlertLevel, CallError};
use serde::Deserialize;
use serde_json::Value;
use store::alert::News;
use supervisor::alerts::{self, Level};

use super::{Doors, invalid};

/// The longest key, in bytes: with the agent's name before it, it stays a fingerprint.
const KEY: usize = 100;

#[derive(Deserialize)]
pub struct Raise {
    key: String,
    level: AlertLevel,
    text: String,
}

#[derive(Deserialize)]
pub struct Resolve {
    key: String,
    text: String,
}

impl Doors {
    pub fn raise(&self, agent: &AgentName, call: Raise) -> Result<Value, CallError> {
        let level = match call.level {
            AlertLevel::Info => Level::Info,
            AlertLevel::Warning => Level::Warning,
            AlertLevel::Critical => Level::Critical,
        };
        self.report(agent, &call.key, News::Wrong(level, 1), &call.text)
    }

    pub fn resolve(&self, agent: &AgentName, call: Resolve) -> Result<Value, CallError> {
        self.report(agent, &call.key, News::Over, &call.text)
    }

    fn report(&self, agent: &AgentName, key: &str, news: News, text: &str) -> Result<Value, CallError> {
        if !(1..=KEY).contains(&key.len()) {
            return Err(invalid(format!("an alert's key has 1 to {KEY} bytes")));
        }
        if text.trim().is_empty() {
            return Err(invalid("an alert without a text says nothing: give it a `text`"));
        }
        let key = format!("{agent}:agent:{key}");
        self.store.report(alerts::report(news, agent.clone(), key, text, self.clock.now()));
        Ok(Value::Null)
    }
}
