use std::time::Duration;

use openclaw_tests::provider::Reply;

use super::*;

/// A daemon whose agent may fetch from these hosts.
fn allowed(hosts: &[String], allow_private: bool, more: &str) -> Result<(Home, Daemon)> {
    let fetch = format!("fetch = {{ hosts = {hosts:?}, allow_private = {allow_private} }}\n{more}");
    with(&[], &fetch)
}

fn fetch(home: &Home, url: &str) -> Result<Value> {
    call(home, "fetch", json!({"url": url}))
}

#[test]
fn a_page_comes_from_where_it_may_and_redirects_are_followed_there() -> Result<()> {
    let server = Provider::start()?;
    let (home, _daemon) = allowed(&[server.address.to_string()], true, "")?;
    let page = format!("http://{}/page", server.address);
    server.next([Reply::body("hello\u{0}wörld")]);
    assert_eq!(fetch(&home, &page)?, json!({"status": 200, "body": "hello\u{0}wörld"}));
    server.next([Reply::to("/there"), Reply::to(&page), Reply::Status(404, String::new(), "none".into())]);
    assert_eq!(fetch(&home, &page)?, json!({"status": 404, "body": "none"}));
    let lines: Vec<_> = server.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["GET /page", "GET /page", "GET /there", "GET /page"]);
    // No key of anybody goes there.
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| !asked.head.contains(KEY) && !asked.head.to_lowercase().contains("authorization"))
    );
    let recorded = &calls(&home, 2)?[0];
    assert_eq!(
        (&recorded["capability"], &recorded["model"]),
        (&"fetch".into(), &"127.0.0.1".into()),
        "{recorded}"
    );
    Ok(())
}

#[test]
fn no_way_leads_inside() -> Result<()> {
    let (server, other) = (Provider::start()?, Provider::start()?);
    let port = server.address.port();
    // The names are allowed; what they lead to is not, unless it is written with its port.
    let hosts = [
        server.address.to_string(),
        "localhost".into(),
        "169.254.169.254".into(),
        "127.0.0.1".into(),
        "[::1]".into(),
    ];
    let (home, _daemon) = allowed(&hosts, true, "")?;
    let page = format!("http://{}/", server.address);
    for (target, why) in [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254 is a private address"),
        ("http://localhost/", "is a private address"),
        ("http://127.0.0.1/", "127.0.0.1 is a private address"),
        ("http://[::1]/", "::1 is a private address"),
        ("http://2130706433/", "127.0.0.1 is a private address"),
        (&format!("http://localhost:{port}/"), "may not fetch from `localhost:"),
        (&format!("http://{}/", other.address), "may not fetch from `127.0.0.1:"),
        ("http://example.org/", "may not fetch from `example.org`"),
    ] {
        for url in [target, &page] {
            if url == page {
                server.next([Reply::to(target)]);
            }
            let error = fetch(&home, url)?;
            assert_eq!(error["kind"], "not_granted", "{target}: {error}");
            let text = error["message"].as_str().unwrap_or_default();
            assert!(
                text.contains(why) && text.contains("agents.misbehaving.fetch.hosts"),
                "{target}: {text}"
            );
        }
    }
    assert!(other.asked().is_empty());
    for (target, kind) in [
        ("file:///etc/passwd", "invalid"),
        ("ftp://x/", "invalid"),
        ("no address", "invalid"),
        ("http://user@localhost/", "invalid"),
    ] {
        assert_eq!(fetch(&home, target)?["kind"], kind, "{target}");
    }
    Ok(())
}

#[test]
fn private_addresses_are_shut_unless_the_operator_says_otherwise() -> Result<()> {
    let server = Provider::start()?;
    let (home, _daemon) =
        allowed(&[server.address.to_string(), format!("localhost:{}", server.address.port())], false, "")?;
    for url in [format!("http://{}/", server.address), format!("http://localhost:{}/", server.address.port())]
    {
        let error = fetch(&home, &url)?;
        assert_eq!(error["kind"], "not_granted", "{error}");
        assert!(
            error["message"].as_str().is_some_and(
                |text| text.contains("is a private address") && text.contains("allow_private = true")
            ),
            "{error}"
        );
    }
    assert!(server.asked().is_empty());
    Ok(())
}

#[test]
fn a_page_is_bounded_in_size_time_and_redirects() -> Result<()> {
    let server = Provider::start()?;
    let bounds = "[providers]\nfetch_timeout = '1s'\nmax_page = '1 KiB'\nmax_redirects = 2\n";
    let (home, _daemon) = allowed(&[server.address.to_string()], true, bounds)?;
    let page = format!("http://{}/", server.address);
    for (replies, why) in [
        (vec![Reply::body("x".repeat(2000))], "longer than [providers] max_page"),
        (
            vec![Reply::Raw(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(9000)).into_bytes())],
            "longer than",
        ),
        (vec![Reply::Never], "did not come within 1s"),
        (vec![Reply::Drip(Duration::from_millis(30))], "did not come within 1s"),
        (vec![Reply::to("/a"), Reply::to("/b"), Reply::to("/c")], "redirects more than 2 times"),
        (vec![Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx".to_vec())], "broke off"),
        (vec![Reply::to("http://[")], "redirects to an address that does not read"),
    ] {
        server.next(replies);
        let error = fetch(&home, &page)?;
        assert_eq!(error["kind"], "failed", "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(why)), "{why}: {error}");
    }
    Ok(())
}
