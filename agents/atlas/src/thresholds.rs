//! The settings: from where on something is a finding.

use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;

/// One a minute is a loop, not a remedy.
const MOST_RESTARTS: u32 = 60;

/// From where on something is a finding, and how much is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Percent of the disk used; below `disk_critical_percent`.
    pub disk_warn_percent: u8,
    /// Percent of the disk used.
    pub disk_critical_percent: u8,
    /// MiB of memory available, below which the kernel is about to choose a victim.
    pub memory_critical_mib: u64,
    /// Agents and units that Atlas restarts in an hour at the most; 0: none.
    pub restarts_per_hour: u32,
    /// Breakers that Atlas opens and closes in an hour at the most; 0: none.
    pub breakers_per_hour: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        // A fifth free leaves days to act at a usual rate; below a tenth PostgreSQL and logs soon fail. 256 MiB is
        // what a few agents and a backup take at once. What three restarts have not mended, a fourth will not; so for breakers, of
        // which one that is opened is closed again.
        Self {
            disk_warn_percent: 80,
            disk_critical_percent: 90,
            memory_critical_mib: 256,
            restarts_per_hour: 3,
            breakers_per_hour: 6,
        }
    }
}

impl Thresholds {
    /// The JSON Schema of the settings.
    pub fn schema() -> Value {
        let defaults = Self::default();
        let percent = |default: u8, what: &str| json!({"type": "integer", "minimum": 1, "maximum": 100, "default": default, "description": what});
        json!({
            "type": "object",
            "properties": {
                "disk_warn_percent": percent(defaults.disk_warn_percent, "percent of the disk used: a warning"),
                "disk_critical_percent": percent(defaults.disk_critical_percent, "percent of the disk used: critical"),
                "memory_critical_mib": {
                    "type": "integer", "minimum": 1, "maximum": 1_048_576,
                    "default": defaults.memory_critical_mib, "description": "MiB available, below which it is critical",
                },
                "restarts_per_hour": {
                    "type": "integer", "minimum": 0, "maximum": MOST_RESTARTS,
                    "default": defaults.restarts_per_hour, "description": "agents and units restarted in an hour at the most",
                },
                "breakers_per_hour": {
                    "type": "integer", "minimum": 0, "maximum": MOST_RESTARTS,
                    "default": defaults.breakers_per_hour, "description": "breakers opened and closed in an hour at the most",
                },
            },
            "additionalProperties": false,
        })
    }

    /// The settings, checked for what a schema cannot say too.
    ///
    /// # Errors
    /// `Invalid` with the setting's name.
    pub fn parse(settings: Value) -> Result<Self> {
        let this: Self = serde_json::from_value(settings)
            .map_err(|error| AgentError::invalid(format!("the settings do not fit: {error}")))?;
        let (warn, critical) = (this.disk_warn_percent, this.disk_critical_percent);
        if warn == 0 || critical > 100 || warn >= critical {
            return Err(AgentError::invalid(format!(
                "disk_warn_percent ({warn}) must be at least 1 and less than disk_critical_percent ({critical}), \
                 which is at most 100"
            )));
        }
        if !(1..=1_048_576).contains(&this.memory_critical_mib) {
            return Err(AgentError::invalid("memory_critical_mib must be 1 to 1048576"));
        }
        if this.restarts_per_hour > MOST_RESTARTS {
            return Err(AgentError::invalid(format!("restarts_per_hour must be at most {MOST_RESTARTS}")));
        }
        if this.breakers_per_hour > MOST_RESTARTS {
            return Err(AgentError::invalid(format!("breakers_per_hour must be at most {MOST_RESTARTS}")));
        }
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_set_means_the_defaults_that_the_schema_shows() {
        assert_eq!(Thresholds::parse(json!({})).unwrap(), Thresholds::default());
        let schema = Thresholds::schema();
        assert_eq!(schema["properties"]["disk_warn_percent"]["default"], 80);
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for bad in [
            json!({"disk_warn_percent": 90}),
            json!({"disk_warn_percent": 95, "disk_critical_percent": 92}),
            json!({"disk_critical_percent": 101}),
            json!({"disk_warn_percent": 0}),
            json!({"memory_critical_mib": 0}),
            json!({"memory_critical_mib": -1}),
            json!({"restarts_per_hour": 61}),
            json!({"breakers_per_hour": 61}),
            json!({"disk": 3}),
            json!(null),
        ] {
            assert!(Thresholds::parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
