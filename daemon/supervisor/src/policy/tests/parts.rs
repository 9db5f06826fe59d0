//! The pieces beside the state machine: exits, the budget, groups, retries.

use std::collections::BTreeMap;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use settings::{Group, Strategy, Tasks};

use super::*;
use crate::policy::group::{fallen_with, may_start, may_stop};
use crate::policy::retry::retry_at;
use crate::policy::*;

fn ended(code: Option<i32>, signal: Option<i32>, words: &[&str]) -> (ExitClass, String) {
    let words: Vec<String> = words.iter().map(|&line| line.to_owned()).collect();
    let exit = Exit::from_status(code, signal, &words, at(0.0));
    (exit.class, exit.detail)
}

/// Code, signal, last words; class and detail.
type Case<'c> = (Option<i32>, Option<i32>, &'c [&'c str], ExitClass, &'c str);

#[test]
fn exits_are_told_apart() {
    use ExitClass::*;
    let panicked = ["noise", "thread 'main' panicked at src/lib.rs:7:5:", "boom", "note: run with …"];
    let short = ["boot", "memory allocation of 1048576 bytes failed"];
    let cases: [Case<'_>; 11] = [
        (Some(0), None, &[], Clean, "exit code 0"),
        (Some(0), None, &panicked, Clean, "exit code 0"),
        (Some(3), None, &[], Error, "exit code 3"),
        (Some(101), None, &panicked, Error, "exit code 101"),
        (None, Some(11), &[], Signal, "signal 11 (SIGSEGV)"),
        (None, Some(9), &panicked, Signal, "signal 9 (SIGKILL)"),
        (None, Some(42), &[], Signal, "signal 42"),
        (None, Some(6), &["noise"], Signal, "signal 6 (SIGABRT)"),
        (None, Some(6), &short, OutOfMemory, "memory allocation of 1048576 bytes failed"),
        (None, Some(6), &panicked, Panic, "thread 'main' panicked at src/lib.rs:7:5: boom"),
        (None, None, &[], Error, "an unknown status"),
    ];
    for (code, signal, words, class, detail) in cases {
        assert_eq!(ended(code, signal, words), (class, detail.to_owned()));
    }
}

#[test]
fn of_several_panics_the_last_one_killed_it() {
    let words = ["thread 'a' panicked at a.rs:1:1:", "caught", "thread 'b' panicked at b.rs:2:2:"];
    assert_eq!(ended(None, Some(6), &words), (ExitClass::Panic, words[2].to_owned()));
}

#[test]
fn a_panics_message_is_cut_at_a_character() {
    let exit = Exit::new(ExitClass::Panic, "é".repeat(10_000), at(0.0));
    assert_eq!(exit.detail.chars().count(), 300);
}

#[test]
fn an_exit_is_told_with_its_class_where_the_detail_does_not_say_it() {
    assert_eq!(Exit::new(ExitClass::Signal, "signal 9 (SIGKILL)", at(0.0)).to_string(), "signal 9 (SIGKILL)");
    let exit = Exit::new(ExitClass::StartTimeout, "not ready within 10 s", at(0.0));
    assert_eq!(exit.to_string(), "start timeout: not ready within 10 s");
}

#[test]
fn the_budget_gives_its_capacity_at_once_and_then_one_per_refill() {
    let mut budget = Budget::new(3, Duration::from_secs(2), at(0.0));
    for _ in 0..3 {
        assert_eq!(budget.take(at(1.0)), Ok(()));
    }
    assert_eq!(budget.take(at(1.0)), Err(at(3.0)));
    assert_eq!(budget.take(at(2.9)), Err(at(3.0)));
    assert_eq!(budget.take(at(3.0)), Ok(()));
    assert_eq!(budget.take(at(3.0)), Err(at(5.0)));
    // A fraction of the refill is not lost.
    assert_eq!(budget.take(at(8.0)), Ok(()));
    // It never holds more than its capacity.
    assert_eq!((0..100).filter(|_| budget.take(at(100_000.0)).is_ok()).count(), 3);
}

#[test]
fn a_budget_of_nothing_is_one_of_a_little() {
    let mut budget = Budget::new(0, Duration::ZERO, at(0.0));
    assert_eq!(budget.take(at(0.0)), Ok(()));
    assert_eq!(budget.take(at(0.0)), Err(at(0.0) + Duration::from_micros(1)));
}

