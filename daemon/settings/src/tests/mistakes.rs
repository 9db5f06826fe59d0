use std::fs;

use super::{good, told};
use crate::{Inputs, LoadError, Origin, Place, load};

#[test]
fn every_mistake_is_listed_with_its_line_and_remedy() {
    let text = r#"
[daemon]
log = 5
drain_timeout = 30
[agents.atlas]
concurency = 4
grants = ["memory", 7, "superviser"]
[agents.Milk]
[supervision]
restart = "alway"
ping_timeout = "1s"
[supervision.backoff]
initial = "1h"
[groups.team]
agents = ["atlas", "atlsa"]
[dragons]
"#;
    assert_eq!(
        told(text, &[]),
        [
            "T:8: `Milk` in [agents]: `Milk` is no agent's name; use 1 to 32 characters of a-z, 0-9 and `-`, beginning with a letter",
            "T:6: unknown key `concurency` in [agents.atlas]; did you mean `concurrency`?",
            "T:7: `grants` in [agents.atlas] cannot be integer `7`; write a text in quotes",
            "T:4: `drain_timeout` in [daemon] cannot be integer `30`; write a duration such as \"250ms\", \"30s\", \"5m\" or \"1h\"",
            "T:3: `log` in [daemon] cannot be integer `5`; write a text in quotes",
            "T:16: unknown key `dragons`; known are `daemon`, `database`, `tasks`, `bus`, `gateway`, `telegram`, `routing`, `alerts`, `providers`, `libraries`, `supervision`, `agents`, `groups`",
            "T:10: `restart` in [supervision] cannot be `alway`; did you mean `always`?",
            "T:11: `ping_timeout` in [supervision]: `ping_timeout` is not longer than `ping_interval`; make it three times as long",
            "T:13: `backoff.initial` (1h) is longer than `backoff.max` (30s) in [supervision]; lower `backoff.initial` or raise `backoff.max`",
            "T:7: unknown grant `superviser` in [agents.atlas]; did you mean `supervisor`?",
            "T:15: `atlsa` in [groups.team] is no configured agent; did you mean `atlas`?",
        ]
    );
}

#[test]
fn what_is_loaded_wrongly_is_told_in_the_order_of_the_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("openclaw.toml");
    fs::write(&file, "[tasks]\nlease = \"2h\"\nx = 1\n[daemon]\nrestart_refill = \"0s\"").unwrap();
    let env = super::variables(&[("OPENCLAW_DAEMON__LOGG", "debug")]);
    let inputs =
        Inputs { home: Some(home.path().into()), config: Some(file.clone()), env, ..Inputs::default() };
    let Err(LoadError::Mistakes(mistakes)) = load(&inputs) else { panic!("it loads") };
    let places: Vec<_> = mistakes.list.iter().map(|mistake| (&mistake.place, mistake.line)).collect();
    let variable = Place::Variable("OPENCLAW_DAEMON__LOGG".into());
    let config = &Place::Config;
    assert_eq!(places, [(config, Some(2)), (config, Some(3)), (config, Some(5)), (&variable, None)]);
    assert_eq!((mistakes.list[0].column, mistakes.list[0].key.as_str()), (Some(1), "tasks.lease"));
    assert!(mistakes.to_string().starts_with(&format!("{}:2: `lease` in [tasks] is 2h", file.display())));
    assert!(mistakes.to_string().ends_with("\n4 mistakes in the configuration"));
}

#[test]
fn no_agent_is_called_as_a_service() {
    assert_eq!(
        told("[agents.heartbeat-bridge]\n[agents.bridge]", &[]),
        [
            "T:1: `heartbeat-bridge` in [agents] is a service of the daemon, and no agent can be called so; give the \
             agent another name"
        ]
    );
}

