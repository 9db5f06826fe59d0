//! What both buses promise.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::server::Server;
use super::{Running, fields, next, number, signal, status, subscribed, until};
use crate::{Bus, Channel, Envelope, Error, Family, Fields, Heard, Key, LocalBus, Projection};

/// A bus as two components see it.
struct Pair {
    one: Arc<dyn Bus>,
    other: Arc<dyn Bus>,
    _kept: Option<(Server, Running, Running)>,
}

fn local() -> Option<Pair> {
    let bus = Arc::new(LocalBus::default());
    Some(Pair { one: bus.clone(), other: bus, _kept: None })
}

async fn redis() -> Option<Pair> {
    let server = Server::start(&[])?;
    let (one, other) = (Running::on(server.port).up().await, Running::on(server.port).up().await);
    Some(Pair { one: one.bus.clone(), other: other.bus.clone(), _kept: Some((server, one, other)) })
}

macro_rules! on_both {
    ($($test:ident)+) => {
        mod on_local {
            $(#[tokio::test]
            async fn $test() {
                let Some(pair) = super::local() else { return };
                super::$test(&pair).await;
            })+
        }
        mod on_redis {
            $(#[tokio::test]
            async fn $test() {
                let Some(pair) = super::redis().await else { return };
                super::$test(&pair).await;
            })+
        }
    };
}

on_both! {
    what_is_published_is_heard_by_all_who_listen_to_that_channel
    everything_after_the_confirmation_is_heard
    a_slow_listener_loses_the_oldest_and_is_told_how_many
    a_projection_is_replaced_whole_and_forgotten
    a_projection_expires
    many_are_shown_and_read_in_one_go
    families_are_listed
    what_is_too_large_is_refused_whole
}

async fn what_is_published_is_heard_by_all_who_listen_to_that_channel(pair: &Pair) {
    let mut here = pair.one.subscribe(Channel::SystemAlerts);
    let mut there = pair.other.subscribe(Channel::SystemAlerts);
    let mut elsewhere = pair.other.subscribe(Channel::AgentHeartbeat);
    for subscription in [&mut here, &mut there, &mut elsewhere] {
        subscribed(subscription).await;
    }
    let sent = [signal(1), signal(2)];
    for envelope in &sent {
        pair.one.publish(Channel::SystemAlerts, envelope.clone()).await.unwrap();
    }
    let last = signal(3);
    pair.one.publish(Channel::AgentHeartbeat, last.clone()).await.unwrap();
    for subscription in [&mut here, &mut there] {
        for envelope in &sent {
            assert_eq!(next(subscription).await, Heard::Signal(Arc::new(envelope.clone())));
        }
    }
    assert_eq!(next(&mut elsewhere).await, Heard::Signal(Arc::new(last)));
}

async fn everything_after_the_confirmation_is_heard(pair: &Pair) {
    for channel in Channel::ALL {
        for sent in 0..20 {
            let mut subscription = pair.one.subscribe(channel);
            subscribed(&mut subscription).await;
            pair.other.publish(channel, signal(sent)).await.unwrap();
            assert_eq!(number(&next(&mut subscription).await), Some(sent));
        }
    }
}

async fn a_slow_listener_loses_the_oldest_and_is_told_how_many(pair: &Pair) {
    let (all, lost) = (1024 + 300, 300);
    let mut slow = pair.one.subscribe(Channel::OutcomeLearn);
    let mut quick = pair.one.subscribe(Channel::OutcomeLearn);
    subscribed(&mut slow).await;
    for sent in 0..all {
        pair.other.publish(Channel::OutcomeLearn, signal(sent)).await.unwrap();
        assert_eq!(number(&next(&mut quick).await), Some(sent));
    }
    assert_eq!(next(&mut slow).await, Heard::Missed(Some(lost)));
    for sent in lost..all {
        assert_eq!(number(&next(&mut slow).await), Some(sent));
    }
}

async fn a_projection_is_replaced_whole_and_forgotten(pair: &Pair) {
    let keys = [
        status("atlas"),
        Key::breaker("agent", "a:b").unwrap(),
        Key::MissionState(Uuid::now_v7()),
        Key::memory("atlas".parse().unwrap(), "[a-z]*?\\ü").unwrap(),
    ];
    for key in keys {
        assert_eq!(pair.other.read(&key).await, Ok(None));
        let first = fields(&[("state", "ready"), ("pid", "7"), ("unit", ""), ("text", "ü\r\n\0")]);
        pair.one.project(key.clone(), first.clone(), None).await.unwrap();
        assert_eq!(pair.other.read(&key).await, Ok(Some(first)));
        let second = fields(&[("state", "open")]);
        pair.one.project(key.clone(), second.clone(), None).await.unwrap();
        assert_eq!(pair.other.read(&key).await, Ok(Some(second.clone())), "the old fields are still there");
        pair.other.forget(&key).await.unwrap();
        assert_eq!(pair.one.read(&key).await, Ok(None));
        pair.one.forget(&key).await.unwrap();
        pair.one.project(key.clone(), second, None).await.unwrap();
        pair.one.project(key.clone(), Fields::new(), None).await.unwrap();
        assert_eq!(pair.one.read(&key).await, Ok(None));
    }
}

