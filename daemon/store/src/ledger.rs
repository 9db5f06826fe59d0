//! What agents use up at providers: reserved before a call, settled after it, so that calls side by side cannot overspend.
//!
//! A reservation whose call is never settled, since the process died, counts as used once that is found: the call may have
//! been made.

use std::fmt;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::Serialize;
use uuid::Uuid;

/// A budget in one period: its name, and the period's, such as `2026-11-28` or `2026-11`.
pub type BudgetKey = (String, String);

/// The outcome of a call that has none yet.
pub const UNDER_WAY: &str = "under_way";
/// The outcome of a call whose caller went away: it may have been carried out.
pub const ABANDONED: &str = "abandoned";

/// A part of one budget. Amounts are requests, or millionths of a USD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of which.
    pub budget: BudgetKey,
    /// How much of it.
    pub amount: i64,
    /// All that there is of it.
    pub limit: i64,
}

/// What is written.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Reserve all of these, or none.
    Reserve(Vec<Share>),
    /// The call begins: until it is settled it is [`UNDER_WAY`], for whoever looks, and for the next start.
    Begin(Box<NewCall>),
    /// Whoever made the calls that began before then and are not settled is gone: they are [`ABANDONED`], and where no other call is
    /// under way all that is reserved is used.
    Abandon(DateTime<Utc>),
    /// The call has ended: `used` instead of what was reserved. Said twice of one call, it is done once.
    Settle {
        /// What was reserved.
        reserved: Vec<Share>,
        /// What was used of each, in the same order.
        used: Vec<i64>,
        /// The call.
        call: Box<NewCall>,
    },
}

impl Entry {
    /// The budgets that it is about.
    pub(crate) fn shares(&self) -> &[Share] {
        match self {
            Self::Reserve(shares) | Self::Settle { reserved: shares, .. } => shares,
            Self::Begin(_) | Self::Abandon(_) => &[],
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// The first budget that has not so much left: nothing was reserved.
    pub exhausted: Option<Short>,
    /// Budgets of which more has been used than somebody was told: 75, 90 or 100 per cent.
    pub crossed: Vec<(Share, Level)>,
}

/// A budget that has not so much left as is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// What is wanted.
    pub share: Share,
    /// What has been used of it.
    pub used: i64,
    /// What calls that are under way have reserved of it.
    pub reserved: i64,
}

/// Of what share of a budget the operator is told, once in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 75 %.
    Warning,
    /// 90 %.
    Critical,
    /// All is used.
    Exhausted,
}

impl Level {
    /// As it is kept.
    pub(crate) const fn percent(self) -> i32 {
        match self {
            Self::Warning => 75,
            Self::Critical => 90,
            Self::Exhausted => 100,
        }
    }

    /// How far `used` is.
    pub fn of(used: i64, limit: i64) -> Option<Self> {
        let reached =
            |level: &Self| i128::from(used) * 100 >= i128::from(limit) * i128::from(level.percent());
        [Self::Exhausted, Self::Critical, Self::Warning].into_iter().find(reached)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

/// A budget as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub used: i64,
    pub reserved: i64,
    pub told: i32,
}

impl Kept {
    /// Whether the share fits beside what is used and reserved.
    pub fn fits(&self, share: &Share) -> bool {
        self.used.saturating_add(self.reserved).saturating_add(share.amount) <= share.limit
    }

    /// The level that is told of now, if it was not told of.
    pub fn tell(&mut self, level: Option<Level>) -> Option<Level> {
        let level = level.filter(|level| level.percent() > self.told)?;
        self.told = level.percent();
        Some(level)
    }
}

/// A row for `provider_calls`.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// Tells it from all others.
    pub id: Uuid,
    /// Whose.
    pub agent: AgentName,
    /// ask, search or fetch.
    pub capability: &'static str,
    /// To whom.
    pub provider: String,
    /// Of a language model, which.
    pub model: Option<String>,
    /// What it read, in tokens.
    pub tokens_in: i64,
    /// What it wrote.
    pub tokens_out: i64,
    /// In millionths of a USD.
    pub cost: i64,
    /// In milliseconds.
    pub duration_ms: i64,
    /// ok, or why not, in a word.
    pub outcome: &'static str,
    /// The rest, in a sentence, without anything secret.
    pub detail: Option<String>,
    /// When it began.
    pub at: DateTime<Utc>,
}

/// A row of `provider_calls`.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Ever larger.
    pub id: i64,
    /// Whose.
    pub agent: String,
    /// ask, search or fetch.
    pub capability: String,
    /// To whom.
    pub provider: String,
    /// Of a language model, which.
    pub model: Option<String>,
    /// What it read, in tokens.
    pub tokens_in: i64,
    /// What it wrote.
    pub tokens_out: i64,
    /// In millionths of a USD.
    pub cost: i64,
    /// In milliseconds.
    pub duration_ms: i64,
    /// ok, or why not, in a word.
    pub outcome: String,
    /// The rest.
    pub detail: Option<String>,
    /// When it began.
    pub at: DateTime<Utc>,
}

/// A row of `provider_budgets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of which budget.
    pub budget: String,
    /// In which period.
    pub period: String,
    /// What has been used.
    pub used: i64,
    /// What calls that are under way have reserved.
    pub reserved: i64,
}