#[test]
fn a_fault_of_syntax_hides_no_other_mistake() {
    let text = "[daemon]\nlog = \nx = 1\n[tasks]\nlease = 'x\ny = 2\nkeep = 0 0\nkeep = '1s'\nmax_attempts = 0 0\n\
                [agents.a\nz = 1\n[groups.x]\nagents = ['a']\nv = 1\n";
    let mut told = told(text, &[]);
    told.sort_by_key(|line| line.split(':').nth(1).and_then(|line| line.parse::<usize>().ok()));
    assert_eq!(
        told,
        [
            "T:2: syntax: string values must be quoted; expected literal string",
            "T:3: unknown key `x` in [daemon]; known are `log`, `drain_timeout`, `restart_budget`, `restart_refill`, `heartbeat`, `lead`",
            "T:5: syntax: invalid literal string; expected `'`",
            "T:6: unknown key `y` in [tasks]; known are `max_attempts`, `retry_initial`, `retry_max`, `lease`, `max_payload`, `max_queued`, `keep`, `keep_rows`",
            "T:7: syntax: string values must be quoted; expected literal string",
            "T:8: syntax: duplicate key `keep`; keep one of them",
            "T:9: syntax: string values must be quoted; expected literal string",
            "T:10: syntax: unclosed table; expected `]`",
            "T:14: unknown key `v` in [groups.x]; known are `strategy`, `agents`",
        ]
    );
}

#[test]
fn bounds_are_checked_where_they_are_broken_and_nowhere_else() {
    let told = told(
        "[supervision]\nmemory_limit = 1\nbackoff = { factor = nan, jitter = 2 }\n[agents.a]\nconcurrency = 2000\n\
         [agents.b]\nbreaker = { failure_rate = 0.0, open = '2h' }\nhandler_timeout = '100000000years'\n\
         [groups.x]\nagents = ['a', 'a']\n[groups.y]\nagents = ['b', 'a']\n",
        &[],
    );
    assert_eq!(
        told,
        [
            "T:8: `handler_timeout` in [agents.b]: `100000000years` is too long; write at most \"10years\"",
            "T:2: `memory_limit` in [supervision] is 1 B; write 16 MiB or more",
            "T:3: `factor` in [supervision.backoff] is NaN; write 1 to 100",
            "T:3: `jitter` in [supervision.backoff] is 2; write 0 to 1",
            "T:5: `concurrency` in [agents.a] is 2000; write 1 to 1024",
            "T:7: `failure_rate` in [agents.b.breaker] is 0; write a share above 0, at most 1",
            "T:7: `breaker.open` (2h) is longer than `breaker.open_max` (10m) in [agents.b]; lower `breaker.open` or raise `breaker.open_max`",
            "T:10: `a` in [groups.x] is in a group already; name it once: an agent is in one group at most",
            "T:12: `a` in [groups.y] is in a group already; name it once: an agent is in one group at most",
        ]
    );
}

#[test]
fn alerts_are_told_within_a_day_and_to_somebody() {
    let told = told(
        "[alerts]\ncooldown = '999ms'\nescalate = '25h'\nsummary = '0s'\nchats = [7, 0]\nquiet = true\n",
        &[],
    );
    assert_eq!(
        told,
        [
            "T:6: unknown key `quiet` in [alerts]; known are `chats`, `cooldown`, `escalate`, `summary`",
            "T:2: `cooldown` in [alerts] is 999ms; write 1s to 1day",
            "T:3: `escalate` in [alerts] is 1day 1h; write 1s to 1day",
            "T:4: `summary` in [alerts] is 0s; write 1s to 1day",
            "T:5: `chats` in [alerts]: no chat has the id 0; write the id of a person, or of a group with its -",
        ]
    );
    let least = "[alerts]\ncooldown = '1s'\nescalate = '1day'\nsummary = '24h'\nchats = [-7]\n";
    assert_eq!(super::told(least, &[]), [] as [&str; 0]);
}

