//! Nothing grows without a bound.

use super::*;
use crate::backend::{NewEvent, TRANSITION};

/// A task that is done a second after the one before.
async fn one_done(bare: &mut Bare) -> TaskId {
    bare.later(1);
    bare.submit(vec![task()]).await;
    let leased = bare.claim(1).await;
    bare.complete(vec![done(&leased[0], "1")]).await;
    leased[0].id
}

async fn rows(bare: &Bare) -> (i64, i64, i64) {
    (
        bare.number("select count(*) from task_queue").await,
        bare.number("select count(*) from ops_outcomes").await,
        bare.number("select count(*) from agent_events where event_type <> 'agent.transition'").await,
    )
}

#[tokio::test]
async fn what_is_old_goes_and_what_has_not_ended_stays() {
    let mut bare = Bare::new().await;
    let waits = task();
    let hold = NewTask { run_at: Some(bare.now + TimeDelta::days(2)), ..waits };
    let transition =
        NewEvent { agent: agent("milkbot"), kind: TRANSITION, payload: "1".into(), at: bare.now };
    let (submissions, events) = (vec![hold.clone()], vec![transition]);
    bare.apply(Batch { submissions, events, ..Batch::default() }).await;
    for _ in 0..5 {
        one_done(&mut bare).await;
    }
    bare.later(100);
    let young = one_done(&mut bare).await;
    let before = bare.now - TimeDelta::seconds(50);
    let applied = bare.apply(Batch { prune: Some((before, 1000)), ..Batch::default() }).await;
    assert!(!applied.prune_more);
    assert_eq!(rows(&bare).await, (2, 1, 1));
    assert!(bare.sqlite.task(young).await.unwrap().is_some());
    assert!(bare.sqlite.task(hold.id).await.unwrap().is_some());
    assert_eq!(bare.number("select count(*) from agent_events").await, 2);
}

#[tokio::test]
async fn beyond_so_many_rows_the_oldest_go() {
    let mut bare = Bare::new().await;
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(one_done(&mut bare).await);
    }
    let before = bare.now - TimeDelta::days(1);
    bare.apply(Batch { prune: Some((before, 3)), ..Batch::default() }).await;
    assert_eq!(rows(&bare).await, (3, 3, 3));
    assert!(bare.sqlite.task(all[4]).await.unwrap().is_none());
    assert!(bare.sqlite.task(all[5]).await.unwrap().is_some());
}

#[tokio::test]
async fn a_great_deal_goes_in_parts() {
    let bare = Bare::new().await;
    let at = bare.now;
    let event = || NewEvent { agent: agent("milkbot"), kind: "agent.alert", payload: "1".into(), at };
    let events = std::iter::repeat_with(event).take(5000).collect();
    bare.apply(Batch { events, ..Batch::default() }).await;
    let before = bare.now - TimeDelta::days(1);
    let mut parts = 0;
    while bare.apply(Batch { prune: Some((before, 10)), ..Batch::default() }).await.prune_more {
        parts += 1;
    }
    assert_eq!((parts, rows(&bare).await.2), (2, 10));
}