async fn a_projection_expires(pair: &Pair) {
    let (brief, long) = (Some(Duration::from_millis(50)), Some(Duration::from_secs(100)));
    let shown = fields(&[("state", "ready")]);
    for (agent, ttl) in [("brief", brief), ("long", long), ("endless", Some(Duration::MAX))] {
        pair.one.project(status(agent), shown.clone(), ttl).await.unwrap();
    }
    // A beat puts it off, and without a time it stays.
    for agent in ["kept", "renewed"] {
        pair.one.project(status(agent), shown.clone(), brief).await.unwrap();
        let ttl = if agent == "kept" { None } else { long };
        pair.one.project(status(agent), shown.clone(), ttl).await.unwrap();
    }
    until("the end of it", async || pair.other.read(&status("brief")).await.unwrap().is_none().then_some(()))
        .await;
    let agents: Vec<_> = pair.other.list(&Family::AgentStatus).await.unwrap().keys.into_iter().collect();
    assert_eq!(agents, ["endless", "kept", "long", "renewed"].map(status));
}

async fn many_are_shown_and_read_in_one_go(pair: &Pair) {
    let key = |number: u32| status(&format!("agent-{number}"));
    let shown = |number: u32| fields(&[("pid", &number.to_string())]);
    let ttl = Some(Duration::from_secs(30));
    let all = (0..1000).map(|number| Projection { key: key(number), fields: shown(number), ttl });
    pair.one.project_all(all.collect()).await.unwrap();
    let keys: Vec<_> = (0..1001).map(key).collect();
    let read = pair.other.read_all(&keys).await.unwrap();
    assert_eq!(read.len(), 1001);
    assert!((0..1000).all(|number| read[number as usize] == Some(shown(number))));
    assert_eq!(read[1000], None);
    pair.one.project_all(Vec::new()).await.unwrap();
    assert_eq!(pair.one.read_all(&[]).await, Ok(Vec::new()));
}

async fn families_are_listed(pair: &Pair) {
    let atlas = || "atlas".parse().unwrap();
    let mut keys: Vec<_> = (0..3000).map(|n| Key::breaker("agent", &format!("b{n}")).unwrap()).collect();
    keys.extend([
        status("atlas"),
        Key::MissionState(Uuid::now_v7()),
        Key::memory(atlas(), "a").unwrap(),
        Key::memory("atlas-2".parse().unwrap(), "b").unwrap(),
    ]);
    let shown = |key: &Key| Projection { key: key.clone(), fields: fields(&[("a", "b")]), ttl: None };
    pair.one.project_all(keys.iter().map(shown).collect()).await.unwrap();
    let families = [Family::AgentStatus, Family::Breakers, Family::MissionStates, Family::Memory(atlas())];
    for family in families {
        let listing = pair.other.list(&family).await.unwrap();
        let expected = keys.iter().filter(|key| key.family() == family).cloned().collect();
        assert!(listing.whole);
        assert_eq!(listing.keys, expected);
    }
}

async fn what_is_too_large_is_refused_whole(pair: &Pair) {
    let large = |bytes: usize| "x".repeat(bytes);
    let mut envelope = signal(0);
    envelope.data = large(Envelope::LARGEST).into();
    let told = pair.one.publish(Channel::MissionQueue, envelope).await.unwrap_err();
    assert!(matches!(told, Error::TooLarge { most: Envelope::LARGEST, .. }), "{told}");
    let small = Projection { key: status("small"), fields: fields(&[("a", "b")]), ttl: None };
    let over = fields(&[("text", &large(Projection::LARGEST))]);
    let over = Projection { key: status("large"), fields: over, ttl: None };
    let told = pair.one.project_all(vec![small.clone(), over]).await.unwrap_err();
    assert!(told.to_string().starts_with("`agent:large:status` has 65540 bytes"), "{told}");
    assert_eq!(pair.one.read(&small.key).await, Ok(None));
    let just = fields(&[("text", &large(Projection::LARGEST - 4))]);
    pair.one.project(small.key.clone(), just.clone(), None).await.unwrap();
    assert_eq!(pair.other.read(&small.key).await, Ok(Some(just)));
}
