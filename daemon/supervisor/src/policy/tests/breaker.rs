//! When the breaker opens, and how it closes.

use std::time::Duration;

use settings::Restart;

use super::*;
use crate::policy::*;

/// Ready since second 1.
fn ready() -> Story {
    ready_with(|_| {})
}

fn ready_with(change: impl FnOnce(&mut settings::Supervision)) -> Story {
    let mut story = Story::with(change);
    story.goes(&[(0.0, start(), "starting by 10", "spawn"), (1.0, READY, "ready", "limit 4")]);
    story
}

/// Its breaker opened at second 0, for ten seconds, for the first time.
fn open() -> Story {
    let mut story = Story::of(State::Open { until: at(10.0) });
    story.record.breaker.trips = 1;
    story
}

/// Half-open, and running since second 11.
fn probing() -> Story {
    let mut story = open();
    story.goes(&[
        (10.0, DUE, "half_open, starting by 20", "spawn"),
        (11.0, READY, "half_open, running", "limit 1"),
    ]);
    story
}

#[test]
fn too_many_restarts_open_it() {
    let mut story = Story::new();
    story.goes(&[
        (0.0, start(), "starting by 10", "spawn"),
        (0.0, crash(), "starting by 10", "spawn, fell"),
        (0.0, crash(), "backoff 2 until 0.2", "fell"),
        (0.2, DUE, "starting by 10.2", "spawn"),
        (0.2, crash(), "backoff 3 until 0.6", "fell"),
        (0.6, DUE, "starting by 10.6", "spawn"),
        (0.6, crash(), "backoff 4 until 1.4", "fell"),
        (1.4, DUE, "starting by 11.4", "spawn"),
        (1.4, crash(), "backoff 5 until 3", "fell"),
        (3.0, DUE, "starting by 13", "spawn"),
        (3.0, crash(), "open until 13", "fell"),
    ]);
    let why = "the breaker is open for 10 s: 6 restarts were needed in 60 s, the last after detail";
    assert_eq!((story.last_note(), story.record.breaker.trips), (why, 1));
}

#[test]
fn as_many_restarts_over_a_longer_time_do_not() {
    let mut story = ready_with(|config| config.backoff.max = Duration::from_secs(1));
    for failure in 0..20 {
        let now = 2.0 + 12.0 * f64::from(failure);
        story.happens(now, crash());
        story.happens(now + 1.0, DUE);
        story.happens(now + 1.0, READY);
        assert_eq!(told(&story.record.state), "ready", "failure {failure}");
    }
    // The sixth within a minute.
    let now = 2.0 + 12.0 * 20.0 - 1.0;
    story.happens(now, crash());
    assert_eq!(story.record.state.name(), "open");
}

#[test]
fn a_clock_that_went_back_does_not_keep_old_restarts_for_ever() {
    let mut breaker = Breaker::default();
    let config = config().breaker;
    for _ in 0..5 {
        assert_eq!(breaker.restart(&config, at(100_000.0)), None);
    }
    // What was is recent at first, …
    let mut fresh = breaker.clone();
    assert!(fresh.restart(&config, at(0.0)).is_some());
    // … but grows old from now on.
    breaker.restart(&config, at(0.0));
    assert_eq!(breaker.restart(&config, at(61.0)), None);
}

#[test]
fn half_open_takes_one_task_at_a_time_and_closes_after_a_stable_run() {
    let mut story = open();
    story.goes(&[
        (9.9, DUE, "open until 10", ""),
        (10.0, DUE, "half_open, starting by 20", "spawn"),
        (11.0, READY, "half_open, running", "limit 1"),
        (12.0, task(Call::Ok), "half_open, running", ""),
        (40.9, DUE, "half_open, running", ""),
        (41.0, DUE, "ready", "limit 4"),
    ]);
    assert_eq!(story.record.breaker, Breaker::default());
    assert_eq!((story.record.restarts, story.next_due()), (1, None));
    // What comes after begins anew.
    story.goes(&[(42.0, crash(), "starting by 52", "limit 0, spawn, fell")]);
}

#[test]
fn any_failure_of_the_probe_opens_it_for_twice_as_long() {
    let mut starting = open();
    starting.goes(&[
        (10.0, DUE, "half_open, starting by 20", "spawn"),
        (11.0, crash(), "open until 31", "fell"),
        (31.0, DUE, "half_open, starting by 41", "spawn"),
        // Not ready in time.
        (41.0, DUE, "draining by 47 to open until 81", "kill, fell"),
        (42.0, crash(), "open until 81", ""),
    ]);
    let last = starting.record.last_exit.clone().unwrap();
    assert_eq!((last.class, last.detail.as_str()), (ExitClass::StartTimeout, "not ready within 10 s"));
    probing().goes(&[(20.0, exits(ExitClass::Clean), "open until 40", "limit 0, fell")]);
    probing().goes(&[
        (20.0, hang(), "draining by 26 to open until 40", "limit 0, kill, fell"),
        (21.0, crash(), "open until 40", ""),
    ]);
    probing().goes(&[
        (20.0, task(Call::Failed), "draining by 30 to open until 40", "limit 0, drain by 30"),
        (21.0, exits(ExitClass::Clean), "open until 40", ""),
    ]);
    probing().goes(&[(20.0, refused(), "refused", "limit 0")]);
}

