//! Missions: proposed once, decided once, by whoever is first.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::mission::{Change, Decision, Mission, Outcome, Proposal, Status, WAITING_MISSIONS};

fn propose(id: Uuid, expires_at: Option<DateTime<Utc>>) -> Change {
    let by = agent("scout");
    let proposal = Proposal { by, confidence: Some(0.9), expires_at, data: json!({"a": 1}), decision: None };
    Change::Propose { id, title: "Buy tin\0".into(), proposal }
}

fn decide(id: Uuid, verdict: Status, actor: &str) -> Change {
    let decision = Decision { actor: actor.into(), at: Utc::now(), reason: String::new() };
    Change::Decide { id, verdict, decision }
}

async fn change(rig: &Rig, change: Change) -> Outcome {
    within(rig.store.change_mission(change)).await.unwrap()
}

fn status(outcome: Outcome) -> (&'static str, String, Option<String>) {
    let shown = |name, mission: Mission| {
        (name, mission.status, mission.proposal.decision.map(|decision| decision.actor))
    };
    match outcome {
        Outcome::Done(mission) => shown("done", mission),
        Outcome::Already(mission) => shown("already", mission),
        Outcome::Expired(mission) => shown("expired", mission),
        Outcome::Unknown => ("unknown", String::new(), None),
        Outcome::TooMany => ("too many", String::new(), None),
    }
}

async fn it_is_proposed_once_and_decided_once(on: On) {
    let rig = Rig::new(on).await;
    let (id, none) = (Uuid::now_v7(), |name, status: &str| (name, status.to_owned(), None));
    assert_eq!(status(change(&rig, decide(id, Status::Approved, "a")).await), none("unknown", ""));
    assert_eq!(status(change(&rig, propose(id, None)).await), none("done", "proposed"));
    assert_eq!(status(change(&rig, propose(id, None)).await), none("already", "proposed"));
    let (one, other) = tokio::join!(
        change(&rig, decide(id, Status::Approved, "ada")),
        change(&rig, decide(id, Status::Rejected, "bob"))
    );
    let (one, other) = (status(one), status(other));
    assert_eq!([one.0, other.0].iter().filter(|name| **name == "done").count(), 1, "{one:?} {other:?}");
    // Both were told of the one decision.
    assert_eq!((&one.1, &one.2), (&other.1, &other.2));
    let all = rig.store.missions(10).await.unwrap();
    assert_eq!((all.len(), &all[0].status, &all[0].proposal.data), (1, &one.1, &json!({"a": 1})));
    let events = rig.store.events(&agent("scout"), crate::mission::DECIDED, 10).await.unwrap();
    assert_eq!((events.len(), events[0].payload["decision"]["actor"].as_str()), (1, one.2.as_deref()));
}

async fn past_its_time_it_can_only_be_rejected(on: On) {
    let rig = Rig::new(on).await;
    let id = Uuid::now_v7();
    change(&rig, propose(id, Some(Utc::now() - Duration::from_secs(1)))).await;
    assert_eq!(status(change(&rig, decide(id, Status::Approved, "a")).await).0, "expired");
    assert_eq!(status(change(&rig, decide(id, Status::Rejected, "a")).await).0, "done");
    assert_eq!(rig.number("select count(*) from ops_missions where finished_at is not null").await, 1);
}

async fn there_is_a_most_that_waits(on: On) {
    let rig = Rig::new(on).await;
    let mut proposing = tokio::task::JoinSet::new();
    for _ in 0..WAITING_MISSIONS + 5 {
        let store = rig.store.clone();
        proposing.spawn(async move { store.change_mission(propose(Uuid::now_v7(), None)).await.unwrap() });
    }
    let all = within(proposing.join_all()).await;
    let refused = all.into_iter().filter(|outcome| *outcome == Outcome::TooMany).count();
    assert_eq!(refused, 5);
}

on_both! {
    it_is_proposed_once_and_decided_once
    past_its_time_it_can_only_be_rejected
    there_is_a_most_that_waits
}
