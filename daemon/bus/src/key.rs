//! The keys that the outside world knows. No other place writes one.

use std::fmt;
use std::str::FromStr;

use openclaw_agent_api::AgentName;
use uuid::Uuid;

/// The longest label, in bytes.
const LONGEST: usize = 256;

/// A part of a key that its owner chooses: 1 to 256 bytes without white space and control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bad = |c: char| c.is_control() || c.is_whitespace();
        if (1..=LONGEST).contains(&text.len()) && !text.contains(bad) {
            Ok(Self(text.into()))
        } else {
            Err(BadKey(text.chars().take(LONGEST).collect()))
        }
    }
}

/// A text that is no key, or no part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no key of the bus; write 1 to {LONGEST} bytes without white space", .0.escape_debug())]
pub struct BadKey(String);

/// What a projection is found under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `agent:<name>:status`: its last beat; expires at three missed ones.
    AgentStatus(AgentName),
    /// `circuit:breaker:<scope>:<name>`
    Breaker {
        /// What kind of thing it breaks, without `:`.
        scope: Label,
        /// Which of them.
        name: Label,
    },
    /// `mission:<id>:state`
    MissionState(Uuid),
    /// `memory:<agent>:*`
    Memory {
        /// Whose.
        agent: AgentName,
        /// The rest.
        rest: Label,
    },
}

impl Key {
    /// The breaker of `name` among those of `scope`.
    ///
    /// # Errors
    /// One of them is no label, or there is a `:` in `scope`.
    pub fn breaker(scope: &str, name: &str) -> Result<Self, BadKey> {
        if scope.contains(':') {
            return Err(BadKey(scope.chars().take(LONGEST).collect()));
        }
        Ok(Self::Breaker { scope: scope.parse()?, name: name.parse()? })
    }

    /// What `agent` shows of its memory under `rest`.
    ///
    /// # Errors
    /// `rest` is no label.
    pub fn memory(agent: AgentName, rest: &str) -> Result<Self, BadKey> {
        Ok(Self::Memory { agent, rest: rest.parse()? })
    }

    /// What it is one of.
    pub fn family(&self) -> Family {
        match self {
            Self::AgentStatus(_) => Family::AgentStatus,
            Self::Breaker { .. } => Family::Breakers,
            Self::MissionState(_) => Family::MissionStates,
            Self::Memory { agent, .. } => Family::Memory(agent.clone()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentStatus(agent) => write!(f, "agent:{agent}:status"),
            Self::Breaker { scope, name } => {
                write!(f, "circuit:breaker:{}:{}", scope.as_str(), name.as_str())
            }
            Self::MissionState(id) => write!(f, "mission:{id}:state"),
            Self::Memory { agent, rest } => write!(f, "memory:{agent}:{}", rest.as_str()),
        }
    }
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bad = || BadKey(text.chars().take(LONGEST).collect());
        let between = |start, end| text.strip_prefix(start).and_then(|rest: &str| rest.strip_suffix(end));
        let key = if let Some(agent) = between("agent:", ":status") {
            agent.parse().ok().map(Self::AgentStatus)
        } else if let Some((scope, name)) =
            text.strip_prefix("circuit:breaker:").and_then(|rest| rest.split_once(':'))
        {
            Self::breaker(scope, name).ok()
        } else if let Some(id) = between("mission:", ":state") {
            id.parse().ok().map(Self::MissionState)
        } else {
            let parts = text.strip_prefix("memory:").and_then(|rest| rest.split_once(':'));
            parts.and_then(|(agent, rest)| Self::memory(agent.parse().ok()?, rest).ok())
        };
        // A UUID can be written in several ways, and only one is the key.
        key.filter(|key| key.to_string() == text).ok_or_else(bad)
    }
}

/// Keys of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Family {
    /// Every agent's status.
    AgentStatus,
    /// Every breaker.
    Breakers,
    /// Every mission's state.
    MissionStates,
    /// What one agent shows of its memory.
    Memory(AgentName),
}

impl Family {
    /// The pattern of SCAN that finds it. Agents' names hold nothing that means something in a pattern.
    pub(crate) fn pattern(&self) -> String {
        match self {
            Self::AgentStatus => "agent:*:status".into(),
            Self::Breakers => "circuit:breaker:*".into(),
            Self::MissionStates => "mission:*:state".into(),
            Self::Memory(agent) => format!("memory:{agent}:*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_ones_that_the_outside_knows() {
        let atlas: AgentName = "atlas".parse().unwrap();
        let id = Uuid::from_u128(7);
        for (key, text) in [
            (Key::AgentStatus(atlas.clone()), "agent:atlas:status"),
            (Key::breaker("agent", "milkbot").unwrap(), "circuit:breaker:agent:milkbot"),
            (Key::breaker("provider", "a:b").unwrap(), "circuit:breaker:provider:a:b"),
            (Key::MissionState(id), "mission:00000000-0000-0000-0000-000000000007:state"),
            (Key::memory(atlas, "last:seen").unwrap(), "memory:atlas:last:seen"),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
        }
    }

    #[test]
    fn what_is_no_key_of_ours_does_not_read_as_one() {
        for text in [
            "",
            "agent::status",
            "agent:Atlas:status",
            "agent:atlas:statuses",
            "circuit:breaker:agent",
            "circuit:breaker:agent:",
            "circuit:breaker:a b:c",
            "mission:7:state",
            "mission:00000000000000000000000000000007:state",
            "memory:atlas:",
            "memory:atlas",
            "memory:atlas:a\nb",
            "session:1",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
        assert!(Key::breaker("a:b", "c").is_err());
        assert!(Key::breaker("a", &"x".repeat(LONGEST + 1)).is_err());
    }
}
