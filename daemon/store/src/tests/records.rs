//! Events, supervisors' records, memory.

use super::*;
use crate::backend::{KEPT_TRANSITIONS, KEPT_TURNS, MemoryChange, NewEvent, TRANSITION};

fn event(name: &str, kind: &'static str, n: u32) -> NewEvent {
    NewEvent { agent: agent(name), kind, payload: format!(r#"{{"n":{n}}}"#), at: Utc::now() }
}

async fn the_newest_record_wins(on: On) {
    let rig = Rig::new(on).await;
    for n in 0..3 {
        rig.store.record(agent("milkbot"), n.to_string());
        rig.store.record(agent("atlas"), format!("a{n}"));
        if n < 2 {
            rig.settle().await;
        }
    }
    rig.settle().await;
    let mut records = rig.store.records().await.unwrap();
    records.sort();
    assert_eq!(records, [("atlas".to_owned(), "a2".to_owned()), ("milkbot".to_owned(), "2".to_owned())]);
}

async fn so_many_transitions_of_each_agent_are_kept(on: On) {
    let rig = Rig::new(on).await;
    rig.store.event(event("atlas", TRANSITION, 7));
    rig.store.event(event("milkbot", "agent.alert", 8));
    for n in 0..KEPT_TRANSITIONS + 30 {
        rig.store.event(event("milkbot", TRANSITION, n));
        if n % 50 == 0 {
            rig.settle().await;
        }
    }
    rig.settle().await;
    let kept = rig.store.events(&agent("milkbot"), TRANSITION, 1000).await.unwrap();
    assert_eq!(kept.len(), KEPT_TRANSITIONS as usize);
    assert_eq!((&kept[0].payload["n"], &kept[199].payload["n"]), (&229.into(), &30.into()));
    assert_eq!(rig.store.events(&agent("milkbot"), TRANSITION, 2).await.unwrap().len(), 2);
    assert_eq!(rig.store.events(&agent("atlas"), TRANSITION, 9).await.unwrap().len(), 1);
    assert_eq!(rig.store.events(&agent("milkbot"), "agent.alert", 9).await.unwrap()[0].payload["n"], 8);
}

async fn events_are_read_on_from_any_of_them(on: On) {
    let rig = Rig::new(on).await;
    assert_eq!(rig.store.last_event().await.unwrap(), 0);
    let mut commits = rig.store.commits();
    commits.mark_unchanged();
    for n in 0..10 {
        rig.store.event(event(if n % 2 == 0 { "atlas" } else { "milkbot" }, "agent.alert", n));
    }
    within(commits.changed()).await.unwrap();
    rig.settle().await;
    let all = rig.store.events_after(0, 100).await.unwrap();
    assert_eq!(
        all.iter().map(|event| event.payload["n"].as_u64()).collect::<Vec<_>>(),
        (0..10).map(Some).collect::<Vec<_>>()
    );
    assert!(all.is_sorted_by_key(|event| event.id));
    assert_eq!(rig.store.last_event().await.unwrap(), all[9].id);
    let rest = rig.store.events_after(all[3].id, 3).await.unwrap();
    assert_eq!(rest.iter().map(|event| event.id).collect::<Vec<_>>(), [all[4].id, all[5].id, all[6].id]);
    assert!(rig.store.events_after(all[9].id, 3).await.unwrap().is_empty());
    assert!(rig.store.events_after(i64::MAX, 3).await.unwrap().is_empty());
}

async fn memory_is_set_changed_listed_and_forgotten(on: On) {
    let rig = Rig::new(on).await;
    let (milkbot, atlas) = (agent("milkbot"), agent("atlas"));
    let set = async |agent: &AgentName, key: &str, value: &str| {
        let (agent, key, value) = (agent.clone(), key.into(), value.into());
        within(rig.store.remember(MemoryChange::Set { agent, key, value })).await.unwrap();
    };
    for key in ["user:2", "user:1", "user%", "users", "a", "user:\u{10ffff}", "user:\0"] {
        set(&milkbot, key, "1").await;
    }
    set(&milkbot, "user:1", r#"{"name":"Ada"}"#).await;
    set(&atlas, "user:1", "null").await;
    let value = rig.store.recall(&milkbot, "user:1").await.unwrap();
    assert!(same(&value.unwrap(), r#"{"name":"Ada"}"#));
    assert_eq!(rig.store.recall(&milkbot, "nothing").await.unwrap(), None);
    let keys = async |prefix: &str, limit| rig.store.keys(&milkbot, prefix, limit).await.unwrap();
    assert_eq!(keys("user:", 9).await, ["user:\0", "user:1", "user:2", "user:\u{10ffff}"]);
    assert_eq!(keys("user:\0", 9).await, ["user:\0"]);
    assert_eq!(keys("user:", 2).await.len(), 2);
    assert_eq!(keys("", 99).await.len(), 7);
    let delete = MemoryChange::Delete { agent: milkbot.clone(), key: "user:1".into() };
    within(rig.store.remember(delete)).await.unwrap();
    assert_eq!(rig.store.recall(&milkbot, "user:1").await.unwrap(), None);
    assert_eq!(rig.store.recall(&atlas, "user:1").await.unwrap().as_deref(), Some("null"));
}

async fn the_last_turns_of_a_conversation_are_kept_in_order(on: On) {
    let bare = Bare::new(on).await;
    let turn = |session: &str, n: u32| MemoryChange::Remember {
        agent: agent("milkbot"),
        session: session.into(),
        role: "user".into(),
        text: n.to_string(),
    };
    let mut memory = vec![turn("b", 1)];
    memory.extend((0..KEPT_TURNS + 5).map(|n| turn("a", n)));
    bare.apply(Batch { memory, ..Batch::default() }).await;
    let turns = bare.backend.turns(&agent("milkbot"), "a", 1000).await.unwrap();
    assert_eq!(turns.len(), KEPT_TURNS as usize);
    assert_eq!((turns[0].text.as_str(), turns[199].text.as_str()), ("5", "204"));
    let last = bare.backend.turns(&agent("milkbot"), "a", 2).await.unwrap();
    assert_eq!((last[0].text.as_str(), last[1].text.as_str()), ("203", "204"));
    assert_eq!(bare.backend.turns(&agent("milkbot"), "b", 9).await.unwrap().len(), 1);
}

async fn the_keys_of_each_agent_are_counted(on: On) {
    let rig = Rig::new(on).await;
    for (name, key) in [("milkbot", "a"), ("milkbot", "b"), ("milkbot", "a"), ("atlas", "a")] {
        let (key, value) = (key.into(), "1".into());
        within(rig.store.remember(MemoryChange::Set { agent: agent(name), key, value })).await.unwrap();
    }
    assert_eq!(rig.store.memory_keys(&agent("milkbot")).await.unwrap(), 2);
    assert_eq!(rig.store.memory_keys(&agent("nobody")).await.unwrap(), 0);
}

on_both! {
    the_newest_record_wins
    so_many_transitions_of_each_agent_are_kept
    events_are_read_on_from_any_of_them
    memory_is_set_changed_listed_and_forgotten
    the_last_turns_of_a_conversation_are_kept_in_order
    the_keys_of_each_agent_are_counted
}
