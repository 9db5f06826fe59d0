use openclaw_agent_api::chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::signal::confidence;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

/// Later than all of these.
fn now() -> DateTime<Utc> {
    at(10 * 24 * 3600)
}

/// A point a minute.
fn series(prices: &[f64]) -> Vec<Point> {
    prices.iter().zip(0..).map(|(&price, minute)| Point { at: at(60 * minute), price }).collect()
}

fn z(prices: &[f64]) -> Option<f64> {
    read(&clean(series(prices), now()).points).map(|reading| reading.z)
}

#[test]
fn a_hand_computed_series() {
    // Returns 1 %, −1 %, 1 %, −1 %, … and +5 % at last: eight earlier ones, mean 0, s = 1 % · √(8/7).
    let mut prices = vec![100.0];
    for factor in [1.01, 0.99, 1.01, 0.99, 1.01, 0.99, 1.01, 0.99, 1.05] {
        prices.push(prices.last().unwrap() * factor);
    }
    let reading = read(&series(&prices)).unwrap();
    assert!((reading.z - 0.05 / (0.01 * (8.0_f64 / 7.0).sqrt())).abs() < 1e-9, "{reading:?}");
    assert_eq!(reading.earlier, 8);
}

#[test]
fn a_constant_history_never_divides_by_zero() {
    let flat = [100.0; 11];
    assert_eq!(z(&flat), Some(0.0));
    let mut up = flat;
    up[10] = 100.01;
    assert_eq!(z(&up), Some(CAP));
    let mut down = flat;
    down[10] = 99.99;
    assert_eq!(z(&down), Some(-CAP));
    // Growth at one rate: the returns differ by rounding only.
    let growth: Vec<_> = (0..20).map(|n| 100.0 * 1.01_f64.powi(n)).collect();
    assert_eq!(z(&growth), Some(0.0));
}

/// A random walk of 61 one-minute prices, each return of a thousandth or so, without these minutes.
fn walk(seed: u64, lost: std::ops::Range<usize>) -> Vec<Point> {
    // Marsaglia's xorshift64: the same numbers at each run. Twelve of them are nearly normal, of deviation 1.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut price = 100.0;
    let prices: Vec<_> = (0..61)
        .map(|_| {
            price *= 1.0 + 0.001 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0);
            price
        })
        .collect();
    let points = series(&prices).into_iter().enumerate();
    points.filter(|(minute, _)| !lost.contains(minute)).map(|(_, point)| point).collect()
}

#[test]
fn lost_points_make_no_signals() {
    let rates = |lost: std::ops::Range<usize>| {
        let z: Vec<_> = (0..2_000).map(|seed| read(&walk(seed, lost.clone())).unwrap().z.abs()).collect();
        let from = |least: f64| z.iter().filter(|z| **z >= least).count() as f64 / z.len() as f64;
        // From two deviations on it is a signal; 4.7 make a mission.
        (from(2.0), from(4.7))
    };
    for lost in [60..60, 56..60, 51..60, 42..60, 20..38] {
        let (signals, missions) = rates(lost.clone());
        assert!((0.03..0.08).contains(&signals) && missions < 0.001, "{lost:?}: {signals} {missions}");
    }
}

#[test]
fn a_step_over_lost_points_is_as_many_usual_ones() {
    let wobble: Vec<_> = (0..20).map(|n| if n % 2 == 0 { 100.0 } else { 101.0 }).collect();
    let mut points = series(&wobble);
    let last = |points: &mut Vec<Point>, minutes: i64, price: f64| {
        points.truncate(20);
        points.push(Point { at: at(60 * (19 + minutes)), price });
        read(points).unwrap()
    };
    let (one, nine) = (last(&mut points, 1, 105.0), last(&mut points, 9, 105.0));
    assert!(one.z > 3.5 && (0.5..one.z / 3.0).contains(&nine.z), "{} and {}", one.z, nine.z);
    assert_eq!((one.steps, nine.steps, one.last), (1.0, 9.0, nine.last));
    // A shorter one is not stretched.
    points.truncate(20);
    points.push(Point { at: at(60 * 19 + 1), price: 105.0 });
    assert_eq!(read(&points).unwrap().z, one.z);
    // Growth at one rate stays that, whatever is lost of it.
    let growth: Vec<_> = (0..40).map(|n| 100.0 * 1.01_f64.powi(n)).collect();
    let mut growth = series(&growth);
    growth.drain(35..39);
    assert_eq!(read(&growth).unwrap().z, 0.0);
}

#[test]
fn what_lies_before_a_gap_is_not_read() {
    let minutes = |range: std::ops::Range<i64>| range.map(|minute| Point { at: at(60 * minute), price: 1.0 });
    let whole: Vec<_> = minutes(0..30).collect();
    assert_eq!(after_gap(&whole), (&whole[..], 0));
    // A few lost points are no gap, an hour is.
    let lost: Vec<_> = minutes(0..15).chain(minutes(30..45)).collect();
    assert_eq!(after_gap(&lost).1, 0);
    let gap: Vec<_> = minutes(0..15).chain(minutes(75..95)).collect();
    assert_eq!(after_gap(&gap), (&gap[15..], 15));
    // The last one counts.
    let two: Vec<_> = minutes(0..15).chain(minutes(75..95)).chain(minutes(200..201)).collect();
    assert_eq!(after_gap(&two), (&two[35..], 35));
    assert_eq!(after_gap(&[]).1, 0);
    assert_eq!(after_gap(&whole[..1]).1, 0);
}

#[test]
fn ten_points_are_needed() {
    assert_eq!(z(&[1.0; 9]), None);
    assert_eq!(z(&[1.0; 10]), Some(0.0));
    assert_eq!(z(&[]), None);
}