#[test]
fn a_probe_that_is_only_slow_opens_it_again() {
    let mut story = probing();
    for _ in 0..9 {
        story.goes(&[(20.0, task(Call::Slow), "half_open, running", "")]);
    }
    story.goes(&[(20.0, task(Call::Slow), "draining by 30 to open until 40", "limit 0, drain by 30")]);
}

#[test]
fn each_time_in_a_row_it_is_open_longer_up_to_the_longest() {
    let mut story = open();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let now = story.next_due().unwrap();
        story.happens(now, DUE);
        story.happens(now, crash());
        pauses.push(story.next_due().unwrap() - now);
    }
    assert_eq!(pauses, [20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0]);
    let mut breaker = Breaker::default();
    breaker.trips = u32::MAX;
    let opened = Opened { at: at(0.0), actor: "supervisor".into(), reason: "why".into() };
    assert_eq!(breaker.open(&story.config.breaker, opened), at(600.0));
}

#[test]
fn restart_never_holds_for_a_probe_too() {
    for event in [crash(), hang()] {
        let mut story = probing();
        story.config.restart = Restart::Never;
        story.happens(20.0, event);
        story.happens(21.0, crash());
        assert_eq!(story.record.state.name(), "stopped");
        // A person's start does not close the breaker.
        story.goes(&[(30.0, start(), "half_open, starting by 40", "spawn")]);
    }
}

#[test]
fn a_person_need_not_wait_but_gets_a_probe() {
    open().goes(&[
        (1.0, start(), "half_open, starting by 11", "spawn"),
        (2.0, READY, "half_open, running", "limit 1"),
        (3.0, restart(), "draining by 13 to start", "limit 0, drain by 13"),
        (4.0, exits(ExitClass::Clean), "half_open, starting by 14", "spawn"),
    ]);
    open().goes(&[
        (1.0, stop(), "stopped (cli)", ""),
        (20.0, DUE, "stopped (cli)", ""),
        (21.0, start(), "half_open, starting by 31", "spawn"),
    ]);
}

#[test]
fn failed_tasks_drain_it_and_then_it_is_open() {
    let mut story = ready();
    for now in 0..5 {
        story.goes(&[(2.0 + f64::from(now), task(Call::Ok), "ready", "")]);
    }
    for now in 0..4 {
        story.goes(&[(7.0 + f64::from(now), task(Call::Failed), "ready", "")]);
    }
    story.goes(&[(11.0, task(Call::Failed), "draining by 21 to open until 21", "limit 0, drain by 21")]);
    let why = "the breaker is open for 10 s: 5 of 10 tasks failed in 60 s";
    assert_eq!(story.last_note(), why);
    story.goes(&[
        (12.0, task(Call::Failed), "draining by 21 to open until 21", ""),
        (13.0, exits(ExitClass::Clean), "open until 21", ""),
        (21.0, DUE, "half_open, starting by 31", "spawn"),
    ]);
}

#[test]
fn slow_tasks_do_too_at_their_own_rate() {
    let mut story = ready();
    story.goes(&[(2.0, task(Call::Ok), "ready", ""), (2.0, task(Call::Ok), "ready", "")]);
    for _ in 0..7 {
        story.goes(&[(3.0, task(Call::Slow), "ready", "")]);
    }
    story.goes(&[(3.0, task(Call::Slow), "draining by 13 to open until 13", "limit 0, drain by 13")]);
    let why = "the breaker is open for 10 s: 8 of 10 tasks in 60 s took longer than 60 s";
    assert_eq!(story.last_note(), why);
}

/// Who opened it, and why.
fn by(story: &Story) -> Option<(&str, &str)> {
    let opened = story.record.breaker.opened.as_ref();
    opened.map(|opened| (opened.actor.as_str(), opened.reason.as_str()))
}

#[test]
fn who_opened_it_and_why_is_known_until_it_closes() {
    let mut story = ready();
    for _ in 0..9 {
        story.happens(2.0, task(Call::Failed));
    }
    assert_eq!((story.record.breaker.in_a_row, by(&story)), (9, None));
    story.happens(3.0, task(Call::Failed));
    let why = "10 of 10 tasks failed in 60 s";
    assert_eq!((story.record.breaker.in_a_row, by(&story)), (0, Some(("supervisor", why))));
    story.happens(5.0, exits(ExitClass::Clean));
    assert_eq!(story.last_note(), format!("the breaker is open for 8 s: {why}"));
    story.goes(&[
        (13.0, DUE, "half_open, starting by 23", "spawn"),
        (14.0, READY, "half_open, running", "limit 1"),
        (20.0, task(Call::Failed), "draining by 30 to open until 40", "limit 0, drain by 30"),
    ]);
    assert_eq!(by(&story), Some(("supervisor", "the probe's task failed")));
}

