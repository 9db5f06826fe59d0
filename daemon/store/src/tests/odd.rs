//! Texts that SQL, JSON or C would trip over.

use super::*;

const ODD: [&str; 8] = [
    "",
    "it's \"quoted\" \\ and \\u0000",
    "a\0b",
    "a\0c",
    "\u{1f9c8}\u{200d}\u{1f4a5} \u{202e}right to left",
    "'); drop table task_queue; --",
    "line\nbreak\r\n\ttab\u{7f}\u{2028}",
    "123",
];

async fn odd_texts_come_back_as_they_went(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(99);
    for odd in ODD {
        let payload = serde_json::json!({ "text": odd }).to_string();
        let new = NewTask {
            payload: payload.clone(),
            kind: format!("k{odd}"),
            session: Some(odd.into()),
            dedupe_key: Some(odd.into()),
            source: odd.into(),
            ..task()
        };
        let (submitted, ended) = within(rig.store.submit_and_watch(new.clone())).await.unwrap();
        assert!(!submitted.existing, "{odd:?}");
        let again = NewTask { id: TaskId::new(), ..new.clone() };
        assert!(within(rig.store.submit(again)).await.unwrap().existing, "{odd:?}");
        let behind = NewTask { id: TaskId::new(), dedupe_key: None, ..new };
        rig.submit(behind.clone()).await;

        let leased = next(&mut consumer).await;
        assert_eq!(leased.id, submitted.id);
        assert!(same(&leased.payload, &payload));
        assert_eq!((leased.session.as_deref(), leased.source.as_str()), (Some(odd), odd));
        assert_eq!(leased.kind, format!("k{odd}"));
        rig.settle().await;
        assert!(consumer.try_next().is_none(), "{odd:?} is one session");
        rig.store.complete(done(&leased, &payload));
        assert_eq!(within(ended).await.unwrap().result.as_ref(), Some(&payload));
        let row = rig.store.task(submitted.id).await.unwrap();
        assert_eq!(row.result.unwrap()["text"], odd);
        assert_eq!(row.payload["text"], odd);

        let second = next(&mut consumer).await;
        assert_eq!(second.id, behind.id);
        rig.store.complete(ends(&second, Outcome::Failed { error: odd.into(), retry_at: None }));
        rig.settle().await;
        assert_eq!(rig.store.task(behind.id).await.unwrap().error.as_deref(), Some(odd));
    }
}

async fn a_large_payload_comes_back_whole(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(9);
    let large = serde_json::json!({ "text": "\u{1f9c8}\0\"x".repeat(110_000) }).to_string();
    assert!(large.len() > 1 << 20);
    let (_, ended) =
        within(rig.store.submit_and_watch(NewTask { payload: large.clone(), ..task() })).await.unwrap();
    let leased = next(&mut consumer).await;
    assert!(same(&leased.payload, &large));
    rig.store.complete(done(&leased, &large));
    assert!(within(ended).await.unwrap().result.as_ref() == Some(&large));
    // Larger than all the room there is: alone, but not never.
    let huge = format!("\"{}\"", "x".repeat(65 << 20));
    rig.submit(NewTask { payload: huge, queue: agent("atlas"), ..task() }).await;
}

on_both! {
    odd_texts_come_back_as_they_went
    a_large_payload_comes_back_whole
}
