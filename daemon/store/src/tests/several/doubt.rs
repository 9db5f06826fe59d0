//! A commit whose answer is lost: what was sent is stored once or not at all, and everybody is told which.

use std::sync::atomic::Ordering;

use super::proxy::{Cut, Proxy};
use super::*;
use crate::backend::NewEvent;
use crate::postgres::Postgres;
use crate::{Server, postgres};

struct Cuttable {
    database: Database,
    proxy: Proxy,
    store: Store,
    _engine: JoinHandle<()>,
    consumer: Consumer,
}

impl Cuttable {
    async fn new() -> Self {
        let database = Database::new(On::Postgres).await;
        let Database::Postgres { name, .. } = &database else { panic!("not there") };
        let proxy = Proxy::new(database.socket()).await;
        let url = format!("postgres://postgres@127.0.0.1:{}/{name}?sslmode=disable", proxy.port);
        let server = Server::new(&url, None).unwrap();
        let postgres = Postgres::open(server, postgres::Deciding::Database).await.unwrap();
        let (store, engine) = Store::start(Arc::new(postgres), options()).await.unwrap();
        let consumer = store.consumer(agent("milkbot"));
        Self { database, proxy, store, _engine: engine, consumer }
    }

    fn cut(&self, cut: Cut) {
        *self.proxy.line.cut.lock().unwrap() = Some(cut);
    }
}

fn noted() -> NewEvent {
    NewEvent { agent: agent("milkbot"), kind: "test.noted", payload: "1".into(), at: Utc::now() }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for() {
    if !there_is_postgres() {
        return;
    }
    let mut cuttable = Cuttable::new().await;
    cuttable.consumer.credit(2);
    cuttable.cut(Cut::After);
    let (_, ended) = within(cuttable.store.submit_and_watch(task())).await.expect("it was committed");
    let leased = next(&mut cuttable.consumer).await;
    cuttable.cut(Cut::After);
    cuttable.store.event(noted());
    cuttable.store.complete(done(&leased, "1"));
    assert_eq!(within(ended).await.unwrap().state, TaskState::Done);
    let number = async |sql: &str| cuttable.database.number(sql).await;
    assert_eq!(number("select count(*) from agent_events where event_type = 'test.noted'").await, 1);
    assert_eq!(number("select count(*) from ops_outcomes").await, 1);
    assert_eq!(cuttable.store.health().error, None);
}

#[tokio::test]
async fn what_never_arrived_is_stored_with_the_next() {
    if !there_is_postgres() {
        return;
    }
    let mut cuttable = Cuttable::new().await;
    cuttable.consumer.credit(1);
    cuttable.cut(Cut::Before);
    let refused = within(cuttable.store.submit(task())).await;
    assert!(matches!(refused, Err(Error::Away(_))), "{refused:?}");
    assert_eq!(cuttable.database.number("select count(*) from task_queue").await, 0);
    let id = within(cuttable.store.submit(task())).await.unwrap().id;
    let leased = next(&mut cuttable.consumer).await;
    assert_eq!(leased.id, id);
    cuttable.cut(Cut::Before);
    cuttable.store.event(noted());
    cuttable.store.complete(done(&leased, "1"));
    assert_eq!(ended(&cuttable.store, id).await.state, TaskState::Done);
    let noted = "select count(*) from agent_events where event_type = 'test.noted'";
    assert_eq!(cuttable.database.number(noted).await, 1);
}

#[tokio::test]
async fn what_nobody_can_tell_for_long_is_stored_once_and_told_in_the_end() {
    if !there_is_postgres() {
        return;
    }
    let mut cuttable = Cuttable::new().await;
    cuttable.consumer.credit(9);
    let (_, told) = within(cuttable.store.submit_and_watch(task())).await.unwrap();
    let leased = next(&mut cuttable.consumer).await;
    let line = &cuttable.proxy.line;
    line.stays_down.store(true, Ordering::SeqCst);
    cuttable.cut(Cut::After);
    let new = keyed("k");
    cuttable.store.event(noted());
    cuttable.store.complete(followed(&leased, "1", vec![NewTask { queue: agent("atlas"), ..task() }]));
    let refused = within(cuttable.store.submit(new.clone())).await;
    assert!(matches!(refused, Err(Error::Doubtful(_) | Error::Away(_))), "{refused:?}");
    // The caller did not wait as long as the commit is asked after.
    within(cuttable.store.turned()).await.unwrap();
    let health = cuttable.store.health();
    assert!(health.error.is_some() && health.held == 1, "{health:?}");
    line.down.store(false, Ordering::SeqCst);
    assert_eq!(within(told).await.unwrap().state, TaskState::Done);
    // Whoever sends it again with its key gets the one that is there, and what was leased meanwhile is handed out.
    let again = NewTask { id: TaskId::new(), ..new.clone() };
    let again = within(async {
        loop {
            if let Ok(submitted) = cuttable.store.submit(again.clone()).await {
                return submitted;
            }
        }
    })
    .await;
    assert_eq!(next(&mut cuttable.consumer).await.id, again.id);
    let number = async |sql: &str| cuttable.database.number(sql).await;
    assert_eq!(number("select count(*) from agent_events where event_type = 'test.noted'").await, 1);
    assert_eq!(number("select count(*) from task_queue").await, 3);
    assert_eq!(number("select count(*) from ops_outcomes").await, 1);
    assert_eq!(cuttable.store.health().held, 0);
}
