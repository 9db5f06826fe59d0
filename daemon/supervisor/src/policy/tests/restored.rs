//! What is left of a record when the daemon starts again.

use super::*;
use crate::policy::*;

fn restored(state: State, now: f64) -> String {
    let mut record = Record::new(at(0.0));
    record.state = state;
    let saved = serde_json::to_string(&record).unwrap();
    let record: Record = serde_json::from_str(&saved).unwrap();
    told(&record.restored(&config(), at(now)).state)
}

#[test]
fn nothing_that_had_a_host_has_one() {
    let draining = |next| State::Draining { deadline: at(5.0), next };
    for state in [
        State::Stopped { why: StopReason::NotStarted },
        State::Stopped { why: StopReason::Shutdown },
        State::Stopped { why: StopReason::Operator { actor: "someone".into() } },
        State::Stopped { why: StopReason::Finished { exit: exit(ExitClass::Clean) } },
        State::Starting { deadline: at(5.0) },
        State::Ready { since: at(5.0) },
        State::Refused { why: "ABI".into() },
        draining(Next::Start),
        draining(Next::Stopped { why: StopReason::Shutdown }),
        draining(Next::Failed { exit: exit(ExitClass::Hang) }),
    ] {
        assert_eq!(restored(state.clone(), 6.0), "stopped (not started)", "{state:?}");
    }
}

#[test]
fn waits_go_on() {
    assert_eq!(restored(State::Backoff { until: at(8.0), attempt: 3 }, 6.0), "backoff 3 until 8");
    assert_eq!(restored(State::Backoff { until: at(5.0), attempt: 3 }, 6.0), "backoff 3 until 5");
    assert_eq!(restored(State::Open { until: at(8.0) }, 6.0), "open until 8");
    let next = Next::Open { until: at(8.0) };
    assert_eq!(restored(State::Draining { deadline: at(5.0), next }, 6.0), "open until 8");
    for probe in [Probe::Starting { deadline: at(9.0) }, Probe::Running { since: at(4.0) }] {
        assert_eq!(restored(State::HalfOpen { probe }, 6.0), "open until 6");
    }
}

#[test]
fn a_clock_that_went_back_makes_no_wait_longer_than_the_longest() {
    let late = 1_000_000.0;
    assert_eq!(restored(State::Backoff { until: at(late), attempt: 3 }, 6.0), "backoff 3 until 36");
    assert_eq!(restored(State::Open { until: at(late) }, 6.0), "open until 606");
    let next = Next::Open { until: at(late) };
    assert_eq!(restored(State::Draining { deadline: at(late), next }, 6.0), "open until 606");
    let mut varied = config();
    varied.backoff.jitter = 0.5;
    let mut record = Record::new(at(0.0));
    record.state = State::Backoff { until: at(late), attempt: 3 };
    assert_eq!(told(&record.restored(&varied, at(6.0)).state), "backoff 3 until 51");
}

#[test]
fn what_a_person_stopped_stays_so_whatever_its_state() {
    for state in [
        State::Ready { since: at(1.0) },
        State::Open { until: at(9.0) },
        State::Backoff { until: at(9.0), attempt: 3 },
        State::Draining { deadline: at(9.0), next: Next::Start },
    ] {
        let mut record = Record::new(at(0.0));
        record.state = state;
        record.desired = Desired::Down { actor: "cli".into() };
        assert_eq!(told(&record.restored(&config(), at(2.0)).state), "stopped (cli)");
    }
}

#[test]
fn its_failures_still_count() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, crash(), "starting by 11", "spawn, fell"),
        (2.0, crash(), "backoff 2 until 2.2", "fell"),
        (2.2, DUE, "starting by 12.2", "spawn"),
    ]);
    story.record = story.record.restored(&story.config, at(3.0));
    story.goes(&[
        (3.0, Event::Start { actor: "boot".into() }, "starting by 13", "spawn"),
        (4.0, crash(), "backoff 3 until 4.4", "fell"),
    ]);
    assert_eq!((story.record.restarts, story.record.breaker.failures), (2, 3));
    // A restart for each of two hosts, and a start by the boot.
    story.record = story.record.restored(&story.config, at(4.0));
    story.goes(&[(4.4, DUE, "starting by 14.4", "spawn"), (5.0, crash(), "backoff 4 until 5.8", "fell")]);
}

#[test]
fn its_open_breaker_stays_half_open_after_the_boot() {
    let mut story = Story::of(State::HalfOpen { probe: Probe::Running { since: at(1.0) } });
    story.record.breaker.trips = 2;
    story.happens(2.0, SHUTDOWN);
    story.happens(3.0, exits(ExitClass::Clean));
    story.record = story.record.restored(&story.config, at(4.0));
    story.goes(&[
        (4.0, Event::Start { actor: "boot".into() }, "half_open, starting by 14", "spawn"),
        (5.0, crash(), "open until 45", "fell"),
    ]);
}

#[test]
fn the_record_reads_as_people_expect() {
    let mut record = Record::new(at(0.0));
    record.state = State::Draining { deadline: at(5.0), next: Next::Open { until: at(9.0) } };
    let value = serde_json::to_value(&record).unwrap();
    let next = serde_json::json!({"next": "open", "until": "2030-01-01T00:00:09Z"});
    let state = serde_json::json!({"state": "draining", "deadline": "2030-01-01T00:00:05Z", "next": next});
    assert_eq!(value["state"], state);
    assert_eq!(value["desired"], serde_json::json!({"desired": "up"}));
    assert_eq!(serde_json::to_value(ExitClass::OutOfMemory).unwrap(), ExitClass::OutOfMemory.as_str());
}
