//! `[alerts]`: when the operator is told of what goes wrong.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::duration;

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// The chats on Telegram that are told; by default those of `telegram.operators`.
    pub chats: Vec<i64>,
    /// The same alert is a message of its own again no sooner than this; one that was over for less is the same.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub cooldown: Duration,
    /// A critical alert that nobody acknowledged is said again after this, three times at the most.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub escalate: Duration,
    /// Warnings, and what happened again, are one message in each such period.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub summary: Duration,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            chats: Vec::new(),
            // Long enough to mend most things, short enough that it is not forgotten.
            cooldown: Duration::from_secs(60 * 60),
            // A pause in which a phone is looked at.
            escalate: Duration::from_secs(15 * 60),
            // Warnings were dealt with: they can wait, and come together.
            summary: Duration::from_secs(60 * 60),
        }
    }
}
