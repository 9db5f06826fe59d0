//! Starts, failures, and how long the pauses are.

use settings::Restart;

use super::*;
use crate::policy::*;

/// The pauses after each of `count` failures in a row, in seconds.
fn pauses(story: &mut Story, count: usize) -> Vec<f64> {
    story.config.breaker.intensity = 1000;
    story.happens(0.0, start());
    let mut now = 0.0;
    let mut pauses = Vec::new();
    for _ in 0..count {
        story.happens(now, crash());
        let spawn_at = match &story.record.state {
            State::Backoff { until, .. } => seconds(*until),
            _ => now,
        };
        pauses.push(((spawn_at - now) * 1000.0).round() / 1000.0);
        now = spawn_at;
        story.happens(now, DUE);
        assert!(story.record.state.has_host(), "{:?}", story.record.state);
    }
    pauses
}

#[test]
fn a_start_spawns_and_a_ready_host_takes_tasks() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, READY, "ready", "limit 4"),
        (2.0, start(), "ready", ""),
    ]);
    assert_eq!((story.record.restarts, story.next_due()), (0, None));
}

#[test]
fn the_first_restart_is_immediate_and_the_pauses_grow() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, READY, "ready", "limit 4"),
        (2.0, crash(), "starting by 12", "limit 0, spawn, fell"),
        (3.0, crash(), "backoff 2 until 3.2", "fell"),
        (3.1, DUE, "backoff 2 until 3.2", ""),
        (3.2, DUE, "starting by 13.2", "spawn"),
        (4.0, crash(), "backoff 3 until 4.4", "fell"),
    ]);
    assert_eq!(story.record.restarts, 2);
    assert_eq!(story.record.last_exit, Some(exit(ExitClass::Signal)));
    assert_eq!(story.last_note(), "detail; restart 3 in a row comes in 400 ms");
}

#[test]
fn pauses_grow_by_the_factor_up_to_the_cap() {
    let found = pauses(&mut Story::new(), 11);
    assert_eq!(found, [0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]);
    let threefold = pauses(&mut Story::with(|config| config.backoff.factor = 3.0), 4);
    assert_eq!(threefold, [0.0, 0.2, 0.6, 1.8]);
}

#[test]
fn a_pause_stays_at_the_cap_however_often_it_failed() {
    let mut story = Story::new();
    story.happens(0.0, start());
    story.config.backoff.factor = 100.0;
    story.record.attempt = u32::MAX - 1;
    for now in [1.0, 100.0] {
        story.happens(now, crash());
        assert_eq!(story.next_due(), Some(now + 30.0));
        story.happens(now + 30.0, DUE);
    }
}

#[test]
fn jitter_varies_a_pause_by_its_share_both_ways() {
    for (jitter, expected) in [(0.0, [0.0, 0.15, 0.3]), (0.5, [0.0, 0.2, 0.4]), (1.0, [0.0, 0.25, 0.5])] {
        let mut story = Story::with(|config| config.backoff.jitter = 0.25);
        story.jitter = jitter;
        assert_eq!(pauses(&mut story, 3), expected, "{jitter}");
    }
}

#[test]
fn a_stable_run_resets_the_pauses() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, crash(), "starting by 11", "spawn, fell"),
        (2.0, crash(), "backoff 2 until 2.2", "fell"),
        (2.2, DUE, "starting by 12.2", "spawn"),
        (3.0, READY, "ready", "limit 4"),
        (32.9, DUE, "ready", ""),
    ]);
    assert_eq!((story.record.attempt, story.next_due()), (2, Some(33.0)));
    story.goes(&[(33.0, DUE, "ready", "")]);
    assert_eq!((story.record.attempt, story.next_due()), (0, None));
    assert_eq!(story.last_note(), "a stable run: restarts are counted anew", "it is saved");
    story.goes(&[(34.0, crash(), "starting by 44", "limit 0, spawn, fell")]);
}

#[test]
fn a_short_run_does_not() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, crash(), "starting by 11", "spawn, fell"),
        (2.0, READY, "ready", "limit 4"),
        (31.0, crash(), "backoff 2 until 31.2", "limit 0, fell"),
    ]);
}

