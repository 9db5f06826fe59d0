//! What a dead daemon leaves.

use super::*;
use crate::open_sqlite;

async fn after_a_crash_leases_are_free_and_the_try_is_not_counted(on: On) {
    let rig = Rig::new(on).await;
    let mut consumer = rig.consumer(9);
    let first = rig.submit(of_session("s")).await;
    let second = rig.submit(of_session("s")).await;
    let third = rig.submit(task()).await;
    let late = next(&mut consumer).await;
    next(&mut consumer).await;
    rig.store.record(agent("milkbot"), r#"{"restarts":3}"#.into());
    rig.settle().await;

    let rig = rig.crash(options()).await;
    let depth = rig.store.depths().await.unwrap()[0].1;
    assert_eq!((depth.queued, depth.leased), (3, 0));
    let mut consumer = rig.consumer(9);
    let again = next(&mut consumer).await;
    assert_eq!((again.id, again.attempts, again.token), (first, 1, late.token + 1));
    assert_eq!(next(&mut consumer).await.id, third);
    rig.store.complete(done(&late, r#""late""#));
    rig.settle().await;
    assert!(consumer.try_next().is_none(), "two of one session at once");
    rig.store.complete(done(&again, "1"));
    assert_eq!(next(&mut consumer).await.id, second);
    let records = rig.store.records().await.unwrap();
    assert!(records.len() == 1 && records[0].0 == "milkbot" && same(&records[0].1, r#"{"restarts":3}"#));
}

async fn a_newer_database_is_refused(on: On) {
    let rig = Rig::new(on).await;
    let sql = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
               values (9999, 'of the future', true, '0', 0)";
    rig.database.execute(sql).await;
    let refused = rig.database.open().await.err().expect("it is refused");
    assert!(matches!(refused, Error::Newer { version: 9999, .. }), "{refused}");
    assert!(refused.to_string().contains("update this binary"), "{refused}");
}

#[tokio::test]
async fn what_is_no_database_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    std::fs::write(&path, "this is a letter, and a long one, to somebody who expected a database").unwrap();
    let refused = open_sqlite(&path).await.err().expect("it is refused");
    assert!(matches!(&refused, Error::Open { path: named, .. } if *named == path.display().to_string()));
    let refused = open_sqlite(&dir.path().join("nowhere/store.db")).await.err().expect("it is refused");
    assert!(matches!(refused, Error::Open { .. }), "{refused}");
}

on_both! {
    after_a_crash_leases_are_free_and_the_try_is_not_counted
    a_newer_database_is_refused
}
