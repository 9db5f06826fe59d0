//! Leases and their fencing tokens.

use super::*;

async fn a_result_under_a_lost_lease_is_refused_with_all_that_comes_with_it(on: On) {
    let mut bare = Bare::new(on).await;
    bare.submit(vec![task()]).await;
    let late = bare.claim(1).await.remove(0);
    bare.later(31);
    let swept = bare.apply(Batch { sweep: true, ..Batch::default() }).await;
    assert!(swept.swept && swept.ended.is_empty());
    // Free, but not taken: refused all the same.
    let applied = bare.complete(vec![followed(&late, "1", vec![task()])]).await;
    assert_eq!(applied.stale, [late.id]);
    let holder = bare.claim(1).await.remove(0);
    assert_eq!((holder.token, holder.attempts), (late.token + 1, 2));
    let applied = bare.complete(vec![followed(&late, "1", vec![task()])]).await;
    assert_eq!((applied.stale.len(), applied.ended.len(), applied.followed.len()), (1, 0, 0));
    assert_eq!(bare.number("select count(*) from task_queue").await, 1);
    assert_eq!(bare.number("select count(*) from ops_outcomes where success").await, 0);
    assert_eq!(bare.complete(vec![done(&holder, "2")]).await.ended[0].1.result.as_deref(), Some("2"));
}

async fn in_one_batch_the_late_result_does_not_take_the_holder_s_place(on: On) {
    let mut bare = Bare::new(on).await;
    bare.submit(vec![task()]).await;
    let late = bare.claim(1).await.remove(0);
    bare.later(31);
    let batch = Batch { sweep: true, claims: vec![(agent("milkbot"), 1)], ..Batch::default() };
    let holder = bare.apply(batch).await.claimed.remove(0);
    let renewals = vec![(late.id, late.token), (holder.id, holder.token)];
    let applied = bare.apply(Batch { renewals, ..Batch::default() }).await;
    assert_eq!(applied.lost, [(late.id, late.token)]);

    let late = followed(&late, r#""late""#, vec![task()]);
    let twice = [done(&holder, r#""good""#), fails(&holder, None)];
    let applied = bare.complete([vec![late], twice.into()].concat()).await;
    assert_eq!((applied.stale.len(), applied.followed.len()), (2, 0));
    assert_eq!(applied.ended.len(), 1);
    assert_eq!(applied.ended[0].1.result.as_deref(), Some(r#""good""#));
    let row = bare.backend.task(holder.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.result.unwrap()), (TaskState::Done, "good".into()));
    assert_eq!(bare.number("select count(*) from ops_outcomes where success").await, 1);
}

async fn a_renewed_lease_holds_and_a_lost_one_is_told(on: On) {
    let mut bare = Bare::new(on).await;
    bare.submit(vec![task(), task()]).await;
    let leased = bare.claim(2).await;
    bare.later(20);
    let renewals = vec![(leased[0].id, leased[0].token)];
    assert!(bare.apply(Batch { renewals, ..Batch::default() }).await.lost.is_empty());
    bare.later(20);
    bare.apply(Batch { sweep: true, ..Batch::default() }).await;
    let state = async |i: usize| bare.backend.task(leased[i].id).await.unwrap().unwrap().state;
    assert_eq!((state(0).await, state(1).await), (TaskState::Leased, TaskState::Queued));
    let renewals = leased.iter().map(|task| (task.id, task.token)).collect();
    let lost = bare.apply(Batch { renewals, ..Batch::default() }).await.lost;
    assert_eq!(lost, [(leased[1].id, leased[1].token)]);
}

async fn the_engine_takes_lost_leases_back_by_itself(on: On) {
    let rig = Rig::with(on, Options { lease: Duration::from_millis(100), ..options() }).await;
    let mut consumer = rig.consumer(3);
    let (submitted, ended) = within(rig.store.submit_and_watch(task())).await.unwrap();
    let late = next(&mut consumer).await;
    let holder = next(&mut consumer).await;
    assert_eq!((holder.id, holder.token, holder.attempts), (late.id, late.token + 1, 2));
    assert_eq!(within(rig.store.renew(vec![(late.id, late.token)])).await, [late.id]);
    rig.store.complete(done(&late, r#""late""#));
    // And in the end it is a dead letter.
    let last = next(&mut consumer).await;
    assert_eq!(last.attempts, 3);
    let ended = within(ended).await.unwrap();
    assert_eq!((ended.id, ended.state, ended.result), (submitted.id, TaskState::Failed, None));
    assert_eq!(ended.error.as_deref(), Some("the worker stopped renewing its lease"));
}

async fn a_lost_lease_leaves_an_outcome_and_an_event_as_any_failed_try_does(on: On) {
    let mut bare = Bare::new(on).await;
    bare.submit(vec![task(), NewTask { max_attempts: 1, ..task() }]).await;
    let leased = bare.claim(2).await;
    bare.later(31);
    let sweep = || Batch { sweep: true, ..Batch::default() };
    assert_eq!(bare.apply(sweep()).await.leased, Some(false));
    let outcomes = bare.database.outcomes().await;
    let of = |task: &LeasedTask| {
        let detail = "the worker stopped renewing its lease".to_owned();
        ("milkbot".to_owned(), task.id.to_string(), false, 31_000, 1, Some(detail))
    };
    assert_eq!(outcomes, [of(&leased[0]), of(&leased[1])]);
    for (kind, task) in [("task.retry", &leased[0]), ("task.failed", &leased[1])] {
        let events = bare.backend.events(&agent("milkbot"), kind, 9).await.unwrap();
        assert_eq!(events.len(), 1, "{kind}");
        assert_eq!(events[0].payload, serde_json::json!({"task_id": task.id, "attempt": 1}));
    }
    // Nothing is lost twice.
    bare.claim(1).await;
    assert_eq!(bare.apply(sweep()).await.leased, Some(true));
    assert_eq!(bare.number("select count(*) from ops_outcomes").await, 2);
}

on_both! {
    a_result_under_a_lost_lease_is_refused_with_all_that_comes_with_it
    in_one_batch_the_late_result_does_not_take_the_holder_s_place
    a_renewed_lease_holds_and_a_lost_one_is_told
    the_engine_takes_lost_leases_back_by_itself
    a_lost_lease_leaves_an_outcome_and_an_event_as_any_failed_try_does
}