#[test]
fn the_restart_policy_decides_what_an_exit_means() {
    use ExitClass::*;
    let restarted = ("starting by 12", "limit 0, spawn, fell");
    let cases = [
        (Restart::Always, Clean, restarted),
        (Restart::Always, Error, restarted),
        (Restart::OnFailure, Clean, ("stopped (finished: clean)", "limit 0")),
        (Restart::OnFailure, Error, restarted),
        (Restart::OnFailure, Panic, restarted),
        (Restart::OnFailure, OutOfMemory, restarted),
        (Restart::Never, Clean, ("stopped (finished: clean)", "limit 0")),
        (Restart::Never, Error, ("stopped (finished: error)", "limit 0")),
    ];
    for (policy, class, (state, actions)) in cases {
        let mut story = Story::with(|config| config.restart = policy);
        story.goes(&[
            (0.0, start(), "starting by 10", "spawn"),
            (1.0, READY, "ready", "limit 4"),
            (2.0, exits(class), state, actions),
        ]);
        assert_eq!(story.record.last_exit.as_ref().map(|exit| exit.class), Some(class));
    }
}

#[test]
fn what_restart_left_stopped_starts_again_for_a_person() {
    let mut story = Story::with(|config| config.restart = Restart::Never);
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, crash(), "stopped (finished: signal)", ""),
        (2.0, DUE, "stopped (finished: signal)", ""),
        (3.0, start(), "starting by 13", "spawn"),
    ]);
}

#[test]
fn refused_never_retries_but_a_person_may() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, refused(), "refused", ""),
        (2.0, exits(ExitClass::Error), "refused", ""),
        (1000.0, DUE, "refused", ""),
        (1001.0, sibling(), "refused", ""),
        (1002.0, SHUTDOWN, "refused", ""),
    ]);
    assert_eq!(story.next_due(), None);
    assert_eq!(story.record.last_exit.as_ref().map(|exit| exit.class), Some(ExitClass::Refused));
    story.goes(&[(1003.0, start(), "starting by 1013", "spawn"), (1004.0, refused(), "refused", "")]);
    story.goes(&[(1005.0, restart(), "starting by 1015", "spawn")]);
}

#[test]
fn a_refusal_counts_against_nothing_without_a_host() {
    Story::new().goes(&[(0.0, refused(), "stopped (not started)", "")]);
}

#[test]
fn a_start_that_takes_too_long_is_killed_and_counts_as_a_failure() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (9.9, DUE, "starting by 10", ""),
        (10.0, DUE, "draining by 16 to failed (start_timeout)", "kill"),
        (10.5, READY, "draining by 16 to failed (start_timeout)", "limit 0"),
        (11.0, crash(), "starting by 21", "spawn, fell"),
    ]);
    let last = story.record.last_exit.clone().unwrap();
    assert_eq!((last.class, last.detail.as_str()), (ExitClass::StartTimeout, "not ready within 10 s"));
}

#[test]
fn a_hang_is_killed_and_counts_as_a_failure() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, READY, "ready", "limit 4"),
        (20.0, hang(), "draining by 26 to failed (hang)", "limit 0, kill"),
        (20.1, hang(), "draining by 26 to failed (hang)", ""),
        // It ended with SIGTERM's clean exit: a hang all the same.
        (21.0, exits(ExitClass::Clean), "starting by 31", "spawn, fell"),
    ]);
    assert_eq!(story.record.last_exit.as_ref().map(|exit| exit.class), Some(ExitClass::Hang));
}

#[test]
fn a_hang_follows_the_restart_policy() {
    for (policy, state) in
        [(Restart::OnFailure, "starting by 31"), (Restart::Never, "stopped (finished: hang)")]
    {
        let mut story = Story::with(|config| config.restart = policy);
        story.happens(0.0, start());
        story.happens(1.0, READY);
        story.happens(20.0, hang());
        story.happens(21.0, exits(ExitClass::Clean));
        assert_eq!(told(&story.record.state), state);
    }
}

