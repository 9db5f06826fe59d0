//! Full servers, foreign values, and the exact forms that others read.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;

use super::server::Server;
use super::{Running, fields, next, number, signal, status, subscribed};
use crate::{Bus, Channel, Error, Family, Key, Projection};

fn filler(number: usize) -> Projection {
    let key = Key::breaker("test", &number.to_string()).unwrap();
    Projection { key, fields: fields(&[("text", &"x".repeat(10_000))]), ttl: None }
}

#[tokio::test]
async fn a_server_that_evicts_takes_everything() {
    let args = ["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(server) = Server::start(&args) else { return };
    let bus = Running::on(server.port).up().await;
    let shown = fields(&[("state", "ready")]);
    for number in 0..20 {
        bus.project_all((number * 100..(number + 1) * 100).map(filler).collect()).await.unwrap();
        bus.project(status("atlas"), shown.clone(), Some(Duration::from_secs(30))).await.unwrap();
        assert_eq!(bus.read(&status("atlas")).await, Ok(Some(shown.clone())));
    }
    let left = bus.list(&Family::Breakers).await.unwrap();
    assert!(left.whole && left.keys.len() < 400, "{}", left.keys.len());
}

#[tokio::test]
async fn a_server_that_is_full_says_so_and_carries_signals() {
    let Some(server) = Server::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let bus = Running::on(server.port).up().await;
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    subscribed(&mut subscription).await;
    let mut told = None;
    for number in 0..20 {
        let some = (number * 50..(number + 1) * 50).map(filler).collect();
        told = bus.project_all(some).await.err().or(told);
    }
    let told = told.expect("it takes more than it has room for");
    assert!(matches!(told, Error::Full { .. }), "{told}");
    assert!(bus.health().connected, "a refusal is no loss");
    bus.publish(Channel::SystemAlerts, signal(1)).await.unwrap();
    assert_eq!(number(&next(&mut subscription).await), Some(1));
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    bus.project_all(vec![filler(0)]).await.unwrap();
}

#[tokio::test]
async fn what_others_wrote_is_told_from_ours() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    for (command, key) in [("SET", "agent:text:status"), ("SADD", "agent:many:status")] {
        server.tell(&[command, key, "value"]);
    }
    server.tell(&["HSET", "agent:Not A Name:status", "a", "b"]);
    bus.project(status("atlas"), fields(&[("a", "b")]), None).await.unwrap();
    assert_eq!(bus.list(&Family::AgentStatus).await.unwrap().keys, [status("atlas")].into());
    let told = bus.read(&status("text")).await.unwrap_err();
    assert_eq!(told, Error::Foreign { key: "agent:text:status".into() });
    // Its owner's next beat mends it.
    bus.project(status("text"), fields(&[("a", "b")]), None).await.unwrap();
    assert!(bus.read(&status("text")).await.unwrap().is_some());
    let binary = "return redis.call('HSET', 'agent:binary:status', 'a', string.char(255))";
    server.tell(&["EVAL", binary, "0"]);
    assert!(matches!(bus.read(&status("binary")).await, Err(Error::Foreign { .. })));
}

#[tokio::test]
async fn what_is_no_envelope_is_not_heard() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    subscribed(&mut subscription).await;
    let mut other_form = serde_json::to_value(signal(7)).unwrap();
    other_form["v"] = 2.into();
    let large = format!("{{\"v\":1,\"data\":\"{}\"}}", "x".repeat(100_000));
    for text in ["", "hello", "{}", "[1]", &other_form.to_string(), &large, "\u{0}"] {
        assert_eq!(server.tell(&["PUBLISH", "system:alerts", text]), ":1");
    }
    bus.publish(Channel::SystemAlerts, signal(1)).await.unwrap();
    assert_eq!(number(&next(&mut subscription).await), Some(1));
    // Another program's, as long as it is one.
    let foreign = serde_json::to_string(&signal(8)).unwrap();
    server.tell(&["PUBLISH", "system:alerts", &foreign]);
    assert_eq!(number(&next(&mut subscription).await), Some(8));
}

#[tokio::test]
async fn others_read_the_documented_forms() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    let shown = fields(&[("state", "ready"), ("status", "ok")]);
    bus.project(status("atlas"), shown, Some(Duration::from_secs(30))).await.unwrap();
    assert_eq!(server.tell(&["TYPE", "agent:atlas:status"]), "+hash");
    assert_eq!(server.tell(&["HGET", "agent:atlas:status", "state"]), "$5\r\nready");
    let left: i64 = server.tell(&["PTTL", "agent:atlas:status"])[1..].parse().unwrap();
    assert!((1..=30_000).contains(&left), "{left}");

    let mut listener = BufReader::new(server.say(&["SUBSCRIBE", "gateway:events"]));
    let mut line = |lines: usize| {
        let mut line = String::new();
        for _ in 0..lines {
            line.clear();
            listener.read_line(&mut line).unwrap();
        }
        line.trim_end().to_owned()
    };
    assert_eq!(line(6), ":1");
    let sent = signal(4);
    bus.publish(Channel::GatewayEvents, sent.clone()).await.unwrap();
    let heard: Value = serde_json::from_str(&line(7)).unwrap();
    let expected = serde_json::json!({
        "v": 1, "id": sent.id, "ts": "1970-01-01T00:00:00.000000Z", "source": "atlas", "type": "test",
        "data": {"number": 4},
    });
    assert_eq!(heard, expected);
}
