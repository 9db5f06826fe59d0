//! What the operator should hear of: one way for all who find something. What becomes of an alert is decided where the
//! gateway runs.

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use store::Store;
use store::alert::{News, Report};

pub use store::alert::Level;

use crate::sentence::sentence;

/// The longest text of an alert, in characters; what is beyond is cut off.
pub const TEXT: usize = 1000;
/// The longest fingerprint, in characters.
pub const KEY: usize = 200;

/// What an alert of the daemon's own is about, with whom it concerns: its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// It shows no heartbeat.
    Heartbeat,
    /// Its breaker is open.
    Breaker,
    /// It cannot run.
    Refused,
    /// A library was refused, failed or was left.
    Library,
    /// Another library runs.
    Reloaded,
    /// It was stopped, since another process may run it.
    Lead,
    /// It runs nowhere, since its group is not led as one.
    Group,
    /// The bus is away.
    Bus,
}

impl Topic {
    fn key(self, agent: &AgentName) -> String {
        let topic = match self {
            Self::Heartbeat => "heartbeat",
            Self::Breaker => "breaker",
            Self::Refused => "refused",
            Self::Library => "library",
            Self::Reloaded => "reloaded",
            Self::Lead => "lead",
            Self::Group => "group",
            Self::Bus => "bus",
        };
        format!("{agent}:{topic}")
    }
}

/// Raises an alert. The journal has the sentence already, from whoever found it.
pub fn raise(store: &Store, level: Level, agent: &AgentName, topic: Topic, text: &str, at: DateTime<Utc>) {
    store.report(report(News::Wrong(level, 1), agent.clone(), topic.key(agent), text, at));
}

/// It is over. Where nothing was raised, nothing happens.
pub fn over(store: &Store, agent: &AgentName, topic: Topic, text: &str, at: DateTime<Utc>) {
    store.report(report(News::Over, agent.clone(), topic.key(agent), text, at));
}

/// A report whose text and fingerprint are one line each, of a bearable length.
pub fn report(news: News, source: AgentName, key: String, text: &str, at: DateTime<Utc>) -> Report {
    Report { key: sentence(&key, KEY), source, news, text: sentence(text, TEXT), at }
}
