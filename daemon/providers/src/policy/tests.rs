use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Time {
    DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis)
}

fn status(code: u16) -> Trouble {
    Trouble::Status { code, retry_after: None, why: String::new() }
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        (300u16..600, proptest::option::of(0u64..10_000)).prop_map(|(code, wait)| Trouble::Status {
            code,
            retry_after: wait.map(Duration::from_secs),
            why: String::new()
        }),
        Just(Trouble::Timeout(Duration::from_secs(1))),
        Just(Trouble::Network("x".into())),
        Just(Trouble::Broken("x".into())),
        Just(Trouble::Empty),
        Just(Trouble::Unusable("x".into())),
    ]
}

#[test]
fn the_triggers_are_those_of_the_file_and_never_ours() {
    let rules = FailOver::default();
    for code in [408, 429, 500, 502, 503, 504, 529, 599] {
        assert!(status(code).triggers(&rules.on), "{code}");
    }
    for code in [301, 400, 401, 402, 403, 404, 413, 422] {
        assert!(!status(code).triggers(&rules.on), "{code}");
        assert!(status(code).is_ours(), "{code}");
    }
    let all = [rules.on, vec![Trigger::Status(402), Trigger::Status(401)]].concat();
    assert!(status(402).triggers(&all));
    assert!(!status(401).triggers(&all));
}

#[test]
fn the_second_is_tried_at_once_and_the_first_again_after_a_pause() {
    let rules = FailOver::default();
    let mut progress = Progress::new(2, &rules, None, at(0));
    let free = [None, None];
    assert_eq!(progress.next(&free, &rules, 0.0, at(0)), Step::Try(0));
    progress.failed(&status(500), &rules);
    assert_eq!(progress.next(&free, &rules, 0.0, at(10)), Step::Try(1));
    progress.failed(&Trouble::Empty, &rules);
    assert_eq!(progress.next(&free, &rules, 0.5, at(20)), Step::Wait(at(20 + 550)));
    // The first asked for more time.
    let free = [Some(at(5000)), None];
    assert_eq!(progress.next(&free, &rules, 0.0, at(600)), Step::Try(1));
    progress.failed(&status(429), &rules);
    assert_eq!(progress.next(&free, &rules, 0.0, at(700)), Step::GiveUp(Why::Nobody { free_at: None }));
}

#[test]
fn who_is_not_free_is_passed_over_at_once() {
    let rules = FailOver::default();
    let mut progress = Progress::new(2, &rules, None, at(0));
    assert_eq!(progress.next(&[Some(at(9000)), None], &rules, 0.0, at(0)), Step::Try(1));
    let mut progress = Progress::new(1, &rules, None, at(0));
    let far = Some(at(60_000));
    assert_eq!(progress.next(&[far], &rules, 0.0, at(0)), Step::GiveUp(Why::Nobody { free_at: far }));
    let mut progress = Progress::new(1, &rules, None, at(0));
    assert_eq!(progress.next(&[Some(at(3000))], &rules, 0.0, at(0)), Step::Wait(at(3000)));
}

#[test]
fn a_call_that_is_not_made_after_all_leaves_its_place_to_another() {
    let rules = FailOver::default().breaker;
    let (mut gate, second) = (Gate::default(), Duration::from_secs(1));
    let opened = (0..100).find_map(|n| {
        gate.pass(second, at(n));
        gate.ended(Some(&status(500)), second, &rules, at(n))
    });
    let until = opened.unwrap();
    let refused = gate.pass(second, until);
    assert!(gate.free_at(until).is_some());
    gate.back(refused);
    assert_eq!((gate.free_at(until), gate.position(until)), (None, Position::HalfOpen { until }));
    // One that comes late takes nobody's place.
    gate.pass(second * 2, until);
    gate.back(refused);
    assert!(gate.free_at(until).is_some());
}

#[test]
fn a_breaker_opens_lets_one_pass_and_closes() {
    let rules = FailOver::default().breaker;
    let (mut gate, second) = (Gate::default(), Duration::from_secs(1));
    let fails = |gate: &mut Gate, now| {
        gate.pass(second, now);
        gate.ended(Some(&status(500)), second, &rules, now)
    };
    // As far apart as one person's questions that each time out.
    for n in [-90_000, -45_000] {
        assert_eq!(fails(&mut gate, at(n)), None);
    }
    assert_eq!(fails(&mut gate, at(4)), Some(at(10_004)));
    assert_eq!(gate.free_at(at(5)), Some(at(10_004)));
    assert_eq!(gate.free_at(at(10_004)), None);
    gate.pass(second, at(10_004));
    // While that one is under way, no other passes.
    assert_eq!(gate.free_at(at(10_005)), Some(at(11_004)));
    assert_eq!(gate.ended(Some(&Trouble::Empty), second, &rules, at(10_500)), Some(at(30_500)));
    gate.pass(second, at(30_500));
    assert_eq!(gate.ended(None, second, &rules, at(30_600)), None);
    assert_eq!((gate.position(Time::UNIX_EPOCH), gate.breaker().failures), (Position::Closed, 0));
}

#[test]
fn a_key_that_is_wrong_opens_nothing_and_a_wait_is_kept() {
    let rules = FailOver::default().breaker;
    let (mut gate, second) = (Gate::default(), Duration::from_secs(1));
    for n in 0..50 {
        assert_eq!(gate.ended(Some(&status(401)), second, &rules, at(n)), None);
    }
    let wait =
        Trouble::Status { code: 429, retry_after: Some(Duration::from_secs(1_000_000)), why: String::new() };
    gate.ended(Some(&wait), second, &rules, at(100));
    assert_eq!(gate.free_at(at(100)), Some(at(100 + 3_600_000)));
    // Whoever closes it knows better than what it asked for.
    assert!(gate.close(at(200)));
    assert_eq!(gate.free_at(at(200)), None);
}

