//! The name of an agent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// 1 to 32 characters of `a-z`, `0-9` and `-`, beginning with a letter: it becomes a queue, a file name, a systemd
/// unit and a Redis key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

/// A text that is no agent's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAgentName(String);

impl AgentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentName {
    type Err = BadAgentName;

    fn from_str(text: &str) -> Result<Self, BadAgentName> {
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if starts && rest && text.len() <= 32 {
            Ok(Self(text.into()))
        } else {
            Err(BadAgentName(text.into()))
        }
    }
}

impl TryFrom<String> for AgentName {
    type Error = BadAgentName;

    fn try_from(text: String) -> Result<Self, BadAgentName> {
        text.parse()
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0
    }
}

impl AsRef<str> for AgentName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AgentName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for BadAgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no agent's name: use 1 to 32 characters of a-z, 0-9 and `-`, beginning with a letter",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for BadAgentName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_lower_case_and_begins_with_a_letter() {
        for good in ["a", "atlas", "my-agent-2", &"x".repeat(32)] {
            assert!(good.parse::<AgentName>().is_ok(), "{good}");
        }
        for bad in ["", "Atlas", "2nd", "-a", "a b", "a/b", "a.b", "ä", &"x".repeat(33)] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }
}
