//! Canaries: a secret in each place that has one, and in places that should have none, is in nothing that comes out.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::http::Http;
use openclaw_tests::provider::{KEY, Provider, Reply};
use openclaw_tests::server::{Postgres, Redis};
use openclaw_tests::telegram::{ANN, Bot, Fault, TOKEN};
use openclaw_tests::wait_for;
use serde_json::json;

use crate::support::{fails, quick, reply};

/// Planted in `.env`, in a credential, in the environment; each with what others would encode.
const OPERATOR: &str = "wren-operator.token_0123456789";
const READ: &str = "wren-reader.token_0123456789";
const DATABASE: &str = "wren/data base?p@ss:word";
const REDIS: &str = "wren-redis/p@ss word\"";
/// Of a provider that nobody describes.
const OTHER_KEY: &str = "wren-other-key-0123456789";
/// Never the right one, and known to nobody.
const WRONG: &str = "wren-wrong-0123456789";

/// What is to be seen nowhere: each as it is, and without what others would have encoded or cut off.
const CANARIES: [&str; 12] = [
    // What they have in common, and the same in base64, wherever it begins.
    "wren-",
    "wren/",
    "d3Jlbi",
    "dyZW4t",
    "3cmVuL",
    OPERATOR,
    READ,
    DATABASE,
    REDIS,
    KEY,
    "AAcanary-Telegram_token_0123456789",
    WRONG,
];

