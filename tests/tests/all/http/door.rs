//! The port: taken before any work starts, open to others only with a token, let go of at a stop.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Result;
use openclaw_tests::daemon::{BIND, Home};
use openclaw_tests::http::Http;

use super::{READ, TOKEN, secrets, tokens};
use crate::support::{quick, scout_answers};

#[test]
fn a_taken_port_ends_the_start_before_any_work_and_tells_who_has_it() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = taken.local_addr()?.to_string();
    let output = home.command(&["run"])?.env(BIND, &address).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    for word in [&address, &format!("pid {}", std::process::id()), BIND, "nothing was started"] {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
    assert!(!home.path().join("openclaw.db").exists() && home.hosts()?.is_empty());
    Ok(())
}

#[test]
fn what_others_can_reach_needs_a_token() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    for env in ["", "OPENCLAW_GATEWAY_TOKEN=\n", "OPENCLAW_GATEWAY_READ_TOKEN=reader-0123456789abcdef\n"] {
        secrets(&home, env)?;
        for bind in ["0.0.0.0:0", "[::]:0"] {
            let output = home.command(&["run"])?.env(BIND, bind).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains("OPENCLAW_GATEWAY_TOKEN") && said.contains("openssl rand"), "{said}");
        }
    }
    Ok(())
}

#[test]
fn a_token_that_is_none_is_named_and_not_told() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    for (name, value) in [
        ("OPENCLAW_GATEWAY_TOKEN", "short"),
        ("OPENCLAW_GATEWAY_READ_TOKEN", "hidden words, many of them"),
        ("OPENCLAW_GATEWAY_READ_TOKEN", TOKEN),
    ] {
        secrets(&home, &format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}\n{name}=\"{value}\"\n"))?;
        let output = home.command(&["run"])?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(&format!("{name} is no token")) && !said.contains(value), "{said}");
    }
    Ok(())
}

#[test]
fn a_secret_that_is_needed_and_missing_ends_the_start_and_is_named() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let (bot, token) = ("TELEGRAM_BOT_TOKEN", "OPENCLAW_GATEWAY_TOKEN");
    let webhook = "[telegram]\nmode = 'webhook'\nwebhook_url = 'https://claw.example/'\n";
    for (config, env, name, told) in [
        ("", "OPENCLAW_GATEWAY_TOKEN=\n", token, "is empty (.env)"),
        ("", "OPENCLAW_GATEWAY_READ_TOKEN=''\n", "OPENCLAW_GATEWAY_READ_TOKEN", "is empty (.env)"),
        ("", "TELEGRAM_BOT_TOKEN=\n", bot, "is empty (.env)"),
        (webhook, "", bot, "`mode` in [telegram] needs a bot"),
        ("[telegram]\nallow = [1]\n", "", bot, "`allow` in [telegram] needs a bot"),
        ("[telegram]\nallow = [1]\n", "TELEGRAM_BOT_TOKEN=\n", bot, "is empty (.env)"),
        ("[telegram]\noperators = [1]\n", "", bot, "`operators` in [telegram] needs a bot"),
        ("[alerts]\nchats = [1]\n", "", bot, "`chats` in [alerts] needs a bot"),
        ("[alerts]\nchats = [1]\n[telegram]\nenabled = false\n", "", bot, "`enabled = false`"),
    ] {
        home.configure(&quick(config))?;
        secrets(&home, env)?;
        let output = home.command(&["run"])?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{config} {env}: {said}");
        assert!(said.contains(name) && said.contains(told), "{config} {env}: {said}");
        assert!(!home.path().join("openclaw.db").exists() && home.hosts()?.is_empty());
    }
    // What has no gateway needs none of it; and what is given elsewhere is not empty.
    home.configure(&quick("[gateway]\nenabled = false\n[alerts]\nchats = [1]\n"))?;
    secrets(&home, "OPENCLAW_GATEWAY_TOKEN=\n")?;
    assert!(home.start_ready(&["scout"])?.stop()?.success());
    home.configure(&quick(""))?;
    secrets(&home, &tokens())?;
    let mut command = home.command(&["run"])?;
    command.env(token, "");
    let daemon = home.start_as(command)?;
    assert_eq!(Http::of(&home, Some(TOKEN))?.get("/api/v1/agents")?.status, 200);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_fresh_installation_starts_without_a_token_and_tells_how_to_make_one() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let gateway = home.component("gateway")?;
    assert_eq!(
        (gateway["state"].as_str(), gateway["health"].as_str()),
        (Some("ready"), Some("ok")),
        "{gateway}"
    );
    assert!(
        gateway["reason"].as_str().is_some_and(|why| why.contains("OPENCLAW_GATEWAY_TOKEN")),
        "{gateway}"
    );
    assert_eq!(gateway["evidence"]["at"].as_str(), None);
    assert_eq!(Http::of(&home, None)?.get("/healthz")?.status, 200);
    assert!(home.component("gateway")?["evidence"]["at"].is_string());
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn it_can_be_left_out_and_run_alone() -> Result<()> {
    let home = Home::new(&quick("[gateway]\nenabled = false\n"), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    assert!(home.component("gateway").is_err());
    scout_answers(&home)?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn secrets_are_nowhere_to_be_seen() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    secrets(&home, &tokens())?;
    let mut command = home.command(&["run"])?;
    command.env("OPENCLAW_LOG", "debug");
    let daemon = home.start_as(command)?;
    home.until("scout", "ready")?;
    let mut shown = home.ok(&["status", "--json"])? + &home.ok(&["config", "show"])?;
    for token in [TOKEN, READ, "wrong-0123456789abcdef"] {
        let http = Http::of(&home, Some(token))?;
        shown += &http.get("/readyz")?.text;
        for path in
            ["/nowhere", "/api/v1/openclaw/status", "/api/v1/tasks", "/metrics", "/api/v1/openapi.json"]
        {
            shown += &http.get(path)?.text;
        }
        shown += &http.post("/api/v1/messages", &serde_json::json!({"agent": "scout", "text": 7}))?.text;
    }
    assert!(daemon.stop()?.success());
    shown += &home.log();
    assert!(shown.contains("OPENCLAW_GATEWAY_TOKEN (.env)") && shown.contains("/api/v1/messages"), "{shown}");
    for token in [TOKEN, READ, "wrong-0123456789abcdef"] {
        assert!(!shown.contains(token), "{shown}");
    }
    Ok(())
}

#[test]
fn a_stop_does_not_wait_for_who_is_idle() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let http = Http::of(&home, None)?;
    let fresh = http.connect()?;
    let mut half = http.connect()?;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: ")?;
    let mut used = http.connect()?;
    used.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let mut answer = [0; 16];
    used.read_exact(&mut answer)?;
    assert_eq!(&answer, b"HTTP/1.1 200 OK\r");
    assert!(daemon.stop()?.success());
    for mut stream in [fresh, half, used] {
        let mut rest = Vec::new();
        // Closed, or reset where something had not been read.
        let _ = stream.read_to_end(&mut rest);
    }
    let again = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], http.address.port())));
    assert!(again.is_ok(), "{again:?}");
    Ok(())
}
