//! Nothing grows without a bound.

use super::*;
use crate::backend::{KEPT_TURNS_OF_AGENT, NewEvent, TRANSITION};

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

async fn what_is_old_goes_and_what_has_not_ended_stays(on: On) {
    let mut bare = Bare::new(on).await;
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
    assert!(bare.backend.task(young).await.unwrap().is_some());
    assert!(bare.backend.task(hold.id).await.unwrap().is_some());
    assert_eq!(bare.number("select count(*) from agent_events").await, 2);
}

async fn beyond_so_many_rows_the_oldest_go(on: On) {
    let mut bare = Bare::new(on).await;
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(one_done(&mut bare).await);
    }
    let before = bare.now - TimeDelta::days(1);
    bare.apply(Batch { prune: Some((before, 3)), ..Batch::default() }).await;
    assert_eq!(rows(&bare).await, (3, 3, 3));
    assert!(bare.backend.task(all[4]).await.unwrap().is_none());
    assert!(bare.backend.task(all[5]).await.unwrap().is_some());
}

async fn a_great_deal_goes_in_parts(on: On) {
    let bare = Bare::new(on).await;
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

async fn successes_push_out_neither_dead_letters_nor_dedupe_keys(on: On) {
    let mut bare = Bare::new(on).await;
    for n in 0..5 {
        bare.later(1);
        bare.submit(vec![task(), keyed(&n.to_string())]).await;
        let leased = bare.claim(2).await;
        bare.complete(leased.iter().map(|task| done(task, "1")).collect()).await;
        bare.submit(vec![keyed(&format!("failed {n}"))]).await;
        let leased = bare.claim(1).await;
        bare.complete(vec![fails(&leased[0], None)]).await;
    }
    for _ in 0..8 {
        one_done(&mut bare).await;
    }
    let counts = async || {
        (
            bare.number("select count(*) from task_queue where state = 'done' and dedupe_key is null").await,
            bare.number("select count(*) from task_queue where state = 'done' and dedupe_key is not null")
                .await,
            bare.number("select count(*) from task_queue where state = 'failed'").await,
        )
    };
    let prune = async |before, rows| {
        drop(bare.apply(Batch { prune: Some((before, rows)), ..Batch::default() }).await)
    };
    prune(bare.now - TimeDelta::days(1), 4).await;
    assert_eq!(counts().await, (4, 4, 4));
    assert_eq!(bare.number("select count(*) from task_queue where dedupe_key in ('0', 'failed 0')").await, 0);
    // Age takes all of them.
    prune(bare.now + TimeDelta::seconds(1), 4).await;
    assert_eq!(counts().await, (0, 0, 0));
}

async fn so_many_turns_of_each_agent_are_kept_whatever_the_conversation(on: On) {
    let bare = Bare::new(on).await;
    let more = 3000;
    for (name, n) in [("atlas", 5), ("milkbot", KEPT_TURNS_OF_AGENT + more)] {
        let sql = format!(
            "insert into agent_turns (agent_name, session, role, text, created_at)
             with recursive n (i) as (select 1 union all select i + 1 from n where i < {n})
             select '{name}', cast(i % 1000 as text), 'user', cast(i as text), '2026-01-01T00:00:00Z' from n"
        );
        bare.database.execute(&sql).await;
    }
    let mut parts = 1;
    while bare.apply(Batch { prune: Some((bare.now, 10)), ..Batch::default() }).await.prune_more {
        parts += 1;
    }
    assert_eq!(parts, 2);
    let of = "select count(*) from agent_turns where agent_name = 'milkbot'";
    assert_eq!(bare.number(of).await, i64::from(KEPT_TURNS_OF_AGENT));
    let oldest = "select min(cast(text as integer)) from agent_turns where agent_name = 'milkbot'";
    assert_eq!(bare.number(oldest).await, i64::from(more) + 1);
    assert_eq!(bare.number("select count(*) from agent_turns where agent_name = 'atlas'").await, 5);
}

on_both! {
    what_is_old_goes_and_what_has_not_ended_stays
    beyond_so_many_rows_the_oldest_go
    a_great_deal_goes_in_parts
    successes_push_out_neither_dead_letters_nor_dedupe_keys
    so_many_turns_of_each_agent_are_kept_whatever_the_conversation
}