#[test]
fn where_http_is_served_is_an_address_with_a_port() {
    let remedy = "write \"127.0.0.1:18789\", or \"[::1]:18789\"";
    for wrong in ["localhost:18789", "127.0.0.1", "18789", "", "::1:99999"] {
        let told = told(&format!("[gateway]\nbind = '{wrong}'\n"), &[]);
        let expected = format!("T:2: `bind` in [gateway]: `{wrong}` is no address with a port; {remedy}");
        assert_eq!(told, [expected]);
    }
    let told = told("[gateway]\nmax_connections = 1\nrate = 0\nmax_wait = '1y'\nmax_listeners = 0\n", &[]);
    assert_eq!(
        told,
        [
            "T:2: `max_connections` in [gateway] is 1; write 8 to 65536",
            "T:4: `max_wait` in [gateway] is 1year; write 1s to 1h",
            "T:3: `rate` in [gateway] is 0; write 1 or more",
            "T:5: `max_listeners` in [gateway] is 0; write 1 to 4096",
        ]
    );
}

#[test]
fn what_libraries_are_trusted_by_must_be_there_and_read() {
    let hash = "a7".repeat(32);
    let told = told(
        &format!(
            "[agents.a]\ntrust = 'signed'\n[agents.b]\ntrust = 'pinned'\n[agents.c]\ntrust = 'pinned'\npins = ['{hash}']\n\
             [agents.d]\ntrust = 'pinned'\npins = ['12']\n[agents.e]\n[supervision]\ntrust = 'pinned'\nreload = 'never'\n\
             [libraries]\nkeep = 1\nsettle = '0s'\n"
        ),
        &[],
    );
    assert_eq!(
        told,
        [
            "T:10: `pins` in [agents.d]: `12` is no SHA-256; use the 64 hexadecimal digits that `sha256sum` prints",
            "T:14: `reload` in [supervision] cannot be `never`; known are `auto`, `manual`",
            "T:17: `settle` in [libraries] is zero; write a duration above zero",
            "T:16: `keep` in [libraries] is 1; write 2 or more",
            "T:2: `trust` in [agents.a] is \"signed\", and [libraries] has no `keys`; generate one with `openclaw agents keygen`, and write the line that it prints into [libraries]",
            "T:4: `trust` in [agents.b] is \"pinned\", and it has no `pins`; write the SHA-256 of its library: pins = [\"…\"], as `sha256sum` prints it",
            "T:11: `trust` in [agents.e] is \"pinned\", and it has no `pins`; write the SHA-256 of its library: pins = [\"…\"], as `sha256sum` prints it",
        ]
    );
}

#[test]
fn a_key_that_does_not_read_is_the_only_mistake() {
    let told = told("[libraries]\nkeys = ['RWQ']\n[supervision]\ntrust = 'signed'\n", &[]);
    assert_eq!(
        told,
        [
            "T:2: `keys` in [libraries]: `RWQ` is no public key of minisign; use the second line of its .pub file"
        ]
    );
}

#[test]
fn discover_is_a_key_and_may_be_an_agent() {
    assert!(good("[agents]\ndiscover = true\n[agents.a]\n", &[]).agents.discover);
    let settings = good("[agents.a]\n", &[("OPENCLAW_AGENTS__DISCOVER", "true")]);
    assert!(settings.agents.discover && settings.agents.len() == 1);
    let settings = good("[agents.discover]\nconcurrency = 2\n", &[]);
    assert_eq!(settings.agents["discover"].concurrency, Some(2));
    assert_eq!(good(&toml::to_string(&settings).unwrap(), &[]), settings);
    assert_eq!(
        told("[agents]\ndiscover = 1\n[agents.a]\n", &[]),
        ["T:2: `discover` in [agents] cannot be integer `1`; write true or false"]
    );
    assert_eq!(
        told("[agents.discover]\nconcurency = 1\n", &[]),
        ["T:2: unknown key `concurency` in [agents.discover]; did you mean `concurrency`?"]
    );
}