#[test]
fn a_series_is_cleaned() {
    let point = |seconds, price| Point { at: at(seconds), price };
    let day = 24 * 3600;
    let sent = vec![
        point(day, 5.0),
        point(0, 1.0),
        point(-1, 9.0),
        point(7, 2.0),
        point(7, 3.0),
        point(7, f64::NAN),
        point(8, 0.0),
        point(9, -1.0),
        point(day + 9, f64::INFINITY),
    ];
    let cleaned = clean(sent.clone(), now());
    assert_eq!(cleaned.points, [point(0, 1.0), point(7, 3.0), point(day, 5.0)]);
    assert_eq!((cleaned.ignored, cleaned.future, cleaned.duplicates), (5, 0, 1));
    // What is later than now takes nothing with it; clocks differ by a minute.
    let cleaned = clean(sent.clone(), at(day - 60));
    assert_eq!((cleaned.points.len(), cleaned.future), (3, 1));
    let cleaned = clean(sent, at(day - 70));
    assert_eq!(cleaned.points, [point(-1, 9.0), point(0, 1.0), point(7, 3.0)]);
    assert_eq!((cleaned.ignored, cleaned.future, cleaned.duplicates), (3, 2, 1));
}

#[test]
fn the_ends_of_time_and_number_are_no_panic() {
    let ends = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
    let points = ends.map(|at| Point { at, price: 1.0 }).to_vec();
    for now in ends {
        let cleaned = clean(points.clone(), now);
        assert_eq!((cleaned.points.len(), cleaned.ignored + cleaned.future), (1, 1));
    }
    for prices in [[f64::MIN_POSITIVE, f64::MAX].repeat(6), vec![5e-324; 12], vec![f64::MAX; 12]] {
        assert!(z(&prices).unwrap().is_finite());
    }
}

/// Any times within four days, to the nanosecond; any prices at all.
fn wild() -> impl Strategy<Value = Vec<Point>> {
    let point = (0..345_600_000_000_000_i64, prop::num::f64::ANY)
        .prop_map(|(nanos, price)| Point { at: DateTime::from_timestamp_nanos(nanos), price });
    prop::collection::vec(point, 0..60)
}

fn tame() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.01..1e6_f64, MIN_POINTS..60)
}

proptest! {
    #[test]
    fn any_series_is_read_without_panic_or_nan(points in wild(), now in 0..400_000_i64) {
        let sent = points.len();
        let now = DateTime::from_timestamp(now, 0).unwrap();
        let cleaned = clean(points, now);
        prop_assert_eq!(cleaned.points.len() + cleaned.ignored + cleaned.future + cleaned.duplicates, sent);
        prop_assert!(cleaned.points.iter().all(|point| point.at <= now + AHEAD));
        prop_assert!(cleaned.points.is_sorted_by(|a, b| a.at < b.at));
        if let Some(reading) = read(&cleaned.points) {
            prop_assert!(reading.z.abs() <= CAP);
            for number in [reading.last, reading.steps, reading.mean, reading.deviation, reading.daily_volatility] {
                prop_assert!(number.is_finite());
            }
            prop_assert!((0.5..=0.95).contains(&confidence(reading.z)));
        }
    }

    #[test]
    fn any_positive_prices_are_read(prices in prop::collection::vec(prop::num::f64::POSITIVE, MIN_POINTS..30)) {
        prop_assert!(z(&prices).is_none_or(|z| z.abs() <= CAP));
    }

    #[test]
    fn the_unit_of_the_price_does_not_matter(prices in tame(), power in -60..60_i32, scale in 0.001..1000.0_f64) {
        let scaled = |by: f64| prices.iter().map(|price| price * by).collect::<Vec<_>>();
        // By a power of two nothing is rounded.
        prop_assert_eq!(z(&prices), z(&scaled(2.0_f64.powi(power))));
        let (a, b) = (z(&prices).unwrap(), z(&scaled(scale)).unwrap());
        prop_assert!((a - b).abs() < 1e-6, "{} and {}", a, b);
    }

    #[test]
    fn the_mirrored_returns_give_the_opposite(
        earlier in prop::collection::vec((-0.5..0.5_f64, 1.0..20.0_f64), 2..40), last in -0.5..0.5_f64
    ) {
        let returns = |sign: f64| earlier.iter().map(|&(rate, steps)| Return { rate: sign * rate, steps }).collect::<Vec<_>>();
        let of = |rate| Return { rate, steps: 1.0 };
        prop_assert_eq!(z_score(&returns(-1.0), of(-last)), -z_score(&returns(1.0), of(last)));
    }

    #[test]
    fn the_sign_is_the_side_of_the_mean(prices in tame()) {
        let reading = read(&series(&prices)).unwrap();
        prop_assert!(reading.z == 0.0 || (reading.z > 0.0) == (reading.last > reading.mean));
    }

    #[test]
    fn the_order_of_sending_does_not_matter(points in prop::collection::vec((0..80_000_i64, 1.0..2.0_f64), 0..60)) {
        let mut seen = std::collections::BTreeMap::new();
        points.iter().for_each(|&(seconds, price)| { seen.insert(seconds, price); });
        let ordered: Vec<_> = seen.iter().map(|(&s, &price)| Point { at: at(s), price }).collect();
        let sent = points.iter().map(|&(s, price)| Point { at: at(s), price }).collect();
        prop_assert_eq!(clean(sent, now()).points, ordered);
    }

    #[test]
    fn confidence_grows_with_z(a in -9.0..9.0_f64, b in -9.0..9.0_f64) {
        let (less, more) = if a.abs() <= b.abs() { (a, b) } else { (b, a) };
        prop_assert!(confidence(less) <= confidence(more));
        prop_assert_eq!(confidence(a), confidence(-a));
    }
}
