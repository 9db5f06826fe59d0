//! Momentum of a series of prices: how unusual the last return is among the earlier ones. Pure arithmetic.
//!
//! With returns `r = p₁/p₀ − 1`, `z = (r_last − mean) / s`, where mean and sample standard deviation `s` are of the returns before
//! the last. A step over lost points is `k` usual ones (their median): it has `k` times their variance, so its return by usual
//! step, `r = (p₁/p₀)^(1/k) − 1`, counts `k` times in mean and variance. In `z` the last one counts `√(k (n+1) / (n+k))` times,
//! where `n` are the usual steps before it: `√k`, less what the error of the mean grows to in `k` steps. `z` is held within
//! ±[`CAP`], which is also its value after a history without any deviation: the limit of `s → 0`. Nothing here divides by zero,
//! overflows or makes a NaN, whatever the series.

use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

/// The largest |z|: past six standard deviations a larger number says no more.
pub const CAP: f64 = 6.0;
/// Fewer points give a standard deviation that means nothing.
pub const MIN_POINTS: usize = 10;
/// Points older than this before the newest are of another day.
pub const WINDOW: TimeDelta = TimeDelta::hours(24);

/// Clocks differ by so much, and a point of a minute may bear its end; what is later than that is no price yet.
pub const AHEAD: TimeDelta = TimeDelta::minutes(1);

/// Times the usual step from which on a step is a gap: a few lost points are none.
const GAP: i32 = 20;
/// Larger returns are held at this: their squares still add up without overflow.
const MAX_RETURN: f64 = 1e9;
/// Deviations below this are rounding: a ratio of two f64 is right to about 1e-16.
const ROUNDING: f64 = 1e-12;

/// A price at a time.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Point {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// In whatever unit: only ratios count.
    #[serde(deserialize_with = "crate::series::price")]
    pub price: f64,
}

/// A series in order of time, without what cannot be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cleaned {
    /// At most 24 h, each time once, each price finite and above zero.
    pub points: Vec<Point>,
    /// Points without a usable price, or too old.
    pub ignored: usize,
    /// Points later than now by more than [`AHEAD`].
    pub future: usize,
    /// Points replaced by a later one of the same time.
    pub duplicates: usize,
}

/// Orders a series and drops what cannot be used. A time's last usable price wins.
pub fn clean(mut points: Vec<Point>, now: DateTime<Utc>) -> Cleaned {
    let sent = points.len();
    let latest = now.checked_add_signed(AHEAD).unwrap_or(DateTime::<Utc>::MAX_UTC);
    points.retain(|point| point.at <= latest);
    let future = sent - points.len();
    points.retain(|point| point.price.is_finite() && point.price > 0.0);
    if let Some(newest) = points.iter().map(|point| point.at).max() {
        let oldest = newest.checked_sub_signed(WINDOW).unwrap_or(DateTime::<Utc>::MIN_UTC);
        points.retain(|point| point.at >= oldest);
    }
    let ignored = sent - future - points.len();

    // Stable, and backwards: of one time the last sent comes first, which is the one that dedup keeps.
    points.reverse();
    points.sort_by_key(|point| point.at);
    let usable = points.len();
    points.dedup_by_key(|point| point.at);
    let duplicates = usable - points.len();
    Cleaned { points, ignored, future, duplicates }
}

/// The part of a cleaned series after its last gap, a step more than twenty times the usual one: what happened in it nobody
/// knows. How many points lie before it.
pub fn after_gap(points: &[Point]) -> (&[Point], usize) {
    if points.len() < MIN_POINTS {
        return (points, 0);
    }
    let usual = usual_step(points);
    // What does not fit is longer than any series: no gap.
    let most = usual.checked_mul(GAP).unwrap_or(TimeDelta::MAX);
    let gap = spans(points).enumerate().rfind(|(_, step)| *step > most);
    let before = gap.map_or(0, |(at, _)| at + 1);
    (&points[before..], before)
}

fn spans(points: &[Point]) -> impl ExactSizeIterator<Item = TimeDelta> + DoubleEndedIterator {
    points.windows(2).map(|pair| pair[1].at.signed_duration_since(pair[0].at))
}