/// What came out somewhere holds no canary.
#[track_caller]
fn clean(place: &str, bytes: &[u8]) {
    for canary in CANARIES {
        if let Some(at) = bytes.windows(canary.len()).position(|part| part == canary.as_bytes()) {
            let around = &bytes[at.saturating_sub(300)..bytes.len().min(at + 100)];
            panic!("`{canary}` is in {place}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// All files below, but for those that hold secrets by design.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = path.symlink_metadata()?.file_type();
        let own = path.ends_with("config/.env") || path.ends_with("credentials");
        if kind.is_dir() && !own {
            files(&path, found)?;
        } else if kind.is_file() && !own {
            found.push(path);
        }
    }
    Ok(())
}

/// A home with a secret in each place, whose servers know them.
struct Stage {
    bot: Bot,
    provider: Provider,
    postgres: Postgres,
    redis: Redis,
    /// Writes what is published.
    published: Child,
    home: Home,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.published.kill();
        let _ = self.published.wait();
    }
}

impl Stage {
    /// None where a server is missing, which is said.
    fn new() -> Result<Option<Self>> {
        let (bot, provider) = (Bot::start()?, Provider::start()?);
        let Some(postgres) = Postgres::start()? else { return Ok(None) };
        let Some(mut redis) = Redis::new()? else { return Ok(None) };
        redis.start()?;
        let url = postgres.guarded("claw", DATABASE)?;
        redis.ask(&["CONFIG", "SET", "rdbcompression", "no"])?;
        let config = quick(&format!(
            "[database]\nurl = \"{url}\"\n[bus]\nurl = \"{}\"\n[telegram]\napi = '{}'\nallow = [{ANN}]\noperators = [{ANN}]\n\
             poll_timeout = '1s'\n[routing]\ndefault = 'misbehaving'\n[agents.misbehaving]\ngrants = ['ask', 'alert']\n",
            redis.url(),
            bot.url(),
        ));
        let home = Home::new(&config, &["scout", "misbehaving"])?;
        let published = Command::new("redis-cli")
            .arg("-s")
            .arg(redis.socket())
            .args(["PSUBSCRIBE", "*"])
            .stdout(File::create(home.path().join("published"))?)
            .spawn()?;
        wait_for(
            "the listener",
            || Ok((!fs::read(home.path().join("published"))?.is_empty()).then_some(())),
        )?;
        redis.ask(&["CONFIG", "SET", "requirepass", REDIS])?;
        let folder = home.path().join("config");
        let env =
            format!("OPENCLAW_GATEWAY_TOKEN={OPERATOR}\nTELEGRAM_BOT_TOKEN={TOKEN}\nTEST_API_KEY={KEY}\n");
        fs::write(folder.join(".env"), env)?;
        fs::set_permissions(folder.join(".env"), PermissionsExt::from_mode(0o600))?;
        fs::create_dir(folder.join("providers"))?;
        fs::write(folder.join("providers/a.toml"), provider.described(""))?;
        fs::write(
            folder.join("failover.json"),
            json!({"chat": ["a"], "pause": "20ms", "pause_max": "1s"}).to_string(),
        )?;
        let credentials = home.path().join("credentials");
        fs::create_dir(&credentials)?;
        fs::write(credentials.join("OPENCLAW_DATABASE_PASSWORD"), format!("{DATABASE}\n"))?;
        fs::write(credentials.join("OPENCLAW_GATEWAY_READ_TOKEN"), READ)?;
        Ok(Some(Self { bot, provider, postgres, redis, published, home }))
    }

    /// The command line, with what is in its environment.
    fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = self.home.command(args)?;
        command.stdin(Stdio::null());
        command.env("CREDENTIALS_DIRECTORY", self.home.path().join("credentials"));
        command.env("OPENCLAW_REDIS_PASSWORD", REDIS).env("BRAVE_API_KEY", OTHER_KEY);
        Ok(command)
    }

    fn start(&self, more: &[(&str, &str)], args: &[&str]) -> Result<Daemon> {
        let mut command = self.command(&[&["run"][..], args].concat())?;
        command.env("OPENCLAW_LOG", "trace").envs(more.iter().copied());
        self.home.start_as(command)
    }

    /// Runs it to its end, whatever that is; neither its output nor its errors have a canary.
    fn run(&self, args: &[&str], more: &[(&str, &str)]) -> Result<Output> {
        let output = self.command(args)?.envs(more.iter().copied()).output()?;
        clean(&format!("the errors of {args:?}"), &output.stderr);
        clean(&format!("the output of {args:?}"), &output.stdout);
        Ok(output)
    }

    /// An agent that has come by a secret tells it in every way that an agent has to say what went wrong.
    fn agent_says_secrets(&self) -> Result<()> {
        let long = "x".repeat(990);
        for (word, text) in [
            ("error", format!("refused: {OPERATOR}")),
            ("invalid", format!("refused: {OPERATOR}")),
            ("log", format!("the token is {OPERATOR}")),
            ("print", format!("the token is {READ}")),
            (
                "call",
                json!({"key": OPERATOR, "level": "critical", "text": format!("it has {OPERATOR}")})
                    .to_string(),
            ),
            // Cut off within it.
            (
                "call",
                json!({"key": "long", "level": "critical", "text": format!("{long}{OPERATOR}")}).to_string(),
            ),
            ("error", format!("{}{OPERATOR}", "x".repeat(1990))),
            ("print", format!("{}{OPERATOR}", "x".repeat(4090))),
            ("panic", format!("the token was {OPERATOR}")),
            // Its last words.
            ("abort", format!("the token was {OPERATOR}")),
        ] {
            let text = if word == "call" { format!("alert.raise {text}") } else { text };
            let backwards: String = text.chars().rev().collect();
            self.run(&["send", "misbehaving", &format!("backwards {word} {backwards}")], &[])?;
            self.home.until("misbehaving", "ready")?;
        }
        // What it says is kept, without that.
        let told = |args: &[&str]| Ok::<_, anyhow::Error>(String::from_utf8(self.run(args, &[])?.stdout)?);
        let tasks = told(&["tasks", "list", "-a", "misbehaving", "--json"])?;
        ensure!(tasks.contains("refused: ***"), "{tasks}");
        let logs = told(&["agents", "logs", "misbehaving", "-n", "1000"])?;
        ensure!(logs.matches("the token is ***").count() >= 2, "{logs}");
        let alerts = told(&["alert", "list", "--json"])?;
        ensure!(alerts.contains("it has ***"), "{alerts}");
        let history = told(&["agents", "history", "misbehaving"])?;
        ensure!(history.contains("the token was ***"), "{history}");
        wait_for("the alert", || {
            Ok(self.bot.texts().iter().any(|text| text.contains("it has ***")).then_some(()))
        })
    }

    /// Each command of the command line that ends.
    fn every_command(&self) -> Result<()> {
        for args in [
            &["status"][..],
            &["status", "--json"],
            &["config", "show"],
            &["config", "check"],
            &["config", "schema"],
            &["agents", "list"],
            &["agents", "list", "--json"],
            &["agents", "history", "misbehaving"],
            &["agents", "logs", "misbehaving"],
            &["agents", "libraries", "misbehaving"],
            &["agents", "start", "scout"],
            &["agents", "stop", "scout"],
            &["agents", "restart", "scout"],
            &["agents", "reload", "misbehaving"],
            &["agents", "rollback", "misbehaving"],
            &["budget", "--json"],
            &["budget", "-n", "100"],
            &["tasks", "list", "--json"],
            &["tasks", "list", "-a", "telegram", "--json"],
            &["tasks", "show", "nothing"],
            &["alert", "test"],
            &["alert", "list"],
            &["alert", "list", "--json"],
            &["telegram", "status"],
            &["telegram", "status", "--json"],
            &["telegram", "pending"],
            &["telegram", "approve", "nothing"],
            &["telegram", "revoke", "1"],
            &["health"],
            &["health", "--json"],
            &["db", "status"],
            &["db", "status", "--json"],
            &["db", "check"],
            &["db", "migrate"],
            &["backup", "create"],
            &["install", "--dry-run"],
            &["run"],
            &["version"],
            &["send", "misbehaving", "echo x"],
            &["send", "nobody", "x"],
        ] {
            self.run(args, &[])?;
        }
        Ok(())
    }

    /// Each endpoint, for whoever asks.
    fn every_endpoint(&self) -> Result<()> {
        let address = Http::of(&self.home, None)?.address;
        for path in [
            "/healthz",
            "/readyz",
            "/metrics",
            "/api/v1/openapi.json",
            "/api/v1/agents",
            "/api/v1/agents/misbehaving",
            "/api/v1/tasks?limit=1000",
            "/api/v1/tasks/nothing",
            "/api/v1/alerts",
            "/api/v1/openclaw/status",
            &format!("/api/v1/agents?token={WRONG}"),
            &format!("/api/v1/tasks?{WRONG}=1"),
            &format!("/api/v1/tasks?limit={WRONG}"),
        ] {
            let right = format!("Bearer {OPERATOR}");
            let reads = format!("Bearer {READ}");
            for given in [&right, &reads, "", &format!("Bearer {WRONG}"), &format!("Basic {WRONG}"), WRONG] {
                // A connection each: of wrong tokens one is closed at some moment.
                let http = Http::at(address, None);
                let mut request = http.request("GET", path);
                if !given.is_empty() {
                    request = request.header("authorization", given);
                }
                let answer = http.send(request.body(())?).with_context(|| format!("{path} for {given}"))?;
                // What somebody writes into an address by mistake, they may be told to be wrong; no other is repeated.
                let shown = if path.contains(WRONG) { answer.text.replace(WRONG, "") } else { answer.text };
                let told = format!("{:?} {shown}", answer.headers);
                clean(path, told.as_bytes());
            }
        }
        let http = Http::at(address, Some(OPERATOR));
        for path in [
            "scout/start",
            "scout/stop",
            "scout/restart",
            "misbehaving/reload",
            "misbehaving/rollback",
            "nobody/stop",
        ] {
            let answer = http.post(&format!("/api/v1/agents/{path}"), &json!({"reason": "tried"}))?;
            clean(path, answer.text.as_bytes());
        }
        let mut events = http.connect()?;
        write!(
            events,
            "GET /api/v1/events?after=0 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OPERATOR}\r\n\r\n"
        )?;
        let (mut told, mut chunk) = (Vec::new(), [0; 65536]);
        while !told.windows(5).any(|part| part == b"data:") {
            let read = events.read(&mut chunk)?;
            ensure!(read > 0, "no event: {}", String::from_utf8_lossy(&told));
            told.extend_from_slice(&chunk[..read]);
        }
        clean("the events", &told);
        Ok(())
    }

    /// What is kept: files, database, Redis; answers whether Redis holds anything of the daemon's.
    fn everything_kept(&self) -> Result<bool> {
        let mut found = Vec::new();
        files(self.home.path(), &mut found)?;
        for name in ["daemon.log", "logs/misbehaving.log", "published"] {
            let path = self.home.path().join(name);
            ensure!(found.contains(&path) && path.metadata()?.len() > 0, "there is no {name}");
        }
        for path in found {
            clean(&path.display().to_string(), &fs::read(&path)?);
        }
        let dump = self.postgres.dump("postgres")?;
        ensure!(dump.contains("task_queue") && dump.contains("misbehaving"), "{dump:.1000}");
        clean("the database", dump.as_bytes());
        let ask = |args: &[&str]| self.redis.ask(&[&["-a", REDIS, "--no-auth-warning"], args].concat());
        ensure!(ask(&["SAVE"])? == "OK");
        let folder = ask(&["CONFIG", "GET", "dir"])?;
        let rdb = fs::read(Path::new(folder.lines().nth(1).context("a folder")?).join("dump.rdb"))?;
        clean("Redis", &rdb);
        Ok(rdb.windows(18).any(|part| part == b"agent:scout:status"))
    }

    /// What the system shows of the processes; and that none leaves its memory behind.
    fn every_process(&self, daemon: &Daemon) -> Result<()> {
        let hosts = self.home.hosts()?;
        ensure!(hosts.len() >= 2, "hosts: {hosts:?}");
        for pid in hosts.iter().copied().chain([daemon.pid()]) {
            clean(&format!("the command line of {pid}"), &fs::read(format!("/proc/{pid}/cmdline"))?);
            let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
            let core =
                limits.lines().find(|line| line.starts_with("Max core file size")).context("a limit")?;
            ensure!(core.split_whitespace().skip(4).take(2).eq(["0", "0"]), "{pid}: {core}");
        }
        for pid in hosts {
            // Who is not root may not look, which is better still.
            if let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) {
                clean(&format!("the environment of {pid}"), &environment);
            }
        }
        Ok(())
    }
}

