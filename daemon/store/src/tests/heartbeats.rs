//! What was thought of agents, and when.

use super::*;
use crate::backend::NewHeartbeat;
use crate::inbox::HELD_HEARTBEATS;

fn heartbeat(name: &str, status: &'static str, n: usize, at: DateTime<Utc>) -> NewHeartbeat {
    NewHeartbeat { agent: agent(name), status, metadata: format!(r#"{{"n":{n}}}"#), at }
}

async fn they_are_kept_in_order_and_the_last_of_each_is_found(on: On) {
    let rig = Rig::new(on).await;
    assert!(rig.store.last_heartbeats().await.unwrap().is_empty());
    rig.store.heartbeat(vec![heartbeat("milkbot", "fresh", 1, Utc::now())]);
    rig.store.heartbeat(vec![
        heartbeat("atlas", "unknown", 2, Utc::now()),
        heartbeat("milkbot", "late", 3, Utc::now()),
        heartbeat("milkbot", "down", 4, Utc::now()),
    ]);
    rig.settle().await;
    let seen = rig.store.heartbeats(&agent("milkbot"), 2).await.unwrap();
    let seen: Vec<_> = seen.iter().map(|row| (row.status.as_str(), row.metadata["n"].as_i64())).collect();
    assert_eq!(seen, [("down", Some(4)), ("late", Some(3))]);
    let last = rig.store.last_heartbeats().await.unwrap();
    let mut last: Vec<_> = last.iter().map(|row| (row.agent.as_str(), row.status.as_str())).collect();
    last.sort_unstable();
    assert_eq!(last, [("atlas", "unknown"), ("milkbot", "down")]);
    assert!(rig.store.heartbeats(&agent("scout"), 9).await.unwrap().is_empty());
}

async fn they_go_with_their_time_and_beyond_so_many(on: On) {
    let mut bare = Bare::new(on).await;
    let rows = |now| (0..10).map(|n| heartbeat("milkbot", "fresh", n, now)).collect();
    bare.apply(Batch { heartbeats: rows(bare.now), ..Batch::default() }).await;
    bare.later(100);
    bare.apply(Batch { heartbeats: rows(bare.now), ..Batch::default() }).await;
    let prune = async |bare: &Bare, before, rows| {
        bare.apply(Batch { prune: Some((before, rows)), ..Batch::default() }).await;
        bare.number("select count(*) from agent_heartbeats").await
    };
    assert_eq!(prune(&bare, bare.now - TimeDelta::seconds(50), 1000).await, 10);
    assert_eq!(prune(&bare, bare.now - TimeDelta::seconds(50), 4).await, 4);
    let kept = bare.backend.heartbeats(&agent("milkbot"), 99).await.unwrap();
    assert_eq!((kept.len(), kept[0].metadata["n"].as_i64()), (4, Some(9)));
}

async fn the_agents_of_late_are_found(on: On) {
    let rig = Rig::new(on).await;
    let before = Utc::now() - TimeDelta::hours(1);
    rig.store.record(agent("milkbot"), "1".into());
    rig.settle().await;
    rig.store.record(agent("atlas"), "1".into());
    rig.settle().await;
    rig.database
        .execute("update agent_state set updated_at = '2026-01-01T00:00:00Z' where agent_name = 'atlas'")
        .await;
    assert_eq!(rig.store.agents_since(before).await.unwrap(), ["milkbot"]);
    let hour = Duration::from_secs(3600);
    let led = rig.store.claim_agents(&[agent("scout")], hour).await.unwrap();
    assert_eq!(led.len(), 1);
    // Only where names are led is there a trace of it.
    let found = rig.store.agents_since(before).await.unwrap();
    assert_eq!(found.contains(&"scout".to_owned()), on == On::Postgres, "{found:?}");
}

#[test]
fn those_that_wait_are_bounded_and_the_oldest_give_way() {
    let mut pending = crate::inbox::Pending::default();
    let rows = (0..HELD_HEARTBEATS + 5).map(|n| heartbeat("milkbot", "fresh", n, Utc::now())).collect();
    pending.heartbeats(rows);
    assert_eq!((pending.heartbeats.len(), &*pending.heartbeats[0].metadata), (HELD_HEARTBEATS, r#"{"n":5}"#));
}

on_both! {
    they_are_kept_in_order_and_the_last_of_each_is_found
    they_go_with_their_time_and_beyond_so_many
    the_agents_of_late_are_found
}
