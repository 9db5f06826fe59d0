//! Which bridge speaks.

use std::cell::Cell;

use async_trait::async_trait;
use bus::{Channel, Envelope, Family, Fields, Health, Listing, LocalBus, Subscription};
use chrono::TimeDelta;
use store::clock::Reading;
use tokio::sync::watch;

use super::super::lead::{Lead, Term, keep};
use super::*;

thread_local! {
    /// How long the machine was suspended.
    static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn clock() -> Clock {
    Clock::of(|| {
        let reading = Reading::of_system();
        Reading { wall: reading.wall + SUSPENDED.get(), boot: reading.boot + SUSPENDED.get(), ..reading }
    })
}

#[tokio::test]
async fn a_bridge_whose_machine_was_suspended_leads_anew() {
    let kept = Kept::new().await;
    let clock = clock();
    let (told, mut lead) = tokio::sync::watch::channel(Lead::default());
    let name = agent("heartbeat-bridge");
    let keeping = keep(&kept.store, clock, &name, Duration::from_millis(40), &told);
    let seen = async {
        let before = lead.wait_for(|lead| lead.term != Term::Over).await.unwrap().stored.clone();
        SUSPENDED.set(Duration::from_secs(60));
        // Another one may have spoken meanwhile: what was said is read anew.
        let anew = |lead: &Lead| lead.term != Term::Over && !Arc::ptr_eq(&lead.stored, &before);
        lead.wait_for(anew).await.unwrap();
    };
    tokio::select! {
        () = keeping => {}
        seen = timeout(PATIENCE, seen) => seen.expect("it lets go, and leads again"),
    }
}

/// A bus at which the process stands still for a minute: with a question, or with what is published, under way.
struct Halting {
    bus: LocalBus,
    at: &'static str,
    /// What was shown and published, in order.
    said: Mutex<Vec<&'static str>>,
}

impl Halting {
    fn reach(&self, at: &'static str) {
        if at == self.at {
            SUSPENDED.set(Duration::from_secs(60));
        }
    }

    fn say(&self, what: &'static str) {
        self.said.lock().unwrap().push(what);
        self.reach(what);
    }
}

#[async_trait]
impl Bus for Halting {
    async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<(), bus::Error> {
        self.say("signal");
        self.bus.publish(channel, envelope).await
    }

    fn subscribe(&self, channel: Channel) -> Subscription {
        self.bus.subscribe(channel)
    }

    async fn project_all(&self, projections: Vec<Projection>) -> Result<(), bus::Error> {
        self.say("beat");
        self.bus.project_all(projections).await
    }

    async fn read_all(&self, keys: &[Key]) -> Result<Vec<Option<Fields>>, bus::Error> {
        let read = self.bus.read_all(keys).await;
        self.reach("read");
        read
    }

    async fn forget(&self, key: &Key) -> Result<(), bus::Error> {
        self.bus.forget(key).await
    }

    async fn list(&self, family: &Family) -> Result<Listing, bus::Error> {
        self.bus.list(family).await
    }

    fn health(&self) -> Health {
        self.bus.health()
    }
}

/// What a bridge says whose term ends in half a minute, and that stands still for a whole one at that point of its look; what
/// it has stored; and what it says once it leads anew.
async fn halted(at: &'static str) -> (Vec<&'static str>, usize, Vec<&'static str>) {
    SUSPENDED.set(Duration::ZERO);
    let kept = Kept::new().await;
    let clock = clock();
    let halting = Arc::new(Halting { bus: LocalBus::default(), at, said: Mutex::default() });
    let interval = Duration::from_millis(20);
    let (service, mut handle) = start(Options {
        bus: halting.clone(),
        store: kept.store.clone(),
        clock,
        interval,
        alone: false,
        here: Arc::new(|| vec![agent("atlas")]),
        host: "here".into(),
        unit: None,
    });
    let term = |span: i64| Term::Until(clock.steady() + TimeDelta::seconds(span));
    let (told, lead) = watch::channel(Lead { term: term(30), ..Lead::default() });
    let mut looking = JoinSet::new();
    looking.spawn(service.look_on(lead));
    for _ in 0..3 {
        assert!(timeout(PATIENCE, handle.looked()).await.unwrap());
    }
    let before = std::mem::take(&mut *halting.said.lock().unwrap());
    let rows = kept.rows("atlas").await.len();
    told.send_modify(|lead| lead.term = term(3600));
    for _ in 0..3 {
        assert!(timeout(PATIENCE, handle.looked()).await.unwrap());
    }
    let after = halting.said.lock().unwrap().clone();
    (before, rows, after)
}

#[tokio::test]
async fn a_bridge_that_stood_still_past_its_term_says_nothing_more_before_it_leads_anew() {
    let (before, rows, after) = halted("read").await;
    assert_eq!((before, rows), (vec![], 0));
    assert!(after.starts_with(&["signal", "beat"]), "{after:?}");
    let (before, rows, after) = halted("signal").await;
    assert_eq!((before, rows), (vec!["signal"], 1));
    assert!(after.starts_with(&["signal"]), "{after:?}");
    let (before, rows, after) = halted("beat").await;
    assert_eq!((before, rows), (vec!["signal", "beat"], 1));
    assert!(after.starts_with(&["signal"]), "{after:?}");
}
