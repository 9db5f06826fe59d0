//! Tasks of one session: in order, one at a time.

use super::*;
use crate::backend::Order;

async fn a_session_runs_in_order_one_at_a_time_beside_others(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(9);
    let mut of_a = Vec::new();
    for _ in 0..3 {
        of_a.push(rig.submit(of_session("a")).await);
    }
    let b = rig.submit(of_session("b")).await;
    let mut leased = next(&mut consumer).await;
    assert_eq!(next(&mut consumer).await.id, b);
    for (at, id) in of_a.iter().enumerate() {
        assert_eq!(leased.id, *id);
        rig.settle().await;
        assert!(consumer.try_next().is_none(), "two of one session at once");
        rig.store.complete(done(&leased, "1"));
        if at < 2 {
            leased = next(&mut consumer).await;
        }
    }
    rig.settle().await;
    assert_eq!(rig.state(of_a[2]).await, TaskState::Done);
}

async fn several_in_one_batch_keep_their_order_whatever_their_priority(on: On) {
    let bare = Bare::new(on).await;
    let tasks: Vec<_> = (0..3).map(|priority| NewTask { priority, ..of_session("s") }).collect();
    bare.submit(tasks.clone()).await;
    for task in tasks {
        let leased = bare.claim(9).await;
        assert_eq!(ids(&leased), [task.id]);
        bare.complete(vec![done(&leased[0], "1")]).await;
    }
}

async fn a_session_is_one_queue_s_own(on: On) {
    let bare = Bare::new(on).await;
    let atlas = NewTask { queue: agent("atlas"), ..of_session("s") };
    bare.submit(vec![of_session("s"), atlas.clone()]).await;
    let claims = vec![(agent("milkbot"), 9), (agent("atlas"), 9)];
    let leased = bare.apply(Batch { claims, ..Batch::default() }).await.claimed;
    assert_eq!(leased.len(), 2);
    // Nor does an end in one free the other's next.
    bare.submit(vec![NewTask { id: TaskId::new(), ..atlas }]).await;
    bare.complete(vec![done(&leased[0], "1")]).await;
    let claims = vec![(agent("atlas"), 9)];
    assert!(bare.apply(Batch { claims, ..Batch::default() }).await.claimed.is_empty());
}

async fn backoff_and_release_of_the_first_hold_the_rest(on: On) {
    let mut bare = Bare::new(on).await;
    let (first, second) = (of_session("s"), of_session("s"));
    bare.submit(vec![first.clone(), second.clone()]).await;
    let leased = bare.claim(9).await;
    bare.complete(vec![fails(&leased[0], Some(bare.now + TimeDelta::seconds(60)))]).await;
    assert!(bare.claim(9).await.is_empty());
    bare.later(61);
    let leased = bare.claim(9).await;
    assert_eq!(ids(&leased), [first.id]);
    bare.complete(vec![ends(&leased[0], Outcome::Released)]).await;
    assert_eq!(ids(&bare.claim(9).await), [first.id]);
}

async fn a_dead_letter_a_cancelled_and_a_swept_one_let_the_next_go(on: On) {
    let mut bare = Bare::new(on).await;
    let tasks: Vec<_> = (0..5).map(|_| NewTask { max_attempts: 1, ..of_session("s") }).collect();
    bare.submit(tasks.clone()).await;
    let leased = bare.claim(9).await;
    bare.complete(vec![fails(&leased[0], None)]).await;
    // The second is first now: its end, and not that of a later one, frees the next.
    let cancel = |i: usize| Batch { orders: vec![Order::Cancel(tasks[i].id)], ..Batch::default() };
    bare.apply(cancel(3)).await.orders.remove(0).unwrap();
    let ended = bare.apply(cancel(1)).await.ended;
    assert_eq!((ended[0].1.id, ended[0].1.state), (tasks[1].id, TaskState::Cancelled));
    assert_eq!(ids(&bare.claim(9).await), [tasks[2].id]);
    bare.later(31);
    let swept = bare.apply(Batch { sweep: true, ..Batch::default() }).await;
    assert_eq!((swept.ended[0].1.id, swept.ended[0].1.state), (tasks[2].id, TaskState::Failed));
    assert_eq!(ids(&bare.claim(9).await), [tasks[4].id]);
}

