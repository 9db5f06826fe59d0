//! On a Redis that is flushed, sleeps and dies. Real time, and short intervals.

use bus::{Address, Channel, Family, RedisBus};
use openclaw_agent_api::AgentName;

use super::server::Server;
use super::*;

const TEAM: [&str; 2] = ["atlas", "scout"];

async fn rig(server: &Server, interval: Duration) -> Rig {
    let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port, tls: false };
    let (bus, service) = RedisBus::new(bus::Options::at(address));
    let mut rig = Rig::new(Arc::new(bus), interval).await;
    rig.tasks.spawn(service.run());
    rig
}

#[tokio::test]
async fn a_flushed_redis_makes_nobody_down() {
    let Some(server) = Server::start(&[]) else { return };
    let mut rig = rig(&server, Duration::from_millis(500)).await;
    rig.until("atlas", "fresh", &TEAM).await;
    server.tell(&["FLUSHALL"]);
    assert!(rig.bus.list(&Family::AgentStatus).await.unwrap().keys.len() < 3);
    let mut thought = Vec::new();
    for _ in 0..5 {
        rig.beat(&TEAM).await.unwrap();
        rig.handle.looked().await;
        thought.push(rig.verdict("atlas"));
    }
    assert!(!thought.contains(&Some("down")), "{thought:?}");
    rig.until("scout", "fresh", &TEAM).await;
    // The bridge's own beat is shown again, too.
    let key = Key::AgentStatus(agent(NAME));
    let shown = rig.bus.read(&key).await.unwrap().expect("its beat");
    assert_eq!(shown["host"], "here");
    assert!(rig.kept.alerts().await.is_empty());
}

#[tokio::test]
async fn one_that_sleeps_makes_all_unknown_and_nobody_down() {
    let Some(server) = Server::start(&[]) else { return };
    let mut rig = rig(&server, Duration::from_millis(300)).await;
    rig.until("atlas", "fresh", &TEAM).await;
    let _sleeping = server.say(&["DEBUG", "SLEEP", "4"]);
    rig.until("atlas", "unknown", &[]).await;
    assert!(rig.handle.report().is_blind());
    assert_eq!(rig.verdict("scout"), Some("unknown"));
    rig.until("atlas", "fresh", &TEAM).await;
    let rows = rig.kept.rows("atlas").await;
    assert!(rows.contains(&"unknown".to_owned()) && !rows.contains(&"down".to_owned()), "{rows:?}");
}

#[tokio::test]
async fn one_that_dies_is_told_and_who_does_not_come_back_with_it_is_down() {
    let Some(mut server) = Server::start(&[]) else { return };
    let mut rig = rig(&server, Duration::from_millis(300)).await;
    rig.until("atlas", "fresh", &TEAM).await;
    rig.until("scout", "fresh", &TEAM).await;
    server.kill();
    rig.until("scout", "unknown", &TEAM).await;
    let told = rig.handle.report().error.as_ref().unwrap().to_string();
    assert!(told.starts_with("the agents' heartbeats cannot be read: Redis at "), "{told}");
    let before = rig.handle.report().looked_at;
    assert!(before.is_some(), "when it could is still known");
    server.start_again();
    rig.until("atlas", "fresh", &["atlas"]).await;
    rig.until("scout", "down", &["atlas"]).await;
    let alerts = rig.kept.alerts().await;
    assert!(alerts.len() == 1 && alerts[0].1.starts_with("scout is down"), "{alerts:?}");
}

#[tokio::test]
async fn the_relay_is_heard_by_others_and_a_foreign_key_harms_only_itself() {
    let Some(server) = Server::start(&[]) else { return };
    server.tell(&["HSET", "agent:odd:status", "status", "green"]);
    server.tell(&["HSET", "agent:gateway:status", "status", "green"]);
    server.tell(&["SET", "agent:text:status", "x"]);
    let mut rig = rig(&server, Duration::from_millis(200)).await;
    *rig.here.lock().unwrap() = vec![agent("text")];
    let mut subscription = rig.bus.subscribe(Channel::AgentHeartbeat);
    rig.until("atlas", "fresh", &TEAM).await;
    // One that shows nonsense and that nobody names is nobody.
    let names = |rig: &Rig| rig.handle.report().agents.keys().map(AgentName::to_string).collect::<Vec<_>>();
    assert_eq!(names(&rig), ["atlas", "scout", "text"]);
    assert_eq!(rig.verdict("text"), Some("unknown"));
    let heard = timeout(PATIENCE, subscription.next()).await.unwrap();
    assert!(matches!(heard, Some(bus::Heard::Signal(_) | bus::Heard::Missed(_))), "{heard:?}");
}
