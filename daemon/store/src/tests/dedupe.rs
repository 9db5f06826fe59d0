//! A repeated submission returns the first one's task.

use super::*;

async fn the_same_key_is_the_same_task(on: On) {
    let rig = Rig::new(on).await;
    let first = rig.submit(keyed("k")).await;
    let again = within(rig.store.submit(keyed("k"))).await.unwrap();
    assert_eq!(again, Submitted { id: first, existing: true });
    let elsewhere = NewTask { queue: agent("atlas"), ..keyed("k") };
    assert!(!within(rig.store.submit(elsewhere)).await.unwrap().existing);
    assert_eq!(rig.number("select count(*) from task_queue").await, 2);
}

async fn racing_submissions_agree_on_one(on: On) {
    let rig = Rig::new(on).await;
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = rig.store.clone();
        racing.spawn(async move { store.submit(keyed("k")).await.unwrap() });
    }
    let answers = within(racing.join_all()).await;
    assert_eq!(answers.iter().filter(|submitted| !submitted.existing).count(), 1);
    assert!(answers.iter().all(|submitted| submitted.id == answers[0].id));
    assert_eq!(rig.number("select count(*) from task_queue").await, 1);
}

async fn within_one_batch_a_repeated_one_never_leaves_its_successor_blocked(on: On) {
    let bare = Bare::new(on).await;
    let first = NewTask { dedupe_key: Some("k".into()), ..of_session("s") };
    let done_before = bare.submit(vec![first.clone()]).await;
    let leased = bare.claim(9).await;
    bare.complete(vec![done(&leased[0], "1")]).await;

    let repeated = NewTask { id: TaskId::new(), ..first.clone() };
    let new = NewTask { dedupe_key: Some("l".into()), ..of_session("s") };
    let new_again = NewTask { id: TaskId::new(), ..new.clone() };
    let last = of_session("s");
    let answers = bare.submit(vec![repeated, new.clone(), new_again, last.clone()]).await;
    let of = |id, existing| Submitted { id, existing };
    assert_eq!(answers, [of(first.id, true), of(new.id, false), of(new.id, true), of(last.id, false)]);
    assert_eq!(done_before[0].id, first.id);
    let leased = bare.claim(9).await;
    assert_eq!(ids(&leased), [new.id]);
    bare.complete(vec![done(&leased[0], "1")]).await;
    assert_eq!(ids(&bare.claim(9).await), [last.id]);
}

async fn who_watches_a_repeated_task_is_told_of_the_first_one_s_end(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    rig.submit(keyed("k")).await;
    let leased = next(&mut consumer).await;
    let (_, running) = within(rig.store.submit_and_watch(keyed("k"))).await.unwrap();
    rig.store.complete(done(&leased, r#""first""#));
    assert_eq!(within(running).await.unwrap().result.as_deref(), Some(r#""first""#));
    let (existing, ended) = within(rig.store.submit_and_watch(keyed("k"))).await.unwrap();
    assert_eq!(existing, Submitted { id: leased.id, existing: true });
    assert_eq!(within(ended).await.unwrap().result.as_deref(), Some(r#""first""#));
}

async fn a_repeated_id_is_a_repeated_task_and_fails_nobody_s_batch(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(1);
    let id = rig.submit(task()).await;
    let leased = next(&mut consumer).await;
    let twice = task();
    let follow_ups = vec![NewTask { id, ..task() }, twice.clone(), twice];
    rig.store.complete(followed(&leased, "1", follow_ups));
    let again = within(rig.store.submit(NewTask { id, ..task() })).await.unwrap();
    assert_eq!(again, Submitted { id, existing: true });
    assert_eq!(rig.state(id).await, TaskState::Done);
    assert_eq!(rig.number("select count(*) from task_queue").await, 2);
    assert_eq!(rig.store.health().error, None);
}

on_both! {
    the_same_key_is_the_same_task
    racing_submissions_agree_on_one
    within_one_batch_a_repeated_one_never_leaves_its_successor_blocked
    who_watches_a_repeated_task_is_told_of_the_first_one_s_end
    a_repeated_id_is_a_repeated_task_and_fails_nobody_s_batch
}