async fn a_retried_dead_letter_takes_its_old_place(on: On) {
    let bare = Bare::new(on).await;
    let tasks: Vec<_> = (0..4).map(|_| of_session("s")).collect();
    let order = async |order| {
        bare.apply(Batch { orders: vec![order], ..Batch::default() }).await.orders.remove(0).unwrap()
    };
    bare.submit(tasks.clone()).await;
    let first = bare.claim(9).await;
    bare.complete(vec![fails(&first[0], None)]).await;
    // While the others wait: before them.
    order(Order::Retry(tasks[0].id)).await;
    let first = bare.claim(9).await;
    assert_eq!(ids(&first), [tasks[0].id]);
    assert_eq!(first[0].attempts, 1);
    bare.complete(vec![fails(&first[0], None)]).await;
    // While the second is at work: after it, and the end of a later one opens no second door.
    let second = bare.claim(9).await;
    order(Order::Retry(tasks[0].id)).await;
    order(Order::Cancel(tasks[2].id)).await;
    assert!(bare.claim(9).await.is_empty(), "two of one session at once");
    bare.complete(vec![done(&second[0], "1")]).await;
    let first = bare.claim(9).await;
    assert_eq!(ids(&first), [tasks[0].id]);
    bare.complete(vec![done(&first[0], "1")]).await;
    // One that is cancelled and comes back is behind those that are before it.
    order(Order::Retry(tasks[2].id)).await;
    let third = bare.claim(9).await;
    assert_eq!(ids(&third), [tasks[2].id]);
    bare.complete(vec![done(&third[0], "1")]).await;
    assert_eq!(ids(&bare.claim(9).await), [tasks[3].id]);
}

async fn orders_that_make_no_sense_are_refused(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    let id = rig.submit(task()).await;
    let refused = |answer: Result<AgentName, Error>| match answer {
        Err(Error::WrongState { state, .. }) => state,
        other => panic!("{other:?}"),
    };
    let leased = next(&mut consumer).await;
    assert_eq!(refused(rig.store.cancel(id).await), TaskState::Leased);
    assert_eq!(refused(rig.store.retry(id).await), TaskState::Leased);
    rig.store.complete(done(&leased, "1"));
    assert_eq!(refused(rig.store.cancel(id).await), TaskState::Done);
    assert_eq!(refused(rig.store.retry(id).await), TaskState::Done);
    assert!(matches!(rig.store.retry(TaskId::new()).await, Err(Error::NoSuchTask(_))));
}

async fn orders_reach_whoever_waits(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    rig.submit(of_session("s")).await;
    let first = next(&mut consumer).await;
    consumer.credit(9);
    let (cancelled, ended) = within(rig.store.submit_and_watch(of_session("s"))).await.unwrap();
    assert_eq!(rig.store.cancel(cancelled.id).await.unwrap(), agent("milkbot"));
    assert_eq!(within(ended).await.unwrap().state, TaskState::Cancelled);
    rig.store.complete(fails(&first, None));
    rig.settle().await;
    rig.store.retry(first.id).await.unwrap();
    assert_eq!(next(&mut consumer).await.id, first.id);
}

async fn who_goes_back_lets_an_earlier_one_that_was_retried_go_first(on: On) {
    let mut bare = Bare::new(on).await;
    for back in ["released", "failed", "swept", "recovered"] {
        let session = |session: &str| NewTask { max_attempts: 5, ..of_session(session) };
        let (first, second) = (session(back), session(back));
        bare.submit(vec![first.clone(), second.clone()]).await;
        let leased = bare.claim(9).await;
        bare.complete(vec![fails(&leased[0], None)]).await;
        let leased = bare.claim(9).await;
        assert_eq!(ids(&leased), [second.id]);
        bare.apply(Batch { orders: vec![Order::Retry(first.id)], ..Batch::default() }).await;
        match back {
            "released" => drop(bare.complete(vec![ends(&leased[0], Outcome::Released)]).await),
            "failed" => drop(bare.complete(vec![fails(&leased[0], Some(bare.now))]).await),
            "swept" => {
                bare.later(31);
                bare.apply(Batch { sweep: true, ..Batch::default() }).await;
            }
            _ => {
                let claimant = Claimant { life: Uuid::now_v7(), ..bare.claimant.clone() };
                assert_eq!(bare.backend.recover(&claimant, bare.now).await.unwrap(), 1);
            }
        }
        for id in [first.id, second.id] {
            let leased = bare.claim(9).await;
            assert_eq!(ids(&leased), [id], "{back}");
            bare.complete(vec![done(&leased[0], "1")]).await;
        }
    }
}

async fn orders_leave_events(on: On) {
    let rig = Rig::new(on).await;
    let id = rig.submit(task()).await;
    rig.store.cancel(id).await.unwrap();
    assert!(rig.store.cancel(id).await.is_err());
    rig.store.retry(id).await.unwrap();
    for kind in ["task.cancelled", "task.retried"] {
        let events = rig.store.events(&agent("milkbot"), kind, 9).await.unwrap();
        assert_eq!(events.len(), 1, "{kind}");
        assert_eq!(events[0].payload["task_id"], id.to_string());
    }
}

on_both! {
    a_session_runs_in_order_one_at_a_time_beside_others
    several_in_one_batch_keep_their_order_whatever_their_priority
    a_session_is_one_queue_s_own
    backoff_and_release_of_the_first_hold_the_rest
    a_dead_letter_a_cancelled_and_a_swept_one_let_the_next_go
    a_retried_dead_letter_takes_its_old_place
    orders_that_make_no_sense_are_refused
    orders_reach_whoever_waits
    who_goes_back_lets_an_earlier_one_that_was_retried_go_first
    orders_leave_events
}
