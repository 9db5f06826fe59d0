//! What agents asked for today, by capability and by what came of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::CallErrorKind;

/// Of a day of UTC, since the daemon's start: as many entries as capabilities and outcomes.
#[derive(Default)]
pub struct Counts(Mutex<Today>);

#[derive(Default)]
struct Today {
    day: NaiveDate,
    of: HashMap<AgentName, BTreeMap<String, u32>>,
}

impl Counts {
    /// A call of `method`, which there is, has ended.
    pub fn add(&self, agent: &AgentName, method: &str, refused: Option<CallErrorKind>, now: DateTime<Utc>) {
        let outcome = refused.map_or("ok", word);
        let mut today = self.today(now);
        let counted = today.of.entry(agent.clone()).or_default();
        let count = counted.entry(format!("{method} · {outcome}")).or_default();
        *count = count.saturating_add(1);
    }

    /// Those of an agent, today.
    pub fn of(&self, agent: &AgentName, now: DateTime<Utc>) -> Vec<(String, u32)> {
        self.today(now)
            .of
            .get(agent)
            .into_iter()
            .flatten()
            .map(|(what, count)| (what.clone(), *count))
            .collect()
    }

    fn today(&self, now: DateTime<Utc>) -> MutexGuard<'_, Today> {
        // Counts are changed one at a time: a poisoned lock is still good.
        let mut today = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now.date_naive();
        if today.day != day {
            *today = Today { day, of: HashMap::new() };
        }
        today
    }
}

/// As an agent reads it.
fn word(kind: CallErrorKind) -> &'static str {
    match kind {
        CallErrorKind::NotGranted => "not_granted",
        CallErrorKind::NotConfigured => "not_configured",
        CallErrorKind::OverBudget => "over_budget",
        CallErrorKind::TooSoon => "too_soon",
        CallErrorKind::Invalid => "invalid",
        CallErrorKind::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_begins_anew() {
        let (counts, scout) = (Counts::default(), "scout".parse::<AgentName>().unwrap());
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let late = at("2026-11-28T23:59:59Z");
        counts.add(&scout, "publish", None, late);
        counts.add(&scout, "publish", None, late);
        counts.add(&scout, "publish", Some(CallErrorKind::Invalid), late);
        let told = [("publish · invalid".into(), 1), ("publish · ok".into(), 2)];
        assert_eq!(counts.of(&scout, late), told);
        assert_eq!(counts.of(&"atlas".parse().unwrap(), late), []);
        assert_eq!(counts.of(&scout, at("2026-11-29T00:00:00Z")), []);
    }
}
