//! Budgets and calls.

use super::*;
use crate::ledger::{ABANDONED, Entry, NewCall, Share, Short, UNDER_WAY};

pub(super) fn share(amount: i64, limit: i64) -> Share {
    Share { budget: ("day usd".into(), "2026-11-28".into()), amount, limit }
}

pub(super) fn call(name: &str) -> Box<NewCall> {
    Box::new(NewCall {
        id: uuid::Uuid::now_v7(),
        agent: agent(name),
        capability: "ask",
        provider: "own".into(),
        model: Some("m\0".into()),
        tokens_in: 3,
        tokens_out: 4,
        cost: 5,
        duration_ms: 6,
        outcome: "ok",
        detail: None,
        at: Utc::now(),
    })
}

async fn what_is_reserved_is_settled_once(on: On) {
    let rig = Rig::new(on).await;
    let reserve = Entry::Reserve(vec![share(60, 100)]);
    assert_eq!(within(rig.store.enter(reserve.clone())).await.unwrap(), Default::default());
    let refused = within(rig.store.enter(reserve.clone())).await.unwrap();
    assert_eq!(refused.exhausted, Some(Short { share: share(60, 100), used: 0, reserved: 60 }));
    // Nothing of it is used.
    assert_eq!(refused.crossed, []);
    let settle = Entry::Settle { reserved: vec![share(60, 100)], used: vec![20], call: call("milkbot") };
    for _ in 0..2 {
        within(rig.store.enter(settle.clone())).await.unwrap();
    }
    let usage = rig.store.usage(&["2026-11-28".into()]).await.unwrap();
    assert_eq!((usage[0].used, usage[0].reserved, usage.len()), (20, 0, 1));
    assert_eq!(rig.store.usage(&["2026-11-29".into()]).await.unwrap(), []);
    let calls = rig.store.calls(Some(&agent("milkbot")), 10).await.unwrap();
    assert_eq!((calls.len(), calls[0].model.as_deref(), calls[0].cost), (1, Some("m\0"), 5));
    assert_eq!(rig.store.calls(Some(&agent("atlas")), 10).await.unwrap().len(), 0);
    assert_eq!(rig.store.calls(None, 10).await.unwrap().len(), 1);
}

async fn of_several_budgets_all_are_reserved_or_none(on: On) {
    let rig = Rig::new(on).await;
    let other = Share { budget: ("month".into(), "2026-11".into()), amount: 1, limit: 0 };
    let both = Entry::Reserve(vec![share(10, 100), other.clone()]);
    let refused = within(rig.store.enter(both)).await.unwrap();
    assert_eq!(refused.exhausted, Some(Short { share: other, used: 0, reserved: 0 }));
    let usage = rig.store.usage(&["2026-11-28".into(), "2026-11".into()]).await.unwrap();
    assert!(usage.iter().all(|usage| usage.reserved == 0 && usage.used == 0), "{usage:?}");
}

async fn fifty_at_once_do_not_overspend(on: On) {
    let rig = Rig::new(on).await;
    let before = Entry::Settle { reserved: vec![share(0, 100)], used: vec![99], call: call("milkbot") };
    within(rig.store.enter(before)).await.unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = rig.store.clone();
        racing.spawn(async move {
            store.enter(Entry::Reserve(vec![share(1, 100)])).await.unwrap().exhausted.is_none()
        });
    }
    let won = racing.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

async fn old_calls_are_forgotten(on: On) {
    let options = Options { keep_rows: 3, ..options() };
    let rig = Rig::with(on, options).await;
    for _ in 0..10 {
        let settle = Entry::Settle { reserved: Vec::new(), used: Vec::new(), call: call("milkbot") };
        within(rig.store.enter(settle)).await.unwrap();
    }
    let batch = crate::backend::Batch {
        prune: Some((Utc::now() - Duration::from_secs(3600), 3)),
        ..Default::default()
    };
    let backend = within(rig.database.open()).await.unwrap();
    let claimant = crate::backend::Claimant {
        installation: "x".into(),
        life: uuid::Uuid::now_v7(),
        lease: Duration::from_secs(9),
    };
    within(backend.apply(&batch, &claimant, Utc::now())).await.unwrap();
    assert_eq!(rig.number("select count(*) from provider_calls").await, 3);
}

async fn a_call_is_under_way_until_it_ends_or_its_maker_is_gone(on: On) {
    let rig = Rig::new(on).await;
    let enter = |entry| within(rig.store.enter(entry));
    let (ends, stays) = (call("milkbot"), call("milkbot"));
    for call in [&ends, &stays] {
        enter(Entry::Begin(Box::new(NewCall { outcome: UNDER_WAY, ..(**call).clone() }))).await.unwrap();
    }
    let outcomes = async || {
        let calls = rig.store.calls(None, 10).await.unwrap();
        calls.into_iter().map(|call| call.outcome).collect::<Vec<_>>()
    };
    assert_eq!(outcomes().await, [UNDER_WAY, UNDER_WAY]);
    enter(Entry::Reserve(vec![share(60, 100)])).await.unwrap();
    enter(Entry::Settle { reserved: vec![], used: vec![], call: ends.clone() }).await.unwrap();
    // One that is said late changes nothing.
    enter(Entry::Begin(Box::new(NewCall { outcome: UNDER_WAY, ..*ends }))).await.unwrap();
    enter(Entry::Abandon(stays.at - chrono::TimeDelta::hours(1))).await.unwrap();
    assert_eq!(outcomes().await, [UNDER_WAY, "ok"]);
    let usage = async || {
        let usage = rig.store.usage(&["2026-11-28".into()]).await.unwrap();
        (usage[0].used, usage[0].reserved)
    };
    assert_eq!(usage().await, (0, 60));
    enter(Entry::Abandon(Utc::now() + chrono::TimeDelta::hours(1))).await.unwrap();
    assert_eq!(outcomes().await, [ABANDONED, "ok"]);
    // It may have been made.
    assert_eq!(usage().await, (60, 0));
    let refused = enter(Entry::Reserve(vec![share(41, 100)])).await.unwrap();
    assert_eq!(refused.exhausted, Some(Short { share: share(41, 100), used: 60, reserved: 0 }));
}

on_both! {
    a_call_is_under_way_until_it_ends_or_its_maker_is_gone
    what_is_reserved_is_settled_once
    of_several_budgets_all_are_reserved_or_none
    fifty_at_once_do_not_overspend
    old_calls_are_forgotten
}
