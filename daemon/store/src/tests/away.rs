//! A database that cannot be written for a while: what the engine does meanwhile and after.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chrono::NaiveDate;
use openclaw_agent_api::context::Turn;

use super::*;
use crate::alert::{Alert, Level};
use crate::backend::{Depth, Event, Heartbeat, MemoryChange, NewHeartbeat};
use crate::clock::Reading;
use crate::ledger;
use crate::tally::{Asked, Count};
use crate::task::{Filter, Task};

/// What is of interest of a batch: whether it was carried out, swept, or was a proof; how many results.
type Seen = (bool, bool, bool, usize);

struct Flaky {
    inner: Arc<dyn Backend>,
    away: AtomicBool,
    unreadable: AtomicBool,
    /// Closed while a test holds it: what stores new tasks is not answered.
    gate: tokio::sync::RwLock<()>,
    at_gate: AtomicBool,
    seen: Mutex<Vec<Seen>>,
}

impl Flaky {
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
}

#[async_trait]
impl Backend for Flaky {
    fn shared(&self) -> bool {
        self.inner.shared()
    }

    async fn apply(&self, batch: &Batch, claimant: &Claimant, now: DateTime<Utc>) -> Result<Applied, Error> {
        if !batch.submissions.is_empty() {
            self.at_gate.store(true, Ordering::SeqCst);
            let _open = self.gate.read().await;
            self.at_gate.store(false, Ordering::SeqCst);
        }
        let away = self.away.load(Ordering::SeqCst);
        self.seen.lock().unwrap().push((!away, batch.sweep, batch.proof, batch.completions.len()));
        if away {
            return Err(Error::Database("away".into()));
        }
        self.inner.apply(batch, claimant, now).await
    }