#[test]
fn a_host_that_will_not_die_is_killed_again() {
    let mut story = Story::with(|config| config.kill_grace = std::time::Duration::from_secs(8));
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (1.0, READY, "ready", "limit 4"),
        (2.0, stop(), "draining by 12 to stopped (cli)", "limit 0, drain by 12"),
        (11.9, DUE, "draining by 12 to stopped (cli)", ""),
        // The grace must have passed before the kill begins anew: else SIGKILL never comes.
        (12.0, DUE, "draining by 25 to stopped (cli)", "kill"),
        (25.0, DUE, "draining by 38 to stopped (cli)", "kill"),
        (26.0, crash(), "stopped (cli)", ""),
    ]);
}

#[test]
fn a_member_that_goes_with_its_group_is_not_counted() {
    let mut story = Story::new();
    story.goes(&[(0.0, start(), "starting by 10", "spawn"), (1.0, READY, "ready", "limit 4")]);
    for now in 2..6 {
        let (now, by, started) = (f64::from(now), now + 10, f64::from(now) + 10.6);
        let draining = format!("draining by {by} to stopped (fell with hermes)");
        story.goes(&[
            (now, sibling(), &draining, &format!("limit 0, drain by {by}")),
            (now + 0.1, sibling(), &draining, ""),
            (now + 0.5, exits(ExitClass::Clean), "stopped (fell with hermes)", ""),
            (now + 0.6, TURN, &format!("starting by {started}"), "spawn"),
            (now + 0.7, READY, "ready", "limit 4"),
        ]);
    }
    assert_eq!((story.record.attempt, story.record.breaker.failures), (0, 0));
    assert_eq!(story.record.restarts, 4);
}

#[test]
fn a_members_turn_takes_a_token_of_the_budget() {
    let mut story = Story::of(State::Stopped { why: StopReason::FellWith { name: "hermes".into() } });
    story.budget_empty(1.0, 4);
    story.goes(&[(1.5, TURN, "backoff 1 until 5", ""), (5.0, DUE, "starting by 15", "spawn")]);
}

#[test]
fn a_member_without_a_host_stays_as_it_is_when_its_group_falls() {
    for state in [
        State::Stopped { why: StopReason::Operator { actor: "cli".into() } },
        State::Backoff { until: at(5.0), attempt: 2 },
        State::Open { until: at(5.0) },
    ] {
        let before = told(&state);
        Story::of(state).goes(&[(1.0, sibling(), &before, "")]);
    }
}

#[test]
fn an_empty_budget_makes_even_the_first_restart_wait() {
    let mut story = Story::new();
    story.goes(&[(0.0, start(), "starting by 10", "spawn"), (1.0, READY, "ready", "limit 4")]);
    story.budget_empty(2.0, 4);
    story.goes(&[(3.0, crash(), "backoff 1 until 6", "limit 0, fell")]);
    assert_eq!(story.last_note(), "too many agents restart at once: it waits for its turn");
    // Another agent was faster.
    story.budget.take(at(6.0)).unwrap();
    story.goes(&[(6.0, DUE, "backoff 1 until 10", ""), (10.0, DUE, "starting by 20", "spawn")]);
    assert_eq!(story.record.restarts, 1);
}

#[test]
fn a_person_does_not_wait_for_the_budget_or_the_pause() {
    let mut story = Story::of(State::Backoff { until: at(30.0), attempt: 7 });
    story.record.attempt = 7;
    story.budget_empty(1.0, 100);
    story.goes(&[(1.0, start(), "starting by 11", "spawn")]);
    assert_eq!(story.record.attempt, 0);
}

#[test]
fn a_probe_waits_for_the_budget_too() {
    let mut story = Story::of(State::Open { until: at(10.0) });
    story.record.breaker.trips = 1;
    story.budget_empty(9.0, 4);
    story.goes(&[
        (10.0, DUE, "open until 13", ""),
        (12.0, DUE, "open until 13", ""),
        (13.0, DUE, "half_open, starting by 23", "spawn"),
    ]);
}
