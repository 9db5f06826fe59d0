//! One asset at several venues: who is off the mean of all. Pure arithmetic.

use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};

use crate::momentum::Point;

/// A venue whose newest price is older than this before the newest of all (now, where that is ahead) is not compared: the market has moved since.
pub const FRESH: TimeDelta = TimeDelta::minutes(5);

/// The newest price of a venue.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    /// Where.
    pub venue: String,
    /// The newest usable point.
    pub newest: Point,
}

/// A venue that is off the mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Off {
    /// Where, and what was seen there.
    pub quote: Quote,
    /// The mean of all venues that were compared, this one among them.
    pub mean: f64,
    /// How far it is off, as a share of the mean; below 0: cheaper.
    pub deviation: f64,
    /// How many were compared.
    pub venues: usize,
}

/// Venues that are off the mean by more than `threshold`, a share. Of a venue that is named twice the newer price counts. Fewer
/// than two fresh ones have no mean to be off.
pub fn off(quotes: Vec<Quote>, threshold: f64, now: DateTime<Utc>) -> Vec<Off> {
    let mut fresh: Vec<Quote> = Vec::new();
    let market = market(&quotes, now);
    for quote in quotes {
        let usable = quote.newest.price.is_finite() && quote.newest.price > 0.0;
        if !usable || is_late(&quote, market) {
            continue;
        }
        match fresh.iter_mut().find(|known| known.venue == quote.venue) {
            Some(known) if known.newest.at < quote.newest.at => *known = quote,
            Some(_) => {}
            None => fresh.push(quote),
        }
    }
    let venues = fresh.len();
    if venues < 2 {
        return Vec::new();
    }
    // Each divided first: the sum of large prices must not overflow.
    let mean: f64 = fresh.iter().map(|quote| quote.newest.price / venues as f64).sum();
    if !(mean.is_finite() && mean > 0.0) {
        return Vec::new();
    }
    let all = fresh.into_iter().map(|quote| {
        let deviation = quote.newest.price / mean - 1.0;
        Off { quote, mean, deviation, venues }
    });
    all.filter(|off| off.deviation.is_finite() && off.deviation.abs() > threshold).collect()
}

/// Those that are not fresh.
pub fn late(quotes: &[Quote], now: DateTime<Utc>) -> impl Iterator<Item = &Quote> {
    let market = market(quotes, now);
    quotes.iter().filter(move |quote| is_late(quote, market))
}

/// When the market was seen last.
fn market(quotes: &[Quote], now: DateTime<Utc>) -> DateTime<Utc> {
    quotes.iter().map(|quote| quote.newest.at.min(now)).max().unwrap_or(now)
}

fn is_late(quote: &Quote, market: DateTime<Utc>) -> bool {
    market.signed_duration_since(quote.newest.at) > FRESH
}

/// 0.5 where nothing is off, growing evenly to 0.95 at a tenth; of two venues nobody knows which one is off, so at most 0.6.
pub fn confidence(off: &Off) -> f64 {
    let share = (off.deviation.abs() / 0.1).min(1.0);
    let most = if off.venues < 3 { 0.6 } else { 0.95 };
    ((0.5 + 0.45 * share).min(most) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::from_timestamp(1_700_000_400, 0).unwrap();

    fn quote(venue: &str, seconds: i64, price: f64) -> Quote {
        let at = DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
        Quote { venue: venue.into(), newest: Point { at, price } }
    }

    #[test]
    fn who_is_off_by_more_than_the_threshold_is_found() {
        let quotes =
            vec![quote("a", 0, 100.0), quote("b", 0, 100.0), quote("c", 0, 100.0), quote("d", 0, 110.0)];
        let found = off(quotes, 0.02, NOW);
        // The mean is 102.5: the others are 2.4 % below it, the fourth 7.3 % above.
        assert_eq!(
            found.iter().map(|off| off.quote.venue.as_str()).collect::<Vec<_>>(),
            ["a", "b", "c", "d"]
        );
        assert!((found[3].deviation - (110.0 / 102.5 - 1.0)).abs() < 1e-12 && found[0].deviation < 0.0);
        assert!((confidence(&found[3]) - 0.829).abs() < 1e-9);
        // Exactly at the threshold is not above it.
        assert!(off(vec![quote("a", 0, 98.0), quote("b", 0, 102.0)], 0.02 + 1e-12, NOW).is_empty());
        assert_eq!(off(vec![quote("a", 0, 97.9), quote("b", 0, 102.1)], 0.02, NOW).len(), 2);
    }

    #[test]
    fn what_is_stale_twice_there_or_no_price_is_not_compared() {
        let stale = vec![quote("a", 0, 100.0), quote("b", 301, 200.0)];
        assert_eq!(late(&stale, NOW).map(|late| late.venue.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(off(stale, 0.02, NOW).is_empty());
        // A clock that is ahead by a bit takes nobody out.
        let ahead = vec![quote("a", 101, 100.0), quote("b", 460, 200.0)];
        assert_eq!(late(&ahead, NOW).count(), 0);
        assert_eq!(off(ahead, 0.02, NOW).len(), 2);
        let twice = vec![quote("a", 0, 100.0), quote("a", 60, 200.0)];
        assert!(off(twice, 0.02, NOW).is_empty(), "one venue");
        let odd = vec![quote("a", 0, f64::NAN), quote("b", 0, 0.0), quote("c", 0, 5.0)];
        assert!(off(odd, 0.02, NOW).is_empty());
        assert!(off(Vec::new(), 0.02, NOW).is_empty());
        assert!(off(vec![quote("a", 0, f64::MAX), quote("b", 0, f64::MAX)], 0.02, NOW).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_the_prices_what_is_found_is_off(
            prices in prop::collection::vec((0..5_u8, 0..600_i64, any::<f64>()), 0..20),
            threshold in 0.001..0.5_f64,
        ) {
            let quotes = prices.iter().map(|(venue, at, price)| quote(&venue.to_string(), *at, *price)).collect();
            for off in off(quotes, threshold, NOW) {
                prop_assert!(off.deviation.abs() > threshold && off.mean > 0.0 && off.venues >= 2);
                prop_assert!((0.5..=0.95).contains(&confidence(&off)));
            }
        }
    }
}
