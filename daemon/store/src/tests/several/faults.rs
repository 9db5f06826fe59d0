//! What keeps a daemon out is told for what it is.

use super::*;
use crate::{Server, open_postgres};

async fn refusal(server: Server) -> Error {
    within(open_postgres(server)).await.err().expect("it is refused")
}

#[tokio::test]
async fn each_fault_has_its_name_and_no_password_is_shown() {
    if !there_is_postgres() {
        return;
    }
    let nobody = Server::new("postgres://postgres@127.0.0.1:1/x", Some("hidden")).unwrap();
    let error = refusal(nobody).await;
    assert!(
        matches!(&error, Error::Down(why) if why.contains("127.0.0.1:1") && !why.contains("hidden")),
        "{error}"
    );
    let nowhere = Server::new("postgres://postgres@localhost/x?host=/nowhere", None).unwrap();
    let error = refusal(nowhere).await;
    assert!(matches!(&error, Error::Down(why) if why.contains("/nowhere")), "{error}");

    let database = Database::new(On::Postgres).await;
    let error = refusal(database.named("nobody_made_this")).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("nobody_made_this")), "{error}");

    let Database::Postgres { name, .. } = &database else { panic!("not there") };
    let latin = format!("l{name}");
    database.execute(&format!("create database {latin} encoding latin1 template template0")).await;
    let error = refusal(database.named(&latin)).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("createdb -E UTF8")), "{error}");
    database.execute(&format!("drop database {latin}")).await;
    let role = format!("r{name}");
    database.execute(&format!("create role {role} login connection limit 0")).await;
    let error = refusal(database.of_user(&role)).await;
    assert!(matches!(&error, Error::Away(why) if why.contains("too many connections")), "{error}");
    database.execute(&format!("alter role {role} connection limit 9")).await;
    let error = refusal(database.of_user(&role)).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("permission denied")), "{error}");
    database.execute(&format!("drop role {role}")).await;

    database.execute(&format!("alter database {name} set default_transaction_read_only = on")).await;
    let error = refusal(database.server()).await;
    assert!(matches!(&error, Error::ReadOnly(_)), "{error}");
}

#[tokio::test]
async fn one_that_becomes_read_only_refuses_and_resumes() {
    if !there_is_postgres() {
        return;
    }
    let rig = Rig::new(On::Postgres).await;
    let mut consumer = rig.consumer(1);
    let (_, told) = within(rig.store.submit_and_watch(task())).await.unwrap();
    let leased = next(&mut consumer).await;
    let Database::Postgres { name, .. } = &rig.database else { panic!("not there") };
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid()";
    rig.database
        .execute(&format!("alter database {name} set default_transaction_read_only = on; {others}"))
        .await;
    rig.store.complete(done(&leased, "1"));
    let refused = within(async {
        loop {
            match rig.store.submit(task()).await {
                // The first to notice that its connection was ended.
                Err(Error::Away(_)) => {}
                other => return other,
            }
        }
    })
    .await;
    assert!(matches!(refused, Err(Error::ReadOnly(_))), "{refused:?}");
    assert_eq!(rig.store.health().held, 1);
    let writable =
        format!("begin read write; alter database {name} set default_transaction_read_only = off; commit");
    rig.database.execute(&writable).await;
    assert_eq!(within(told).await.unwrap().state, TaskState::Done);
}

#[tokio::test]
async fn several_that_start_at_once_make_the_tables_once() {
    if !there_is_postgres() {
        return;
    }
    let database = Database::new(On::Postgres).await;
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let server = database.server();
        starting.spawn(async move { open_postgres(server).await.map(drop) });
    }
    for started in within(starting.join_all()).await {
        started.unwrap();
    }
}
