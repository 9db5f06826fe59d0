//! Which keys of two settings are not the same.

use serde_json::Value;

use crate::model::Settings;

/// The keys that differ, as they are written in `openclaw.toml`; a table that only one of them has is one key.
pub fn difference(before: &Settings, after: &Settings) -> Vec<String> {
    let value = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    let mut keys = Vec::new();
    compare("", &value(before), &value(after), &mut keys);
    keys
}

fn compare(key: &str, before: &Value, after: &Value, keys: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            keys.push(key.to_owned());
        }
        return;
    };
    let added = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(added) {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        let side = |map: &serde_json::Map<_, _>| map.get(name).cloned().unwrap_or_default();
        compare(&key, &side(old), &side(new), keys);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agents::Agents;
    use crate::model::Agent;

    #[test]
    fn keys_that_differ_are_named_as_in_the_file() {
        let team = |agents: &[Agent]| {
            let named = agents.iter().map(|agent| ("nova".parse().unwrap(), agent.clone()));
            Agents::from(named.collect::<BTreeMap<_, _>>())
        };
        let before = Settings { agents: team(&[]), ..Settings::default() };
        assert_eq!(difference(&before, &before), Vec::<String>::new());
        let mut after = Settings { agents: team(&[Agent::default()]), ..before.clone() };
        after.daemon.log = "debug".into();
        after.supervision.breaker.intensity += 1;
        let keys = difference(&before, &after);
        assert_eq!(keys, ["agents.nova", "daemon.log", "supervision.breaker.intensity"]);
        assert_eq!(difference(&after, &before).len(), 3);
        let agent = Agent { concurrency: Some(3), ..Agent::default() };
        let edited = Settings { agents: team(&[agent]), ..after.clone() };
        assert_eq!(difference(&after, &edited), ["agents.nova.concurrency"]);
    }
}