#[test]
fn a_secret_is_nowhere_whatever_goes_wrong() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let Stage { bot, provider, home, .. } = &stage;
    let daemon = stage.start(&[], &[])?;
    for agent in ["scout", "misbehaving"] {
        home.until(agent, "ready").with_context(|| home.log())?;
    }
    home.until("bus", "ready").with_context(|| home.log())?;
    // The servers fail, and repeat what they were told.
    let html = Fault::Status(502, json!(format!("<a href='/bot{TOKEN}/getUpdates'>")));
    let told = format!("terminated by /bot{TOKEN}/getUpdates");
    bot.fail("getUpdates", [Fault::refused(409, &told), Fault::Cut, html]);
    bot.fail("sendMessage", [Fault::Cut, Fault::refused(400, &told), Fault::refused(403, &told)]);
    bot.fail("setMyCommands", [Fault::refused(404, &told)]);
    bot.say("echo one");
    bot.say("echo two");
    bot.say("echo three");
    bot.until_sent(1)?;
    // Two such faults in a row are waited for long.
    let update = bot.say("echo four");
    bot.until_confirmed(update)?;
    bot.fail("getUpdates", [Fault::refused(401, &told)]);
    wait_for("a bot that fails", || Ok((home.component("telegram")?["health"] == "failed").then_some(())))?;
    for answer in [
        Reply::refused(401),
        Reply::refused(500),
        Reply::Raw(KEY.into()),
        Reply::to(&format!("http://{KEY}@x/")),
    ] {
        provider.next([answer]);
        let said = reply(home, "misbehaving", &format!("call ask {}", json!({"prompt": "hello"})))?;
        clean("what an agent was told", said.as_bytes());
    }
    for text in ["log one", "flood 3"] {
        stage.run(&["send", "misbehaving", text], &[])?;
    }
    stage.agent_says_secrets()?;
    stage.every_command()?;
    stage.every_endpoint()?;
    stage.every_process(&daemon)?;
    bot.say("/status");
    bot.say("/help");
    bot.say_as(1, "who are you?");
    wait_for("a code", || {
        Ok(bot.texts().iter().any(|text| text.contains("telegram approve")).then_some(()))
    })?;
    clean("what the bot said", serde_json::to_string(&bot.sent())?.as_bytes());
    assert!(stage.everything_kept()?);
    assert!(daemon.stop()?.success());
    stage.everything_kept().map(drop)
}

