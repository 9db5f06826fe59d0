//! Messages that cannot be: a clear error, and nothing stored.

use anyhow::{Context, Result};
use openclaw_tests::daemon::{Daemon, Home};
use serde_json::{Value, json};

use crate::support::{fails, fails_with, quick, reply, scout_answers, send};

fn start() -> Result<(Home, Daemon)> {
    let home = Home::new(&quick(""), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    Ok((home, daemon))
}

fn assert_nothing_stored(home: &Home) -> Result<()> {
    assert_eq!(home.json(&["tasks", "list", "--json"])?, json!([]));
    assert_eq!(home.ok(&["tasks", "list"])?.trim(), "no tasks");
    Ok(())
}

#[test]
fn what_the_command_line_gets_wrong_is_told_and_not_stored() -> Result<()> {
    let (home, _daemon) = start()?;
    for (args, words) in [
        (&["send", "scuot", "hello"][..], &["no agent `scuot`", "did you mean `scout`?"][..]),
        (&["send", "nobody-like-that", "hello"], &["no agent `nobody-like-that`", "agents list"]),
        (&["send", "sc\u{1b}[31mout", "hello"], &["no agent `sc\\u{1b}[31mout`"]),
        (&["send", "scout", "--data", "{\"venue\": "], &["--data is no JSON", "nothing was sent"]),
        (&["send", "scout", "--data", "{} {}"], &["--data is no JSON"]),
        (&["send", "scout"], &["nothing to say"]),
        (&["send", "scout", ""], &["nothing to say"]),
        (&["send"], &["AGENT"]),
        (&["send", "scout", "hello", "--timeout", "soon"], &["soon"]),
        (
            &["send", "scout", "hello", "--session", ""],
            &["a session has 1 to 256 bytes", "nothing was stored"],
        ),
        (&["send", "scout", "hello", "--session", &"s".repeat(257)], &["a session has 1 to 256 bytes"]),
        (&["send", "scout", "hello", "--key", &"k".repeat(257)], &["a key has 1 to 256 bytes"]),
        (&["send", "scout", "hello", "--session", "a\nb"], &["session", "control character"]),
        (&["send", "scout", "hello", "--key", "a\u{7f}b"], &["key", "control character"]),
        (&["tasks", "show", "nonsense"], &["nonsense"]),
        (&["tasks", "show", "0190a000-0000-7000-8000-000000000000"], &["no task 0190a000", "tasks list"]),
        (&["tasks", "retry", "0190a000-0000-7000-8000-000000000000"], &["no task 0190a000"]),
        (&["tasks", "cancel", "0190a000-0000-7000-8000-000000000000"], &["no task 0190a000"]),
        (&["tasks", "list", "--state", "lost"], &["lost", "queued"]),
        (&["tasks", "list", "--agent", "scuot"], &["did you mean `scout`?"]),
        (&["agents", "start", "scuot"], &["did you mean `scout`?"]),
        (&["agents", "history", "scuot"], &["did you mean `scout`?"]),
        (&["agents", "strat", "scout"], &["start"]),
    ] {
        let said = fails(&home, 64, args)?;
        for word in words {
            assert!(said.contains(word), "`{word}` is not in the answer to {args:?}: {said}");
        }
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    assert_nothing_stored(&home)?;
    scout_answers(&home)
}

#[test]
fn a_message_over_the_limit_is_told_with_the_limit_and_not_stored() -> Result<()> {
    let (home, _daemon) = start()?;
    for (length, words) in [(2 << 20, "tasks.max_payload, 1 MiB"), (4 << 20, "tasks.max_payload, 1 MiB")] {
        let said = fails_with(64, &home, &["send", "scout", "-"], &"x".repeat(length))?;
        assert!(said.contains(words) && said.contains("nothing was stored"), "{said}");
    }
    // What is over the limit only once it is JSON is as well.
    let said = fails_with(64, &home, &["send", "scout", "-"], &"\"".repeat(600 << 10))?;
    assert!(said.contains("tasks.max_payload"), "{said}");
    // Even over the limit of a frame there is an answer.
    let said = fails_with(64, &home, &["send", "scout", "-"], &"\u{1}".repeat(4 << 20))?;
    assert!(said.contains("too long"), "{said}");
    // A file that is no text.
    let path = home.path().join("binary");
    std::fs::write(&path, [0xff, 0xfe, 0x00])?;
    let output = home.command(&["send", "scout", "-"])?.stdin(std::fs::File::open(&path)?).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(74) && said.contains("standard input"), "{}: {said}", output.status);
    assert_nothing_stored(&home)?;
    scout_answers(&home)
}

#[test]
fn what_a_program_gets_wrong_is_told_and_not_stored() -> Result<()> {
    let (home, _daemon) = start()?;
    let mut socket = home.socket()?;
    for (ask, words) in [
        (send(json!({"agent": "scout"})), "nothing to say"),
        (send(json!({"agent": "scout", "text": ""})), "nothing to say"),
        (send(json!({"agent": "scuot", "text": "x"})), "did you mean `scout`?"),
        (send(json!({"agent": "", "text": "x"})), "no agent ``"),
        (send(json!({"agent": "scout", "text": "x", "session": "\u{0}"})), "control character"),
        (send(json!({"agent": "scout", "text": "x", "session": ""})), "1 to 256 bytes"),
        (send(json!({"agent": "scout", "text": "x", "key": "k".repeat(10_000)})), "1 to 256 bytes"),
        (send(json!({"agent": "scout", "text": "x", "txet": "x"})), "txet"),
        (send(json!({"agent": "scout", "text": 7})), "does not read"),
        (send(json!({"agent": "scout", "text": "x", "wait_ms": -1})), "does not read"),
        (send(json!({"agent": "scout", "text": "x".repeat(2 << 20)})), "tasks.max_payload"),
        (json!({"dance": {}}), "dance"),
        (json!("send"), "does not read"),
        (json!(null), "does not read"),
        (json!({"task": {"id": "nonsense"}}), "does not read"),
    ] {
        let error = socket.call(ask.clone())?.err().with_context(|| format!("{ask} is taken"))?;
        assert_eq!(error["code"], "usage", "{ask}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(words)), "{ask}: {error}");
    }
    // The connection is as good as before.
    assert!(socket.call(json!("status"))?.is_ok());
    assert_nothing_stored(&home)
}

#[test]
fn frames_that_are_none_are_told_or_dropped_and_cost_only_their_connection() -> Result<()> {
    let (home, daemon) = start()?;
    let framed = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes(), bytes].concat();

    // Whole frames that are no requests: an answer each, and the connection goes on.
    let mut socket = home.socket()?;
    for bad in [&b"{\"id\": 1, \"ask\": "[..], b"", b"\xff\xfe\x00", b"[]", &[b'['; 100_000]] {
        socket.raw(&framed(bad))?;
        let (id, answer) = socket.answer()?;
        let error = answer.err().context("garbage is answered well")?;
        assert_eq!((id, &error["code"]), (0, &"usage".into()), "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("does not read")), "{error}");
    }
    assert!(socket.call(json!("status"))?.is_ok());

    // A length that cannot be: told, and the connection ends.
    for length in [8 * 1024 * 1024 + 1, u32::MAX] {
        let mut socket = home.socket()?;
        socket.raw(&length.to_le_bytes())?;
        let error = socket.answer()?.1.err().context("a huge length is answered well")?;
        assert!(error["message"].as_str().is_some_and(|text| text.contains("limit")), "{error}");
        let closed = socket.answer().expect_err("the connection goes on").to_string();
        assert!(closed.contains("closed"), "{closed}");
    }

    // Half a frame, and nobody there any more; a length, and nothing.
    for _ in 0..300 {
        home.socket()?.raw(&framed(b"{\"id\":1,\"ask\":\"status\"}")[..10])?;
        home.socket()?.raw(&[7, 0])?;
    }
    // A request whose sender does not wait for the answer.
    for _ in 0..50 {
        home.socket()?.ask(json!("status"))?;
    }
    assert_nothing_stored(&home)?;
    scout_answers(&home)?;
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_wait_of_any_length_is_one() -> Result<()> {
    let (home, _daemon) = start()?;
    let mut socket = home.socket()?;
    for wait in [0, 1, u64::from(u32::MAX), i64::MAX as u64, u64::MAX] {
        let ask = send(json!({"agent": "scout", "text": crate::support::ANALYZE, "wait_ms": wait}));
        let sent = socket.call(ask)?.map_err(|error| anyhow::anyhow!("{wait}: {error}"))?;
        assert!(sent["state"] == "done" || wait <= 1, "{wait}: {sent}");
    }
    Ok(())
}

#[test]
fn control_characters_of_a_text_arrive_and_are_not_shown_as_such() -> Result<()> {
    let home = Home::new(&quick("[agents.misbehaving]\n"), &["scout", "misbehaving"])?;
    let _daemon = home.start_ready(&["misbehaving"])?;
    let odd = "one\ttwo\u{1b}[31mred\u{0}\r\u{7}";
    assert_eq!(reply(&home, "misbehaving", &format!("echo x{odd}x"))?, format!("x{odd}x"));
    let list = home.json(&["tasks", "list", "--json"])?;
    assert_eq!(list[0]["payload"]["text"], Value::String(format!("echo x{odd}x")));
    let shown = home.ok(&["tasks", "list"])?;
    assert!(shown.contains("echo xone"), "{shown}");
    let raw = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    assert!(!raw(&shown), "{shown:?}");
    let shown = home.ok(&["tasks", "show", list[0]["id"].as_str().context("an id")?])?;
    assert!(shown.contains("echo xone") && !raw(&shown), "{shown:?}");
    Ok(())
}

#[test]
fn without_a_daemon_every_command_says_how_to_start_one() -> Result<()> {
    let home = Home::new(&quick(""), &[])?;
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["send", "scout", "hello"],
        &["agents", "list"],
        &["agents", "start", "scout"],
        &["agents", "history", "scout"],
        &["tasks", "list"],
        &["tasks", "show", "0190a000-0000-7000-8000-000000000000"],
    ] {
        let said = fails(&home, 69, args)?;
        assert!(said.contains("no daemon runs in"), "{args:?}: {said}");
        assert!(said.contains(&home.path().display().to_string()), "{args:?}: {said}");
        assert!(said.contains("openclaw run"), "{args:?}: {said}");
    }
    Ok(())
}
