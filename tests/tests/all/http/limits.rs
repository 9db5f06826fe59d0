//! Bounds: connections, time, rates. Whoever keeps to them is served whatever others do.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::Result;
use openclaw_tests::http::Http;
use openclaw_tests::wait_for;
use serde_json::json;

use super::{READ, TOKEN, problem, stage};

/// So many descriptors this test leaves alone.
const SPARED: u64 = 200;
/// Of the issue.
const IDLE: u64 = 10_000;

/// As many connections as this process may have, at most [`IDLE`].
fn crowd(http: &Http) -> Result<Vec<TcpStream>> {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard)?;
    let many = hard.saturating_sub(SPARED).min(IDLE);
    let mut crowd = Vec::new();
    for number in 0..many {
        let mut stream = http.connect()?;
        // Some say nothing, some half a word.
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nx-slow: ");
        }
        crowd.push(stream);
    }
    Ok(crowd)
}

#[test]
fn ten_thousand_who_say_nothing_keep_nobody_out() -> Result<()> {
    let (home, daemon, http) = stage("[gateway]\nmax_connections = 100\n")?;
    let crowd = crowd(&http)?;
    for _ in 0..20 {
        let fresh = Http::at(http.address, Some(TOKEN));
        assert_eq!(fresh.get("/healthz")?.status, 200);
        assert_eq!(fresh.get("/api/v1/agents")?.status, 200);
    }
    // They hold no more than the bound.
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.flatten();
    let sockets = sockets.filter(|file| {
        std::fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    let open = sockets.count();
    assert!(open < 150, "{open} sockets with {} connections", crowd.len());
    assert_eq!(home.component("gateway")?["health"], "ok");
    drop(crowd);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn whoever_is_slow_is_let_go() -> Result<()> {
    let (_home, daemon, http) = stage("[gateway]\nrequest_timeout = \"1s\"\n")?;
    // A head that does not end, one byte after the other.
    let mut stream = http.connect()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\n")?;
    stream.set_nonblocking(true)?;
    wait_for("the slow head's connection to be closed", || {
        let _ = stream.write_all(b"a: b\r\n");
        let mut byte = [0; 512];
        Ok(match stream.read(&mut byte) {
            Ok(0) => Some(()),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Some(()),
            _ => None,
        })
    })?;
    // A body that does not come.
    let head = format!(
        "POST /api/v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"agent\": "
    );
    let told = http.raw(head.as_bytes())?;
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("\"code\":\"body_too_late\""), "{told}");
    // Connected, and nothing.
    let mut silent = http.connect()?;
    assert_eq!(silent.read_to_end(&mut Vec::new())?, 0);
    // Used, and then nothing.
    let mut idle = http.connect()?;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let mut told = String::new();
    idle.read_to_string(&mut told)?;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn wrong_tokens_are_slowed_down_and_the_good_one_is_not() -> Result<()> {
    let (_home, daemon, http) = stage("[gateway]\nbad_tokens = 3\n")?;
    let wrong = Http::at(http.address, Some("wrong-0123456789abcdef"));
    for _ in 0..3 {
        problem(&wrong.get("/api/v1/agents")?, 401, "invalid_token");
    }
    let answer = wrong.get("/api/v1/agents")?;
    problem(&answer, 429, "too_many_bad_tokens");
    let seconds: u32 = answer.header("retry-after").parse()?;
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(http.get("/api/v1/agents")?.status, 200);
    assert_eq!(wrong.get("/healthz")?.status, 200);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_token_has_its_rate() -> Result<()> {
    let (_home, daemon, http) = stage("[gateway]\nrate = 1\n")?;
    let limited = wait_for("the rate to be reached", || {
        let answer = http.get("/api/v1/agents")?;
        Ok((answer.status == 429).then_some(answer))
    })?;
    problem(&limited, 429, "rate_limited");
    assert_eq!(limited.header("retry-after"), "1");
    // Another token has another.
    assert_eq!(Http::at(http.address, Some(READ)).get("/api/v1/agents")?.status, 200);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_full_queue_is_told_with_when_to_come_again() -> Result<()> {
    let (home, daemon, _) = stage("")?;
    assert!(daemon.stop()?.success());
    let config = std::fs::read_to_string(home.path().join("config/openclaw.toml"))?;
    home.configure(&config.replace("[tasks]", "[tasks]\nmax_queued = 1"))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    home.ok(&["agents", "stop", "misbehaving"])?;
    let http = Http::of(&home, Some(TOKEN))?;
    let body = json!({"agent": "misbehaving", "text": "echo x"});
    assert_eq!(http.post("/api/v1/messages", &body)?.status, 202);
    let full = http.post("/api/v1/messages", &body)?;
    assert!(problem(&full, 503, "queue_full").contains("tasks.max_queued"));
    assert!(!full.header("retry-after").is_empty());
    assert!(daemon.stop()?.success());
    Ok(())
}
