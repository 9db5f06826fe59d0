//! From acceptance to the end.

use super::*;

async fn a_task_is_leased_done_and_its_watcher_told(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    let new = NewTask { session: Some("s".into()), ..task() };
    let (submitted, ended) = within(rig.store.submit_and_watch(new.clone())).await.unwrap();
    assert_eq!(submitted, Submitted { id: new.id, existing: false });

    let leased = next(&mut consumer).await;
    assert_eq!((leased.id, leased.attempts, leased.max_attempts), (new.id, 1, 3));
    assert_eq!(leased.kind, "message");
    assert!(same(&leased.payload, &new.payload));
    assert_eq!((leased.session.as_deref(), leased.source.as_str()), (Some("s"), "test"));
    assert_eq!(rig.state(new.id).await, TaskState::Leased);

    let other = rig.store.watch(new.id);
    rig.store.complete(done(&leased, r#"{"text":"hi"}"#));
    let ended = within(ended).await.unwrap();
    // Whoever comes later is told as well, also when it has ended; of what there is not, nothing.
    for watched in [other, rig.store.watch(new.id)] {
        assert_eq!(within(watched).await.unwrap().result, ended.result);
    }
    assert!(within(rig.store.watch(TaskId::new())).await.is_err());
    assert_eq!((ended.state, ended.attempts), (TaskState::Done, 1));
    assert_eq!(ended.result.as_deref(), Some(r#"{"text":"hi"}"#));
    let again = super::ended(&rig.store, new.id).await;
    assert_eq!(again.state, TaskState::Done);
    assert_eq!(again.result, ended.result);
    let row = rig.store.task(new.id).await.unwrap();
    assert_eq!(row.result.unwrap()["text"], "hi");
    assert!(row.finished_at.is_some());
}

async fn one_transaction_stores_and_leases(on: On) {
    let bare = Bare::new(on).await;
    let submissions = vec![task(), task()];
    let want: Vec<_> = submissions.iter().map(|task| task.id).collect();
    let claims = vec![(agent("milkbot"), 5)];
    let applied = bare.apply(Batch { submissions, claims, ..Batch::default() }).await;
    assert_eq!(ids(&applied.claimed), want);
}

async fn a_failed_task_waits_for_its_time_and_the_engine_wakes_by_itself(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    let (submitted, ended) = within(rig.store.submit_and_watch(task())).await.unwrap();
    let first = next(&mut consumer).await;
    let retry_at = Utc::now() + TimeDelta::milliseconds(150);
    rig.store.complete(fails(&first, Some(retry_at)));
    consumer.credit(1);
    rig.settle().await;
    let row = rig.store.task(submitted.id).await.unwrap();
    assert_eq!((row.state, row.attempts, row.error.as_deref()), (TaskState::Queued, 1, Some("it broke")));

    let second = next(&mut consumer).await;
    assert!(Utc::now() >= retry_at, "it came too early");
    assert_eq!((second.id, second.attempts), (submitted.id, 2));
    rig.store.complete(fails(&second, None));
    let ended = within(ended).await.unwrap();
    assert_eq!((ended.state, ended.error.as_deref()), (TaskState::Failed, Some("it broke")));
    assert_eq!(rig.store.depths().await.unwrap()[0].1.failed, 1);
}

async fn a_task_for_later_comes_later_in_whatever_way_it_arrived(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(4);
    let soon = || Some(Utc::now() + TimeDelta::milliseconds(100));
    rig.submit(NewTask { run_at: soon(), ..task() }).await;
    let first = next(&mut consumer).await;
    // As a follow-up, and behind another one of its session that ends before its time.
    let later = NewTask { run_at: soon(), ..task() };
    rig.store.complete(followed(&first, "1", vec![later.clone()]));
    assert_eq!(next(&mut consumer).await.id, later.id);
    rig.submit(of_session("s")).await;
    let head = next(&mut consumer).await;
    let behind = NewTask { run_at: soon(), ..of_session("s") };
    rig.submit(behind.clone()).await;
    rig.store.complete(done(&head, "1"));
    assert_eq!(next(&mut consumer).await.id, behind.id);
}

async fn after_a_restart_a_blocked_task_still_comes_in_time(on: On) {
    let rig = Rig::new(on).await;
    let behind = NewTask { run_at: Some(Utc::now() + TimeDelta::milliseconds(300)), ..of_session("s") };
    rig.submit(of_session("s")).await;
    rig.submit(behind.clone()).await;
    let rig = rig.crash(options()).await;
    let mut consumer = rig.consumer(2);
    let head = next(&mut consumer).await;
    rig.store.complete(done(&head, "1"));
    assert_eq!(next(&mut consumer).await.id, behind.id);
    assert!(Utc::now() >= behind.run_at.unwrap());
}

async fn a_release_counts_no_try(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(3);
    let id = rig.submit(task()).await;
    for _ in 0..3 {
        let leased = next(&mut consumer).await;
        assert_eq!((leased.id, leased.attempts), (id, 1));
        rig.store.release(leased);
    }
    rig.settle().await;
    let row = rig.store.task(id).await.unwrap();
    assert_eq!((row.state, row.attempts), (TaskState::Queued, 0));
    assert_eq!(rig.number("select count(*) from ops_outcomes").await, 0);
}

async fn follow_ups_are_stored_with_the_result_and_once(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    let mut atlas = rig.store.consumer(agent("atlas"));
    atlas.credit(5);
    rig.submit(task()).await;
    let leased = next(&mut consumer).await;
    let follow = NewTask { queue: agent("atlas"), ..task() };
    let completion = followed(&leased, "1", vec![follow.clone()]);
    rig.store.complete(completion.clone());
    rig.store.complete(completion);
    let got = next(&mut atlas).await;
    assert_eq!(got.id, follow.id);
    rig.settle().await;
    assert!(atlas.try_next().is_none());
    assert_eq!(rig.number("select count(*) from task_queue").await, 2);
}

async fn each_try_leaves_an_outcome_and_an_event(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(2);
    let id = rig.submit(task()).await;
    let first = next(&mut consumer).await;
    rig.store.complete(fails(&first, Some(Utc::now())));
    let second = next(&mut consumer).await;
    rig.store.complete(done(&second, "1"));
    rig.settle().await;
    let outcomes = rig.database.outcomes().await;
    let of = |success, attempts, detail: Option<&str>| {
        ("milkbot".to_owned(), id.to_string(), success, 5, attempts, detail.map(str::to_owned))
    };
    assert_eq!(outcomes, [of(false, 1, Some("it broke")), of(true, 2, None)]);
    for (kind, attempt) in [("task.retry", 1), ("task.done", 2)] {
        let events = rig.store.events(&agent("milkbot"), kind, 9).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].payload, serde_json::json!({"task_id": id, "attempt": attempt}));
    }
}

async fn the_urgent_come_first_and_equals_in_order(on: On) {
    let bare = Bare::new(on).await;
    let tasks: Vec<_> = [0, 5, -3, 5, 0].map(|priority| NewTask { priority, ..task() }).into();
    let id = |i: usize| tasks[i].id;
    bare.submit(tasks.clone()).await;
    assert_eq!(ids(&bare.claim(2).await), [id(1), id(3)]);
    assert_eq!(ids(&bare.claim(9).await), [id(0), id(4), id(2)]);
}

async fn what_is_beyond_the_queue_is_refused_and_leaves_nothing(on: On) {
    let rig = Rig::with(on, Options { max_queued: 2, ..options() }).await;
    rig.submit(task()).await;
    rig.submit(task()).await;
    let refused = within(rig.store.submit(task())).await;
    assert!(
        matches!(&refused, Err(Error::QueueFull { queue, waiting: 2 }) if queue == "milkbot"),
        "{refused:?}"
    );
    assert_eq!(rig.number("select count(*) from task_queue").await, 2);
    // Another queue has room, and so has this one when a task has ended.
    rig.submit(NewTask { queue: agent("atlas"), ..task() }).await;
    let mut consumer = rig.consumer(1);
    let leased = next(&mut consumer).await;
    rig.store.complete(done(&leased, "1"));
    rig.settle().await;
    let id = rig.submit(task()).await;
    // A restart counts the same.
    let rig = rig.crash(Options { max_queued: 2, ..options() }).await;
    assert!(matches!(within(rig.store.submit(task())).await, Err(Error::QueueFull { .. })));
    within(rig.store.cancel(id)).await.unwrap();
    rig.submit(task()).await;
}

async fn a_closed_store_stores_what_came_before_and_answers_closed(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    let id = rig.submit(task()).await;
    let leased = next(&mut consumer).await;
    let (waiting, ()) = within(async {
        tokio::join!(rig.store.submit(task()), async {
            rig.store.complete(done(&leased, "1"));
            rig.store.close();
        })
    })
    .await;
    assert!(waiting.is_ok());
    within(rig.engine).await.unwrap();
    assert!(matches!(within(rig.store.submit(task())).await, Err(Error::Closed)));
    assert!(matches!(rig.store.task(id).await, Err(Error::Closed)));
    assert!(within(rig.store.renew(vec![(id, 1)])).await.is_empty());
    assert!(within(consumer.next()).await.is_none());
    assert!(withdraw(&mut consumer).await.is_empty());

    let again = rig.database.open().await.unwrap();
    assert_eq!(again.task(id).await.unwrap().unwrap().state, TaskState::Done);
}

on_both! {
    a_task_is_leased_done_and_its_watcher_told
    one_transaction_stores_and_leases
    a_failed_task_waits_for_its_time_and_the_engine_wakes_by_itself
    a_task_for_later_comes_later_in_whatever_way_it_arrived
    after_a_restart_a_blocked_task_still_comes_in_time
    a_release_counts_no_try
    follow_ups_are_stored_with_the_result_and_once
    each_try_leaves_an_outcome_and_an_event
    the_urgent_come_first_and_equals_in_order
    what_is_beyond_the_queue_is_refused_and_leaves_nothing
    a_closed_store_stores_what_came_before_and_answers_closed
}
