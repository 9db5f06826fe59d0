//! Looking at a database, and copying it.

use super::*;
use crate::admin::{Finding, Progress};
use crate::backend::{MemoryChange, NewEvent};

fn broken(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| finding.broken > 0).map(|finding| finding.rule.as_str()).collect()
}

async fn status_and_check_tell_what_is_there(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(2);
    for _ in 0..3 {
        rig.submit(of_session("s")).await;
        rig.submit(task()).await;
    }
    next(&mut consumer).await;
    next(&mut consumer).await;
    let place = rig.database.place();
    let status = place.status().await.unwrap();
    assert_eq!(status.migration, Some(status.newest));
    assert!(status.bytes > 10_000 && status.tables.iter().any(|t| t.name == "task_queue" && t.rows == 6));
    assert_eq!(broken(&place.check().await.unwrap()), Vec::<&str>::new());
    assert_eq!(place.migrate().await.unwrap(), Vec::<String>::new());
    rig.database
        .execute("update task_queue set state = 'leased', blocked = false where state = 'queued'")
        .await;
    let findings = place.check().await.unwrap();
    let rules = broken(&findings);
    assert!(rules.contains(&"no session has two tasks in work"), "{rules:?}");
    assert!(rules.contains(&"every leased task has an owner and a time"), "{rules:?}");
}

async fn a_new_database_is_migrated_and_says_what_was_done(on: On) {
    let database = Database::new(on).await;
    let done = database.place().migrate().await.unwrap();
    assert!(done.first().is_some_and(|first| first == "0001 first"), "{done:?}");
    assert_eq!(database.place().status().await.unwrap().tables.len(), 16);
}

async fn a_copy_is_the_same_and_goes_on(on: On) {
    let (rig, other) = (Rig::new(on).await, if on == On::Sqlite { On::Postgres } else { On::Sqlite });
    let mut consumer = rig.consumer(3);
    for odd in ["a\0b", "\u{1}", "it's \u{1f9c8}"] {
        let payload =
            serde_json::json!({"text": odd, "n": [1e2, 1.5, -0.0, 12345678901234567u64]}).to_string();
        rig.submit(NewTask { payload, source: odd.into(), dedupe_key: Some(odd.into()), ..of_session(odd) })
            .await;
        rig.submit(of_session(odd)).await;
        let leased = next(&mut consumer).await;
        rig.store.complete(done(&leased, r#""well""#));
        let set = |key: &str, value: &str| MemoryChange::Set {
            agent: agent("milkbot"),
            key: key.into(),
            value: value.into(),
        };
        rig.store.remember(set(odd, "[1, 2]")).await.unwrap();
    }
    rig.store.record(agent("milkbot"), r#"{"restarts": 3}"#.into());
    let at = Utc::now();
    for n in 0..2500 {
        let payload = format!("{n}");
        rig.store.event(NewEvent { agent: agent("atlas"), kind: "test.noted", payload, at });
        if n % 500 == 0 {
            flush(&rig.store).await;
        }
    }
    withdraw(&mut consumer).await.into_iter().for_each(|task| rig.store.release(task));
    rig.settle().await;
    let waiting = rig.number("select count(*) from task_queue where state = 'queued'").await;
    drop(consumer);
    let source = rig.end().await;
    let target = Database::new(other).await;
    let mut told = 0;
    let copied = source.place().copy(&target.place(), |_: Progress| told += 1).await.unwrap();
    assert!(told > 5 && copied.iter().any(|table| table.table == "agent_events" && table.rows > 2000));
    assert_eq!(broken(&target.place().check().await.unwrap()), Vec::<&str>::new());
    // And back, to an empty one; not to one that is not.
    let back = Database::new(on).await;
    let again = target.place().copy(&back.place(), |_| {}).await.unwrap();
    for (one, two) in copied.iter().zip(&again) {
        assert_eq!((one.rows, &one.sha256), (two.rows, &two.sha256), "{}", one.table);
    }
    let refused = source.place().copy(&target.place(), |_| {}).await.unwrap_err();
    assert!(matches!(&refused, Error::Copy(why) if why.contains("is not empty")), "{refused}");
    // It works on there, with new numbers.
    let rig = Rig::open(target, options()).await;
    let mut consumer = rig.consumer(9);
    let id = rig.submit(of_session("a\0b")).await;
    for _ in 0..=waiting {
        let leased = next(&mut consumer).await;
        rig.store.complete(done(&leased, "1"));
    }
    assert_eq!(ended(&rig.store, id).await.state, TaskState::Done);
    let value = rig.store.recall(&agent("milkbot"), "a\0b").await.unwrap();
    assert!(same(&value.unwrap(), "[1,2]"));
}

on_both! {
    status_and_check_tell_what_is_there
    a_new_database_is_migrated_and_says_what_was_done
}

mod copies {
    use super::super::database::{On, there_is_postgres};

    #[tokio::test]
    async fn from_sqlite_and_back() {
        if there_is_postgres() {
            super::a_copy_is_the_same_and_goes_on(On::Sqlite).await;
        }
    }

    #[tokio::test]
    async fn from_postgres_and_back() {
        if there_is_postgres() {
            super::a_copy_is_the_same_and_goes_on(On::Postgres).await;
        }
    }
}
