//! Alerts: counted by fingerprint, told of once.

use serde_json::json;

use super::*;
use crate::alert::{Change, Level, News, Report, Told, Which};
use crate::inbox::Pending;

fn report(key: &str, news: News, text: &str) -> Report {
    Report { key: key.into(), source: agent("atlas"), news, text: text.into(), at: Utc::now() }
}

pub(super) fn wrong(key: &str, level: Level, times: u32) -> Report {
    report(key, News::Wrong(level, times), "it failed")
}

pub(super) fn tell(alert: &crate::alert::Alert, messages: Vec<NewTask>) -> Change {
    let told = Told {
        id: alert.id,
        revision: alert.revision,
        count: alert.count,
        told: json!({"said": alert.count}),
        message: messages.first().map(|task| task.id),
        due: None,
        anew: false,
        closed: None,
    };
    Change::Tell { alerts: vec![told], messages }
}

async fn the_same_is_one_row_until_it_is_over(on: On) {
    let rig = Rig::new(on).await;
    rig.store.report(wrong("a", Level::Warning, 1));
    rig.settle().await;
    // What jsonb and text of PostgreSQL refuse passes too.
    rig.store.report(report("a", News::Wrong(Level::Critical, 2), "odd \0 \u{1} text"));
    rig.store.report(wrong("b\0", Level::Info, 1));
    rig.store.report(report("c", News::Over, "nothing was wrong"));
    rig.settle().await;
    rig.store.report(wrong("a", Level::Info, 4));
    rig.settle().await;
    let alerts = rig.store.alerts(10).await.unwrap();
    let seen = |alerts: &[crate::alert::Alert]| {
        let mut seen: Vec<_> =
            alerts.iter().map(|a| (a.key.clone(), a.level, a.count, a.resolved_at.is_some())).collect();
        seen.sort();
        seen
    };
    let expected = [("a".to_owned(), Level::Critical, 7, false), ("b\0".to_owned(), Level::Info, 1, false)];
    assert_eq!(seen(&alerts), expected);
    assert_eq!(rig.store.alerts_due(Utc::now() + TimeDelta::minutes(1)).await.unwrap().len(), 2);
    rig.store.report(report("a", News::Over, "mended"));
    rig.settle().await;
    let alerts = rig.store.alerts(10).await.unwrap();
    let over = alerts.iter().find(|alert| alert.resolved_at.is_some()).unwrap();
    assert_eq!((over.resolution.as_deref(), over.text.as_str()), (Some("mended"), "it failed"));
    // Each that is news is an event.
    assert_eq!(rig.number("select count(*) from agent_events where event_type = 'agent.alert'").await, 5);
}

async fn what_comes_back_soon_is_the_same_alert_and_later_another(on: On) {
    let mut bare = Bare::new(on).await;
    let (bad, less) = (News::Wrong(Level::Critical, 2), News::Wrong(Level::Warning, 1));
    let rows = async |bare: &Bare| {
        let mut rows = bare.backend.alerts(9).await.unwrap();
        rows.sort_by_key(|alert| alert.id);
        rows.into_iter().map(|a| (a.count, a.level, a.resolved_at.is_some())).collect::<Vec<_>>()
    };
    let apply = async |bare: &Bare, news: &[News]| {
        let of = |news: &News| Report { at: bare.now, ..report("a", *news, "x") };
        let (reports, cooldown) = (news.iter().map(of).collect(), TimeDelta::seconds(60));
        bare.apply(Batch { reports, cooldown, ..Batch::default() }).await
    };
    apply(&bare, &[bad]).await;
    let which = Which::All;
    let known = Change::Acknowledge { which, actor: "ann".into(), at: bare.now };
    bare.apply(Batch { alerts: vec![known], ..Batch::default() }).await;
    apply(&bare, &[News::Over]).await;
    bare.later(59);
    // Again and again in one batch as well, and as bad as it is now.
    apply(&bare, &[less, News::Over, less]).await;
    assert_eq!(rows(&bare).await, [(4, Level::Warning, false)]);
    let back = bare.backend.alerts(9).await.unwrap().remove(0);
    assert_eq!((back.acked_by, back.resolution), (None, None));
    apply(&bare, &[News::Over]).await;
    bare.later(60);
    apply(&bare, &[bad]).await;
    assert_eq!(rows(&bare).await, [(4, Level::Warning, true), (2, Level::Critical, false)]);
    // Whichever of them were over within a longer cooldown: one is open.
    apply(&bare, &[News::Over]).await;
    bare.apply(Batch {
        reports: vec![Report { at: bare.now, ..report("a", bad, "x") }],
        cooldown: TimeDelta::days(1),
        ..Batch::default()
    })
    .await;
    assert_eq!(rows(&bare).await, [(4, Level::Warning, true), (4, Level::Critical, false)]);
}

