//! On the bus of one process. Time is paused and turned by hand: what blocks keeps it from leaping on while the database
//! works.

use std::sync::mpsc;

use bus::heartbeat::Verdict;
use bus::{Channel, Heard, LocalBus, Subscription};

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

/// A rig whose clock stands still.
struct Still {
    rig: Rig,
    _hold: mpsc::Sender<()>,
}

impl Still {
    async fn new() -> Self {
        let kept = Kept::new().await;
        tokio::time::pause();
        let (hold, held) = mpsc::channel::<()>();
        let mut rig = Rig::with(Arc::new(LocalBus::default()), INTERVAL, kept);
        rig.tasks.spawn_blocking(move || {
            // Until the other end is dropped.
            let _ = held.recv();
        });
        while !rig.handle.report().leads {
            assert!(rig.handle.looked().await);
        }
        Self { rig, _hold: hold }
    }

    /// An interval passes, in which these beat; answers what is thought of `name` then.
    async fn step(&mut self, beating: &[&str], name: &str) -> &'static str {
        tokio::time::advance(INTERVAL / 2).await;
        self.rig.beat(beating).await.unwrap();
        tokio::time::advance(INTERVAL / 2).await;
        loop {
            tokio::select! {
                biased;
                looked = self.rig.handle.looked() => break assert!(looked),
                // Timers are a millisecond coarse.
                () = tokio::time::advance(Duration::from_millis(1)) => {}
            }
        }
        self.rig.verdict(name).unwrap_or("-")
    }

    async fn steps<const N: usize>(&mut self, beating: &[&str], name: &str) -> [&'static str; N] {
        let mut all = ["-"; N];
        for one in &mut all {
            *one = self.step(beating, name).await;
        }
        all
    }
}

