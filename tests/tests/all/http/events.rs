//! Events as they happen, taken up again where they were left.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use openclaw_tests::http::Http;
use serde_json::Value;

use super::{READ, problem, stage};
use crate::support::reply;

/// A stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    /// Listens, and waits until the stream has begun.
    fn listen(http: &Http, query: &str, last: Option<&str>) -> Result<Self> {
        let mut stream = http.connect()?;
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /api/v1/events{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {READ}\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut events = Self(BufReader::new(stream));
        let mut head = String::new();
        while !events.line()?.starts_with("retry:") {
            head = String::from("seen");
        }
        assert_eq!(head, "seen");
        Ok(events)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the stream has ended");
        }
        Ok(line.trim_end().to_owned())
    }

    /// The next event: its id, what happened, and the rest.
    fn next(&mut self) -> Result<(String, String, Value)> {
        let (mut id, mut kind) = (String::new(), String::new());
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", rest)) => id = rest.into(),
                Some(("event", rest)) => kind = rest.into(),
                Some(("data", rest)) => {
                    let data: Value = serde_json::from_str(rest).with_context(|| rest.to_owned())?;
                    assert_eq!(
                        (data["id"].to_string(), data["kind"].as_str()),
                        (id.clone(), Some(kind.as_str()))
                    );
                    return Ok((id, kind, data));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_happens_is_heard_and_nothing_is_missed_by_who_comes_back() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let mut events = Events::listen(&http, "", None)?;
    home.ok(&["agents", "restart", "scout"])?;
    let (mut heard, mut ready) = (Vec::new(), false);
    while !ready {
        let (id, kind, event) = events.next()?;
        ready = kind == "agent.transition" && event["agent"] == "scout" && event["payload"]["to"] == "ready";
        heard.push(id);
    }
    drop(events);
    // While nobody listens.
    home.ok(&["agents", "stop", "scout"])?;
    reply(&home, "misbehaving", "echo x")?;
    // From the first of what was heard, and from the last: the same, and what came meanwhile.
    let mut again = Events::listen(&http, "", heard.first().map(String::as_str))?;
    for id in &heard[1..] {
        assert_eq!(again.next()?.0, *id);
    }
    let mut from_last = Events::listen(&http, "?after=0", heard.last().map(String::as_str))?;
    loop {
        let (left, right) = (again.next()?, from_last.next()?);
        assert_eq!(left, right);
        if left.2["payload"]["to"] == "stopped" {
            break;
        }
    }
    // All that is kept, in order.
    let mut all = Events::listen(&http, "?after=0", None)?;
    let mut before = 0;
    for _ in 0..heard.len() + 5 {
        let id: i64 = all.next()?.0.parse()?;
        assert!(id > before, "{id} after {before}");
        before = id;
    }
    // Listeners do not keep a daemon from stopping, and their streams end.
    assert!(daemon.stop()?.success());
    while all.next().is_ok() {}
    Ok(())
}

#[test]
fn who_takes_up_after_an_id_that_no_event_has_hears_what_comes() -> Result<()> {
    let (home, daemon, http) = stage("")?;
    let last = i64::MAX.to_string();
    let query = format!("?after={last}");
    for (query, last) in [(query.as_str(), None), ("", Some(last.as_str())), ("?after=1000000", None)] {
        let mut events = Events::listen(&http, query, last)?;
        home.ok(&["agents", "restart", "scout"])?;
        let (_, kind, event) = events.next()?;
        assert_eq!((kind.as_str(), &event["agent"]), ("agent.transition", &"scout".into()), "{event}");
        home.until("scout", "ready")?;
    }
    problem(&http.get("/api/v1/events?after=9223372036854775808")?, 400, "invalid_query");
    assert!(!home.log().contains("panicked"));
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn listeners_are_bounded() -> Result<()> {
    let (_home, daemon, http) = stage("[gateway]\nmax_listeners = 2\n")?;
    let _first = Events::listen(&http, "", None)?;
    let second = Events::listen(&http, "", None)?;
    problem(&http.get("/api/v1/events")?, 503, "too_many_listeners");
    drop(second);
    openclaw_tests::wait_for("a place to be free", || Ok(Events::listen(&http, "", None).ok().map(drop)))?;
    assert!(daemon.stop()?.success());
    Ok(())
}
