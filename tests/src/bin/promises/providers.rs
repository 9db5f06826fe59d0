//! What the daemon adds to a call of a provider, what calls cost it, how soon the next provider is asked.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::http::Http;
use openclaw_tests::provider::{KEY, Provider, Reply};
use openclaw_tests::socket::{Socket, message};
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use crate::Options;
use crate::measure::megabytes;
use crate::row::{Bound, Row};

pub const ADDED: &str = "provider call: what the daemon adds";
pub const HELD: &str = "100 provider calls at once, memory";
pub const FAILOVER: &str = "provider silent → the next has answered, beyond its time-out";
pub const OPEN: &str = "provider's breaker open → the next has answered";

/// Of the first provider, where it does not answer.
const TIMEOUT: Duration = Duration::from_millis(200);
const ASK: &str = "call ask {\"prompt\":\"x\"}";

/// A daemon whose agent asks these, and nothing that stops it soon.
fn stage(providers: &[&Provider], timeout: Duration, breaker: &Value) -> Result<(Home, Daemon)> {
    let config = "[supervision.rates]\nask = '100000/1s'\n[providers]\nmax_calls = 256\nbudgets = [{ requests = 1000000 }, { usd = 1000.0 }]\n\
                  [agents.misbehaving]\nconcurrency = 200\ngrants = ['ask']\n";
    let home = Home::new(config, &["misbehaving"])?;
    let folder = home.path().join("config");
    std::fs::create_dir_all(folder.join("providers"))?;
    let timeout = format!("timeout = '{}ms'", timeout.as_millis());
    for (name, provider) in ["a", "b"].iter().zip(providers) {
        std::fs::write(folder.join(format!("providers/{name}.toml")), provider.described(&timeout))?;
    }
    std::fs::write(folder.join("failover.json"), json!({"breaker": breaker}).to_string())?;
    std::fs::write(folder.join(".env"), format!("TEST_API_KEY={KEY}\n"))?;
    std::fs::set_permissions(folder.join(".env"), std::fs::Permissions::from_mode(0o600))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    Ok((home, daemon))
}

/// A message, answered with this.
fn answered(socket: &mut Socket, text: &str, with: &str) -> Result<Duration> {
    let began = Instant::now();
    let sent = socket.call(message("misbehaving", text, None, Some(30_000)))?;
    let took = began.elapsed();
    let sent = sent.map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(sent["result"]["text"] == with, "{sent}");
    Ok(took)
}

/// A message whose agent asks, less one whose agent does not, less what the provider takes when it is asked directly, over a
/// connection that is kept as the daemon's is. One after the other, so that what the machine does otherwise meets all three.
pub fn added(options: &Options) -> Result<Vec<Row>> {
    let provider = Provider::start()?;
    let (home, daemon) = stage(&[&provider], Duration::from_secs(10), &json!({}))?;
    let mut socket = home.socket()?;
    let direct = Http::at(provider.address, None);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2048});
    let (warm_up, mut samples) = (50, Vec::new());
    for round in 0..warm_up + options.samples(1000) {
        let asking = answered(&mut socket, ASK, "\"you said: x\"")?;
        let silent = answered(&mut socket, "echo x", "x")?;
        let began = Instant::now();
        ensure!(direct.post("/v1/chat/completions", &body)?.status == 200, "the provider itself");
        let own = began.elapsed();
        if round >= warm_up {
            samples.push((asking.as_secs_f64() - silent.as_secs_f64() - own.as_secs_f64()) * 1e3);
        }
    }
    daemon.stop()?;
    Ok(vec![Row::new(ADDED, "ms", &[Bound::Median(1.0)], samples)])
}

/// The daemon's anonymous memory while a hundred calls wait for their provider, less what it had before the first.
pub fn held(options: &Options) -> Result<Vec<Row>> {
    let mut samples = Vec::new();
    for _ in 0..options.samples(5) {
        let provider = Provider::start()?;
        let (home, daemon) = stage(&[&provider], Duration::from_secs(60), &json!({}))?;
        let mut socket = home.socket()?;
        let before = megabytes(daemon.pid(), "status", &["RssAnon"])?;
        provider.always(Some(Reply::Never));
        for _ in 0..100 {
            socket.ask(message("misbehaving", ASK, None, None))?;
        }
        wait_for("a hundred calls", || Ok((provider.asked().len() >= 100).then_some(())))?;
        samples.push(megabytes(daemon.pid(), "status", &["RssAnon"])? - before);
        daemon.kill()?;
    }
    Ok(vec![Row::new(HELD, "MB", &[Bound::Most(10.0)], samples)])
}

/// The whole message, from the command line's socket and back, less the first provider's time-out.
pub fn failover(options: &Options) -> Result<Vec<Row>> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let (home, daemon) = stage(&[&first, &second], TIMEOUT, &json!({"min_calls": 1_000_000}))?;
    let mut socket = home.socket()?;
    first.always(Some(Reply::Never));
    let mut samples = Vec::new();
    for _ in 0..options.samples(50) {
        let took = answered(&mut socket, ASK, "\"you said: x\"")?;
        samples.push((took.as_secs_f64() - TIMEOUT.as_secs_f64()) * 1e3);
    }
    daemon.stop()?;
    Ok(vec![Row::new(FAILOVER, "ms", &[Bound::P99(50.0)], samples)])
}

/// The same while the first one's breaker is open: it is not asked at all.
pub fn open(options: &Options) -> Result<Vec<Row>> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let breaker = json!({"min_calls": 3, "open": "10m", "open_max": "10m"});
    let (home, daemon) = stage(&[&first, &second], TIMEOUT, &breaker)?;
    let mut socket = home.socket()?;
    first.always(Some(Reply::Never));
    wait_for("the breaker to open", || {
        answered(&mut socket, ASK, "\"you said: x\"")?;
        Ok((home.component("a")?["breaker"]["state"] == "open").then_some(()))
    })?;
    let (asked, mut samples) = (first.asked().len(), Vec::new());
    for _ in 0..options.samples(500) {
        samples.push(answered(&mut socket, ASK, "\"you said: x\"")?.as_secs_f64() * 1e3);
    }
    ensure!(first.asked().len() == asked, "the first was asked although its breaker was open");
    daemon.stop()?;
    // At once: what any answered message takes, and a call on this machine.
    Ok(vec![Row::new(OPEN, "ms", &[Bound::P99(50.0)], samples)])
}
