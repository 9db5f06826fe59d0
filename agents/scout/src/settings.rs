//! The settings.

use openclaw_agent_api::chrono::TimeDelta;
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;

use crate::momentum::CAP;

/// A week: a momentum signal that is older says nothing.
const MAX_EXPIRES: u32 = 7 * 24 * 60;

/// What makes a signal, and how long it is good for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The |z| from which on there is a signal: above 0, at most [`CAP`].
    pub threshold: f64,
    /// Minutes from the signal to its end: 1 to 10,080.
    pub expires_minutes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        // Two standard deviations: about one return in twenty of a normal series. An hour: momentum is short-lived.
        Self { threshold: 2.0, expires_minutes: 60 }
    }
}

impl Settings {
    /// The JSON Schema of the settings.
    pub fn schema() -> Value {
        let defaults = Self::default();
        json!({
            "type": "object",
            "properties": {
                "threshold": {
                    "type": "number", "exclusiveMinimum": 0, "maximum": CAP, "default": defaults.threshold,
                    "description": "standard deviations from which on a return is a signal",
                },
                "expires_minutes": {
                    "type": "integer", "minimum": 1, "maximum": MAX_EXPIRES, "default": defaults.expires_minutes,
                    "description": "minutes for which a signal is good",
                },
            },
            "additionalProperties": false,
        })
    }

    /// The settings, checked.
    ///
    /// # Errors
    /// `Invalid` with the setting's name.
    pub fn parse(settings: Value) -> Result<Self> {
        let this: Self = serde_json::from_value(settings)
            .map_err(|error| AgentError::invalid(format!("the settings do not fit: {error}")))?;
        if !(this.threshold > 0.0 && this.threshold <= CAP) {
            return Err(AgentError::invalid(format!("threshold must be above 0 and at most {CAP}")));
        }
        if !(1..=MAX_EXPIRES).contains(&this.expires_minutes) {
            return Err(AgentError::invalid(format!("expires_minutes must be 1 to {MAX_EXPIRES}")));
        }
        Ok(this)
    }

    /// How long a signal is good for.
    pub fn expires(&self) -> TimeDelta {
        TimeDelta::minutes(i64::from(self.expires_minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        assert_eq!(Settings::parse(json!({})).unwrap(), Settings::default());
        assert_eq!(Settings::parse(json!({"threshold": 3})).unwrap().threshold, 3.0);
        for bad in [
            json!({"threshold": 0}),
            json!({"threshold": 6.5}),
            json!({"expires_minutes": 0}),
            json!({"expires_minutes": 20_000}),
            json!({"treshold": 2}),
        ] {
            assert!(Settings::parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
