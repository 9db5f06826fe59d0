//! Who watches the bridge: a process that does not run it, or the same one, where there is but one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use bus::heartbeat::Verdict;
use store::{Clock, Store};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::decide::{Look, State, decide};
use super::service::{name, raise};
use super::{Standing, look};

/// Judges the bridge's beat at each interval, and alerts when it is down. Wherever it runs it alerts: run one in all.
pub struct Watchman {
    bus: Arc<dyn Bus>,
    store: Store,
    clock: Clock,
    interval: Duration,
    shown: watch::Sender<Option<Standing>>,
}

/// How the bridge stands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watched(watch::Receiver<Option<Standing>>);

impl Watched {
    /// What is thought of the bridge: [`Verdict::Unknown`] before the first look.
    pub fn verdict(&self) -> Verdict {
        self.0.borrow().as_ref().map_or(Verdict::Unknown, |standing| standing.verdict)
    }

    /// That, since when, and what it rests on; none before the first look.
    pub fn standing(&self) -> Option<Standing> {
        self.0.borrow().clone()
    }
}

impl Watchman {
    /// One that has not looked yet. `interval` is the bridge's: `daemon.heartbeat`.
    pub fn new(bus: Arc<dyn Bus>, store: Store, clock: Clock, interval: Duration) -> (Self, Watched) {
        let (shown, watched) = watch::channel(None);
        (Self { bus, store, clock, interval, shown }, Watched(watched))
    }

    /// Looks, for ever.
    pub async fn run(self) {
        let known = BTreeSet::from([name()]);
        let mut state = State::new(self.interval);
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let seen = look::read(&*self.bus, known.clone()).await.ok();
            let now = self.clock.now();
            let (next, effects) = decide(state, &Look { seen, known: known.clone(), leads: true }, now);
            state = next;
            effects.alarms.iter().for_each(|alarm| raise(&self.store, alarm, now));
            self.shown.send_replace(state.standings().remove(&name()));
        }
    }
}
