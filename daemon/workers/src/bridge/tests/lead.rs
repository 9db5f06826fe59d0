//! Which bridge speaks.

use std::cell::Cell;

use store::clock::Reading;

use super::super::lead::{Lead, keep};
use super::*;

thread_local! {
    /// How long the machine was suspended.
    static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

#[tokio::test]
async fn a_bridge_whose_machine_was_suspended_leads_anew() {
    let kept = Kept::new().await;
    let clock = Clock::of(|| {
        let reading = Reading::of_system();
        Reading { wall: reading.wall + SUSPENDED.get(), boot: reading.boot + SUSPENDED.get(), ..reading }
    });
    let (told, mut lead) = tokio::sync::watch::channel(Lead::default());
    let name = agent("heartbeat-bridge");
    let keeping = keep(&kept.store, clock, &name, Duration::from_millis(40), &told);
    let seen = async {
        let before = lead.wait_for(|lead| lead.leads).await.unwrap().stored.clone();
        SUSPENDED.set(Duration::from_secs(60));
        // Another one may have spoken meanwhile: what was said is read anew.
        let anew = |lead: &Lead| lead.leads && !Arc::ptr_eq(&lead.stored, &before);
        lead.wait_for(anew).await.unwrap();
    };
    tokio::select! {
        () = keeping => {}
        seen = timeout(PATIENCE, seen) => seen.expect("it lets go, and leads again"),
    }
}
