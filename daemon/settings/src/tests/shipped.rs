use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::{good, told};
use crate::*;

fn agent(grants: &[&str]) -> Agent {
    Agent { grants: grants.iter().map(|grant| grant.to_string()).collect(), ..Agent::default() }
}

/// The shipped file with each commented default in force.
fn uncommented() -> String {
    let default = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase() || matches!(c, '[' | '"'));
    let lines = BUILT_IN.lines().map(|line| line.strip_prefix('#').filter(default).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn it_says_these_settings() {
    let milkbot = [
        "memory",
        "task",
        "supervisor.status",
        "supervisor.budgets",
        "ask",
        "missions.list",
        "missions.decide",
        "notify",
    ];
    let agents = [
        ("milkbot", agent(&milkbot)),
        ("atlas", agent(&["supervisor", "system", "memory", "alert", "publish", "breaker"])),
        ("scout", agent(&["memory", "search", "ask", "fetch", "missions.propose", "alert"])),
    ];
    let agents = BTreeMap::from(agents.map(|(name, agent)| (name.parse().unwrap(), agent))).into();
    assert_eq!(good(BUILT_IN, &[]), Settings { agents, ..Settings::default() });
}

#[test]
fn the_defaults_in_its_comments_are_true() {
    let (written, default) = (good(&uncommented(), &[]), Settings::default());
    assert_eq!(written.daemon, default.daemon);
    assert_eq!(written.database, default.database);
    assert_eq!(written.tasks, default.tasks);
    assert_eq!(written.bus, default.bus);
    assert_eq!(written.gateway, default.gateway);
    assert_eq!(written.telegram, default.telegram);
    assert_eq!(written.routing, default.routing);
    assert_eq!(written.providers, default.providers);
    assert_eq!(written.libraries, default.libraries);
    assert_eq!(written.supervision, default.supervision);
    assert_eq!(written.agents.discover, default.agents.discover);
    let (name, milkbot) = written.agents.get_key_value("milkbot").unwrap();
    assert_eq!(milkbot.supervision(&default.supervision), default.supervision);
    assert_eq!(milkbot.library_file(name), Agent::default().library_file(name));
    assert!(milkbot.is_enabled() && milkbot.settings.is_empty() && milkbot.pins.is_empty());
    assert_eq!(milkbot.fetch, Some(Fetch::default()));
    assert_eq!(written.groups["example"].strategy, Strategy::default());
}

#[test]
fn it_has_every_key() {
    let schema = schema();
    let written = toml::from_str::<Value>(&uncommented()).unwrap();
    let mut missing = Vec::new();
    compare(&schema, &schema, &written, "", &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_one_for_production_wants_a_key_and_nothing_else() {
    const PRODUCTION: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/production.toml"));
    let told = told(PRODUCTION, &[]);
    assert!(told.len() == 1 && told[0].contains("[libraries] has no `keys`; generate one with"), "{told:?}");
    let key = "keys = [\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"]";
    let settings = good(&PRODUCTION.replace("keys = []", key), &[]);
    assert_eq!(settings.libraries.keys.len(), 1);
    assert_eq!(settings.agents, good(BUILT_IN, &[]).agents);
}

/// Follows the schema through the first entry of each map.
fn compare(root: &Value, schema: &Value, written: &Value, path: &str, missing: &mut Vec<String>) {
    let referred = schema["$ref"].as_str().or_else(|| schema["anyOf"][0]["$ref"].as_str());
    if let Some(target) = referred.and_then(|reference| root.pointer(&reference[1..])) {
        return compare(root, target, written, path, missing);
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        match written.get(key) {
            Some(written) => compare(root, schema, written, &format!("{path}.{key}"), missing),
            None => missing.push(format!("{path}.{key}")),
        }
    }
    if schema["additionalProperties"].is_object() {
        let most = written.as_object().unwrap().values().max_by_key(|entry| entry.to_string().len()).unwrap();
        compare(root, &schema["additionalProperties"], most, &format!("{path}.*"), missing);
    }
}

#[test]
fn what_is_shown_loads_to_the_same_settings_and_tells_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("config")).unwrap();
    fs::write(dir.path().join("config/openclaw.toml"), uncommented()).unwrap();
    let env = super::variables(&[
        ("OPENAI_API_KEY", "hidden"),
        ("OPENCLAW_AGENTS__SCOUT__SETTINGS__X", "1979-05-27"),
    ]);
    let loaded = load(&Inputs { cwd: dir.path().into(), env, ..Inputs::default() }).unwrap();
    let shown = show(&loaded);
    assert_eq!(good(&shown, &[]), loaded.settings);
    assert!(
        shown.contains("# secret     OPENAI_API_KEY (environment)") && !shown.contains("hidden"),
        "{shown}"
    );
    assert!(!format!("{loaded:?}").contains("hidden"));
    assert_eq!(loaded.settings.agents["scout"].settings["x"], "1979-05-27");
}
