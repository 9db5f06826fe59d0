//! A daemon whose Redis comes, goes, or never was.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use openclaw_tests::PATIENCE;
use openclaw_tests::daemon::Home;
use openclaw_tests::http::Http;
use openclaw_tests::server::Redis;
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use crate::http::{TOKEN, secrets, tokens};
use crate::support::{hash, quick, redis, reply};

fn bus(home: &Home, health: &str) -> Result<Value> {
    wait_for(&format!("a bus that is {health}"), || {
        let bus = home.component("bus")?;
        Ok((bus["health"] == health).then_some(bus))
    })
}

#[test]
fn work_goes_on_whatever_redis_does_and_the_status_tells() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = quick(&format!("[agents.misbehaving]\n[bus]\nurl = 'redis://localhost:{port}'\n"));
    let home = Home::new(&config, &["scout", "misbehaving"])?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    let away = bus(&home, "degraded")?;
    assert_eq!((away["state"].as_str(), away["evidence"]["at"].as_str()), (Some("backoff"), None), "{away}");
    assert_eq!(reply(&home, "misbehaving", "echo well")?, "well");
    for _ in 0..2 {
        let Some(server) = Redis::start_on(port)? else { break };
        let well = bus(&home, "ok")?;
        assert_eq!(well["state"], "ready", "{well}");
        assert!(
            well["description"].as_str().is_some_and(|what| what.contains(" at redis://localhost")),
            "{well}"
        );
        assert!(well["evidence"]["at"].is_string(), "{well}");
        drop(server);
        let away = bus(&home, "degraded")?;
        assert!(away["reason"].as_str().is_some_and(|why| why.contains("is away: ")), "{away}");
        assert_eq!(reply(&home, "misbehaving", "echo well")?, "well");
    }
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn the_password_is_nowhere_to_be_seen() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let home = Home::new(&quick(&format!("[bus]\nurl = 'redis://localhost:{port}'\n")), &["scout"])?;
    let secrets = home.path().join("config/.env");
    fs::write(&secrets, "OPENCLAW_REDIS_PASSWORD=hidden-word\n")?;
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600))?;
    let daemon = home.start()?;
    bus(&home, "degraded")?;
    let shown = home.ok(&["status", "--json"])? + &home.ok(&["config", "show"])? + &home.log();
    assert!(shown.contains("OPENCLAW_REDIS_PASSWORD (.env)") && !shown.contains("hidden-word"), "{shown}");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn heartbeats_are_shown_and_are_whole_again_after_a_flush() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_server) = Redis::start_on(port)? else { return Ok(()) };
    let config = quick(&format!("[bus]\nurl = 'redis://localhost:{port}'\n"))
        .replace("[daemon]", "[daemon]\nheartbeat = \"1s\"");
    let home = Home::new(&config, &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let ready = ("state", "ready");
    let shown = hash(port, "agent:scout:status", ready)?;
    let names: Vec<&str> = shown.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "status",
        "pid",
        "version",
        "sha256",
        "host",
        "started_at",
        "last_seen",
        "restarts",
        "breaker",
        "last_pong",
    ] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    let life: i64 = redis(port, &["PTTL", "agent:scout:status"])?.concat().parse()?;
    assert!((1..=3000).contains(&life), "it expires in {life} ms");
    hash(port, "circuit:breaker:agent:scout", ("state", "closed"))?;

    redis(port, &["FLUSHALL"])?;
    hash(port, "agent:scout:status", ready)?;
    // A change is shown without waiting for the next beat.
    home.ok(&["agents", "stop", "scout"])?;
    hash(port, "agent:scout:status", ("state", "stopped"))?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_message_over_http_or_from_a_terminal_is_published_once() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_redis) = Redis::start_on(port)? else { return Ok(()) };
    let config = format!("[agents.misbehaving]\n[bus]\nurl = 'redis://127.0.0.1:{port}'\n");
    let home = Home::new(&quick(&config), &["misbehaving"])?;
    secrets(&home, &tokens())?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let mut stream = wait_for("Redis", || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"SUBSCRIBE gateway:events\r\n")?;
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == ":1"));
    bus(&home, "ok")?;
    let http = Http::of(&home, Some(TOKEN))?;
    let message = json!({"agent": "misbehaving", "text": "echo x", "session": "s", "idempotency_key": "k"});
    let mut stored = Vec::new();
    for status in [202, 202] {
        let answer = http.post("/api/v1/messages", &message)?;
        assert!(answer.status == status || answer.status == 200, "{}", answer.text);
        stored.push(answer.json()?["task_id"].clone());
    }
    assert_eq!(stored[0], stored[1]);
    reply(&home, "misbehaving", "echo y")?;
    let mut heard = || -> Result<Value> {
        loop {
            let line = lines.find(|line| line.starts_with('{')).context("a signal")?;
            let signal: Value = serde_json::from_str(&line)?;
            if signal["type"] == "message.accepted" {
                return Ok(signal["data"].clone());
            }
        }
    };
    let told = heard()?;
    let expected = json!({"task_id": stored[0], "agent": "misbehaving", "channel": "http", "session": "s"});
    assert_eq!(told, expected);
    assert_eq!(heard()?["channel"], "cli");
    assert!(daemon.stop()?.success());
    Ok(())
}
