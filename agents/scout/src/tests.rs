use std::time::{Duration, Instant};

use openclaw_agent_api::agent::ErrorClass;
use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::testkit::{TestAgent, TestHost};

use super::*;
use crate::series::EXAMPLE;

const START: &str = "2025-01-01T00:00:00Z";

fn scout(settings: Value) -> TestAgent<Scout> {
    let now = "2025-01-01T12:00:00Z".parse().unwrap();
    TestAgent::with_host(settings, TestHost::default().at(now)).unwrap()
}

/// A wobble of ±1 %, and a last return.
fn series(last: f64) -> Value {
    let start: DateTime<Utc> = START.parse().unwrap();
    let mut price = 100.0;
    let factors = (0..20).map(|n| if n % 2 == 0 { 1.01 } else { 0.99 }).chain([1.0 + last]);
    let prices: Vec<_> = factors
        .zip(0..)
        .map(|(factor, minute)| {
            price *= factor;
            json!({"at": start + TimeDelta::minutes(minute), "price": price, "volume": 3})
        })
        .collect();
    json!({"venue": "kraken", "asset": "BTC", "prices": prices})
}

#[test]
fn a_jump_is_a_signal_whose_fields_are_all_there() {
    let agent = scout(json!({}));
    let reply = agent.send(&format!("/analyze {}", series(0.04))).unwrap();
    let signal = &reply.data["signals"][0];
    assert_eq!(signal["type"], "momentum");
    assert_eq!((&signal["venue"], &signal["asset"]), (&json!("kraken"), &json!("BTC")));
    assert_eq!(signal["suggested_action"], "buy");
    assert_eq!(signal["risk_level"], "high");
    assert_eq!(signal["timestamp"], "2025-01-01T12:00:00Z");
    assert_eq!(signal["expires_at"], "2025-01-01T13:00:00Z");
    assert_eq!(signal["signal_id"].as_str().unwrap().len(), 16);
    assert!((0.5..=0.95).contains(&signal["confidence"].as_f64().unwrap()));
    assert_eq!((&reply.data["points"], &reply.data["ignored"]), (&json!(21), &json!(0)));
    assert!(reply.text.starts_with("Signal for BTC on kraken: buy, confidence 0."), "{}", reply.text);
    assert!(reply.text.contains("good until 2025-01-01T13:00:00Z"), "{}", reply.text);
}

#[test]
fn a_fall_is_a_signal_to_sell_with_another_id() {
    let agent = scout(json!({"expires_minutes": 5}));
    let fall = agent.send_data("/analyze", series(-0.04)).unwrap().data["signals"][0].clone();
    assert_eq!(
        (&fall["suggested_action"], &fall["expires_at"]),
        (&json!("sell"), &json!("2025-01-01T12:05:00Z"))
    );
    let again = agent.send_data("", series(-0.04)).unwrap().data["signals"][0].clone();
    assert_eq!(again["signal_id"], fall["signal_id"]);
    let rise = agent.send_data("analyze", series(0.04)).unwrap().data["signals"][0].clone();
    assert_ne!(rise["signal_id"], fall["signal_id"]);
}

#[test]
fn the_id_is_the_one_documented() {
    // Another implementation of FNV-1a gave this; it must never change between versions.
    let newest = momentum::Point { at: START.parse().unwrap(), price: 1.5 };
    assert_eq!(signal::signal_id("kraken", "BTC", &newest, signal::Action::Buy), "1be7ceb88886b845");
}

#[test]
fn the_threshold_decides() {
    let reply = scout(json!({})).send_data("/analyze", series(0.012)).unwrap();
    assert_eq!(reply.data["signals"], json!([]));
    assert!(reply.data["z"].as_f64().unwrap() > 1.0);
    assert!(reply.text.contains("No signal") && reply.text.contains("threshold is 2"), "{}", reply.text);
    let keen = scout(json!({"threshold": 1.0})).send_data("/analyze", series(0.012)).unwrap();
    assert_eq!(keen.data["signals"].as_array().unwrap().len(), 1);
}

#[test]
fn too_few_points_are_said_and_what_was_ignored() {
    let data = json!({"venue": "v", "asset": "a", "prices": [
        {"at": START, "price": 1.0}, {"at": START, "price": 2.0}, {"at": START, "price": null},
        {"at": "2024-12-30T00:00:00Z", "price": 3}, {"at": START, "price": 0},
    ]});
    let reply = scout(json!({})).send_data("/analyze", data).unwrap();
    assert_eq!(reply.data, json!({"signals": [], "points": 1, "ignored": 3, "duplicates": 1, "z": null}));
    assert!(
        reply.text.contains("1 usable points") && reply.text.contains("3 points were ignored"),
        "{}",
        reply.text
    );
}

#[test]
fn a_mistake_comes_back_with_an_example() {
    let agent = scout(json!({}));
    for text in [
        "",
        "/analyze",
        "/analyze {",
        "/analyze []x",
        "/analyze 3",
        "/analyze {\"venue\":\"v\",\"asset\":\"a\"}",
        "/analyze {\"venue\":\"\",\"asset\":\"a\",\"prices\":[]}",
        "/analyze {\"venue\":\"v\",\"asset\":7,\"prices\":[]}",
        "/analyze {\"venue\":\"v\",\"asset\":\"a\",\"prices\":[{\"at\":\"yesterday\",\"price\":1}]}",
        "/analyze {\"venue\":\"v\",\"asset\":\"a\",\"prices\":[{\"at\":\"2025-01-01T00:00:00Z\"}]}",
        "/analyze {\"venue\":\"v\",\"asset\":\"a\",\"prices\":[{\"at\":\"2025-01-01T00:00:00Z\",\"price\":\"1\"}]}",
        "/other",
        "hello",
    ] {
        let error = agent.send(text).unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid, "{text}");
        assert!(error.message.ends_with(EXAMPLE), "{error}");
    }
    assert!(agent.send(EXAMPLE).unwrap().text.contains("10 are needed"));
}

#[test]
fn a_hundred_thousand_points_are_quick() {
    let start: DateTime<Utc> = START.parse().unwrap();
    let prices: Vec<_> = (0..100_000_u32)
        .map(|n| {
            json!({"at": start + TimeDelta::milliseconds(800 * i64::from(n)), "price": 100.0 + f64::from(n % 7)})
        })
        .collect();
    let text = format!("/analyze {}", json!({"venue": "v", "asset": "a", "prices": prices}));
    assert!(text.len() < openclaw_agent_api::MAX_FRAME);
    let started = Instant::now();
    let reply = scout(json!({})).send(&text).unwrap();
    assert_eq!(reply.data["points"], 100_000);
    // A debug build on a busy machine takes a second or so; a square algorithm would take minutes.
    assert!(started.elapsed() < Duration::from_secs(20));
}
