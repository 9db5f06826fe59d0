//! Consumers: a leased task per credit.

use super::*;

async fn as_many_as_credit_allows(on: On) {
    let rig = Rig::new(on).await;
    for _ in 0..5 {
        rig.submit(task()).await;
    }
    let mut consumer = rig.consumer(2);
    next(&mut consumer).await;
    next(&mut consumer).await;
    rig.settle().await;
    assert!(consumer.try_next().is_none());
    consumer.credit(1);
    next(&mut consumer).await;
    assert_eq!(rig.store.depths().await.unwrap()[0].1.queued, 2);
    // Credit of before is not lost when there was nothing.
    consumer.credit(4);
    next(&mut consumer).await;
    next(&mut consumer).await;
    rig.settle().await;
    rig.submit(task()).await;
    next(&mut consumer).await;
}

async fn more_credit_than_anybody_thought_of(on: On) {
    let rig = Rig::with(on, Options { max_queued: 10_000, ..options() }).await;
    let mut submitting = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let store = rig.store.clone();
        submitting.spawn(async move { store.submit(task()).await.unwrap() });
    }
    within(submitting.join_all()).await;
    let mut consumer = rig.consumer(u32::MAX);
    consumer.credit(5);
    rig.settle().await;
    let got = std::iter::from_fn(|| consumer.try_next()).count();
    assert_eq!(got, 3000);
    assert_eq!(rig.number("select max(attempts) from task_queue").await, 1);
}

async fn after_a_withdrawal_nothing_comes_and_nothing_is_lost(on: On) {
    let rig = Rig::new(on).await;
    for _ in 0..3 {
        rig.submit(task()).await;
    }
    let mut consumer = rig.consumer(5);
    let first = next(&mut consumer).await;
    let rest = withdraw(&mut consumer).await;
    assert_eq!(rest.len(), 2);
    rig.submit(task()).await;
    rig.settle().await;
    assert!(consumer.try_next().is_none());
    let want = ids(&rest);
    rest.into_iter().for_each(|task| rig.store.release(task));
    rig.settle().await;
    assert!(consumer.try_next().is_none());
    consumer.credit(2);
    let (a, b) = (next(&mut consumer).await, next(&mut consumer).await);
    assert_eq!((ids([&a, &b]), a.attempts), (want, 1));
    rig.store.complete(done(&first, "1"));
    rig.settle().await;
    assert_eq!(rig.store.depths().await.unwrap()[0].1.queued, 1);
}

async fn withdrawing_amid_a_storm_loses_nothing(on: On) {
    let rig = Rig::new(on).await;
    let mut submitting = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let store = rig.store.clone();
        submitting.spawn(async move { store.submit(task()).await.unwrap() });
    }
    let mut consumer = rig.consumer(0);
    let mut got = std::collections::HashSet::new();
    while got.len() < 200 {
        consumer.credit(7);
        let first = next(&mut consumer).await;
        let rest = withdraw(&mut consumer).await;
        for task in std::iter::once(first).chain(rest) {
            assert!(got.insert(task.id), "{} came twice", task.id);
        }
    }
    within(submitting.join_all()).await;
    assert_eq!(rig.store.depths().await.unwrap()[0].1.leased, 200);
}

async fn what_a_dropped_consumer_had_not_received_goes_back(on: On) {
    let rig = Rig::new(on).await;
    for _ in 0..4 {
        rig.submit(task()).await;
    }
    let mut consumer = rig.consumer(3);
    let mine = next(&mut consumer).await;
    rig.settle().await;
    drop(consumer);
    rig.settle().await;
    let depth = rig.store.depths().await.unwrap()[0].1;
    assert_eq!((depth.queued, depth.leased), (3, 1));
    assert_eq!(rig.state(mine.id).await, TaskState::Leased);
    let mut successor = rig.consumer(9);
    for _ in 0..3 {
        assert_eq!(next(&mut successor).await.attempts, 1);
    }
}

async fn a_successor_that_comes_before_the_other_goes_keeps_its_lane(on: On) {
    let rig = Rig::new(on).await;
    let old = rig.consumer(1);
    rig.submit(task()).await;
    rig.settle().await;
    let mut new = rig.consumer(2);
    drop(old);
    assert_eq!(next(&mut new).await.attempts, 1);
    rig.submit(task()).await;
    next(&mut new).await;
}

async fn who_has_a_successor_no_longer_has_a_say(on: On) {
    let rig = Rig::new(on).await;
    let old = rig.consumer(1);
    let mut new = rig.consumer(2);
    old.credit(5);
    let done = old.take_back();
    within(done).await.unwrap();
    drop(old);
    for _ in 0..3 {
        rig.submit(task()).await;
    }
    next(&mut new).await;
    next(&mut new).await;
    rig.settle().await;
    assert!(new.try_next().is_none(), "the credit was for two");
}

on_both! {
    as_many_as_credit_allows
    more_credit_than_anybody_thought_of
    after_a_withdrawal_nothing_comes_and_nothing_is_lost
    withdrawing_amid_a_storm_loses_nothing
    what_a_dropped_consumer_had_not_received_goes_back
    a_successor_that_comes_before_the_other_goes_keeps_its_lane
    who_has_a_successor_no_longer_has_a_say
}
