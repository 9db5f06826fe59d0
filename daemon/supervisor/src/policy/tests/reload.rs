//! Replacing an agent while it works.

use std::time::Duration;

use super::*;
use crate::policy::*;

/// Ready since second 1, with library `a`, which proved itself a minute later.
fn serving() -> Story {
    let mut story = Story::with(|config| config.probation = Duration::from_secs(60));
    story.goes(&[
        (0.0, candidate('a'), "stopped (not started)", "yes"),
        (0.0, TURN, "starting by 10", "spawn"),
        (1.0, READY, "ready", "limit 4"),
        (61.0, DUE, "ready", "a is good"),
    ]);
    assert_eq!(story.next_due(), None);
    story
}

/// The same, with `b` in its place since second 100.
fn replaced() -> Story {
    let mut story = serving();
    story.goes(&[
        (99.0, candidate('b'), "ready", "canary b"),
        (100.0, CANARY_READY, "ready", "hand over"),
        (100.0, SNAPSHOT, "ready", "restore"),
        (100.0, RESTORED, "ready", "yes, swap by 110, limit 4"),
    ]);
    story
}

#[test]
fn the_new_one_takes_over_and_proves_itself() {
    let mut story = replaced();
    assert_eq!(story.last_note(), "reload: now bbbbbbbbbbbb; was aaaaaaaaaaaa");
    assert_eq!(story.record.library.previous, [library('a')]);
    assert_eq!(story.next_due(), Some(160.0));
    story.goes(&[
        (160.0, DUE, "ready", "b is good"),
        (161.0, crash(), "starting by 171", "limit 0, spawn, fell"),
    ]);
    assert_eq!(story.record.library.current, Some(library('b')));
}

#[test]
fn until_it_has_taken_over_the_old_one_serves() {
    let failed = |event| ("no, b is bad", event);
    for (said, event) in [
        failed(canary_ended()),
        ("no", Event::CanaryEnded { why: "it needs `fetch`".into(), to_blame: false }),
    ] {
        let mut story = serving();
        let want = format!("end canary, {said}");
        story.goes(&[(99.0, candidate('b'), "ready", "canary b"), (99.5, event, "ready", &want)]);
        assert_eq!(story.record.library.current, Some(library('a')));
        assert!(story.last_note().ends_with("; aaaaaaaaaaaa goes on"), "{}", story.last_note());
        assert_eq!(story.next_due(), None);
    }
    let mut story = serving();
    story.goes(&[
        (99.0, candidate('b'), "ready", "canary b"),
        (109.0, DUE, "ready", "end canary, no, b is bad"),
        (110.0, CANARY_READY, "ready", ""),
    ]);
}

#[test]
fn a_hand_over_that_fails_gives_the_old_one_its_tasks_back() {
    let error = || Err("no".into());
    for (event, said) in [
        (Event::Snapshot { outcome: error() }, "end canary, limit 4, no"),
        (canary_ended(), "end canary, limit 4, no, b is bad"),
        (RESTORED, ""),
    ] {
        let mut story = serving();
        story.goes(&[
            (99.0, candidate('b'), "ready", "canary b"),
            (100.0, CANARY_READY, "ready", "hand over"),
            (100.0, event, "ready", said),
        ]);
    }
    let mut story = serving();
    story.goes(&[
        (99.0, candidate('b'), "ready", "canary b"),
        (100.0, CANARY_READY, "ready", "hand over"),
        (100.0, SNAPSHOT, "ready", "restore"),
        (100.0, Event::Restored { outcome: error() }, "ready", "end canary, limit 4, no, b is bad"),
        (101.0, candidate('c'), "ready", "canary c"),
        (102.0, CANARY_READY, "ready", "hand over"),
        (104.0, DUE, "ready", "end canary, limit 4, no"),
        (105.0, candidate('d'), "ready", "canary d"),
        (106.0, CANARY_READY, "ready", "hand over"),
        (106.0, SNAPSHOT, "ready", "restore"),
        (108.0, DUE, "ready", "end canary, limit 4, no, d is bad"),
    ]);
}

#[test]
fn what_fails_on_probation_is_rolled_back_at_once() {
    replaced().goes(&[(130.0, crash(), "starting by 140", "b is bad, limit 0, spawn, fell")]);
    replaced().goes(&[
        (130.0, hang(), "draining by 136 to failed (hang)", "limit 0, kill"),
        (131.0, crash(), "starting by 141", "b is bad, spawn, fell"),
    ]);
    let mut story = replaced();
    for _ in 0..9 {
        story.happens(130.0, task(Call::Failed));
    }
    // It still lives, so it ends beside its successor.
    story.goes(&[(130.0, task(Call::Failed), "starting by 140", "b is bad, retire by 140, limit 0, spawn")]);
    assert_eq!(
        story.last_note(),
        "rollback: bbbbbbbbbbbb failed on probation: 10 of 10 tasks failed in 60 s; back to aaaaaaaaaaaa"
    );
    // Nothing is left to go back to, and what it goes back to needs no probation.
    let library = &story.record.library;
    assert_eq!((&library.previous, library.probation), (&Vec::new(), None));
    story.goes(&[(131.0, crash(), "starting by 141", "spawn, fell")]);
}