#[test]
fn what_an_earlier_life_left_is_taken_up() {
    let rules = FailOver::default().breaker;
    let by = Opened { at: at(0), actor: "cli".into(), reason: "a test".into() };
    let mut gate = Gate::default();
    gate.hold(&rules, by.clone());
    // The clock was set back by an hour, and the next life reads it as it was written by that.
    gate.shift(-TimeDelta::hours(1));
    let text = serde_json::to_string(&gate).unwrap();
    let taken = |now| serde_json::from_str::<Gate>(&text).unwrap().taken_up(&rules, now);
    let then = at(0) - TimeDelta::hours(1);
    assert_eq!(taken(then).position(then), Position::Open { until: then + rules.open_max });
    assert_eq!(taken(then).breaker().opened.as_ref().map(|opened| opened.actor.as_str()), Some("cli"));
    // No clock keeps it out for longer than the rules do.
    let early = then - TimeDelta::days(7);
    assert_eq!(taken(early).free_at(early), Some(early + rules.open_max));
    // One that passed in the earlier life is gone with it.
    gate.pass(Duration::from_secs(60), then + rules.open_max);
    let left = serde_json::to_string(&gate).unwrap();
    let taken = serde_json::from_str::<Gate>(&left).unwrap().taken_up(&rules, then);
    assert!(matches!(taken.position(then), Position::Open { .. }));
}

#[test]
fn somebody_opens_it_and_it_stays_so_while_the_key_is_refused() {
    let rules = FailOver::default().breaker;
    let (mut gate, second) = (Gate::default(), Duration::from_secs(1));
    let by = |now| Opened { at: now, actor: "agent atlas".into(), reason: "it refuses our key".into() };
    assert_eq!(gate.hold(&rules, by(at(0))), Some(at(600_000)));
    assert_eq!(gate.hold(&rules, by(at(1))), None);
    // The one that passes is refused: it is open again, and by the same one.
    gate.pass(second, at(600_000));
    assert_eq!(gate.ended(Some(&status(401)), second, &rules, at(600_500)), Some(at(1_200_500)));
    assert_eq!(gate.breaker().opened, Some(by(at(600_500))));
    // A question that was wrong says nothing of the key.
    gate.pass(second, at(1_200_500));
    assert_eq!(gate.ended(Some(&status(400)), second, &rules, at(1_200_600)), None);
    assert_eq!((gate.position(Time::UNIX_EPOCH), gate.breaker()), (Position::Closed, &Breaker::default()));
    assert!(!gate.close(at(1_200_600)));
    gate.hold(&rules, by(at(2_000_000)));
    assert!(gate.close(at(2_000_000)));
    assert_eq!((gate.free_at(at(2_000_000)), gate.breaker()), (None, &Breaker::default()));
}

proptest! {
    /// Whatever happens: it ends within the rounds and the time, nobody who is not free is tried, nobody twice in a round,
    /// nobody at all after trouble that is no trigger, and no pause goes past the bound.
    #[test]
    fn every_call_ends(
        n in 1usize..5,
        rounds in 1u32..4,
        troubles in prop::collection::vec((trouble(), 0i64..40_000, 0.0..=1.0f64), 1..40),
        busy in prop::collection::vec(proptest::option::of(0i64..200_000), 5),
        within in proptest::option::of(0u64..200_000),
    ) {
        let end = at(within.map_or(100_000, |within| within.min(100_000) as i64));
        let within = within.map(Duration::from_millis);
        let rules = FailOver { rounds, ..FailOver::default() };
        let (mut now, mut tries, mut round) = (at(0), 0, Vec::new());
        let mut progress = Progress::new(n, &rules, within, now);
        let mut gates = vec![Gate::default(); n];
        let mut troubles = troubles.into_iter().cycle();
        let mut fatal = false;
        loop {
            let free: Vec<_> = (0..n)
                .map(|i| gates[i].free_at(now).max(busy[i].map(at).filter(|until| *until > now)))
                .collect();
            let (trouble, took, jitter) = troubles.next().unwrap();
            match progress.next(&free, &rules, jitter, now) {
                Step::Try(i) => {
                    prop_assert!(!fatal && now < end);
                    prop_assert!(free[i].is_none() && !round.contains(&i));
                    round.push(i);
                    tries += 1;
                    let most = progress.time_for(Duration::from_secs(45), now);
                    let took = Duration::from_millis(took as u64).min(most);
                    gates[i].pass(most, now);
                    now += took;
                    gates[i].ended(Some(&trouble), took, &rules.breaker, now);
                    progress.failed(&trouble, &rules);
                    fatal |= !trouble.triggers(&rules.on);
                }
                Step::Wait(until) => {
                    prop_assert!(!fatal && until > now && until < end);
                    prop_assert!((until - now).to_std().unwrap() <= rules.pause_max.mul_f64(1.2));
                    now = until;
                    round.clear();
                }
                Step::GiveUp(why) => {
                    prop_assert_eq!(why == Why::Fatal, fatal);
                    break;
                }
            }
            prop_assert!(now <= end);
        }
        prop_assert!(tries <= n as u32 * rounds);
    }
}
