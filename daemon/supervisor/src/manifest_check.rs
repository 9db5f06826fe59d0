//! Whether what an agent says of itself fits what the operator configured. Every refusal is one sentence.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::manifest::Manifest;
use serde_json::Value;

use crate::grants;
use crate::sentence::sentence;

/// What is shown of what may be of any length, so that what to do is still read.
const SHOWN: usize = 120;

/// A schedule's period, in seconds. A day: what is done once is remembered for a week.
const PERIOD: std::ops::RangeInclusive<u64> = 1..=86_400;

/// Checks name, grants and settings.
///
/// # Errors
/// What does not fit, why, and what to do.
pub fn check(
    name: &AgentName,
    granted: &[String],
    settings: &Value,
    manifest: &Manifest,
) -> Result<(), String> {
    if manifest.name != name.as_str() {
        return Err(format!(
            "the library calls itself `{}`, not `{name}`: set agents.{name}.library to the right file",
            sentence(&manifest.name, SHOWN)
        ));
    }
    if let Some(need) = manifest.needs.iter().find(|need| !grants::allows(granted, need)) {
        return Err(format!(
            "it needs `{}`, which it is not granted: add it to agents.{name}.grants if you want that",
            sentence(need, SHOWN)
        ));
    }
    if let Some(schedule) = manifest.schedules.iter().find(|s| !PERIOD.contains(&s.every_seconds)) {
        let (shown, every) = (sentence(&schedule.name, SHOWN), schedule.every_seconds);
        return Err(format!(
            "its schedule `{shown}` comes every {every} s: use 1 second to 1 day in `Agent::describe`"
        ));
    }
    let Some(schema) = &manifest.settings else { return Ok(()) };
    let validator = jsonschema::validator_for(schema).map_err(|error| {
        let error = sentence(&error.to_string(), SHOWN);
        format!("the manifest's schema of its settings is none ({error}): mend `Agent::describe`")
    })?;
    match validator.iter_errors(settings).next() {
        None => Ok(()),
        Some(error) => {
            let path = error.instance_path().to_string();
            let place = sentence(path.trim_start_matches('/'), SHOWN).replace('/', ".");
            let place = if place.is_empty() { String::new() } else { format!(".{place}") };
            let error = sentence(&error.to_string(), SHOWN);
            Err(format!("agents.{name}.settings{place} does not fit: {error}; mend the config"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_named() {
        let name: AgentName = "atlas".parse().unwrap();
        let schema = json!({"type": "object", "properties": {"warn": {"type": "integer"}}, "additionalProperties": false});
        let manifest = Manifest::new("").named("atlas").needs("memory").settings(schema);
        let granted = ["memory".to_owned()];
        let refusal =
            |granted: &[String], settings, manifest: &Manifest| check(&name, granted, &settings, manifest);

        assert_eq!(refusal(&granted, json!({"warn": 80}), &manifest), Ok(()));
        let said = refusal(&granted, json!({"warn": "high"}), &manifest).unwrap_err();
        assert!(said.contains("agents.atlas.settings.warn"), "{said}");
        let said = refusal(&granted, json!({"wran": 80}), &manifest).unwrap_err();
        assert!(said.contains("wran"), "{said}");
        let said = refusal(&[], json!({}), &manifest).unwrap_err();
        assert!(said.contains("agents.atlas.grants"), "{said}");
        let said = refusal(&granted, json!({}), &manifest.clone().named("scout")).unwrap_err();
        assert!(said.contains("`scout`, not `atlas`"), "{said}");
        let said = refusal(&granted, json!({}), &manifest.settings(json!({"type": 7}))).unwrap_err();
        assert!(said.contains("schema"), "{said}");
    }
}