#[test]
fn an_end_that_nobody_holds_against_it_is_no_failure() {
    let mut story = replaced();
    story.goes(&[
        (101.0, restart(), "draining by 111 to start", "limit 0, drain by 111"),
        (102.0, exits(ExitClass::Clean), "starting by 112", "spawn"),
        (103.0, READY, "ready", "limit 4"),
        (104.0, exits(ExitClass::Clean), "starting by 114", "limit 0, spawn, fell"),
    ]);
    assert_eq!(story.record.library.current, Some(library('b')));
}

#[test]
fn probation_outlives_the_daemon() {
    let mut story = replaced();
    story.happens(110.0, SHUTDOWN);
    story.record = story.record.restored(&story.config, at(120.0));
    story.goes(&[
        (120.0, TURN, "starting by 130", "spawn"),
        (121.0, refused(), "starting by 131", "b is bad, spawn"),
    ]);
    assert_eq!(story.record.library.current, Some(library('a')));
}

#[test]
fn an_agent_that_does_not_run_takes_it_as_it_is() {
    let taken = |state: State, step: Step<'_>| {
        let mut story = Story::of(state);
        story.record.library.current = Some(library('a'));
        story.goes(&[step]);
        assert_eq!(story.record.library.current, Some(library('b')));
        assert_eq!(story.record.library.previous, [library('a')]);
        assert_eq!(story.record.library.probation, Some(Probation::Ahead));
    };
    let operator = StopReason::Operator { actor: "cli".into() };
    taken(State::Stopped { why: operator }, (1.0, candidate('b'), "stopped (cli)", "yes"));
    taken(
        State::Backoff { until: at(9.0), attempt: 3 },
        (1.0, candidate('b'), "starting by 11", "yes, spawn"),
    );
    taken(State::Open { until: at(9.0) }, (1.0, candidate('b'), "starting by 11", "yes, spawn"));
    taken(State::Refused { why: "no".into() }, (1.0, candidate('b'), "starting by 11", "yes, spawn"));
}

#[test]
fn a_reload_waits_for_the_budget_and_for_a_host_that_is_on_its_way() {
    let mut story = serving();
    story.budget_empty(99.0, 5);
    story.goes(&[
        (100.0, candidate('b'), "ready", ""),
        (104.0, DUE, "ready", "canary b"),
        // One at a time.
        (104.5, candidate('c'), "ready", ""),
        (105.0, CANARY_READY, "ready", "hand over"),
    ]);
    Story::of(State::Starting { deadline: at(9.0) }).goes(&[(1.0, candidate('b'), "starting by 9", "")]);
}

#[test]
fn whatever_ends_the_old_one_ends_the_canary() {
    let begun = || {
        let mut story = serving();
        story.goes(&[(99.0, candidate('b'), "ready", "canary b")]);
        story
    };
    begun().goes(&[(100.0, crash(), "starting by 110", "end canary, limit 0, spawn, fell")]);
    begun().goes(&[(100.0, stop(), "draining by 110 to stopped (cli)", "end canary, limit 0, drain by 110")]);
    begun().goes(&[(
        100.0,
        SHUTDOWN,
        "draining by 110 to stopped (shutdown)",
        "end canary, limit 0, drain by 110",
    )]);
    begun().goes(&[(100.0, hang(), "draining by 106 to failed (hang)", "end canary, limit 0, kill")]);
}

#[test]
fn a_person_goes_back() {
    let mut story = replaced();
    story.goes(&[
        (160.0, DUE, "ready", "b is good"),
        (200.0, back_to('a'), "ready", "canary a"),
        (200.0, CANARY_READY, "ready", "hand over"),
        (200.0, SNAPSHOT, "ready", "restore"),
        (200.0, RESTORED, "ready", "b is bad, yes, swap by 210, limit 4"),
    ]);
    assert_eq!(story.last_note(), "rollback: a whim; back to aaaaaaaaaaaa");
    assert_eq!(story.record.library.probation, None);
    story.goes(&[(201.0, crash(), "starting by 211", "limit 0, spawn, fell")]);
    assert_eq!(story.record.library.current, Some(library('a')));
}

#[test]
fn what_has_not_proved_itself_is_gone_back_to_on_probation() {
    let mut story = replaced();
    story.goes(&[
        (110.0, candidate('c'), "ready", "canary c"),
        (110.0, CANARY_READY, "ready", "hand over"),
        (110.0, SNAPSHOT, "ready", "restore"),
        (110.0, RESTORED, "ready", "yes, swap by 120, limit 4"),
    ]);
    assert_eq!(story.record.library.previous, [library('b'), library('a')]);
    story.goes(&[
        (120.0, crash(), "starting by 130", "c is bad, limit 0, spawn, fell"),
        (121.0, READY, "ready", "limit 4"),
        (130.0, crash(), "starting by 140", "b is bad, limit 0, spawn, fell"),
        (131.0, READY, "ready", "limit 4"),
    ]);
    assert_eq!(story.record.library.current, Some(library('a')));
    assert_eq!((&story.record.library.previous, story.record.library.probation), (&Vec::new(), None));
}
