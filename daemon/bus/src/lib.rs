//! Signals between components. A signal may be lost at any moment and nothing is lost with it: the store is the
//! truth.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;
use uuid::Uuid;

/// The channels that the outside world knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Gateway → agents.
    GatewayEvents,
    /// Heartbeat bridge → gateway.
    AgentHeartbeat,
    /// Gateway → mission worker.
    MissionQueue,
    /// Agents → learning.
    OutcomeLearn,
    /// Event reactor → agents.
    ReactionTrigger,
    /// Whoever has something to say to the operator.
    SystemAlerts,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 6] = [
        Self::GatewayEvents,
        Self::AgentHeartbeat,
        Self::MissionQueue,
        Self::OutcomeLearn,
        Self::ReactionTrigger,
        Self::SystemAlerts,
    ];

    /// Its name on Redis.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GatewayEvents => "gateway:events",
            Self::AgentHeartbeat => "agent:heartbeat",
            Self::MissionQueue => "mission:queue",
            Self::OutcomeLearn => "outcome:learn",
            Self::ReactionTrigger => "reaction:trigger",
            Self::SystemAlerts => "system:alerts",
        }
    }
}

/// What travels on a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The envelope's form: 1.
    pub v: u8,
    /// A UUID v7.
    pub id: Uuid,
    /// When it was sent.
    #[serde(serialize_with = "rfc3339")]
    pub ts: DateTime<Utc>,
    /// Who sent it: a component's name.
    pub source: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// The rest.
    pub data: Value,
}

fn rfc3339<S: serde::Serializer>(at: &DateTime<Utc>, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

impl Envelope {
    /// An envelope with a new id.
    pub fn new(source: impl Into<String>, kind: impl Into<String>, data: Value, ts: DateTime<Utc>) -> Self {
        Self { v: 1, id: Uuid::now_v7(), ts, source: source.into(), kind: kind.into(), data }
    }
}

/// Why a signal was not sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus cannot be reached.
    #[error("the bus is away: {0}")]
    Away(String),
}

/// Carries signals.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends to whoever listens now.
    async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<(), Error>;
    /// Listens from now on; one who falls more than 1,024 behind misses the oldest.
    fn subscribe(&self, channel: Channel) -> broadcast::Receiver<Envelope>;
}

/// What a slow listener may fall behind.
const BEHIND: usize = 1024;

/// The bus within one process.
pub struct LocalBus {
    channels: HashMap<Channel, broadcast::Sender<Envelope>>,
}

impl Default for LocalBus {
    fn default() -> Self {
        Self { channels: Channel::ALL.map(|channel| (channel, broadcast::Sender::new(BEHIND))).into() }
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<(), Error> {
        // An error says that nobody listens, which is fine.
        let _ = self.channels[&channel].send(envelope);
        Ok(())
    }

    fn subscribe(&self, channel: Channel) -> broadcast::Receiver<Envelope> {
        self.channels[&channel].subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn who_listens_hears_what_is_sent_in_the_documented_form() {
        let bus = LocalBus::default();
        let mut listener = bus.subscribe(Channel::SystemAlerts);
        let sent = Envelope::new("atlas", "disk", json!({"used": 91}), DateTime::UNIX_EPOCH);
        bus.publish(Channel::SystemAlerts, sent.clone()).await.unwrap();
        bus.publish(Channel::GatewayEvents, sent.clone()).await.unwrap();
        let heard = listener.recv().await.unwrap();
        assert_eq!(heard, sent);
        assert!(listener.try_recv().is_err(), "another channel's envelope was heard");
        let text = serde_json::to_value(&heard).unwrap();
        assert_eq!(text["ts"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(text["type"], "disk");
        assert_eq!(text["v"], 1);
    }
}