#[test]
fn a_key_that_is_wrong_causes_no_second_mistake() {
    let text = "[supervision]\nping_timeout = 3\nping_interval = '20s'\n[agents]\natlas = 3\n[groups.x]\nagents = ['atlas']";
    let told = told(text, &[]);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[0], "T:5: `atlas` in [agents] cannot be integer `3`; write a table");
}

#[test]
fn variables_override_the_file() {
    let text = "[agents.my-agent]\nconcurrency = 1\n";
    let env = [
        ("OPENCLAW_AGENTS__MY_AGENT__CONCURRENCY", "8"),
        ("OPENCLAW_AGENTS__MY_AGENT__SETTINGS__DEEP_ER__X", "{ a = [1, 2] }"),
        ("OPENCLAW_LOG", "info,supervisor=debug"),
        ("OPENCLAW_SUPERVISION__PING_INTERVAL", "2s"),
        ("OPENCLAW_TOKEN", "not ours"),
        ("OPENCLAW_HOME", "not ours"),
    ];
    let settings = good(text, &env);
    let agent = &settings.agents["my-agent"];
    assert_eq!(agent.concurrency, Some(8));
    assert_eq!(agent.settings["deep_er"]["x"]["a"][1], 2);
    assert_eq!(settings.daemon.log, "info,supervisor=debug");
    assert_eq!(settings.supervision.ping_interval.as_secs(), 2);
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    let env = [
        ("OPENCLAW_AGENTS__ATLAS__CONCURENCY", "8"),
        ("OPENCLAW_AGENTS__ATLAS__GRANTS", "['memory', 'serch', 1]"),
        ("OPENCLAW_DAEMON__DRAIN_TIMEOUT", "soon"),
        ("OPENCLAW_DAEMON__LOG__LEVEL", "debug"),
        ("OPENCLAW_TASKS__MAX_ATTEMPTS", "0"),
        ("OPENCLAW___X", "0"),
    ];
    let mut told = told("[daemon]\nlog = 'info'", &env);
    told.sort();
    assert_eq!(
        told,
        [
            "OPENCLAW_AGENTS__ATLAS__CONCURENCY: unknown key `concurency` in [agents.atlas]; did you mean `concurrency`?",
            "OPENCLAW_AGENTS__ATLAS__GRANTS: `grants` in [agents.atlas] cannot be integer `1`; write a text in quotes",
            "OPENCLAW_AGENTS__ATLAS__GRANTS: unknown grant `serch` in [agents.atlas]; did you mean `search`?",
            "OPENCLAW_DAEMON__DRAIN_TIMEOUT: `drain_timeout` in [daemon]: `soon` is no duration; write a number and a unit: \"250ms\", \"30s\", \"5m\" or \"1h\"",
            "OPENCLAW_DAEMON__LOG__LEVEL: `log` is no table but string; mend the one or unset the other",
            "OPENCLAW_TASKS__MAX_ATTEMPTS: `max_attempts` in [tasks] is 0; write 1 to 100",
            "OPENCLAW___X: names no key; write the parts of the key with `__` between: OPENCLAW_DAEMON__LOG",
        ]
    );
}

#[test]
fn without_a_file_the_built_in_one_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = load(&Inputs { cwd: dir.path().into(), ..Inputs::default() }).unwrap();
    assert_eq!(loaded.origin, Origin::BuiltIn);
    assert_eq!(loaded.settings.agents.len(), 3);
}

#[test]
fn a_missing_file_and_a_folder_are_no_configuration() {
    let dir = tempfile::tempdir().unwrap();
    for config in [dir.path().join("none.toml"), dir.path().into()] {
        let inputs = Inputs { cwd: dir.path().into(), config: Some(config.clone()), ..Inputs::default() };
        assert!(matches!(load(&inputs), Err(LoadError::Read { path, .. }) if path == config));
    }
}