    async fn set_back(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Error> {
        self.inner.set_back(before, now).await
    }

    async fn recover(&self, claimant: &Claimant, now: DateTime<Utc>) -> Result<u64, Error> {
        self.inner.recover(claimant, now).await
    }

    async fn next_due(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        self.inner.next_due(after).await
    }

    async fn depths(&self) -> Result<Vec<(String, Depth)>, Error> {
        self.inner.depths().await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        if self.unreadable.load(Ordering::SeqCst) {
            return Err(Error::Database("unreadable".into()));
        }
        self.inner.task(id).await
    }

    async fn stored(&self, tasks: &[&NewTask]) -> Result<Vec<TaskId>, Error> {
        self.inner.stored(tasks).await
    }

    async fn tasks(&self, filter: &Filter) -> Result<Vec<Task>, Error> {
        self.inner.tasks(filter).await
    }

    async fn records(&self) -> Result<Vec<(String, String)>, Error> {
        self.inner.records().await
    }

    async fn events(&self, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error> {
        self.inner.events(agent, kind, limit).await
    }

    async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error> {
        self.inner.events_after(id, limit).await
    }
    async fn last_event(&self) -> Result<i64, Error> {
        self.inner.last_event().await
    }
    async fn alerts(&self, limit: u32) -> Result<Vec<Alert>, Error> {
        self.inner.alerts(limit).await
    }
    async fn missions(&self, limit: u32) -> Result<Vec<crate::mission::Mission>, Error> {
        self.inner.missions(limit).await
    }
    async fn open_alerts(&self) -> Result<Vec<(Level, u64)>, Error> {
        self.inner.open_alerts().await
    }
    async fn alerts_due(&self, by: DateTime<Utc>) -> Result<Vec<Alert>, Error> {
        self.inner.alerts_due(by).await
    }
    async fn next_alert(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.inner.next_alert().await
    }
    async fn alerts_arrived(&self) -> Result<Vec<(i64, DateTime<Utc>)>, Error> {
        self.inner.alerts_arrived().await
    }

    async fn heartbeats(&self, agent: &AgentName, limit: u32) -> Result<Vec<Heartbeat>, Error> {
        self.inner.heartbeats(agent, limit).await
    }

    async fn last_heartbeats(&self) -> Result<Vec<Heartbeat>, Error> {
        self.inner.last_heartbeats().await
    }

    async fn agents_since(&self, since: DateTime<Utc>) -> Result<Vec<String>, Error> {
        self.inner.agents_since(since).await
    }

    async fn recall(&self, agent: &AgentName, key: &str) -> Result<Option<String>, Error> {
        self.inner.recall(agent, key).await
    }

    async fn keys(&self, agent: &AgentName, prefix: &str, limit: u32) -> Result<Vec<String>, Error> {
        self.inner.keys(agent, prefix, limit).await
    }

    async fn memory_keys(&self, agent: &AgentName) -> Result<u32, Error> {
        self.inner.memory_keys(agent).await
    }

    async fn turns(&self, agent: &AgentName, session: &str, limit: u32) -> Result<Vec<Turn>, Error> {
        self.inner.turns(agent, session, limit).await
    }

    async fn usage(&self, periods: &[String]) -> Result<Vec<ledger::Usage>, Error> {
        self.inner.usage(periods).await
    }

    async fn asked(&self, agent: &AgentName, day: NaiveDate) -> Result<Vec<Count>, Error> {
        self.inner.asked(agent, day).await
    }

    async fn calls(&self, agent: Option<&AgentName>, limit: u32) -> Result<Vec<ledger::Call>, Error> {
        self.inner.calls(agent, limit).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct Outage {
    _database: Database,
    _engine: JoinHandle<()>,
    flaky: Arc<Flaky>,
    store: Store,
    consumer: Consumer,
    leased: LeasedTask,
}

impl Outage {
    /// With one task in work, and credit for more.
    async fn new(on: On, lease: Duration) -> Self {
        Self::with(on, Options { lease, ..options() }).await
    }

    async fn with(on: On, options: Options) -> Self {
        let database = Database::new(on).await;
        let inner = database.open().await.unwrap();
        let flaky = Arc::new(Flaky {
            inner,
            away: false.into(),
            unreadable: false.into(),
            gate: Default::default(),
            at_gate: false.into(),
            seen: Mutex::default(),
        });
        let (store, engine) = Store::start(flaky.clone(), options).await.unwrap();
        let mut consumer = store.consumer(agent("milkbot"));
        consumer.credit(5);
        store.submit(task()).await.unwrap();
        let leased = next(&mut consumer).await;
        Self { _database: database, _engine: engine, flaky, store, consumer, leased }
    }

    /// Submissions are refused until this is so.
    async fn refused_until(&self, mut so: impl FnMut() -> bool) {
        within(async {
            while !so() {
                let refused = self.store.submit(task()).await;
                assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
            }
        })
        .await;
    }

    async fn at_gate(&self) {
        while !self.flaky.at_gate.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    async fn back(&self) {
        self.flaky.away(false);
        within(async {
            while self.store.health().error.is_some() {
                flush(&self.store).await;
            }
        })
        .await;
    }
}

async fn what_fails_in_between_does_not_put_the_retry_off(on: On) {
    let outage = Outage::new(on, options().lease).await;
    outage.flaky.away(true);
    outage.store.complete(done(&outage.leased, "1"));
    // The result is tried at once, then with each proof that the database is still away.
    let flaky = outage.flaky.clone();
    outage
        .refused_until(|| {
            flaky.seen().iter().filter(|(.., proof, results)| *proof && *results == 1).count() == 2
        })
        .await;
    let health = outage.store.health();
    assert_eq!((health.held, health.error.as_deref()), (1, Some("the database failed: away")));
    let tried = outage.flaky.seen().iter().filter(|(.., results)| *results == 1).count();
    assert_eq!(tried, 3);
    outage.back().await;
    assert_eq!(ended(&outage.store, outage.leased.id).await.state, TaskState::Done);
    assert_eq!(outage.store.health().held, 0);
}

async fn heartbeats_wait_for_the_database(on: On) {
    let outage = Outage::new(on, options().lease).await;
    outage.flaky.away(true);
    for status in ["late", "down"] {
        let (agent, at) = (agent("atlas"), Utc::now());
        outage.store.heartbeat(vec![NewHeartbeat { agent, status, metadata: "{}".into(), at }]);
        flush(&outage.store).await;
    }
    assert!(outage.store.heartbeats(&agent("atlas"), 9).await.unwrap().is_empty());
    outage.back().await;
    flush(&outage.store).await;
    let kept = outage.store.heartbeats(&agent("atlas"), 9).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|row| row.status.as_str()).collect();
    assert_eq!(kept, ["down", "late"]);
}

async fn counts_wait_for_the_database_and_are_added_once(on: On) {
    let outage = Outage::new(on, options().lease).await;
    let day = Utc::now().date_naive();
    let asked = Asked { day, agent: agent("atlas"), method: "notify", outcome: "ok" };
    outage.flaky.away(true);
    for _ in 0..3 {
        outage.store.count([(asked.clone(), 7)].into());
        flush(&outage.store).await;
    }
    outage.back().await;
    flush(&outage.store).await;
    let counted = outage.store.asked(&agent("atlas"), day).await.unwrap();
    assert_eq!(counted.iter().map(|count| count.count).collect::<Vec<_>>(), [21]);
}

async fn no_lease_is_lost_while_nobody_can_renew(on: On) {
    let lease = Duration::from_millis(600);
    let mut outage = Outage::new(on, lease).await;
    let lost_at = Utc::now() + lease + TimeDelta::milliseconds(100);
    outage.flaky.away(true);
    let before = outage.flaky.seen().len();
    outage.refused_until(|| Utc::now() > lost_at).await;
    let held = vec![(outage.leased.id, outage.leased.token)];
    assert!(within(outage.store.renew(held.clone())).await.is_empty(), "it may well hold");
    outage.back().await;
    assert!(within(outage.store.renew(held)).await.is_empty(), "it was taken away");
    assert!(outage.flaky.seen()[before..].iter().all(|(_, sweep, ..)| !sweep));
    outage.store.complete(done(&outage.leased, "1"));
    assert_eq!(ended(&outage.store, outage.leased.id).await.state, TaskState::Done);
    // Claims are made again.
    let id = within(outage.store.submit(task())).await.unwrap().id;
    assert_eq!(next(&mut outage.consumer).await.id, id);
}

thread_local! {
    /// By how much the wall clock was set.
    static STEP: Cell<TimeDelta> = const { Cell::new(TimeDelta::zero()) };
}

/// Forward it looks as if all leases had run out, back as if none ever would.
async fn a_wall_clock_that_is_set_ends_no_lease_and_lengthens_none(on: On) {
    for step in [TimeDelta::hours(3), TimeDelta::hours(-6)] {
        let lease = Duration::from_millis(900);
        let clock = Clock::of(|| {
            let reading = Reading::of_system();
            Reading { wall: reading.wall + STEP.get(), ..reading }
        });
        let mut outage = Outage::with(on, Options { lease, clock, ..options() }).await;
        // To be tried again.
        let failed = within(outage.store.submit(task())).await.unwrap().id;
        let again = next(&mut outage.consumer).await;
        let soon = Utc::now() + STEP.get() + lease / 3;
        outage.store.complete(fails(&again, Some(soon)));
        flush(&outage.store).await;
        let before = outage.flaky.seen().len();
        STEP.set(STEP.get() + step);
        let seen = async |sweep: bool| {
            let seen = || outage.flaky.seen()[before..].to_vec();
            within(async {
                while !seen().iter().any(|(_, swept, proof, _)| *swept == sweep && *proof) {
                    flush(&outage.store).await;
                }
            })
            .await;
            seen()
        };
        assert!(
            seen(false).await.iter().all(|(_, sweep, ..)| !sweep),
            "it sweeps before anybody could renew"
        );
        let renewed = outage.store.renew(vec![(outage.leased.id, outage.leased.token)]);
        assert!(within(renewed).await.is_empty(), "it was taken away");
        let new = within(outage.store.submit(task())).await.unwrap().id;
        // What was due is due, and what nobody renews is free again in its time, by the new clock.
        let mut expected = vec![(outage.leased.id, 2), (failed, 2), (new, 1)];
        while !expected.is_empty() {
            let task = next(&mut outage.consumer).await;
            let is = |(id, attempts): &(TaskId, u32)| (*id, *attempts) == (task.id, task.attempts);
            expected.remove(expected.iter().position(is).expect("each once"));
            outage.store.complete(done(&task, "1"));
        }
    }
}

async fn a_watcher_of_what_cannot_be_read_is_dropped(on: On) {
    let outage = Outage::new(on, options().lease).await;
    outage.store.submit(keyed("k")).await.unwrap();
    outage.flaky.unreadable.store(true, Ordering::SeqCst);
    let (submitted, ended) = within(outage.store.submit_and_watch(keyed("k"))).await.unwrap();
    assert!(submitted.existing);
    assert!(within(ended).await.is_err(), "it may have ended long ago");
}

async fn after_a_pause_of_all_who_is_at_work_may_renew_first(on: On) {
    let lease = Duration::from_millis(600);
    let mut outage = Outage::new(on, lease).await;
    tokio::time::pause();
    tokio::time::advance(lease * 2).await;
    tokio::time::resume();
    flush(&outage.store).await;
    let held = vec![(outage.leased.id, outage.leased.token)];
    assert!(within(outage.store.renew(held)).await.is_empty(), "it was taken away");
    assert!(outage.consumer.try_next().is_none());
    // Who does not is swept all the same.
    let again = next(&mut outage.consumer).await;
    assert_eq!((again.id, again.attempts), (outage.leased.id, 2));
}

async fn while_the_database_stands_nobody_waits_for_it(on: On) {
    let outage = Outage::new(on, options().lease).await;
    flush(&outage.store).await;
    let stands = outage.flaky.gate.write().await;
    let taken = outage.store.post(keyed("taken"), None).await.unwrap();
    outage.at_gate().await;
    tokio::time::pause();
    let left = outage.store.post(keyed("left"), None).await.unwrap();
    let memory = MemoryChange::Delete { agent: agent("milkbot"), key: "k".into() };
    let (taken, left, changed) =
        tokio::join!(taken.submitted(), left.submitted(), outage.store.remember(memory));
    assert!(matches!(taken, Err(Error::Doubtful(_))), "{taken:?}");
    assert!(matches!(left, Err(Error::Doubtful(_))), "{left:?}");
    assert!(matches!(changed, Err(Error::Doubtful(_))), "{changed:?}");
    assert!(outage.store.health().overdue().is_some());
    // Who comes later is not let in.
    let late = outage.store.submit(keyed("late")).await;
    assert!(matches!(late, Err(Error::Away(_))), "{late:?}");
    let looked = outage.store.task(outage.leased.id).await;
    assert!(matches!(looked, Err(Error::Away(_))), "{looked:?}");
    tokio::time::resume();
    drop(stands);
    flush(&outage.store).await;
    // What was in doubt is stored, and told as stored; what was refused is not.
    assert!(outage.store.health().overdue().is_none());
    for (key, existing) in [("taken", true), ("left", true), ("late", false)] {
        assert_eq!(within(outage.store.submit(keyed(key))).await.unwrap().existing, existing, "{key}");
    }
}

async fn a_turn_that_stores_much_may_take_longer(on: On) {
    let outage = Outage::new(on, options().lease).await;
    flush(&outage.store).await;
    let stands = outage.flaky.gate.write().await;
    let payload = format!("\"{}\"", "x".repeat(12 << 20));
    let _posted = outage.store.post(NewTask { payload, ..keyed("much") }, None).await.unwrap();
    outage.at_gate().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(outage.store.health().overdue().is_none());
    tokio::time::resume();
    drop(stands);
    // However slow this machine is: it is stored, and known then.
    let mut commits = outage.store.commits();
    within(async {
        while !outage.store.submit(keyed("much")).await.is_ok_and(|much| much.existing) {
            commits.changed().await.expect("the store lives");
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_store_sweeps_no_more_and_proves_itself_now_and_then() {
    let on = On::Sqlite;
    let lease = Duration::from_secs(9);
    let outage = Outage::new(on, lease).await;
    outage.store.complete(done(&outage.leased, "1"));
    flush(&outage.store).await;
    tokio::time::pause();
    // What blocks keeps the paused time from leaping on while the database works.
    let (_hold, held) = std::sync::mpsc::channel::<()>();
    let _blocked = tokio::task::spawn_blocking(move || held.recv());
    let step = async || {
        tokio::time::advance(lease / 30).await;
        outage.store.renew(Vec::new()).await;
    };
    // One sweep finds that no lease is out.
    while !outage.flaky.seen().iter().any(|(_, sweep, ..)| *sweep) {
        step().await;
    }
    let (before, proven) = (outage.flaky.seen().len(), outage.store.health().committed_at);
    for _ in 0..200 {
        step().await;
    }
    assert!(outage.store.health().committed_at > proven + TimeDelta::seconds(40), "it proves nothing");
    let seen = &outage.flaky.seen()[before..];
    assert!(
        (3..=6).contains(&seen.len()) && seen.iter().all(|(_, sweep, proof, _)| !sweep && *proof),
        "{seen:?}"
    );
}

on_both! {
    what_fails_in_between_does_not_put_the_retry_off
    heartbeats_wait_for_the_database
    counts_wait_for_the_database_and_are_added_once
    no_lease_is_lost_while_nobody_can_renew
    a_wall_clock_that_is_set_ends_no_lease_and_lengthens_none
    a_watcher_of_what_cannot_be_read_is_dropped
    after_a_pause_of_all_who_is_at_work_may_renew_first
    while_the_database_stands_nobody_waits_for_it
    a_turn_that_stores_much_may_take_longer
}
