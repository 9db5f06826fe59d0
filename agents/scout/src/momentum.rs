//! Momentum of a series of prices: how unusual the last return is among the earlier ones. Pure arithmetic.
//!
//! With simple returns `r = p₁/p₀ − 1`, `z = (r_last − mean) / s`, where mean and sample standard deviation `s` are of
//! the returns before the last. `z` is held within ±[`CAP`], which is also its value after a history without any
//! deviation: the limit of `s → 0`. Nothing here divides by zero, overflows or makes a NaN, whatever the series.

use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

/// The largest |z|: past six standard deviations a larger number says no more.
pub const CAP: f64 = 6.0;
/// Fewer points give a standard deviation that means nothing.
pub const MIN_POINTS: usize = 10;
/// Points older than this before the newest are of another day.
pub const WINDOW: TimeDelta = TimeDelta::hours(24);

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
    /// Points replaced by a later one of the same time.
    pub duplicates: usize,
}

/// Orders a series and drops what cannot be used. A time's last usable price wins.
pub fn clean(mut points: Vec<Point>) -> Cleaned {
    let sent = points.len();
    points.retain(|point| point.price.is_finite() && point.price > 0.0);
    if let Some(newest) = points.iter().map(|point| point.at).max() {
        points.retain(|point| newest.signed_duration_since(point.at) <= WINDOW);
    }
    let ignored = sent - points.len();

    // Stable, and backwards: of one time the last sent comes first, which is the one that dedup keeps.
    points.reverse();
    points.sort_by_key(|point| point.at);
    let usable = points.len();
    points.dedup_by_key(|point| point.at);
    let duplicates = usable - points.len();
    Cleaned { points, ignored, duplicates }
}

/// The part of a cleaned series after its last gap, a step more than twenty times the usual one: a return over it is no return
/// of one step. How many points lie before it.
pub fn after_gap(points: &[Point]) -> (&[Point], usize) {
    let steps = points.windows(2).map(|pair| pair[1].at.signed_duration_since(pair[0].at));
    let mut sorted: Vec<_> = steps.clone().collect();
    if points.len() < MIN_POINTS {
        return (points, 0);
    }
    let middle = sorted.len() / 2;
    let usual = *sorted.select_nth_unstable(middle).1;
    // What does not fit is longer than any series: no gap.
    let most = usual.checked_mul(GAP).unwrap_or(TimeDelta::MAX);
    let gap = steps.enumerate().rfind(|(_, step)| *step > most);
    let before = gap.map_or(0, |(at, _)| at + 1);
    (&points[before..], before)
}

/// What a series says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// How unusual the last return is; within ±[`CAP`].
    pub z: f64,
    /// The last return.
    pub last: f64,
    /// The mean of the earlier ones.
    pub mean: f64,
    /// Their sample standard deviation.
    pub deviation: f64,
    /// How many they are.
    pub earlier: usize,
    /// The standard deviation of all returns, scaled to a day by the square root of time.
    pub daily_volatility: f64,
}

/// Reads a cleaned series; none when it has fewer than [`MIN_POINTS`].
pub fn read(points: &[Point]) -> Option<Reading> {
    if points.len() < MIN_POINTS {
        return None;
    }
    let returns: Vec<f64> =
        points.windows(2).map(|pair| simple_return(pair[0].price, pair[1].price)).collect();
    let (&last, earlier) = returns.split_last()?;
    let (mean, deviation) = mean_and_deviation(earlier);
    let (first, newest) = (points.first()?.at, points.last()?.at);
    // Times differ, so this is above zero, if only by a nanosecond.
    let span = newest.signed_duration_since(first).as_seconds_f64().max(1e-9);
    let steps_a_day = WINDOW.as_seconds_f64() * returns.len() as f64 / span;
    Some(Reading {
        z: z_score(earlier, last),
        last,
        mean,
        deviation,
        earlier: earlier.len(),
        daily_volatility: mean_and_deviation(&returns).1 * steps_a_day.sqrt(),
    })
}

fn simple_return(before: f64, after: f64) -> f64 {
    (after / before - 1.0).clamp(-1.0, MAX_RETURN)
}

/// How many sample standard deviations `last` is from the mean of `earlier`, within ±[`CAP`].
pub fn z_score(earlier: &[f64], last: f64) -> f64 {
    let (mean, deviation) = mean_and_deviation(earlier);
    let off = last - mean;
    let rounding = ROUNDING * (1.0 + mean.abs());
    if deviation > rounding {
        (off / deviation).clamp(-CAP, CAP)
    } else if off.abs() <= rounding {
        0.0
    } else {
        CAP.copysign(off)
    }
}

/// The mean and the sample standard deviation; zero of too few.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

#[cfg(test)]
#[path = "momentum_tests.rs"]
mod tests;
