//! Who is first, and that nobody is second.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use super::*;
use crate::alert::Level;
use crate::tests::alerts::{tell, wrong};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn submissions_of_one_key_agree_on_one_task() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(3, HOUR).await;
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..120 {
        let store = daemons.stores[n % 3].clone();
        racing.spawn(async move {
            let key = (n % 4).to_string();
            (key.clone(), store.submit(keyed(&key)).await.unwrap())
        });
    }
    let mut first = HashMap::new();
    let mut new = 0;
    for (key, submitted) in within(racing.join_all()).await {
        assert_eq!(*first.entry(key).or_insert(submitted.id), submitted.id);
        new += usize::from(!submitted.existing);
    }
    assert_eq!((new, daemons.database.number("select count(*) from task_queue").await), (4, 4));
}

#[tokio::test]
async fn each_task_is_claimed_once() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(3, HOUR).await;
    let consumers = daemons.consumers(400);
    let mut submitting = tokio::task::JoinSet::new();
    for n in 0..300 {
        let store = daemons.stores[n % 3].clone();
        submitting.spawn(async move { store.submit(task()).await.unwrap() });
    }
    let seen = std::sync::Arc::new(Mutex::new(HashSet::new()));
    let mut working = tokio::task::JoinSet::new();
    for (mut consumer, store) in consumers.into_iter().zip(daemons.stores.clone()) {
        let seen = seen.clone();
        working.spawn(async move {
            while let Some(task) = consumer.next().await {
                assert!(seen.lock().unwrap().insert(task.id), "{} was leased twice", task.id);
                store.complete(done(&task, "1"));
            }
        });
    }
    within(submitting.join_all()).await;
    within(until(async || {
        daemons.database.number("select count(*) from task_queue where state = 'done'").await == 300
    }))
    .await;
    assert_eq!(daemons.database.number("select count(*) from ops_outcomes where success").await, 300);
    assert_eq!(daemons.database.number("select max(lease_token) from task_queue").await, 1);
}

/// What is in work and what has ended, of each session.
#[derive(Default)]
struct Journal {
    at_work: HashSet<String>,
    given_back: HashSet<TaskId>,
    ended: HashMap<String, Vec<TaskId>>,
}

#[tokio::test]
async fn sessions_keep_their_order_over_all_daemons_and_retries() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(3, HOUR).await;
    let journal = std::sync::Arc::new(Mutex::new(Journal::default()));
    let mut working = tokio::task::JoinSet::new();
    for (mut consumer, store) in daemons.consumers(3).into_iter().zip(daemons.stores.clone()) {
        let journal = journal.clone();
        working.spawn(async move {
            while let Some(task) = consumer.next().await {
                let session = task.session.clone().expect("a session");
                assert!(journal.lock().unwrap().at_work.insert(session.clone()), "two of {session} at once");
                tokio::task::yield_now().await;
                journal.lock().unwrap().at_work.remove(&session);
                // Many a first try fails, and some are given back once.
                match (task.attempts, chance_of(task.id)) {
                    (1, 0..5) => store.complete(fails(&task, Some(Utc::now()))),
                    (1, 5..7) if journal.lock().unwrap().given_back.insert(task.id) => {
                        store.release(task.clone());
                    }
                    _ => {
                        journal.lock().unwrap().ended.entry(session).or_default().push(task.id);
                        store.complete(done(&task, "1"));
                    }
                }
                consumer.credit(1);
            }
        });
    }
    // Each session is fed by all daemons, one after the other, so that its order is known.
    let mut feeding = tokio::task::JoinSet::new();
    for session in 0..8 {
        let stores = daemons.stores.clone();
        feeding.spawn(async move {
            let mut order = Vec::new();
            for n in 0..15 {
                let submitted = stores[n % 3].submit(of_session(&session.to_string())).await.unwrap();
                order.push(submitted.id);
            }
            (session.to_string(), order)
        });
    }
    let fed = within(feeding.join_all()).await;
    let all = || journal.lock().unwrap().ended.values().map(Vec::len).sum::<usize>() == 8 * 15;
    within(until(async || all() || !working.is_empty() && working.try_join_next().is_some())).await;
    assert!(all(), "a worker fell");
    for (session, order) in fed {
        assert_eq!(journal.lock().unwrap().ended[&session], order);
    }
}

/// Of ten, the same at each try.
fn chance_of(id: TaskId) -> u128 {
    Uuid::from(id).as_u128() % 10
}

#[tokio::test]
async fn whoever_adds_to_a_session_at_once_only_one_may_run() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(4, HOUR).await;
    for round in 0..30 {
        let mut racing = tokio::task::JoinSet::new();
        for store in daemons.stores.clone() {
            racing.spawn(async move { store.submit(of_session(&round.to_string())).await.unwrap() });
        }
        within(racing.join_all()).await;
    }
    let free = "select count(*) from task_queue where not blocked";
    assert_eq!(daemons.database.number(free).await, 30);
}

