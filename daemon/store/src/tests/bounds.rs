//! A full queue, and lists of large tasks.

use super::*;
use crate::backend::LISTED_TASKS;
use crate::task::Filter;

fn for_atlas() -> NewTask {
    NewTask { queue: agent("atlas"), ..task() }
}

async fn a_result_whose_work_for_others_finds_no_room_is_a_dead_letter(on: On) {
    let rig = Rig::with(on, Options { max_queued: 3, ..options() }).await;
    let mut consumer = rig.consumer(3);
    rig.submit(for_atlas()).await;
    rig.submit(for_atlas()).await;
    let (mut leased, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        ends.push(within(rig.store.submit_and_watch(task())).await.unwrap().1);
        leased.push(next(&mut consumer).await);
    }
    // One has room; the second of this batch has none, nor a submission; what stays in its own queue has.
    rig.store.complete(followed(&leased[0], "1", vec![for_atlas()]));
    rig.store.complete(followed(&leased[1], "1", vec![task(), for_atlas()]));
    rig.store.complete(followed(&leased[2], "1", vec![task()]));
    let refused = within(rig.store.submit(for_atlas())).await;
    assert!(matches!(refused, Err(Error::QueueFull { .. })), "{refused:?}");
    let mut told = Vec::new();
    for end in ends {
        told.push(within(end).await.unwrap());
    }
    let states: Vec<_> = told.iter().map(|ended| ended.state).collect();
    assert_eq!(states, [TaskState::Done, TaskState::Failed, TaskState::Done]);
    assert_eq!(
        told[1].error.as_deref(),
        Some(
            "3 tasks wait for `atlas` already, the most that tasks.max_queued allows: the work handed to it was not \
             stored"
        )
    );
    let depth = |name: &str, all: &[(String, crate::backend::Depth)]| {
        all.iter().find(|(queue, _)| queue == name).map(|(_, depth)| depth.queued)
    };
    let all = rig.store.depths().await.unwrap();
    assert_eq!((depth("atlas", &all), depth("milkbot", &all)), (Some(3), Some(1)));
}

async fn a_repeat_to_a_full_queue_is_answered_with_the_task_that_is_there(on: On) {
    let rig = Rig::with(on, Options { max_queued: 1, ..options() }).await;
    let first = rig.submit(keyed("k")).await;
    let again = within(rig.store.submit(keyed("k"))).await.unwrap();
    assert_eq!(again, Submitted { id: first, existing: true });
    for new in [keyed("l"), task()] {
        assert!(matches!(within(rig.store.submit(new)).await, Err(Error::QueueFull { .. })));
    }
    assert_eq!(rig.number("select count(*) from task_queue").await, 1);
}

async fn a_list_shows_beginnings_and_a_task_the_whole(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(2);
    let long = "ä".repeat(5000);
    let payload = serde_json::json!({"text": long, "more": long}).to_string();
    rig.submit(NewTask { payload, ..task() }).await;
    rig.submit(NewTask { payload: "no JSON".into(), ..task() }).await;
    let first = next(&mut consumer).await;
    rig.store.complete(ends(&first, Outcome::Failed { error: long.clone(), retry_at: Some(Utc::now()) }));
    let second = next(&mut consumer).await;
    rig.store.complete(done(&second, &format!("{long:?}")));
    rig.settle().await;
    let rows = rig.store.tasks(&Filter { limit: u32::MAX, ..Filter::default() }).await.unwrap();
    let row = |id| rows.iter().find(|row| row.id == id).unwrap();
    assert_eq!(row(first.id).payload, serde_json::json!({"text": "ä".repeat(200)}));
    assert_eq!(row(first.id).error.as_ref().unwrap().chars().count(), 400);
    assert!(rows.iter().all(|row| row.result.is_none()));
    assert!(rows.iter().any(|row| row.payload["text"] == "no JSON"));
    let whole = rig.store.task(first.id).await.unwrap();
    assert_eq!((whole.payload["more"].as_str(), whole.error.as_ref()), (Some(long.as_str()), Some(&long)));
}

async fn a_list_is_bounded(on: On) {
    let bare = Bare::new(on).await;
    bare.submit(std::iter::repeat_with(task).take(LISTED_TASKS as usize + 5).collect()).await;
    let rows = bare.backend.tasks(&Filter { limit: u32::MAX, ..Filter::default() }).await.unwrap();
    assert_eq!(rows.len(), LISTED_TASKS as usize);
}

on_both! {
    a_result_whose_work_for_others_finds_no_room_is_a_dead_letter
    a_repeat_to_a_full_queue_is_answered_with_the_task_that_is_there
    a_list_shows_beginnings_and_a_task_the_whole
    a_list_is_bounded
}