#[test]
fn the_budget_survives_a_clock_that_goes_back() {
    let mut budget = Budget::new(2, Duration::from_secs(2), at(1_000_000.0));
    for _ in 0..2 {
        assert_eq!(budget.take(at(1_000_000.0)), Ok(()));
    }
    assert_eq!(budget.take(at(10.0)), Err(at(12.0)), "it gives nothing for free");
    assert_eq!(budget.take(at(12.0)), Ok(()), "and does not wait for the old time");
    assert_eq!(budget.take(at(12.0)), Err(at(14.0)));
}

fn name(name: &str) -> AgentName {
    name.parse().unwrap()
}

fn group(strategy: Strategy) -> Group {
    Group { strategy, agents: ["a", "b", "c"].map(name).to_vec() }
}

#[test]
fn who_falls_with_whom() {
    let cases = [
        (Strategy::OneForOne, "b", vec![]),
        (Strategy::OneForAll, "b", vec!["a", "c"]),
        (Strategy::OneForAll, "a", vec!["b", "c"]),
        (Strategy::RestForOne, "a", vec!["b", "c"]),
        (Strategy::RestForOne, "b", vec!["c"]),
        (Strategy::RestForOne, "c", vec![]),
        (Strategy::RestForOne, "stranger", vec![]),
    ];
    for (strategy, fallen, expected) in cases {
        let group = group(strategy);
        let fallen = fallen_with(&group, &name(fallen));
        assert_eq!(fallen.iter().map(|name| name.as_str()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn members_start_in_order() {
    let turns = |first: State| {
        let second = State::Stopped { why: StopReason::NotStarted };
        let states = BTreeMap::from([(name("a"), first), (name("b"), second)]);
        let may = |member: &str| may_start(&group(Strategy::OneForOne), &name(member), |n| states.get(n));
        (may("a"), may("b"), may("c"))
    };
    let draining = State::Draining { deadline: at(1.0), next: Next::Start };
    for coming in [
        State::Stopped { why: StopReason::NotStarted },
        State::Starting { deadline: at(1.0) },
        State::HalfOpen { probe: Probe::Starting { deadline: at(1.0) } },
        draining,
        State::Stopped { why: StopReason::FellWith { name: "c".into() } },
        State::Backoff { until: at(1.0), attempt: 2 },
    ] {
        assert_eq!(turns(coming.clone()), (true, false, false), "{coming:?}");
    }
    // One that is up, or will not be soon, holds up nobody.
    for settled in [
        State::Ready { since: at(1.0) },
        State::HalfOpen { probe: Probe::Running { since: at(1.0) } },
        State::Open { until: at(1.0) },
        State::Backoff { until: at(1.0), attempt: 4 },
        State::Refused { why: "ABI".into() },
        State::Stopped { why: StopReason::Operator { actor: "cli".into() } },
    ] {
        assert_eq!(turns(settled.clone()), (true, true, false), "{settled:?}");
    }
    let nobody = |_: &AgentName| None;
    assert!(may_start(&group(Strategy::OneForOne), &name("c"), nobody), "who is left out holds up nobody");
}

#[test]
fn members_stop_in_reverse() {
    let turns = |last: State| {
        let running = State::Ready { since: at(1.0) };
        let states = BTreeMap::from([(name("a"), running.clone()), (name("b"), running), (name("c"), last)]);
        let may = |member: &str| may_stop(&group(Strategy::OneForOne), &name(member), |n| states.get(n));
        (may("a"), may("b"), may("c"))
    };
    let next = Next::Stopped { why: StopReason::Shutdown };
    assert_eq!(turns(State::Ready { since: at(1.0) }), (false, false, true));
    assert_eq!(turns(State::Draining { deadline: at(1.0), next }), (false, false, true));
    assert_eq!(turns(State::Stopped { why: StopReason::Shutdown }), (false, true, true));
    assert_eq!(turns(State::Open { until: at(1.0) }), (false, true, true));
}

#[test]
fn failed_tasks_are_tried_again_later_and_later_and_then_no_more() {
    let tasks = Tasks::default();
    let next = |attempts, most, jitter| retry_at(attempts, most, &tasks, jitter, at(0.0)).map(seconds);
    assert_eq!([1, 2, 3].map(|attempts| next(attempts, 3, 0.0)), [Some(1.0), Some(2.0), None]);
    assert_eq!([9, 10, 40].map(|attempts| next(attempts, 99, 0.0)), [256.0, 300.0, 300.0].map(Some));
    assert_eq!(next(u32::MAX - 1, u32::MAX, 1.0), Some(360.0));
    assert_eq!([next(1, 3, 0.5), next(1, 3, 1.0), next(1, 3, 7.0)], [1.1, 1.2, 1.2].map(Some));
    assert_eq!(next(0, 3, 0.0), Some(1.0));
    assert_eq!(next(0, 0, 0.0), None);
}