#[tokio::test]
async fn a_stalled_worker_s_result_is_refused_once_another_daemon_has_its_task() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, Duration::from_millis(400)).await;
    let mut first = daemons.stores[0].consumer(agent("milkbot"));
    first.credit(1);
    let (_, ended) = within(daemons.stores[0].submit_and_watch(task())).await.unwrap();
    let late = next(&mut first).await;
    // It gives no sign of life.
    let mut second = daemons.stores[1].consumer(agent("milkbot"));
    second.credit(1);
    let holder = next(&mut second).await;
    assert_eq!((holder.id, holder.token, holder.attempts), (late.id, late.token + 1, 2));
    daemons.stores[0].complete(done(&late, r#""late""#));
    flush(&daemons.stores[0]).await;
    daemons.stores[1].complete(done(&holder, r#""good""#));
    // The watcher is at the first daemon, the end at the second.
    assert_eq!(within(ended).await.unwrap().result.as_deref(), Some(r#""good""#));
    assert_eq!(daemons.database.number("select count(*) from ops_outcomes where success").await, 1);
}

#[tokio::test]
async fn what_another_daemon_adds_is_found_and_at_once_when_nudged() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, HOUR).await;
    let mut consumer = daemons.stores[0].consumer(agent("milkbot"));
    consumer.credit(9);
    flush(&daemons.stores[0]).await;
    let id = daemons.stores[1].submit(task()).await.unwrap().id;
    assert_eq!(next(&mut consumer).await.id, id);
    let id = daemons.stores[1].submit(task()).await.unwrap().id;
    let asked = tokio::time::Instant::now();
    daemons.stores[0].nudge(&agent("milkbot"));
    assert_eq!(next(&mut consumer).await.id, id);
    assert!(asked.elapsed() < Duration::from_millis(400), "only the poll found it");
}

#[tokio::test]
async fn a_new_life_frees_what_its_installation_had_and_nothing_else() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, HOUR).await;
    let mut consumers = daemons.consumers(0);
    for (store, consumer) in daemons.stores.iter().zip(&mut consumers) {
        consumer.credit(1);
        store.submit(task()).await.unwrap();
        next(consumer).await;
    }
    let backend = daemons.database.open().await.unwrap();
    let (_store, _engine) = Store::start(backend, of("0", HOUR)).await.unwrap();
    let owners = "select count(*) from task_queue where state = 'leased' and lease_owner like '1/%'";
    assert_eq!(daemons.database.number(owners).await, 1);
    assert_eq!(daemons.database.number("select count(*) from task_queue where state = 'leased'").await, 1);
    assert_eq!(
        daemons.database.number("select max(attempts) from task_queue where state = 'queued'").await,
        0
    );
}

#[tokio::test]
async fn the_database_s_clock_decides_whatever_a_daemon_s_says() {
    if !there_is_postgres() {
        return;
    }
    let database = Database::new(On::Postgres).await;
    let backend = database.open().await.unwrap();
    let lease = Duration::from_secs(60);
    let claimant = Claimant { installation: "a".into(), life: Uuid::now_v7(), lease };
    let (now, day) = (Utc::now(), TimeDelta::days(1));
    let claims = vec![(agent("milkbot"), 9)];
    // A daemon that is a day ahead sends something for "in an hour", and something for now.
    let later = NewTask { run_at: Some(now + day + TimeDelta::hours(1)), ..task() };
    let batch =
        Batch { submissions: vec![later.clone(), task()], claims: claims.clone(), ..Batch::default() };
    let claimed = backend.apply(&batch, &claimant, now + day).await.unwrap().claimed;
    assert_eq!(claimed.len(), 1);
    let row = backend.task(later.id).await.unwrap().unwrap();
    assert!((row.run_at - now - TimeDelta::hours(1)).abs() < TimeDelta::minutes(1), "{}", row.run_at);
    // It sees its own time, and takes nobody's lease.
    let due = backend.next_due(now + day).await.unwrap().unwrap();
    assert!((due - now - day - TimeDelta::hours(1)).abs() < TimeDelta::minutes(1), "{due}");
    let batch = Batch { sweep: true, claims, ..Batch::default() };
    for told in [now + day, now - day] {
        let applied = backend.apply(&batch, &claimant, told).await.unwrap();
        assert!(!applied.swept && applied.claimed.is_empty());
    }
}

/// Waits until it is so; the caller bounds it.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    while !so().await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn of_several_daemons_one_tells() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(3, Duration::from_secs(3600)).await;
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..60 {
        let store = daemons.stores[n % 3].clone();
        racing.spawn(async move {
            store.report(wrong(&(n % 4).to_string(), Level::Critical, 1));
            flush(&store).await;
            let mut said = 0;
            for alert in store.alerts(10).await.unwrap().into_iter().filter(|alert| alert.revision == 0) {
                let key = format!("alert:{}:{n}", alert.id);
                said += store.change_alerts(tell(&alert, vec![keyed(&key)])).await.unwrap();
            }
            said
        });
    }
    let said: u64 = within(racing.join_all()).await.into_iter().sum();
    assert_eq!((said, daemons.database.number("select count(*) from task_queue").await), (4, 4));
    assert_eq!(daemons.database.number("select sum(count)::bigint from alerts").await, 60);
}