async fn heard(subscription: &mut Subscription) -> bus::Envelope {
    match subscription.next().await {
        Some(Heard::Signal(envelope)) => (*envelope).clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn silence_is_judged_told_kept_and_alerted_and_so_is_its_end() {
    let mut still = Still::new().await;
    let mut subscription = still.rig.bus.subscribe(Channel::AgentHeartbeat);
    assert_eq!(still.steps(&["atlas"], "atlas").await, ["fresh"; 3]);
    let first = heard(&mut subscription).await;
    assert_eq!((first.source.as_str(), first.kind.as_str()), (NAME, "heartbeat.fresh"));
    assert_eq!((&first.data["agent"], &first.data["verdict"]), (&"atlas".into(), &"fresh".into()));
    assert_eq!((&first.data["from"], &first.data["evidence"]["host"]), (&"unknown".into(), &"there".into()));
    assert_eq!(heard(&mut subscription).await.data["from"], serde_json::Value::Null);

    assert_eq!(still.steps(&[], "atlas").await, ["fresh", "fresh", "late", "down", "down"]);
    assert_eq!(still.steps(&["atlas"], "atlas").await, ["late", "fresh", "fresh"]);
    let kept = &still.rig.kept;
    assert_eq!(kept.rows("atlas").await, ["fresh", "late", "down", "late", "fresh"]);
    let alerts = kept.alerts().await;
    let [(critical, down), (info, back)] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((critical.as_str(), info.as_str()), ("critical", "info"));
    assert!(down.starts_with("atlas is down: no heartbeat from there since "), "{down}");
    assert_eq!(back, "atlas is heard again");
    let row = &kept.store.heartbeats(&agent("atlas"), 3).await.unwrap()[2];
    assert_eq!((row.status.as_str(), &row.metadata["alerted"]), ("down", &true.into()));
    assert_eq!((&row.metadata["pid"], &row.metadata["restarts"]), (&7.into(), &3.into()));
}

#[tokio::test]
async fn an_agent_of_this_process_that_never_beats_is_missed_and_a_service_is_no_agent() {
    let mut still = Still::new().await;
    *still.rig.here.lock().unwrap() = vec![agent("atlas"), agent("gateway")];
    assert_eq!(still.steps::<5>(&["dashboard"], "atlas").await[4], "down");
    let report = still.rig.handle.report();
    assert_eq!(report.agents.keys().map(AgentName::as_str).collect::<Vec<_>>(), ["atlas"]);
    assert_eq!(report.thought(Verdict::Down).count(), 1);
    assert!(report.leads && report.error.is_none() && report.looked_at.is_some());
    assert!(still.rig.kept.alerts().await[0].1.starts_with("atlas is down: it shows no heartbeat"));
}

#[tokio::test]
async fn one_that_the_store_knows_is_watched() {
    let kept = Kept::new().await;
    kept.store.record(agent("atlas"), "{}".into());
    kept.flush().await;
    let mut rig = Rig::with(Arc::new(LocalBus::default()), Duration::from_millis(50), kept);
    rig.until("atlas", "down", &["scout"]).await;
    assert_eq!(rig.verdict("scout"), Some("fresh"));
    // Nobody waits for the bridge's own, whatever the store knows of its lead.
    assert_eq!(rig.verdict(NAME), None);
}

#[tokio::test]
async fn who_is_alone_on_its_bus_misses_nobody_elses_agents() {
    let kept = Kept::new().await;
    kept.store.record(agent("atlas"), "{}".into());
    let told = |name: &str| store::backend::NewHeartbeat {
        agent: agent(name),
        status: "fresh",
        metadata: "{}".into(),
        at: Utc::now(),
    };
    kept.store.heartbeat(vec![told("milkbot"), told("scout")]);
    kept.flush().await;
    let mut rig = Rig::of(Arc::new(LocalBus::default()), Duration::from_millis(50), kept, true);
    *rig.here.lock().unwrap() = vec![agent("scout")];
    rig.until("scout", "down", &[]).await;
    assert_eq!(rig.handle.report().agents.len(), 1);
    assert!(rig.handle.report().leads);
    assert_eq!(rig.kept.alerts().await.len(), 1);
}

#[tokio::test]
async fn a_new_life_knows_what_the_one_before_has_told() {
    let mut rig = Rig::new(Arc::new(LocalBus::default()), Duration::from_millis(50)).await;
    rig.until("atlas", "fresh", &["atlas"]).await;
    rig.until("atlas", "down", &[]).await;
    let Rig { kept, bus, mut tasks, .. } = rig;
    tasks.shutdown().await;
    assert_eq!(kept.alerts().await.len(), 1);
    let mut rig = Rig::with(bus, Duration::from_millis(50), kept);
    // Nobody names it but the rows.
    rig.until("atlas", "down", &[]).await;
    assert_eq!(rig.kept.alerts().await.len(), 1);
    rig.until("atlas", "fresh", &["atlas"]).await;
    assert_eq!(rig.kept.alerts().await.len(), 2);
}

#[tokio::test]
async fn the_bridge_is_watched_in_its_process_and_from_another() {
    let mut still = Still::new().await;
    let Rig { bus, kept, clock, .. } = &still.rig;
    let (watchman, watched) = Watchman::new(bus.clone(), kept.store.clone(), *clock, INTERVAL);
    let mut watching = JoinSet::new();
    watching.spawn(watchman.run());
    let step = async |still: &Still, watched: &Watched| {
        tokio::time::advance(INTERVAL / 2).await;
        still.rig.kept.flush().await;
        tokio::time::advance(INTERVAL / 2).await;
        still.rig.kept.flush().await;
        watched.verdict().as_str()
    };
    for _ in 0..3 {
        assert_eq!(step(&still, &watched).await, "fresh");
    }
    let standing = watched.standing().unwrap();
    assert_eq!((standing.agent.as_str(), &*standing.evidence.beat.unwrap().host), (NAME, "here"));
    still.rig.tasks.abort_all();
    let mut thought = Vec::new();
    while thought.last() != Some(&"down") && thought.len() < 9 {
        thought.push(step(&still, &watched).await);
    }
    assert_eq!(thought[thought.len() - 2..], ["late", "down"], "{thought:?}");
    let alerts = still.rig.kept.alerts().await;
    assert!(alerts[0].1.starts_with("heartbeat-bridge is down: no heartbeat from here since"), "{alerts:?}");
    still.rig = Rig::with(still.rig.bus, INTERVAL, still.rig.kept);
    while watched.verdict() != Verdict::Fresh && thought.len() < 30 {
        thought.push(step(&still, &watched).await);
    }
    let alerts = still.rig.kept.alerts().await;
    assert_eq!(alerts.iter().map(|(level, _)| level.as_str()).collect::<Vec<_>>(), ["critical", "info"]);
}
