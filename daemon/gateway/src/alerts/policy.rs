//! What is said of an alert, and when. Pure.
//!
//! ```text
//!        info, warning ─▶ Kept ── the summary of a period counts what was not told
//!  New ─┤                  │ worse
//!        critical ────────▶ Said ── not acknowledged for `escalate`: louder, three times
//!                          │  └─── happens again after `cooldown` since it was said or acknowledged: said again
//!                          └─ over, or a day without it ─▶ Over   (who was told hears of it)
//!
//!  Over ── it returns: the store opens the row again ─▶ Back, where it was said before; else Kept
//!  Back ─┬─ goes on for `escalate`: louder; after `cooldown`: said again ─▶ Said
//!        └─ over ─▶ Over   (who heard of its return hears of it)
//! ```

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use store::alert::{Alert, Level};

/// How often an alert that nobody acknowledges is said louder.
pub const LOUDER: u32 = 3;
/// An alert that did not happen again for so long, and of which nobody is to be told any more, is over.
pub const FORGOTTEN: TimeDelta = TimeDelta::days(1);
/// Where nobody can be told, another process may be able to, or this one after its next start.
const NOBODY: TimeDelta = TimeDelta::minutes(1);

/// `[alerts]`, and whether anybody can be told.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub cooldown: TimeDelta,
    pub escalate: TimeDelta,
    pub summary: TimeDelta,
    pub speaks: bool,
}

impl Rules {
    /// Which period of summaries a time is in.
    pub fn period(&self, at: DateTime<Utc>) -> i64 {
        at.timestamp_millis().div_euclid(self.length())
    }

    /// When the next one begins.
    fn next_period(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let begins = (self.period(at) + 1).saturating_mul(self.length());
        DateTime::from_timestamp_millis(begins).unwrap_or(at + self.summary)
    }

    fn length(&self) -> i64 {
        self.summary.num_milliseconds().max(1)
    }
}

/// What the operator was told of an alert: kept in its row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    pub stage: Stage,
    /// Occurrences of which somebody heard.
    pub count: u32,
    /// When the last summary had it.
    pub summarized_at: Option<DateTime<Utc>>,
}

/// Where an alert is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nobody has looked at it.
    #[default]
    New,
    /// It is no message of its own.
    Kept,
    /// It was one.
    Said(Said),
    /// It was over, and is back so soon that it is no message of its own again.
    Back {
        /// What was said before.
        said: Said,
        /// When its return was seen.
        since: DateTime<Utc>,
    },
    /// It is over, and all that was to be said has been, but for a summary.
    Over {
        /// What was said of it; none: nothing.
        said: Option<Said>,
    },
}

/// The last message of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// When it was said.
    pub last: DateTime<Utc>,
    /// How often louder.
    pub louder: u32,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It goes wrong.
    First,
    /// It does so again.
    Again,
    /// Nobody acknowledged it, the nth time.
    Louder(u32),
    /// It is over.
    Over,
    /// In the summary: so many occurrences of which nobody has heard.
    Summary(u32),
}

impl Say {
    /// Whether it is a message of its own.
    pub fn stands_alone(self) -> bool {
        !matches!(self, Self::Summary(_))
    }
}

/// What everybody who listens on the bus is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Raised,
    Over,
}

/// What comes of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// As it is to be kept.
    pub told: Told,
    pub say: Option<Say>,
    pub signal: Option<Signal>,
    /// When to look again: later than now; none: when something happens.
    pub due: Option<DateTime<Utc>>,
    /// It goes wrong again: who knew of it knows of the last time.
    pub anew: bool,
    /// It is over by itself.
    pub closes: bool,
}

