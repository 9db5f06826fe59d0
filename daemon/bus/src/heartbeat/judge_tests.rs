use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap()
}

fn beat(millis: i64) -> Look {
    Look::Beat { last_seen: at(millis) }
}

/// Looks at these milliseconds, and the verdicts.
fn verdicts(looks: &[(i64, Look)]) -> Vec<Verdict> {
    let mut judgement = Judgement::new(at(0));
    let judged = looks.iter().map(|(millis, look)| {
        judgement = judgement.after(*look, at(*millis), INTERVAL);
        judgement.verdict
    });
    judged.collect()
}

use Look::{Missing, Unreadable};
use Verdict::{Down, Fresh, Late, Unknown};

#[test]
fn silence_is_late_then_down_and_one_beat_alone_is_not_trusted() {
    let looks = [
        (0, beat(0)),
        (10_000, beat(10_000)),
        (20_000, beat(10_000)),
        (30_000, beat(10_000)),
        (40_000, Missing),
        (50_000, Missing),
        (60_000, beat(59_000)),
        (70_000, beat(69_000)),
    ];
    assert_eq!(verdicts(&looks), [Fresh, Fresh, Fresh, Fresh, Late, Down, Late, Fresh]);
}

#[test]
fn a_flushed_redis_is_whole_again_before_anybody_is_late() {
    let looks = [(0, beat(0)), (10_000, Missing), (20_000, beat(19_000)), (30_000, beat(29_000))];
    assert_eq!(verdicts(&looks), [Fresh; 4]);
}

#[test]
fn who_cannot_read_says_unknown_and_counts_no_silence() {
    let looks = [
        (0, beat(0)),
        (10_000, Unreadable),
        (20_000, Unreadable),
        (90_000, Unreadable),
        (100_000, Missing),
        (110_000, beat(110_000)),
    ];
    assert_eq!(verdicts(&looks), [Fresh, Unknown, Unknown, Unknown, Unknown, Fresh]);
}

#[test]
fn who_did_not_look_does_not_call_others_down() {
    // Its machine slept for an hour.
    let looks = [(0, beat(0)), (3_600_000, Missing), (3_610_000, beat(3_610_000))];
    assert_eq!(verdicts(&looks), [Fresh, Unknown, Fresh]);
}

#[test]
fn what_a_dead_one_left_behind_is_no_beat_and_one_that_never_comes_is_down() {
    let old = beat(-60_000);
    let looks = [(0, old), (10_000, old), (20_000, old), (30_000, Missing), (40_000, Missing)];
    assert_eq!(verdicts(&looks), [Unknown, Unknown, Unknown, Unknown, Down]);
}

#[test]
fn clocks_of_other_machines_need_not_agree() {
    // Its clock is a minute behind, then, moved to another machine, five minutes behind, then ahead.
    let looks = [
        (0, beat(-60_000)),
        (10_000, beat(-50_000)),
        (20_000, beat(-280_000)),
        (30_000, beat(900_000)),
        (40_000, beat(910_000)),
    ];
    assert_eq!(verdicts(&looks), [Unknown, Fresh, Fresh, Fresh, Fresh]);
}

#[test]
fn one_that_beats_at_a_third_of_the_pace_stays_late() {
    let mut looks = vec![(0, beat(0))];
    looks.extend((1..60).map(|n| (n * 10_000, beat(n / 3 * 30_000))));
    let verdicts = verdicts(&looks);
    assert!(verdicts[4..].iter().all(|verdict| matches!(verdict, Late | Fresh)), "{verdicts:?}");
    let changes = verdicts.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes <= 1, "{verdicts:?}");
}

fn look() -> impl Strategy<Value = Look> {
    prop_oneof![Just(Missing), Just(Unreadable), (-100_000i64..1_000_000).prop_map(beat)]
}

proptest! {
    #[test]
    fn idle_or_not_who_beats_in_time_is_fresh(
        phase in 0i64..10_000, paces in vec((9_000i64..=11_000, 9_000i64..=11_000), 1..200),
    ) {
        let mut judgement = Judgement::new(at(0));
        let (mut beats, mut sent, mut now) = (vec![0], phase - 10_000, 0);
        for (beats_pace, looks_pace) in paces {
            sent += beats_pace;
            beats.push(sent);
            now += looks_pace;
            let Some(last) = beats.iter().rfind(|sent| **sent <= now) else { continue };
            judgement = judgement.after(beat(*last), at(now), INTERVAL);
            // The looks may have run ahead of what was sent so far: then that is all there is.
            if sent > now - 11_000 {
                prop_assert_eq!(judgement.verdict, Fresh);
            }
        }
    }

    #[test]
    fn nothing_is_down_that_was_not_watched_in_silence(looks in vec((0i64..40_000, look()), 1..200)) {
        let (mut judgement, mut now) = (Judgement::new(at(0)), 0);
        let (mut watched, mut last) = (0, None);
        for (pause, look) in looks {
            now += pause;
            let before = judgement.verdict;
            judgement = judgement.after(look, at(now), INTERVAL);
            let changed = matches!(look, Look::Beat { .. }) && last.is_some() && last != Some(look);
            watched = if look == Unreadable || pause > 22_500 || changed { 0 } else { watched + pause };
            if matches!(look, Look::Beat { .. }) {
                last = Some(look);
            }
            if judgement.verdict == Down {
                prop_assert!(before == Down || watched > 32_500);
            }
            if look == Unreadable {
                prop_assert_eq!(judgement.verdict, Unknown);
            }
            prop_assert!(!(before == Down && judgement.verdict == Fresh) || pause > 22_500);
            prop_assert!(judgement.since <= at(now));
        }
    }

    #[test]
    fn who_is_silent_is_down_whatever_was_before(looks in vec((0i64..40_000, look()), 0..50)) {
        let (mut judgement, mut now) = (Judgement::new(at(0)), 0);
        for (pause, look) in looks {
            now += pause;
            judgement = judgement.after(look, at(now), INTERVAL);
        }
        for _ in 0..5 {
            now += 10_000;
            judgement = judgement.after(Missing, at(now), INTERVAL);
        }
        prop_assert_eq!(judgement.verdict, Down);
    }

    #[test]
    fn no_times_bring_it_down(looks in vec((any::<i32>(), any::<i32>(), any::<u64>()), 1..50)) {
        let mut judgement = Judgement::new(at(0));
        for (now, last_seen, interval) in looks {
            let interval = Duration::from_millis(interval);
            judgement = judgement.after(beat(last_seen.into()), at(now.into()), interval);
        }
        let end = judgement.after(beat(0), DateTime::<Utc>::MAX_UTC, Duration::MAX);
        let _ = end.after(Look::Beat { last_seen: DateTime::<Utc>::MIN_UTC }, DateTime::<Utc>::MIN_UTC, INTERVAL);
    }
}
