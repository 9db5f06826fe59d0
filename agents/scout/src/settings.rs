//! The settings.

use openclaw_agent_api::chrono::TimeDelta;
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;

use crate::momentum::CAP;

/// A week: a momentum signal that is older says nothing.
const MAX_EXPIRES: u32 = 7 * 24 * 60;

/// A topic that is searched more often costs more than it tells.
const MAX_SEARCHES: u32 = 1_000;
/// The most topics.
const MAX_TOPICS: usize = 50;
/// Characters of a topic: what search engines take.
pub const TOPIC_CHARS: usize = 300;

/// What makes a signal, how long it is good for, what becomes of it, and what is looked for by itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The |z| from which on there is a signal: above 0, at most [`CAP`].
    pub threshold: f64,
    /// Per cent off the mean of venues above which there is a signal: above 0, at most 100.
    pub venue_percent: f64,
    /// Minutes from the newest price of a signal to its end: 1 to 10,080.
    pub expires_minutes: u32,
    /// The confidence from which on a mission is proposed; at least `medium`, at most 1.
    pub high: f64,
    /// The confidence from which on a person is told; at least 0.
    pub medium: f64,
    /// What scheduled scans look for.
    pub topics: Vec<String>,
    /// Hours from a topic's scan to its next: 1 to 168.
    pub scan_hours: u32,
    /// Searches that scans may make in a day (UTC): at most 1,000.
    pub searches_per_day: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Two standard deviations: about one return in twenty of a normal series.
            threshold: 2.0,
            // Fees and the way from one venue to another cost about as much.
            venue_percent: 2.0,
            // An hour: momentum is short-lived.
            expires_minutes: 60,
            // 4.7 standard deviations: somebody should act.
            high: 0.85,
            // 2.7 standard deviations: somebody should look.
            medium: 0.7,
            topics: Vec::new(),
            scan_hours: 24,
            // A month of it stays within what search engines give away.
            searches_per_day: 20,
        }
    }
}

impl Settings {
    /// The JSON Schema of the settings.
    pub fn schema() -> Value {
        let defaults = Self::default();
        let share = |default: f64, what: &str| json!({"type": "number", "minimum": 0, "maximum": 1, "default": default, "description": what});
        json!({
            "type": "object",
            "properties": {
                "threshold": {
                    "type": "number", "exclusiveMinimum": 0, "maximum": CAP, "default": defaults.threshold,
                    "description": "standard deviations from which on a return is a signal",
                },
                "venue_percent": {
                    "type": "number", "exclusiveMinimum": 0, "maximum": 100, "default": defaults.venue_percent,
                    "description": "per cent off the mean of venues above which a price is a signal",
                },
                "expires_minutes": {
                    "type": "integer", "minimum": 1, "maximum": MAX_EXPIRES, "default": defaults.expires_minutes,
                    "description": "minutes after its newest price for which a signal is good",
                },
                "high": share(defaults.high, "confidence from which on a mission is proposed"),
                "medium": share(defaults.medium, "confidence from which on a person is told; below, it is archived"),
                "topics": {
                    "type": "array", "maxItems": MAX_TOPICS, "default": [],
                    "items": {"type": "string", "minLength": 1, "maxLength": TOPIC_CHARS},
                    "description": "what scheduled scans look for",
                },
                "scan_hours": {
                    "type": "integer", "minimum": 1, "maximum": 168, "default": defaults.scan_hours,
                    "description": "hours from a topic's scan to its next",
                },
                "searches_per_day": {
                    "type": "integer", "minimum": 0, "maximum": MAX_SEARCHES, "default": defaults.searches_per_day,
                    "description": "searches that scans may make in a day (UTC)",
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
        if !(this.venue_percent > 0.0 && this.venue_percent <= 100.0) {
            return Err(AgentError::invalid("venue_percent must be above 0 and at most 100"));
        }
        if !(0.0 <= this.medium && this.medium <= this.high && this.high <= 1.0) {
            return Err(AgentError::invalid(format!(
                "medium ({}) must be at least 0 and at most high ({}), which is at most 1",
                this.medium, this.high
            )));
        }
        let fits = |topic: &String| (1..=TOPIC_CHARS).contains(&topic.trim().chars().count());
        if this.topics.len() > MAX_TOPICS || !this.topics.iter().all(fits) {
            return Err(AgentError::invalid(format!(
                "topics are at most {MAX_TOPICS}, each of 1 to {TOPIC_CHARS} characters"
            )));
        }
        if !(1..=168).contains(&this.scan_hours) || this.searches_per_day > MAX_SEARCHES {
            return Err(AgentError::invalid(format!(
                "scan_hours must be 1 to 168, searches_per_day at most {MAX_SEARCHES}"
            )));
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
            json!({"venue_percent": 0}),
            json!({"high": 0.5, "medium": 0.6}),
            json!({"high": 1.1}),
            json!({"topics": [" "]}),
            json!({"scan_hours": 0}),
            json!({"searches_per_day": 1_001}),
        ] {
            assert!(Settings::parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