/// What is to be said of an alert now. `summarized`: this period's summary is out already.
pub fn look(alert: &Alert, told: &Told, rules: &Rules, summarized: bool, now: DateTime<Utc>) -> Look {
    let mut look =
        Look { told: told.clone(), say: None, signal: None, due: None, anew: false, closes: false };
    let opens = match look.told.stage {
        Stage::New => Some(Stage::Kept),
        Stage::Over { said } if alert.resolved_at.is_none() => {
            Some(said.map_or(Stage::Kept, |said| Stage::Back { said, since: now }))
        }
        _ => None,
    };
    if let Some(stage) = opens {
        look.told.stage = stage;
        look.signal = Some(Signal::Raised);
    }
    let mut due = match alert.resolved_at {
        Some(_) => over(&mut look, alert.level, rules, now),
        None => open(&mut look, alert, rules, now),
    };
    let untold = alert.count.saturating_sub(look.told.count);
    if look.say.is_some_and(|say| matches!(say, Say::First | Say::Again | Say::Over))
        || alert.level == Level::Info
    {
        look.told.count = alert.count;
    } else if untold > 0 && rules.speaks {
        let told_at = match look.told.stage {
            Stage::Said(said) | Stage::Back { said, .. } | Stage::Over { said: Some(said) } => said.last,
            _ => alert.created_at,
        };
        let told_at = look.told.summarized_at.map_or(told_at, |at| at.max(told_at));
        let waited = rules.period(told_at) < rules.period(now);
        if waited && !summarized && look.say.is_none() {
            look.say = Some(Say::Summary(untold));
            look.told.count = alert.count;
            look.told.summarized_at = Some(now);
        } else {
            due.push(rules.next_period(now));
        }
    }
    let all_told = alert.count == look.told.count || !rules.speaks;
    let silent = alert.resolved_at.is_none() && look.say.is_none() && all_told;
    let escalates = match look.told.stage {
        Stage::Said(said) | Stage::Back { said, .. } => said.louder < LOUDER && alert.acked_at.is_none(),
        _ => false,
    };
    if silent && !escalates && now - alert.last_at >= FORGOTTEN {
        look.told.stage = Stage::Over { said: said(&look.told) };
        (look.closes, look.due) = (true, None);
        return look;
    }
    let forgotten = alert.last_at + FORGOTTEN;
    // One that is old already waits for what is still to be said, or has just been.
    if alert.resolved_at.is_none() && (forgotten > now || due.is_empty()) {
        due.push(forgotten);
    }
    look.due = due.into_iter().min().map(|at| at.max(now + TimeDelta::seconds(1)));
    look
}

/// The last message of its own, if there was one.
fn said(told: &Told) -> Option<Said> {
    match told.stage {
        Stage::Said(said) | Stage::Back { said, .. } => Some(said),
        Stage::Over { said } => said,
        Stage::New | Stage::Kept => None,
    }
}

/// It is over: who was told hears of it, and of what was critical before anybody was told. Of what came back and went
/// without a word the summary tells.
fn over(look: &mut Look, level: Level, rules: &Rules, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let unheard = match look.told.stage {
        Stage::Over { .. } => return Vec::new(),
        Stage::Back { since, .. } => look.told.summarized_at.is_none_or(|at| at < since),
        _ => false,
    };
    let mut last = said(&look.told);
    if level == Level::Critical && !unheard {
        if !rules.speaks {
            return vec![now + NOBODY];
        }
        look.say = Some(Say::Over);
        last = last.or(Some(Said { last: now, louder: 0 }));
    }
    look.told.stage = Stage::Over { said: last };
    look.signal = Some(Signal::Over);
    Vec::new()
}

fn open(look: &mut Look, alert: &Alert, rules: &Rules, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    if alert.level < Level::Critical {
        return Vec::new();
    }
    if !rules.speaks {
        return vec![now + NOBODY];
    }
    // Louder, once nobody has said for so long since then that they know.
    let (Said { last, louder }, since) = match look.told.stage {
        Stage::Said(said) => (said, said.last),
        Stage::Back { said, since } => (said, since),
        _ => {
            look.say = Some(Say::First);
            look.told.stage = Stage::Said(Said { last: now, louder: 0 });
            return vec![now + rules.escalate];
        }
    };
    let spoken = alert.acked_at.map_or(last, |at| at.max(last));
    if alert.count > look.told.count && alert.last_at >= spoken + rules.cooldown {
        look.say = Some(Say::Again);
        look.anew = alert.acked_at.is_some();
        let louder = if look.anew { 0 } else { louder };
        look.told.stage = Stage::Said(Said { last: now, louder });
        return if louder < LOUDER { vec![now + rules.escalate] } else { Vec::new() };
    }
    if alert.acked_at.is_some() || louder >= LOUDER {
        return Vec::new();
    }
    if now >= since + rules.escalate {
        look.say = Some(Say::Louder(louder + 1));
        look.told.stage = Stage::Said(Said { last: now, louder: louder + 1 });
        return if louder + 1 < LOUDER { vec![now + rules.escalate] } else { Vec::new() };
    }
    vec![since + rules.escalate]
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
