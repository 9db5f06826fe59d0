//! What is sent to Scout: a series of prices, as JSON in the text or in the message's data.

use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::{Deserialize, Deserializer};

use crate::momentum::Point;

/// Shown with every mistake.
pub const EXAMPLE: &str =
    r#"/analyze {"venue":"kraken","asset":"BTC","prices":[{"at":"2025-01-01T00:00:00Z","price":94000.5}]}"#;

/// Characters of a venue or an asset; the longest token addresses have about 70.
const NAME_CHARS: usize = 128;

/// A series as it was sent: in any order, with whatever is in it.
#[derive(Debug, Deserialize)]
pub struct Series {
    /// Where the prices were made.
    pub venue: String,
    /// What they are the prices of.
    pub asset: String,
    /// The prices.
    pub prices: Vec<Point>,
}

impl Series {
    /// The series of a message: the JSON after `/analyze`, else the message's data.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong and an example.
    pub fn of(message: &Message) -> Result<Self> {
        let text = message.text.trim();
        let bare = text.strip_prefix('/').unwrap_or(text);
        let json = match bare.strip_prefix("analyze") {
            Some(rest) => rest.trim(),
            None if text.is_empty() || text.starts_with('{') => text,
            None => return Err(wrong("scout knows /analyze only")),
        };
        let series = if !json.is_empty() {
            serde_json::from_str(json)
        } else if !message.data.is_null() {
            Self::deserialize(&message.data)
        } else {
            return Err(wrong("there is no series to analyze"));
        };
        let series: Self = series.map_err(|error| wrong(&format!("the series cannot be read: {error}")))?;
        for (field, name) in [("venue", &series.venue), ("asset", &series.asset)] {
            if name.trim().is_empty() || name.chars().count() > NAME_CHARS {
                return Err(wrong(&format!("`{field}` must have 1 to {NAME_CHARS} characters")));
            }
        }
        Ok(series)
    }
}

fn wrong(what: &str) -> AgentError {
    AgentError::invalid(format!("{what}. Example: {EXAMPLE}"))
}

/// A price; null is what JavaScript makes of NaN, so it is one that is ignored, not a mistake.
pub(crate) fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
