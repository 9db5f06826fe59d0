//! Stops, restarts, and what comes in between.

use super::*;
use crate::policy::*;

/// Ready since second 1.
fn ready() -> Story {
    let mut story = Story::new();
    story.goes(&[(0.0, start(), "starting by 10", "spawn"), (1.0, READY, "ready", "limit 4")]);
    story
}

#[test]
fn a_persons_stop_outlives_the_daemon() {
    let mut story = ready();
    story.goes(&[
        (2.0, stop(), "draining by 12 to stopped (cli)", "limit 0, drain by 12"),
        (3.0, exits(ExitClass::Clean), "stopped (cli)", ""),
        (4.0, DUE, "stopped (cli)", ""),
        (4.0, sibling(), "stopped (cli)", ""),
        (4.0, stop(), "stopped (cli)", ""),
        (5.0, SHUTDOWN, "stopped (cli)", ""),
    ]);
    let restored = story.record.restored(&story.config, at(6.0));
    assert_eq!(told(&restored.state), "stopped (cli)");
    assert_eq!(restored.desired, Desired::Down { actor: "cli".into() });
}

#[test]
fn a_shutdown_does_not() {
    let mut story = ready();
    story.goes(&[
        (2.0, SHUTDOWN, "draining by 12 to stopped (shutdown)", "limit 0, drain by 12"),
        (3.0, exits(ExitClass::Clean), "stopped (shutdown)", ""),
        (3.0, SHUTDOWN, "stopped (shutdown)", ""),
    ]);
    let restored = story.record.restored(&story.config, at(6.0));
    assert_eq!(told(&restored.state), "stopped (not started)");
    assert_eq!(restored.desired, Desired::Up);
}

#[test]
fn a_shutdown_leaves_waits_as_they_are() {
    Story::of(State::Backoff { until: at(9.0), attempt: 3 }).goes(&[(
        2.0,
        SHUTDOWN,
        "backoff 3 until 9",
        "",
    )]);
    Story::of(State::Open { until: at(9.0) }).goes(&[(2.0, SHUTDOWN, "open until 9", "")]);
    let next = Next::Open { until: at(9.0) };
    Story::of(State::Draining { deadline: at(5.0), next })
        .goes(&[(2.0, SHUTDOWN, "draining by 5 to open until 9", ""), (3.0, crash(), "open until 9", "")]);
}

#[test]
fn a_stop_of_what_has_no_host_is_at_once() {
    for state in [
        State::Stopped { why: StopReason::NotStarted },
        State::Backoff { until: at(9.0), attempt: 3 },
        State::Open { until: at(9.0) },
        State::Refused { why: "ABI".into() },
    ] {
        let mut story = Story::of(state);
        story.goes(&[(2.0, stop(), "stopped (cli)", "")]);
        assert_eq!(story.next_due(), None);
    }
}

#[test]
fn a_stop_while_starting_ends_the_start() {
    Story::new().goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, stop(), "draining by 7 to stopped (cli)", "kill"),
        (1.5, READY, "draining by 7 to stopped (cli)", "limit 0"),
        (2.0, crash(), "stopped (cli)", ""),
    ]);
}

#[test]
fn a_stop_while_draining_replaces_what_was_to_come() {
    for next in [
        Next::Start,
        Next::Open { until: at(30.0) },
        Next::Failed { exit: exit(ExitClass::Hang) },
        Next::Stopped { why: StopReason::Shutdown },
    ] {
        let mut story = Story::of(State::Draining { deadline: at(5.0), next });
        story.goes(&[
            (1.0, stop(), "draining by 5 to stopped (cli)", ""),
            (2.0, crash(), "stopped (cli)", ""),
            (3.0, DUE, "stopped (cli)", ""),
        ]);
        assert_eq!(story.record.breaker.failures, 0);
    }
}

#[test]
fn a_start_while_draining_starts_it_afterwards() {
    let mut story = ready();
    story.goes(&[
        (2.0, stop(), "draining by 12 to stopped (cli)", "limit 0, drain by 12"),
        (3.0, start(), "draining by 12 to start", ""),
        (4.0, start(), "draining by 12 to start", ""),
        (5.0, exits(ExitClass::Clean), "starting by 15", "spawn"),
    ]);
    assert_eq!((&story.record.desired, story.record.restarts), (&Desired::Up, 1));
    assert_eq!(story.record.attempt, 0);
}

#[test]
fn a_restart_drains_and_starts_and_is_not_counted() {
    let mut story = ready();
    story.goes(&[
        (2.0, restart(), "draining by 12 to start", "limit 0, drain by 12"),
        (3.0, restart(), "draining by 12 to start", ""),
        (4.0, crash(), "starting by 14", "spawn"),
        (5.0, restart(), "draining by 11 to start", "kill"),
        (6.0, exits(ExitClass::Clean), "starting by 16", "spawn"),
    ]);
    assert_eq!((story.record.restarts, story.record.breaker.failures), (2, 0));
    assert_eq!(story.notes[2].reason, "a whim");
}

#[test]
fn a_restart_of_what_has_no_host_is_a_start() {
    for state in [
        State::Stopped { why: StopReason::Operator { actor: "cli".into() } },
        State::Backoff { until: at(9.0), attempt: 3 },
    ] {
        let mut story = Story::of(state);
        story.record.desired = Desired::Down { actor: "cli".into() };
        story.goes(&[(2.0, restart(), "starting by 12", "spawn")]);
        assert_eq!(story.record.desired, Desired::Up);
    }
}

#[test]
fn a_host_that_refuses_while_it_is_stopped_is_gone() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, stop(), "draining by 7 to stopped (cli)", "kill"),
        (2.0, refused(), "stopped (cli)", ""),
    ]);
    assert_eq!(story.next_due(), None);
}

#[test]
fn news_of_a_host_that_is_long_gone_changes_nothing() {
    for state in [
        State::Stopped { why: StopReason::Shutdown },
        State::Backoff { until: at(9.0), attempt: 3 },
        State::Open { until: at(9.0) },
        State::Refused { why: "ABI".into() },
    ] {
        let before = told(&state);
        let mut story = Story::of(state);
        for event in [crash(), hang(), refused(), task(Call::Failed), sibling()] {
            story.goes(&[(1.0, event, &before, "")]);
        }
        story.goes(&[(1.0, READY, &before, "limit 0")]);
    }
}

#[test]
fn whoever_lost_the_lead_ends_at_once_and_is_led_anew_without_a_fault() {
    let lost = || Event::StandBy { why: "lost".into() };
    let mut story = ready();
    story.goes(&[
        (2.0, lost(), "draining by 8 to standby", "limit 0, kill"),
        (2.5, exits(ExitClass::Signal), "standby", ""),
        (2.6, lost(), "standby", ""),
        (3.0, DUE, "standby", ""),
        (3.0, SHUTDOWN, "standby", ""),
    ]);
    assert_eq!((story.record.breaker.failures, story.record.attempt), (0, 0));
    let restored = story.record.restored(&story.config, at(6.0));
    assert_eq!(told(&restored.state), "stopped (not started)");
    // One that drains has no time left for that.
    let mut story = ready();
    story.goes(&[
        (2.0, restart(), "draining by 12 to start", "limit 0, drain by 12"),
        (3.0, lost(), "draining by 12 to standby", "kill"),
        (3.5, exits(ExitClass::Clean), "standby", ""),
    ]);
    for state in [
        State::Backoff { until: at(9.0), attempt: 3 },
        State::Open { until: at(9.0) },
        State::Refused { why: "no".into() },
    ] {
        Story::of(state).goes(&[(2.0, lost(), "standby", "")]);
    }
}
