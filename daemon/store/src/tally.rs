//! What agents asked for, counted: how often each method, with what came of it, on each day.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Of UTC.
    pub day: NaiveDate,
    /// Who asked.
    pub agent: AgentName,
    /// For what.
    pub method: &'static str,
    /// What came of it, in a word.
    pub outcome: &'static str,
}

/// How often. As many entries as agents, methods and outcomes, and as days while the database is away.
pub type Tally = BTreeMap<Asked, u32>;

/// Adds what came later.
pub(crate) fn add(tally: &mut Tally, more: Tally) {
    for (asked, count) in more {
        let sum = tally.entry(asked).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// A row of `agent_calls`, of an agent and a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What was asked for.
    pub method: String,
    /// What came of it.
    pub outcome: String,
    /// How often.
    pub count: u64,
}
