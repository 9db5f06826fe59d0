//! The channels that the outside world knows.

/// Where a signal goes.
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

    /// The channel of that name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str().as_bytes() == name)
    }
}

/// Some of the channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Channels(u8);

impl Channels {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self((1 << Channel::ALL.len()) - 1);

    pub const fn of(channel: Channel) -> Self {
        Self(1 << channel as u8)
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn of_both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn has(self, channel: Channel) -> bool {
        self.0 & Self::of(channel).0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Channel> {
        Channel::ALL.into_iter().filter(move |channel| self.has(*channel))
    }
}
