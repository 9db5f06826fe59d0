//! What agents asked for.

use chrono::NaiveDate;

use super::*;
use crate::tally::{Asked, Count, Tally};

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
}

fn asked(on: u32, name: &str, outcome: &'static str) -> Asked {
    Asked { day: day(on), agent: agent(name), method: "notify", outcome }
}

fn count(outcome: &str, count: u64) -> Count {
    Count { method: "notify".into(), outcome: outcome.into(), count }
}

async fn counts_add_up_over_lives(on: On) {
    let rig = Rig::new(on).await;
    let some = Tally::from([
        (asked(28, "scout", "ok"), 3),
        (asked(28, "scout", "too_soon"), 4),
        (asked(28, "atlas", "ok"), 5),
        (asked(29, "scout", "ok"), 6),
    ]);
    rig.store.count(some.clone());
    // What was left before is in the answer.
    let scouts = within(rig.store.asked(&agent("scout"), day(28))).await.unwrap();
    assert_eq!(scouts, [count("ok", 3), count("too_soon", 4)]);
    rig.store.count(some);
    within(rig.store.turned()).await.unwrap();
    let rig = rig.crash(options()).await;
    rig.store.count([(asked(28, "scout", "ok"), u32::MAX)].into());
    let scouts = within(rig.store.asked(&agent("scout"), day(28))).await.unwrap();
    assert_eq!(scouts, [count("ok", 6 + u64::from(u32::MAX)), count("too_soon", 8)]);
    assert_eq!(within(rig.store.asked(&agent("atlas"), day(28))).await.unwrap(), [count("ok", 10)]);
    assert_eq!(within(rig.store.asked(&agent("scout"), day(29))).await.unwrap(), [count("ok", 12)]);
    assert_eq!(within(rig.store.asked(&agent("scout"), day(30))).await.unwrap(), []);
}

async fn days_that_are_older_than_is_kept_go(on: On) {
    let bare = Bare::new(on).await;
    let tally: Tally = (26..30).map(|on| (asked(on, "scout", "ok"), 1)).collect();
    bare.apply(Batch { tally, ..Batch::default() }).await;
    let before = day(28).and_hms_opt(23, 59, 59).unwrap().and_utc();
    bare.apply(Batch { prune: Some((before, 1000)), ..Batch::default() }).await;
    let left = bare.number("select count(*) from agent_calls where day >= '2026-11-28'").await;
    assert_eq!((left, bare.number("select count(*) from agent_calls").await), (2, 2));
}

on_both! {
    counts_add_up_over_lives
    days_that_are_older_than_is_kept_go
}
