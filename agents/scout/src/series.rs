//! What is sent to Scout: a series of prices, as JSON in the text or in the message's data.

use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::{Deserialize, Deserializer};

use crate::momentum::Point;

/// Shown with every mistake.
pub const EXAMPLE: &str =
    r#"/analyze {"venue":"kraken","asset":"BTC","prices":[{"at":"2025-01-01T00:00:00Z","price":94000.5}]}"#;

/// Series of one message.
const SERIES: usize = 100;
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

/// What a message has: one series, or several.
#[derive(Debug, Deserialize)]
struct Sent {
    series: Option<Vec<Series>>,
    venue: Option<String>,
    asset: Option<String>,
    prices: Option<Vec<Point>>,
}

/// The series of a message.
#[derive(Debug)]
pub enum Batch {
    /// One.
    One(Series),
    /// Several, of which those of one asset are compared.
    Several(Vec<Series>),
}

impl Batch {
    /// The JSON of a message: what follows `/analyze`, else the message's data.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong and an example.
    pub fn of(json: &str, data: &Value) -> Result<Self> {
        let sent = if !json.is_empty() {
            serde_json::from_str(json)
        } else if !data.is_null() {
            Sent::deserialize(data)
        } else {
            return Err(wrong("there is no series to analyze"));
        };
        let sent: Sent = sent.map_err(|error| wrong(&format!("the series cannot be read: {error}")))?;
        match sent {
            Sent { series: Some(series), venue: None, asset: None, prices: None } => {
                if !(1..=SERIES).contains(&series.len()) {
                    return Err(wrong(&format!("`series` has 1 to {SERIES} of them")));
                }
                series.iter().try_for_each(Series::check)?;
                Ok(Self::Several(series))
            }
            Sent { series: None, venue: Some(venue), asset: Some(asset), prices: Some(prices) } => {
                let series = Series { venue, asset, prices };
                series.check()?;
                Ok(Self::One(series))
            }
            _ => Err(wrong("a series has `venue`, `asset` and `prices`; several stand in `series`")),
        }
    }
}

impl Series {
    fn check(&self) -> Result<()> {
        for (field, name) in [("venue", &self.venue), ("asset", &self.asset)] {
            if name.trim().is_empty() || name.chars().count() > NAME_CHARS {
                return Err(wrong(&format!("`{field}` must have 1 to {NAME_CHARS} characters")));
            }
        }
        Ok(())
    }
}

/// A sender's mistake, with an example.
pub fn wrong(what: &str) -> AgentError {
    AgentError::invalid(format!("{what}. Example: {EXAMPLE}"))
}

/// A price; null is what JavaScript makes of NaN, so it is one that is ignored, not a mistake.
pub(crate) fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
