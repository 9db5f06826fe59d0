//! Bounds: connections, time, rates. Whoever keeps to them is served whatever others do.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use openclaw_tests::http::Http;
use openclaw_tests::wait_for;
use serde_json::json;

use super::{READ, TOKEN, problem, stage};

/// So many descriptors this test has besides.
const SPARED: u64 = 200;
/// Of the issue.
const IDLE: u64 = 10_000;

/// [`IDLE`] connections; none where this process may not have so many, which is said.
fn crowd(http: &Http) -> Result<Option<Vec<TcpStream>>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = IDLE + SPARED;
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)) {
        ensure!(std::env::var("CI").as_deref() != Ok("true"), "{needed} descriptors: {error}");
        eprintln!(
            "skipped: {needed} descriptors are not to be had, {hard} are (ulimit -Hn {needed}): {error}"
        );
        return Ok(None);
    }
    let mut crowd = Vec::new();
    for number in 0..IDLE {
        let mut stream = http.connect()?;
        // Some say nothing, some half a word.
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nx-slow: ");
        }
        crowd.push(stream);
    }
    Ok(Some(crowd))
}

#[test]
fn ten_thousand_who_say_nothing_keep_nobody_out() -> Result<()> {
    let (home, daemon, http) = stage("[gateway]\nmax_connections = 100\n")?;
    let Some(crowd) = crowd(&http)? else { return Ok(()) };
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

/// Waits for the result of a task that does not end.
fn wait(http: &Http) -> Result<TcpStream> {
    let mut stream = http.connect()?;
    let body = json!({"agent": "misbehaving", "text": "sleep 600000"}).to_string();
    write!(
        stream,
        "POST /api/v1/messages?wait=60s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

#[test]
fn who_waits_leaves_a_seat_to_who_comes_and_goes() -> Result<()> {
    let (home, daemon, http) = stage("[gateway]\nmax_connections = 8\n")?;
    let waiting = (0..7).map(|_| wait(&http)).collect::<Result<Vec<_>>>()?;
    wait_for("seven who wait", || Ok((home.component("gateway")?["running"] == 7).then_some(())))?;
    // One more does not wait: its message is durable.
    let mut told = String::new();
    wait(&http)?.read_to_string(&mut told)?;
    assert!(told.starts_with("HTTP/1.1 202 ") && told.contains("\"task_id\""), "{told}");
    // A connection each, five at a time on the one seat that is left.
    let asked = std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| (0..20).try_for_each(|_| asks(http.address)));
        let all: Vec<_> = (0..5).map(ask).collect();
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| bail!("it panicked")))
    });
    asked?;
    // A message comes through as well, and who waits goes on waiting.
    let fresh = Http::at(http.address, Some(TOKEN));
    assert_eq!(
        fresh.post("/api/v1/messages", &json!({"agent": "misbehaving", "text": "echo x"}))?.status,
        202
    );
    assert_eq!(home.component("gateway")?["running"], 7);
    assert!(daemon.stop()?.success());
    drop(waiting);
    Ok(())
}

/// Whether the loop turns, on a connection of its own.
fn asks(address: std::net::SocketAddr) -> Result<()> {
    let answer = Http::at(address, None).get("/healthz")?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text);
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
fn wrong_tokens_are_slowed_down_wherever_they_are_shown() -> Result<()> {
    let (_home, daemon, http) = stage("[gateway]\nbad_tokens = 3\n")?;
    let wrong = Http::at(http.address, Some("wrong-0123456789abcdef"));
    let ask = |http: &Http, path: &str, proxy: bool| {
        let request = http.request("GET", path);
        let request = if proxy { request.header("x-forwarded-for", "192.0.2.7") } else { request };
        http.send(request.body(())?)
    };
    for path in ["/metrics", "/readyz", "/api/v1/openapi.json"] {
        problem(&ask(&wrong, path, path == "/readyz")?, 401, "invalid_token");
    }
    for path in ["/metrics", "/readyz", "/api/v1/openapi.json", "/api/v1/agents"] {
        for proxy in [false, true] {
            problem(&ask(&wrong, path, proxy)?, 429, "too_many_bad_tokens");
            assert_eq!(ask(&http, path, proxy)?.status, 200, "{path}");
        }
    }
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