async fn whoever_read_it_as_it_is_tells_of_it_and_nobody_else(on: On) {
    let rig = Rig::new(on).await;
    rig.store.report(wrong("a", Level::Critical, 1));
    rig.settle().await;
    let read = async || rig.store.alerts(1).await.unwrap().remove(0);
    let alert = read().await;
    let message = keyed("alert:1:0");
    let first = tell(&alert, vec![message.clone()]);
    assert_eq!(rig.store.change_alerts(first.clone()).await.unwrap(), 1);
    // A second one that has read the same says nothing, under whatever key.
    assert_eq!(rig.store.change_alerts(first).await.unwrap(), 0);
    assert_eq!(rig.store.change_alerts(tell(&alert, vec![keyed("another")])).await.unwrap(), 0);
    let told = read().await;
    assert_eq!((told.told["said"].as_u64(), told.message), (Some(1), Some(message.id)));
    // Nor does who read it afterwards, under a key that was used.
    assert_eq!(rig.store.change_alerts(tell(&told, vec![keyed("alert:1:0")])).await.unwrap(), 0);
    assert_eq!(read().await, told);
    assert_eq!(rig.number("select count(*) from task_queue").await, 1);
    // An occurrence is no change: it is looked at anew.
    assert!(rig.store.next_alert().await.unwrap().is_none());
    rig.store.report(wrong("a", Level::Critical, 1));
    rig.settle().await;
    assert_eq!(rig.store.change_alerts(tell(&told, Vec::new())).await.unwrap(), 1);
    assert!(rig.store.next_alert().await.unwrap().is_some(), "what came meanwhile is due");
    // The message is handed to whoever works on it, and its arrival is known.
    let mut consumer = rig.consumer(1);
    let leased = next(&mut consumer).await;
    assert_eq!(leased.id, message.id);
    assert_eq!(rig.store.alerts_arrived().await.unwrap(), []);
    rig.store.complete(done(&leased, "1"));
    ended(&rig.store, leased.id).await;
    let arrived = rig.store.alerts_arrived().await.unwrap();
    assert_eq!(arrived.len(), 1);
    assert_eq!(rig.store.change_alerts(Change::Delivered(arrived.clone())).await.unwrap(), 1);
    assert_eq!(rig.store.change_alerts(Change::Delivered(arrived)).await.unwrap(), 0);
    assert!(read().await.delivered_at.is_some());
}

async fn who_knows_is_put_down(on: On) {
    let rig = Rig::new(on).await;
    for (key, level) in [("a", Level::Critical), ("b", Level::Warning), ("c", Level::Info)] {
        rig.store.report(wrong(key, level, 1));
    }
    rig.settle().await;
    let know = async |which: Which, actor: &str| {
        let change = Change::Acknowledge { which, actor: actor.into(), at: Utc::now() };
        rig.store.change_alerts(change).await.unwrap()
    };
    assert_eq!(know(Which::Key("a".into()), "ann").await, 1);
    assert_eq!(know(Which::All, "bob").await, 1);
    assert_eq!(know(Which::Id(999), "bob").await, 0);
    let mut known: Vec<_> =
        rig.store.alerts(9).await.unwrap().into_iter().map(|alert| (alert.key, alert.acked_by)).collect();
    known.sort();
    let by = |key: &str, who: Option<&str>| (key.to_owned(), who.map(str::to_owned));
    assert_eq!(known, [by("a", Some("ann")), by("b", Some("bob")), by("c", None)]);
}

async fn what_is_over_goes_with_its_time(on: On) {
    let mut bare = Bare::new(on).await;
    let at = bare.now;
    let of = |key: &str, news, at| Report { at, ..report(key, news, "x") };
    let wrong = News::Wrong(Level::Critical, 1);
    let reports = vec![of("a", wrong, at), of("b", wrong, at), of("a", News::Over, at)];
    bare.apply(Batch { reports, ..Batch::default() }).await;
    bare.later(100);
    let prune = Some((bare.now - TimeDelta::seconds(50), 1000));
    bare.apply(Batch { prune, ..Batch::default() }).await;
    assert_eq!(bare.number("select count(*) from alerts").await, 1);
    assert_eq!(bare.number("select count(*) from alerts where dedupe_key = 'b'").await, 1);
}

on_both! {
    the_same_is_one_row_until_it_is_over
    what_comes_back_soon_is_the_same_alert_and_later_another
    whoever_read_it_as_it_is_tells_of_it_and_nobody_else
    who_knows_is_put_down
    what_is_over_goes_with_its_time
}

#[test]
fn what_waits_is_counted_and_bounded() {
    let mut pending = Pending::default();
    for _ in 0..10_000 {
        pending.report(wrong("a", Level::Warning, 1));
    }
    pending.report(wrong("a", Level::Critical, 5));
    assert_eq!(pending.reports.len(), 1);
    assert_eq!(pending.reports[0].news, News::Wrong(Level::Critical, 10_005));
    // What happens after its end is another.
    pending.report(report("a", News::Over, "mended"));
    pending.report(wrong("a", Level::Info, 1));
    assert_eq!(pending.reports.len(), 3);
    for n in 0..5000 {
        pending.report(wrong(&n.to_string(), Level::Info, 1));
    }
    assert_eq!(pending.reports.len(), crate::alert::HELD_REPORTS);
}
