//! The files, as text: the documented graph, what they promise each other, and that no file is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::{Manager, POLKIT, UNITS, render};

type Keys = BTreeMap<String, Vec<String>>;

fn keys(text: &str) -> Keys {
    let mut keys = Keys::new();
    for (key, value) in
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
    {
        keys.entry(key.into()).or_default().push(value.into());
    }
    keys
}

fn unit(name: &str) -> Keys {
    keys(UNITS.iter().find(|unit| unit.name == name).unwrap_or_else(|| panic!("there is no {name}")).text)
}

fn words(keys: &Keys, key: &str) -> BTreeSet<String> {
    keys.get(key)
        .into_iter()
        .flatten()
        .flat_map(|value| value.split_whitespace())
        .map(str::to_owned)
        .collect()
}

fn one<'k>(keys: &'k Keys, key: &str) -> &'k str {
    let values = keys.get(key).unwrap_or_else(|| panic!("{key} is missing"));
    assert_eq!(values.len(), 1, "{key}");
    &values[0]
}

fn time(keys: &Keys, key: &str) -> Duration {
    let text = one(keys, key);
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap());
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        other => panic!("{key}: {other}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * seconds)
}

/// The long-running ones that are `openclaw run`.
fn services() -> impl Iterator<Item = (&'static str, Keys)> {
    UNITS.iter().map(|unit| (unit.name, keys(unit.text))).filter(|(_, keys)| {
        keys.get("ExecStart").is_some_and(|start| start[0].starts_with("\"/opt/openclaw/bin/openclaw\" run "))
    })
}

#[test]
fn the_graph_is_the_documented_one() {
    let both = "redis-server.service postgresql.service";
    let redis = "redis-server.service";
    // After, Wants, BindsTo
    let graph = [
        ("openclaw.service", both, both, ""),
        ("openclaw-dashboard.service", "openclaw.service network.target", "", "openclaw.service"),
        ("openclaw-atlas.service", redis, redis, ""),
        ("openclaw-scout.service", redis, redis, ""),
        ("openclaw-mission-worker.service", both, both, ""),
        ("openclaw-event-reactor.service", both, both, ""),
        ("openclaw-learning.service", both, both, ""),
        ("openclaw-heartbeat-bridge.service", "redis-server.service openclaw.service", redis, ""),
        ("openclaw-health.service", "network.target", "network.target", ""),
        ("openclaw-backup.service", "network.target", "network.target", ""),
        ("cloudflared.service", "network.target", "network.target", ""),
    ];
    for (name, after, wants, binds) in graph {
        let keys = unit(name);
        for (key, expected) in
            [("After", after), ("Wants", wants), ("BindsTo", binds), ("Requires", ""), ("Requisite", "")]
        {
            let expected = expected.split_whitespace().map(str::to_owned).collect();
            assert_eq!(words(&keys, key), expected, "{key} of {name}");
        }
    }
    assert_eq!(services().count() + 3, graph.len());
}

#[test]
fn each_runs_what_it_is_called_after() {
    for (name, keys) in services() {
        let run = one(&keys, "ExecStart").rsplit_once(" run ").unwrap().1;
        let component = name.trim_start_matches("openclaw-").trim_end_matches(".service");
        assert_eq!(run, if name == "openclaw.service" { "gateway milkbot" } else { component }, "{name}");
    }
    assert!(one(&unit("openclaw-health.service"), "ExecStart").ends_with(" health"));
    assert!(one(&unit("openclaw-backup.service"), "ExecStart").ends_with(" backup create"));
}

#[test]
fn timers_are_the_documented_ones() {
    let (health, backup) = (unit("openclaw-health.timer"), unit("openclaw-backup.timer"));
    assert_eq!((one(&health, "OnActiveSec"), one(&health, "OnUnitActiveSec")), ("5min", "30min"));
    assert_eq!((one(&backup, "OnActiveSec"), one(&backup, "OnCalendar")), ("10min", "*-*-* 00/6:00:00"));
    assert_eq!(one(&backup, "Persistent"), "true");
}

#[test]
fn times_agree_with_each_other_and_with_the_settings() {
    let settings = settings::Settings::default();
    let (daemon, agents) = (&settings.daemon, &settings.supervision);
    for (name, keys) in services() {
        let (start, stop, watchdog) =
            (time(&keys, "TimeoutStartSec"), time(&keys, "TimeoutStopSec"), time(&keys, "WatchdogSec"));
        assert!(daemon.drain_timeout + agents.kill_grace * 2 < stop, "{name}: a drain would be cut off");
        assert!(agents.start_timeout < start, "{name}: a slow agent would end the start");
        assert!(agents.ping_interval < agents.ping_timeout, "a ping is late before the next");
        assert!(
            agents.ping_interval + agents.ping_timeout < watchdog,
            "{name}: it falls before its agent is ended"
        );
        // The store's turn is bounded: connecting 5 s, a statement 10 s.
        assert!(Duration::from_secs(15) < crate::watchdog::Pace::of(watchdog).patience, "{name}");
        let (interval, burst) = (time(&keys, "StartLimitIntervalSec"), one(&keys, "StartLimitBurst"));
        let quickest = time(&keys, "RestartSec") * burst.parse().unwrap();
        assert!(quickest < interval, "{name}: a crash loop would never end");
    }
}