/// The median step; zero of fewer than two points.
fn usual_step(points: &[Point]) -> TimeDelta {
    let mut spans: Vec<_> = spans(points).collect();
    let middle = spans.len() / 2;
    if spans.is_empty() { TimeDelta::zero() } else { *spans.select_nth_unstable(middle).1 }
}

/// A return, by usual step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Return {
    /// By usual step.
    pub rate: f64,
    /// How many usual steps it was made in; at least 1: what is shorter is mostly noise, which stretched would be news.
    pub steps: f64,
}

impl Return {
    fn of(before: &Point, after: &Point, usual: TimeDelta) -> Self {
        let step = after.at.signed_duration_since(before.at);
        let ratio = after.price / before.price;
        if step <= usual {
            return Self { rate: held(ratio - 1.0), steps: 1.0 };
        }
        // Times differ, so this is above zero, if only by a nanosecond.
        let steps = step.as_seconds_f64() / usual.as_seconds_f64().max(1e-9);
        Self { rate: held(ratio.powf(1.0 / steps) - 1.0), steps }
    }
}

fn held(rate: f64) -> f64 {
    rate.clamp(-1.0, MAX_RETURN)
}

/// What a series says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// How unusual the last return is; within ±[`CAP`].
    pub z: f64,
    /// The last return, whatever time it took.
    pub last: f64,
    /// How many usual steps that was; at least 1.
    pub steps: f64,
    /// The mean of the earlier ones, by usual step.
    pub mean: f64,
    /// Their sample standard deviation, by usual step.
    pub deviation: f64,
    /// How many they are.
    pub earlier: usize,
    /// The standard deviation of all returns, scaled to a day by the square root of time.
    pub daily_volatility: f64,
}

/// Reads a cleaned series; none when it has fewer than [`MIN_POINTS`].
pub fn read(points: &[Point]) -> Option<Reading> {
    let [first, .., before, newest] = points else { return None };
    if points.len() < MIN_POINTS {
        return None;
    }
    let usual = usual_step(points);
    let returns: Vec<_> = points.windows(2).map(|pair| Return::of(&pair[0], &pair[1], usual)).collect();
    let (&last, earlier) = returns.split_last()?;
    let (mean, deviation) = mean_and_deviation(earlier);
    // Times differ, so this is above zero, if only by a nanosecond.
    let span = newest.at.signed_duration_since(first.at).as_seconds_f64().max(1e-9);
    let steps_a_day = WINDOW.as_seconds_f64() * steps(&returns) / span;
    Some(Reading {
        z: z_score(earlier, last),
        last: held(newest.price / before.price - 1.0),
        steps: last.steps,
        mean,
        deviation,
        earlier: earlier.len(),
        daily_volatility: mean_and_deviation(&returns).1 * steps_a_day.sqrt(),
    })
}

/// How many sample standard deviations `last` is from the mean of `earlier`, within ±[`CAP`].
pub fn z_score(earlier: &[Return], last: Return) -> f64 {
    let (mean, deviation) = mean_and_deviation(earlier);
    let off = last.rate - mean;
    let rounding = ROUNDING * (1.0 + mean.abs());
    if deviation > rounding {
        let (n, k) = (steps(earlier), last.steps);
        (off * (k * (n + 1.0) / (n + k)).sqrt() / deviation).clamp(-CAP, CAP)
    } else if off.abs() <= rounding {
        0.0
    } else {
        CAP.copysign(off)
    }
}

/// How many usual steps they took.
fn steps(returns: &[Return]) -> f64 {
    returns.iter().map(|one| one.steps).sum()
}

/// The mean and the sample standard deviation, by usual step; zero of too few.
fn mean_and_deviation(returns: &[Return]) -> (f64, f64) {
    if returns.is_empty() {
        return (0.0, 0.0);
    }
    let mean = returns.iter().map(|one| one.rate * one.steps).sum::<f64>() / steps(returns);
    if returns.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = returns.iter().map(|one| one.steps * (one.rate - mean).powi(2)).sum();
    (mean, (squares / (returns.len() as f64 - 1.0)).sqrt())
}

#[cfg(test)]
#[path = "momentum_tests.rs"]
mod tests;