#[test]
fn a_password_in_the_place_of_redis_is_told_and_never_quoted() {
    let env = [("OPENCLAW_BUS__URL", "redis://:hidden@localhost")];
    let text = "[daemon]\nheartbeat = '10ms'\n[bus]\nurl = 'redis://claw:hidden@localhost'\nca = 'ca.pem'";
    for (told, place) in [(told(text, &[]), "T:4"), (told(text, &env), "OPENCLAW_BUS__URL")] {
        let password = format!(
            "{place}: `url` in [bus]: there is a password in it; write it into .env as OPENCLAW_REDIS_PASSWORD=… and \
             only redis://[user@]host[:port][/db] here"
        );
        assert!(told.contains(&password), "{told:#?}");
        assert!(told.iter().any(|line| line == "T:2: `heartbeat` in [daemon] is 10ms; write 1s to 10m"));
        assert!(!told.concat().contains("hidden"), "{told:#?}");
    }
    let plain = told("[bus]\nurl = 'redis://localhost'\nca = 'ca.pem'", &[]);
    assert_eq!(
        plain,
        ["T:3: `ca` in [bus] vouches for a server, and `url` names none with TLS; write rediss://… as `url`"]
    );
    assert_eq!(good("[bus]\nurl = ''", &[]).bus.url, None);
}

#[test]
fn budgets_and_hosts_are_checked() {
    let text = "[providers]\nmax_calls = 0\nbudgets = [{}, { requests = 1, usd = 1.0 }, { usd = -1.0 }, { agent = \"x\", requests = 1 },\n\
                { requests = 5, provider = \"brave\" }, { requests = 6, provider = \"brave\" },\n\
                { requests = 5, provider = \"brave\", period = \"month\" }, { usd = 5.0, provider = \"brave\" }]\n[agents.a]\nfetch = { hosts = [\"example.org\", \"*.x.org:1\", \"[::1]:80\",\n\
                \"https://x\", \"a b\", \"x/y\"] }\n";
    let told = told(text, &[]).join("\n");
    for what in [
        "T:2: `max_calls` in [providers] is 0",
        "T:3: budget 1 of [providers] limits neither",
        "T:3: budget 2 of [providers] limits neither requests nor money, or both",
        "T:3: budget 3 of [providers] has an odd amount",
        "T:3: budget 4 of [providers] names `x`, which is no configured agent",
        "T:3: budget 6 of [providers] limits the same as budget 5",
        "T:8: `https://x` in [agents.a.fetch] is no host",
        "T:8: `a b` in",
        "T:8: `x/y` in",
    ] {
        assert!(told.contains(what), "{what}: {told}");
    }
    assert_eq!(told.lines().count(), 9, "{told}");
}

#[test]
fn rates_are_checked() {
    let text = "[supervision.rates]\nmemory = \"0/1h\"\nnotfy = \"1/1h\"\n[agents.a]\nrates = { fetch = \"5/1m\", \"task.rum\" = \"1/1h\" }\n";
    let told = told(text, &[]).join("\n");
    for what in [
        "T:2: `memory` in [supervision.rates]",
        "`0/1h` is no rate",
        "T:3: unknown key `notfy` in [supervision.rates]; did you mean `notify`?",
        "T:5: unknown key `task.rum` in [agents.a.rates]; did you mean `task.run`?",
    ] {
        assert!(told.contains(what), "{what}: {told}");
    }
    assert_eq!(told.lines().count(), 3, "{told}");
    let settings = good("[supervision.rates]\nask = '7/1m'\n[agents.a]\nrates.notify = '1/1day'", &[]);
    let a = settings.agents["a"].supervision(&settings.supervision).rates;
    let rate = |what: &str| a.of(what).1.to_string();
    assert_eq!([rate("ask"), rate("notify"), rate("fetch")], ["7/1m", "1/1day", "60/1m"]);
}
