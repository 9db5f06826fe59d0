//! Everything that somebody may send: told what is wrong with it, and nothing of it stored.

use std::io::{Read, Write};

use anyhow::Result;
use openclaw_tests::http::Http;
use serde_json::{Value, json};

use super::{TOKEN, problem, stage};
use crate::support::scout_answers;

const MESSAGES: &str = "/api/v1/messages";

fn message(fields: Value) -> String {
    let mut message = json!({"agent": "scout", "text": "x"});
    if let (Some(message), Some(fields)) = (message.as_object_mut(), fields.as_object()) {
        message.extend(fields.clone());
    }
    message.to_string()
}

#[test]
fn no_message_that_is_none_is_taken() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let long = "k".repeat(10_000);
    for (body, status, code, words) in [
        // No JSON.
        ("", 400, "malformed", "EOF"),
        ("{", 400, "malformed", "EOF"),
        ("{\"agent\": \"scout\", \"text\": \"x\"} {}", 400, "malformed", "trailing"),
        ("{'agent': 'scout'}", 400, "malformed", "key must be a string"),
        ("\u{feff}{}", 400, "malformed", "expected value"),
        ("{\"agent\": \"scout\", \"text\": \"\\ud800\"}", 400, "malformed", "hex escape"),
        (&format!("{{\"agent\": \"scout\", \"data\": {deep}}}"), 422, "invalid_message", "nested deeper"),
        // Another type, another key, the same key twice.
        ("[]", 422, "malformed", ""),
        (r#"["scout", "x", {}, "s", "k", 0]"#, 422, "malformed", "object"),
        ("null", 422, "malformed", "null"),
        ("7", 422, "malformed", "integer"),
        (&message(json!({"text": 7})), 422, "malformed", "text: invalid type: integer `7`"),
        (&message(json!({"text": ["x"]})), 422, "malformed", "text"),
        (&message(json!({"agent": {}})), 422, "malformed", "agent"),
        (&message(json!({"priority": 1e30})), 422, "malformed", "priority"),
        (&message(json!({"priority": 2_147_483_648_u64})), 422, "malformed", "priority"),
        (&message(json!({"session": 1})), 422, "malformed", "session"),
        (&message(json!({"txet": "x"})), 422, "malformed", "txet"),
        (&message(json!({"wait_ms": 1})), 422, "malformed", "wait_ms"),
        ("{\"agent\": \"scout\", \"agent\": \"atlas\", \"text\": \"x\"}", 422, "malformed", "duplicate"),
        // Nothing to say, or too much.
        (&message(json!({"text": null})), 422, "invalid_message", "nothing to say"),
        (&message(json!({"text": ""})), 422, "invalid_message", "nothing was stored"),
        (&message(json!({"text": "x".repeat(1 << 20)})), 422, "invalid_message", "tasks.max_payload"),
        (&message(json!({"text": "x".repeat(3 << 20)})), 413, "body_too_large", "max_body"),
        (&message(json!({"text": "x".repeat(10 << 20)})), 413, "body_too_large", "max_body"),
        // Names.
        (&message(json!({"agent": "scuot"})), 404, "unknown_agent", "did you mean `scout`?"),
        (&message(json!({"agent": ""})), 404, "unknown_agent", "no agent ``"),
        (&message(json!({"agent": "../scout"})), 404, "unknown_agent", "no agent `../scout`"),
        (&message(json!({"agent": "<script>alert(1)</script>"})), 404, "unknown_agent", "no agent"),
        (&message(json!({"agent": "scout\u{0}"})), 404, "unknown_agent", "scout\\0"),
        (&message(json!({"agent": "\u{202e}tuocs"})), 404, "unknown_agent", "\\u{202e}tuocs"),
        (&message(json!({"agent": "scout\r\nx: y"})), 404, "unknown_agent", "scout\\r\\nx"),
        (&message(json!({"session": ""})), 422, "invalid_message", "1 to 256 bytes"),
        (&message(json!({"session": "a\nb"})), 422, "invalid_message", "control character"),
        (&message(json!({"session": "a\u{202e}b"})), 422, "invalid_message", "control character"),
        (&message(json!({"session": "a\u{2066}b"})), 422, "invalid_message", "control character"),
        (&message(json!({"idempotency_key": "\u{200f}"})), 422, "invalid_message", "control character"),
        (&message(json!({"idempotency_key": long})), 422, "invalid_message", "1 to 256 bytes"),
    ] {
        let request = http.request("POST", MESSAGES).header("content-type", "application/json");
        let answer = http.send(request.body(body)?);
        // The client may find the door closed before all of ten megabytes has been taken.
        let Ok(answer) = answer else {
            assert_eq!(status, 413, "{body:.80}");
            continue;
        };
        let shown: String = body.chars().take(80).collect();
        assert_eq!(answer.status, status, "{shown}: {}", answer.text);
        let detail = problem(&answer, status, code);
        assert!(detail.contains(words), "`{words}` is not in the answer to {shown}: {detail}");
        assert!(!detail.chars().any(|c| c.is_control() || c == '\u{202e}'), "{detail:?}");
    }
    nothing_stored(&http)?;
    scout_answers(&home)?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn html_and_direction_marks_of_a_text_are_kept_and_served_as_nothing_else() -> Result<()> {
    let (_home, daemon, http) = stage("")?;
    let odd = "<img src=x onerror=alert(1)> \u{202e}gnorts\u{202c} \u{1f98e} \u{0} \u{7f}";
    let answer = http.post(
        &format!("{MESSAGES}?wait=30s"),
        &json!({"agent": "misbehaving", "text": format!("echo x{odd}x"), "session": "<b>ünïcödé</b>"}),
    )?;
    assert_eq!(answer.json()?["result"]["text"], format!("x{odd}x"), "{}", answer.text);
    assert_eq!(
        (answer.header("content-type"), answer.header("x-content-type-options")),
        ("application/json", "nosniff")
    );
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn paths_queries_and_headers_that_are_none_are_told() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    for (path, status, code) in [
        ("/", 404, "not_found"),
        ("/index.html", 404, "not_found"),
        ("/api", 404, "not_found"),
        ("/api/v2/agents", 404, "not_found"),
        ("/api/v1/agents/", 404, "not_found"),
        ("/api/v1//agents", 404, "not_found"),
        ("/api/v1/agents/../tasks", 404, "not_found"),
        ("/api/v1/agents/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "unknown_agent"),
        ("/api/v1/agents/..%5c..%5cetc", 404, "unknown_agent"),
        ("/api/v1/agents/scout%00", 404, "unknown_agent"),
        ("/api/v1/agents/%e2%80%aescout", 404, "unknown_agent"),
        ("/api/v1/agents/%ff", 400, "invalid_path"),
        ("/api/v1/agents/%3Cscript%3E", 404, "unknown_agent"),
        ("/healthz/../api/v1/agents", 404, "not_found"),
        ("/metrics/", 404, "not_found"),
        ("/api/v1/tasks?limit=0", 400, "invalid_query"),
        ("/api/v1/tasks?limit=-1", 400, "invalid_query"),
        ("/api/v1/tasks?limit=1001", 400, "invalid_query"),
        ("/api/v1/tasks?limit=all", 400, "invalid_query"),
        ("/api/v1/tasks?state=lost", 400, "invalid_query"),
        ("/api/v1/tasks?colour=red", 400, "invalid_query"),
        ("/api/v1/tasks?agent=scout&agent=atlas", 400, "invalid_query"),
        ("/api/v1/events?after=-1", 400, "invalid_query"),
        ("/api/v1/events?after=now", 400, "invalid_query"),
    ] {
        // As it stands here: a client would tidy it up.
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        );
        let told = http.raw(head.as_bytes())?;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {told}");
        assert!(told.contains(&format!("\"code\":\"{code}\"")), "{path}: {told}");
        assert!(!told.contains("root:"), "{told}");
    }
    let long = format!("/api/v1/agents/{}", "a".repeat(5000));
    problem(&http.get(&long)?, 414, "path_too_long");
    for (method, path, allow) in [
        ("DELETE", "/api/v1/messages", "POST"),
        ("GET", "/api/v1/messages", "POST"),
        ("PUT", "/api/v1/agents/scout", "GET,HEAD"),
        ("PATCH", "/api/v1/openclaw/status", "GET,HEAD"),
        ("POST", "/api/v1/openapi.json", "GET, HEAD"),
    ] {
        let answer = http.send(http.request(method, path).body(())?)?;
        problem(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for kind in
        ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data"]
    {
        let request = http.request("POST", MESSAGES).header("content-type", kind);
        problem(&http.send(request.body(message(json!({})))?)?, 415, "unsupported_media_type");
    }
    let query =
        |wait: &str| http.post(&format!("{MESSAGES}?wait={wait}"), &json!({"agent": "scout", "text": "x"}));
    for wait in ["", "30", "soon", "-1s", "99999999999999999999s"] {
        problem(&query(wait)?, 400, "invalid_query");
    }
    let events = http.request("GET", "/api/v1/events").header("last-event-id", "x");
    problem(&http.send(events.body(())?)?, 400, "invalid_last_event_id");
    nothing_stored(&http)?;
    scout_answers(&home)?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn what_is_no_http_costs_only_its_connection() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let auth = format!("authorization: Bearer {TOKEN}\r\n");
    let body = message(json!({}));
    let long = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(300_000));
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    let length = body.len();
    for (bytes, begins) in [
        (String::from("\0\0\0\0\r\n\r\n"), "HTTP/1.1 400 "),
        ("GET\r\n\r\n".into(), "HTTP/1.1 400 "),
        ("GET /healthz HTTP/9.9\r\n\r\n".into(), "HTTP/1.1 400 "),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".into(), ""),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), ""),
        (long, "HTTP/1.1 431 "),
        (many, "HTTP/1.1 431 "),
        // A header within a header.
        (
            "GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: a\rset-cookie: b\r\n\r\n".into(),
            "HTTP/1.1 400 ",
        ),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\n folded: b\r\n\r\n".into(), "HTTP/1.1 400 "),
        // Two lengths, or a length and chunks: whoever stands before us must not see another request than we do.
        (
            format!(
                "POST {MESSAGES} HTTP/1.1\r\nhost: x\r\n{auth}content-length: {length}\r\ncontent-length: 3\r\n\r\n{body}"
            ),
            "HTTP/1.1 400 ",
        ),
        (format!("POST {MESSAGES} HTTP/1.1\r\nhost: x\r\n{auth}content-length: -1\r\n\r\n"), "HTTP/1.1 400 "),
        (
            format!("POST {MESSAGES} HTTP/1.1\r\nhost: x\r\n{auth}transfer-encoding: gzip\r\n\r\n{body}"),
            "HTTP/1.1 400 ",
        ),
        (
            format!(
                "POST {MESSAGES} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{auth}content-type: application/json\r\n\
                 transfer-encoding: chunked\r\n\r\nnothex\r\n{body}\r\n0\r\n\r\n"
            ),
            "HTTP/1.1 400 ",
        ),
    ] {
        let mut stream = http.connect()?;
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        let told = String::from_utf8_lossy(&told);
        let shown: String = bytes.chars().take(60).collect();
        assert!(told.starts_with(begins), "{shown:?}: {told}");
        assert!(!told.to_lowercase().contains("set-cookie"), "{told}");
    }
    // A request id of the client's comes back if it is a word, and never otherwise.
    for (id, comes_back) in [("abc-1.2:3_4", true), ("a b", false), ("<b>", false), (&"x".repeat(65), false)]
    {
        let answer = http.send(http.request("GET", "/healthz").header("x-request-id", id).body(())?)?;
        assert_eq!(answer.header("x-request-id") == id, comes_back, "{id}");
        assert!(!answer.header("x-request-id").is_empty());
    }
    nothing_stored(&http)?;
    scout_answers(&home)?;
    assert!(daemon.stop()?.success());
    Ok(())
}

fn nothing_stored(http: &Http) -> Result<()> {
    let tasks = http.get("/api/v1/tasks")?.json()?;
    assert_eq!(tasks["tasks"], json!([]));
    Ok(())
}