#[test]
fn a_wrong_secret_is_not_told_either() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let home = &stage.home;
    // Wrong where it is right to write it.
    let wrong = [
        ("OPENCLAW_REDIS_PASSWORD", WRONG),
        ("TEST_API_KEY", WRONG),
        ("TELEGRAM_BOT_TOKEN", "1:wren-wrong-0123456789"),
    ];
    let daemon = stage.start(&wrong, &[])?;
    home.until("misbehaving", "ready").with_context(|| home.log())?;
    wait_for("a bus that is away", || Ok((home.component("bus")?["health"] == "degraded").then_some(())))?;
    wait_for("a bot that fails", || Ok((home.component("telegram")?["health"] == "failed").then_some(())))?;
    stage.run(&["status", "--json"], &wrong)?;
    stage.run(&["telegram", "status"], &wrong)?;
    stage.run(&["alert", "list", "--json"], &wrong)?;
    assert!(daemon.stop()?.success());
    for (name, value) in [
        ("OPENCLAW_DATABASE_PASSWORD", WRONG),
        ("OPENCLAW_GATEWAY_TOKEN", "wren wrong"),
        ("OPENCLAW_GATEWAY_READ_TOKEN", OPERATOR),
        ("TELEGRAM_BOT_TOKEN", "wren-wrong"),
        // And wrong where it must not stand.
        ("OPENCLAW_DATABASE__URL", "postgres://claw:wren-wrong@localhost/claw"),
        ("OPENCLAW_DATABASE__URL", "postgres://claw@localhost/claw?password=wren-wrong"),
        ("OPENCLAW_DATABASE__URL", "postgres://claw:wren/wrong@localhost:x/claw"),
        ("OPENCLAW_BUS__URL", "redis://:wren-wrong@localhost"),
        ("OPENCLAW_BUS__URL", "redis://localhost/0?password=wren-wrong"),
    ] {
        for args in [&["run", "--log", "trace"][..], &["config", "check"], &["db", "status"]] {
            let output = stage.run(args, &[(name, value)])?;
            let said = String::from_utf8_lossy(&output.stderr);
            let fails = args[0] == "run" || name.contains("__");
            assert!(!fails || matches!(output.status.code(), Some(75 | 78)), "{name} {args:?}: {said}");
        }
    }
    let from = "postgres://claw:wren-wrong@localhost/claw";
    stage.run(&["db", "copy", "--from", from, "--to", "sqlite://copy.db"], &[])?;
    stage.everything_kept().map(drop)
}

#[test]
fn an_env_file_that_others_may_read_is_refused() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let file = home.path().join("config/.env");
    fs::write(&file, format!("OPENCLAW_GATEWAY_TOKEN={OPERATOR}\n"))?;
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(&file, PermissionsExt::from_mode(mode))?;
        for args in [&["run"][..], &["config", "check"], &["config", "show"], &["db", "status"]] {
            let said = fails(&home, 78, args)?;
            assert!(said.contains(&format!("chmod 600 {}", file.display())), "{said}");
            clean("the refusal", said.as_bytes());
        }
    }
    Ok(())
}