#[test]
fn somebody_opens_it_for_the_longest_and_closes_it_at_once() {
    let atlas = Some(("agent atlas", "it fails"));
    let mut story = ready();
    story.goes(&[
        (2.0, open_breaker(), "draining by 12 to open until 602", "limit 0, drain by 12"),
        (3.0, open_breaker(), "draining by 12 to open until 602", ""),
        (4.0, exits(ExitClass::Clean), "open until 602", ""),
        (5.0, open_breaker(), "open until 602", ""),
    ]);
    assert_eq!((story.last_note(), by(&story)), ("the breaker is open for 598 s: it fails", atlas));
    // By itself it gets a probe, as ever.
    story.goes(&[(602.0, DUE, "half_open, starting by 612", "spawn")]);
    assert_eq!(by(&story), atlas);
    // Closed by somebody, it is closed: no probe.
    story.goes(&[
        (603.0, close_breaker(), "starting by 612", ""),
        (604.0, READY, "ready", "limit 4"),
        (605.0, close_breaker(), "ready", ""),
    ]);
    assert_eq!((by(&story), story.record.breaker.trips), (None, 0));
    open().goes(&[(1.0, close_breaker(), "starting by 11", "spawn"), (2.0, READY, "ready", "limit 4")]);
    probing().goes(&[(12.0, close_breaker(), "ready", "limit 4")]);
    let mut draining = ready();
    draining.goes(&[
        (2.0, open_breaker(), "draining by 12 to open until 602", "limit 0, drain by 12"),
        (3.0, close_breaker(), "draining by 12 to start", ""),
        (4.0, exits(ExitClass::Clean), "starting by 14", "spawn"),
    ]);
    // Who waits to be started waits for longer, and who is down stays so.
    let mut waiting = Story::of(State::Backoff { until: at(1.0), attempt: 3 });
    waiting.goes(&[(0.5, open_breaker(), "open until 600.5", "")]);
    let mut down = open();
    down.goes(&[
        (1.0, stop(), "stopped (cli)", ""),
        (2.0, open_breaker(), "stopped (cli)", ""),
        (3.0, close_breaker(), "stopped (cli)", ""),
    ]);
}

#[test]
fn few_tasks_and_low_rates_say_nothing() {
    let mut few = ready();
    for _ in 0..9 {
        few.goes(&[(2.0, task(Call::Failed), "ready", "")]);
    }
    // Half of the tasks must fail; of these, four in ten do.
    let mut rarely = ready();
    for number in 0..1000 {
        let call = if number % 5 >= 3 { Call::Failed } else { Call::Ok };
        rarely.goes(&[(2.0 + f64::from(number), task(call), "ready", "")]);
    }
}

#[test]
fn tasks_outside_the_window_are_forgotten() {
    let mut story = ready();
    for _ in 0..9 {
        story.goes(&[(2.0, task(Call::Failed), "ready", "")]);
    }
    story.goes(&[(62.0, task(Call::Failed), "ready", "")]);
    for _ in 0..8 {
        story.goes(&[(63.0, task(Call::Failed), "ready", "")]);
    }
    story.goes(&[(64.0, task(Call::Failed), "draining by 74 to open until 74", "limit 0, drain by 74")]);
}

#[test]
fn a_clock_that_went_back_does_not_keep_old_tasks_for_ever() {
    let mut story = ready();
    for _ in 0..9 {
        story.happens(100_000.0, task(Call::Failed));
    }
    story.goes(&[(2.0, task(Call::Ok), "draining by 12 to open until 12", "limit 0, drain by 12")]);
    let mut breaker = Breaker::default();
    let config = config().breaker;
    for _ in 0..9 {
        assert_eq!(breaker.call(Call::Failed, &config, at(100_000.0)), None);
    }
    // One good task among nine bad ones trips it; but a minute later they are forgotten.
    breaker.call(Call::Ok, &config, at(2.0));
    assert_eq!(breaker.call(Call::Ok, &config, at(62.0)), None);
}

#[test]
fn what_the_breaker_remembers_is_bounded() {
    let mut breaker = Breaker::default();
    let config = config().breaker;
    for number in 0..10_000u32 {
        breaker.call(Call::Ok, &config, at(f64::from(number) * 0.5));
        breaker.restart(&config, at(f64::from(number) * 0.5));
    }
    assert!(serde_json::to_string(&breaker).unwrap().len() < 2000);
}

#[test]
fn durations_are_for_people() {
    let told = |millis| limits::humantime(Duration::from_millis(millis));
    assert_eq!([told(0), told(250), told(3000)], ["0 s", "250 ms", "3 s"]);
}
