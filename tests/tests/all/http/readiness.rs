//! `/healthz` and `/readyz`: evidence, and what fails by name.

use anyhow::{Context, Result};
use openclaw_tests::daemon::{BIND, Home};
use openclaw_tests::http::Http;
use openclaw_tests::server::Postgres;
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use super::{READ, secrets, tokens};
use crate::database::on;
use crate::support::quick;

/// `/readyz`, once it answers that.
fn ready(http: &Http, status: u16) -> Result<Value> {
    wait_for(&format!("/readyz to answer {status}"), || {
        let answer = http.get("/readyz")?;
        assert_eq!(answer.header("content-type"), "application/json");
        Ok(if answer.status == status { Some(answer.json()?) } else { None })
    })
}

fn check<'a>(ready: &'a Value, name: &str) -> Result<&'a Value> {
    let checks = ready["checks"].as_array().context("checks")?;
    checks.iter().find(|check| check["name"] == name).with_context(|| format!("no {name} in {ready}"))
}

#[test]
fn ready_means_that_each_part_has_shown_it() -> Result<()> {
    let home = Home::new(&quick("[agents.misbehaving]\n"), &["scout", "misbehaving"])?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    let http = Http::of(&home, None)?;
    let well = ready(&http, 200)?;
    assert_eq!((&well["status"], &well["failing"]), (&json!("ready"), &json!([])), "{well}");
    for name in ["store", "bus", "gateway", "scout", "misbehaving"] {
        let check = check(&well, name)?;
        assert_eq!(check["health"], "ok", "{check}");
        assert!(check["evidence"].is_string() && check["reason"].is_string(), "{check}");
    }
    assert!(check(&well, "store")?["age_seconds"].as_f64().is_some_and(|age| (0.0..60.0).contains(&age)));

    // Stopped by somebody: neither ready nor failing.
    home.ok(&["agents", "stop", "misbehaving"])?;
    let stopped = ready(&http, 200)?;
    assert_eq!(stopped["unknown"], json!(["misbehaving"]), "{stopped}");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn what_fails_is_named() -> Result<()> {
    let home = Home::new(&quick("[agents.missing]\n"), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let failing = ready(&Http::of(&home, None)?, 503)?;
    assert_eq!(
        (&failing["status"], &failing["failing"]),
        (&json!("not_ready"), &json!(["missing"])),
        "{failing}"
    );
    assert!(check(&failing, "missing")?["reason"].as_str().is_some_and(|why| why.contains("libmissing.so")));
    assert_eq!(check(&failing, "scout")?["health"], "ok");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_database_that_is_gone_is_what_fails_until_it_is_back() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let home = Home::new(&on(&server.url("postgres")), &["scout", "misbehaving"])?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    let http = Http::of(&home, None)?;
    ready(&http, 200)?;
    server.kill()?;
    let gone = ready(&http, 503)?;
    assert_eq!(gone["failing"], json!(["store"]), "{gone}");
    assert!(
        check(&gone, "store")?["reason"].as_str().is_some_and(|why| why.contains("the database")),
        "{gone}"
    );
    // The loop turns all the same.
    assert_eq!(http.get("/healthz")?.status, 200);
    server.start_again()?;
    ready(&http, 200)?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn strangers_are_told_whether_and_not_why() -> Result<()> {
    let home = Home::new(&quick("[agents.missing]\n"), &["scout"])?;
    secrets(&home, &tokens())?;
    let daemon = home.start_ready(&["scout"])?;
    let http = Http::of(&home, None)?;
    for header in ["x-forwarded-for", "forwarded", "cf-connecting-ip"] {
        let answer = http.send(http.request("GET", "/readyz").header(header, "192.0.2.7").body(())?)?;
        assert_eq!((answer.status, answer.json()?), (503, json!({"status": "not_ready"})));
    }
    let known = Http::of(&home, Some(READ))?;
    let answer = known.send(known.request("GET", "/readyz").header("x-real-ip", "192.0.2.7").body(())?)?;
    assert_eq!(answer.json()?["failing"], json!(["missing"]));
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_page_that_has_led_its_name_here_is_told_no_more_than_strangers() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    secrets(&home, &tokens())?;
    let daemon = home.start_ready(&["scout"])?;
    let http = Http::of(&home, None)?;
    let port = http.address.port();
    let ask = |path: &str, hosts: &[&str], more: &str| {
        let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        http.raw(format!("GET {path} HTTP/1.1\r\n{hosts}{more}connection: close\r\n\r\n").as_bytes())
    };
    let evil = ["evil.example", &format!("evil.example:{port}"), "localhost.evil.example", "@", ""];
    for host in evil.iter().map(|host| vec![*host]).chain([vec!["localhost", "evil.example"]]) {
        let ready = ask("/readyz", &host, "")?;
        assert!(ready.contains("{\"status\":\"ready\"}") && !ready.contains("scout"), "{host:?}: {ready}");
        for path in ["/metrics", "/api/v1/openapi.json"] {
            let told = ask(path, &host, "origin: http://evil.example\r\n")?;
            assert!(told.starts_with("HTTP/1.1 401 "), "{host:?}: {told}");
        }
        let known = ask("/metrics", &host, &format!("authorization: Bearer {READ}\r\n"))?;
        assert!(known.starts_with("HTTP/1.1 200 "), "{host:?}: {known}");
    }
    let told = ask(&format!("http://evil.example:{port}/metrics"), &["localhost"], "")?;
    assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    for host in
        ["localhost", &format!("LocalHost:{port}"), "127.0.0.1", &format!("[::1]:{port}"), "192.0.2.7"]
    {
        assert!(ask("/metrics", &[host], "")?.starts_with("HTTP/1.1 200 "), "{host}");
        assert!(ask("/readyz", &[host], "")?.contains("scout"), "{host}");
    }
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn everybody_may_ask_and_only_ask() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    secrets(&home, &tokens())?;
    let mut command = home.command(&["run"])?;
    command.env(BIND, "0.0.0.0:0");
    let daemon = home.start_as(command)?;
    home.until("scout", "ready")?;
    let port = Http::of(&home, None)?.address.port();
    let http = Http::at(([127, 0, 0, 1], port).into(), None);
    assert_eq!(http.get("/healthz")?.json()?, json!({"status": "alive"}));
    for path in ["/healthz", "/readyz"] {
        let answer = http.post(path, &json!({}))?;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(http.send(http.request("HEAD", path).body(())?)?.text, "");
    }
    assert!(daemon.stop()?.success());
    Ok(())
}
