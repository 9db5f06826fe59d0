//! What a reading says, as a signal.

use std::fmt;

use openclaw_agent_api::chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

use crate::momentum::{CAP, Point, Reading};
use crate::venues::{self, Off};

/// A daily volatility below this is that of currencies and large shares.
const LOW_RISK: f64 = 0.02;
/// Below this, that of the large crypto-currencies on a usual day; above, of anything wilder.
const MEDIUM_RISK: f64 = 0.06;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The last return was unusually high.
    Buy,
    /// The last return was unusually low.
    Sell,
}

/// How much the price moves anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Below 2 % a day.
    Low,
    /// Below 6 % a day.
    Medium,
    /// More.
    High,
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signal {
    /// The same for the same series' end and direction: see [`signal_id`].
    pub signal_id: String,
    /// `momentum` or `cross_venue`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where.
    pub venue: String,
    /// Of what.
    pub asset: String,
    /// 0.5 to 0.95; see [`confidence`].
    pub confidence: f64,
    /// Why, in a sentence.
    pub rationale: String,
    /// What to do.
    pub suggested_action: Action,
    /// How much the price moves anyway.
    pub risk_level: Risk,
    /// When the signal was made.
    pub timestamp: DateTime<Utc>,
    /// From when on it is no longer good: see [`good_until`].
    pub expires_at: DateTime<Utc>,
}

impl Signal {
    /// The signal that `reading` gives; the caller has compared it with the threshold, and `newest` with now.
    pub fn new(
        venue: &str,
        asset: &str,
        reading: &Reading,
        newest: &Point,
        now: DateTime<Utc>,
        good_for: TimeDelta,
    ) -> Self {
        let action = if reading.z > 0.0 { Action::Buy } else { Action::Sell };
        Self {
            signal_id: signal_id(venue, asset, newest, action),
            kind: "momentum",
            venue: venue.into(),
            asset: asset.into(),
            confidence: confidence(reading.z),
            rationale: rationale(reading),
            suggested_action: action,
            risk_level: risk(reading.daily_volatility),
            timestamp: now,
            expires_at: good_until(newest, now, good_for),
        }
    }

    /// The signal of a venue that is off the mean.
    pub fn cross_venue(asset: &str, off: &Off, now: DateTime<Utc>, good_for: TimeDelta) -> Self {
        let action = if off.deviation < 0.0 { Action::Buy } else { Action::Sell };
        let Off { quote, mean, deviation, venues } = off;
        Self {
            // Another kind about the same point is another signal.
            signal_id: signal_id(&format!("cross_venue {}", quote.venue), asset, &quote.newest, action),
            kind: "cross_venue",
            venue: quote.venue.clone(),
            asset: asset.into(),
            confidence: venues::confidence(off),
            rationale: format!(
                "the price of {} is {:+.2} % off {mean:.6}, the mean of {venues} venues",
                quote.newest.price,
                100.0 * deviation
            ),
            suggested_action: action,
            // Two trades at two places, and what is bought has to get there.
            risk_level: Risk::High,
            timestamp: now,
            expires_at: good_until(&quote.newest, now, good_for),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.suggested_action == Action::Buy { "buy" } else { "sell" };
        let risk = match self.risk_level {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        };
        write!(
            f,
            "Signal for {} on {}: {action}, confidence {:.2}, {risk} risk, good until {}: {}.",
            self.asset,
            self.venue,
            self.confidence,
            self.expires_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            self.rationale,
        )
    }
}

/// Until when a price is good for a signal: so long from its own time, or from now where its clock is ahead.
pub fn good_until(newest: &Point, now: DateTime<Utc>, good_for: TimeDelta) -> DateTime<Utc> {
    let at = newest.at.min(now);
    at.checked_add_signed(good_for).unwrap_or(at)
}

/// Why, in a sentence.
pub fn rationale(reading: &Reading) -> String {
    let limit = if reading.z.abs() >= CAP { " or more" } else { "" };
    let side = if reading.z < 0.0 { "below" } else { "above" };
    let steps = if reading.steps < 1.5 { String::new() } else { format!(" over {:.0} steps", reading.steps) };
    format!(
        "the last return of {:+.2} %{steps} is {:.1} standard deviations{limit} {side} the mean of the {} before it \
         ({:+.2} % ± {:.2} %)",
        100.0 * reading.last,
        reading.z.abs(),
        reading.earlier,
        100.0 * reading.mean,
        100.0 * reading.deviation,
    )
}

/// 0.5 at z = 0, growing evenly to 0.95 at |z| = [`CAP`]: never certain, never worse than a coin.
pub fn confidence(z: f64) -> f64 {
    let share = (z.abs() / CAP).min(1.0);
    // Three digits: more would claim a precision that is not there.
    ((0.5 + 0.45 * share) * 1000.0).round() / 1000.0
}

/// The risk at a daily volatility.
pub fn risk(daily_volatility: f64) -> Risk {
    if daily_volatility < LOW_RISK {
        Risk::Low
    } else if daily_volatility < MEDIUM_RISK {
        Risk::Medium
    } else {
        Risk::High
    }
}

/// FNV-1a, 64 bits, in hex (<http://www.isthe.com/chongo/tech/comp/fnv/>), over venue, asset, the newest point's time
/// (seconds and nanoseconds) and price (its bits), and the direction; 0xFF, which is in no UTF-8, ends each text. So a
/// retry, or the same series sent again, gives the same id.
pub fn signal_id(venue: &str, asset: &str, newest: &Point, action: Action) -> String {
    let seconds = newest.at.timestamp().to_le_bytes();
    let nanos = newest.at.timestamp_subsec_nanos().to_le_bytes();
    let price = newest.price.to_bits().to_le_bytes();
    let action = [action as u8];
    let parts: [&[u8]; 8] =
        [venue.as_bytes(), &[0xff], asset.as_bytes(), &[0xff], &seconds, &nanos, &price, &action];
    format!("{:016x}", fnv1a(&parts.concat()))
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