#[test]
fn who_cannot_run_is_not_restarted_and_nothing_dies_silently() {
    for (name, keys) in services() {
        assert_eq!(one(&keys, "RestartPreventExitStatus"), crate::failed::STAYS_DOWN.join(" "), "{name}");
        // A loop that is too slow for the limit is told of all the same.
        let ends = &keys["ExecStopPost"];
        assert_eq!(ends[0], "-\"/opt/openclaw/bin/openclaw\" alert unit %n", "{name}");
        // Who waits on the socket does not start again what stays down.
        let closes = format!("{}) exec systemctl stop openclaw.socket", crate::failed::STAYS_DOWN.join("|"));
        assert_eq!(
            ends.get(1).is_some_and(|line| line.contains(&closes)),
            name == "openclaw.service",
            "{name}"
        );
        assert_eq!(
            (one(&keys, "Type"), one(&keys, "Restart"), one(&keys, "KillMode")),
            ("notify", "always", "mixed")
        );
    }
    let may_fail = |name: &str| name.ends_with(".service") || name.ends_with(".socket");
    for unit in UNITS.iter().filter(|unit| may_fail(unit.name) && !unit.name.contains('@')) {
        assert_eq!(one(&keys(unit.text), "OnFailure"), "openclaw-alert@%n.service", "{}", unit.name);
    }
}

/// Each `const … = "…_TOKEN"` and the like of the daemon's code.
fn secrets(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            secrets(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| line.contains("const ") && line.contains(": &str = "));
            let values = lines.filter_map(|line| line.split('"').nth(1));
            let ends = ["_API_KEY", "_TOKEN", "_PASSWORD"];
            found.extend(
                values
                    .filter(|name| ends.iter().any(|end| name.ends_with(end) && name != end))
                    .map(str::to_owned),
            );
        }
    }
}

#[test]
fn every_secret_that_the_code_names_is_handed_to_who_needs_it() {
    let mut named = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    secrets(&root.join(".."), &mut named);
    for provider in std::fs::read_dir(root.join("../../config/providers")).unwrap() {
        let text = std::fs::read_to_string(provider.unwrap().path()).unwrap();
        let key = text.lines().find_map(|line| line.strip_prefix("key = ")).unwrap();
        named.insert(key.trim_matches('"').into());
    }
    let all = |unit: &super::Unit| {
        words(&keys(&render(unit.text, Path::new("/x"), Manager::System, 999)), "LoadCredential")
    };
    let gateway = UNITS.iter().find(|unit| unit.name == "openclaw.service").unwrap();
    assert_eq!(all(gateway), named);
    let shared: BTreeSet<String> = named.into_iter().filter(|name| name.ends_with("_PASSWORD")).collect();
    assert_eq!(shared.len(), 2);
    for (name, _) in services() {
        let unit = UNITS.iter().find(|unit| unit.name == name).unwrap();
        assert!(all(unit).is_superset(&shared), "{name}");
    }
}

#[test]
fn no_file_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../units");
    let files =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = UNITS.iter().map(|unit| unit.name.to_owned()).chain(["50-openclaw.rules".to_owned()]);
    assert_eq!(files.collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn atlas_may_restart_exactly_our_units() {
    let quoted = POLKIT.split('"').skip(1).step_by(2).filter(|text| text.ends_with(".service"));
    let ours =
        UNITS.iter().map(|unit| unit.name).filter(|name| name.ends_with(".service") && !name.contains('@'));
    assert_eq!(quoted.collect::<BTreeSet<_>>(), ours.collect());
}

#[test]
fn what_an_older_systemd_does_not_know_is_left_out() {
    let text = UNITS.iter().find(|unit| unit.name == "openclaw.service").unwrap().text;
    let lines = |systemd| {
        let text = render(text, Path::new("/the claw/100%"), Manager::System, systemd);
        (text.contains("\nRestartSteps=5\n"), text.contains("\"/the claw/100%%/bin/openclaw\" run"))
    };
    assert_eq!((lines(252), lines(254)), ((false, true), (true, true)));
    let unknown = super::unknown(252);
    assert_eq!(unknown.into_iter().collect::<Vec<_>>(), [("RestartMaxDelaySec", 254), ("RestartSteps", 254)]);
    assert!(super::unknown(254).is_empty());
    let old: Vec<_> = super::unknown(246).into_keys().collect();
    assert_eq!(old, ["LoadCredential", "ProtectProc", "RestartMaxDelaySec", "RestartSteps"]);
    let user = render(text, Path::new("/x"), Manager::User, 252);
    assert!(!user.contains("ProtectProc") && !user.contains("LoadCredential"), "{user}");
    assert!(user.contains("exec systemctl --user stop openclaw.socket"), "{user}");
    assert!(!render(text, Path::new("/x"), Manager::System, 252).contains("254:"));
}
