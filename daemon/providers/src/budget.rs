//! Budgets as they are configured, and what a try takes of each. Pure.

use chrono::{Datelike, Days, Months, NaiveTime};
use openclaw_agent_api::AgentName;
use serde::Serialize;
use settings::{Budget, Period};
use store::ledger::{Share, Short, Usage};

use crate::Time;

/// Millionths of a USD.
pub(crate) const MICROS: f64 = 1e6;

/// What a try takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Requests.
    pub requests: i64,
    /// Millionths of a USD.
    pub micros: i64,
}

/// USD as the ledger has them, never rounded down.
pub(crate) fn micros(usd: f64) -> i64 {
    // What does not fit is more than there is.
    (usd * MICROS).ceil() as i64
}

/// A budget's name in the ledger, and for people: `scout · brave · month · requests`.
fn name(budget: &Budget) -> String {
    let agent = budget.agent.as_ref().map_or("all agents", AgentName::as_str);
    let provider = budget.provider.as_deref().unwrap_or("all providers");
    let period = match budget.period {
        Period::Day => "day",
        Period::Month => "month",
    };
    let unit = if budget.requests.is_some() { "requests" } else { "usd" };
    format!("{agent} · {provider} · {period} · {unit}")
}

/// The period that a time lies in: `2026-11-28`, `2026-11`.
pub(crate) fn period(period: Period, now: Time) -> String {
    match period {
        Period::Day => now.format("%Y-%m-%d").to_string(),
        Period::Month => now.format("%Y-%m").to_string(),
    }
}

/// When the next period begins.
pub(crate) fn next(period: Period, now: Time) -> Time {
    let day = now.date_naive();
    let next = match period {
        Period::Day => day.checked_add_days(Days::new(1)),
        Period::Month => day.with_day(1).and_then(|day| day.checked_add_months(Months::new(1))),
    };
    // Beyond the calendar there is no later one.
    next.map_or(now, |day| day.and_time(NaiveTime::MIN).and_utc())
}

fn limit(budget: &Budget) -> i64 {
    match (budget.requests, budget.usd) {
        (Some(requests), _) => requests.into(),
        (None, usd) => micros(usd.unwrap_or_default()),
    }
}

/// The budgets that are about a call, each with what it takes of it.
pub(crate) fn shares(
    budgets: &[Budget],
    agent: &AgentName,
    provider: &str,
    cost: Cost,
    now: Time,
) -> Vec<Share> {
    let concerns = |budget: &&Budget| {
        budget.agent.as_ref().is_none_or(|name| name == agent)
            && budget.provider.as_deref().is_none_or(|name| name == provider)
    };
    let share = |budget: &Budget| Share {
        budget: (name(budget), period(budget.period, now)),
        amount: if budget.requests.is_some() { cost.requests } else { cost.micros },
        limit: limit(budget),
    };
    budgets.iter().filter(concerns).map(share).collect()
}

/// Of what a budget is counted: whether in requests, and over which period.
pub(crate) fn of(share: &Share) -> (bool, Period) {
    let month = share.budget.1.len() == "2026-11".len();
    (share.budget.0.ends_with("requests"), if month { Period::Month } else { Period::Day })
}

/// Why a call that wants too much of a budget is refused and, where that helps, when there is more.
pub(crate) fn refused(short: &Short, now: Time) -> (String, Option<Time>) {
    let Short { share, used, reserved } = short;
    let (requests, unit) = of(share);
    let shown = |amount: i64| {
        if requests { format!("{amount} requests") } else { format!("{:.4} USD", amount as f64 / MICROS) }
    };
    let (name, in_period) = &share.budget;
    let (until, limit, wanted) = (next(unit, now), shown(share.limit), shown(share.amount));
    let raise = "[providers] budgets can raise it";
    if *used >= share.limit {
        let used = shown(*used);
        let why = format!(
            "the budget `{name}` is used up in {in_period}: {used} of {limit}; it begins anew at {until}, and {raise}"
        );
        return (why, Some(until));
    }
    let left = format!(
        "the budget `{name}` has not so much left in {in_period}: this call may take {wanted}; of {limit}, {} are used and {} \
         reserved by calls under way",
        shown(*used),
        shown(*reserved)
    );
    if share.amount > share.limit {
        (format!("{left}: ask for less, or {raise}"), None)
    } else if used.saturating_add(share.amount) <= share.limit {
        (format!("{left}: try again when those have ended"), None)
    } else {
        (format!("{left}: ask for less; it begins anew at {until}, and {raise}"), Some(until))
    }
}

/// What is told of a budget is told under this key.
pub(crate) fn key(share: &Share, percent: u8) -> String {
    let (budget, period) = &share.budget;
    format!("budget:{budget}:{period}:{percent}")
}

/// Whether the fingerprint of an alert is about a budget in a period that is over.
pub fn is_past(alert: &str, now: Time) -> bool {
    let Some((_, told)) = alert.split_once("budget:") else { return false };
    let period_of = told.rsplit(':').nth(1).filter(|_| told.contains(" · "));
    let current = [Period::Day, Period::Month].map(|one| period(one, now));
    period_of.is_some_and(|of| !current.iter().any(|current| current == of))
}

/// A budget and how much of it is used.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Its name.
    pub budget: String,
    /// The period: a day or month of UTC.
    pub period: String,
    /// `requests` or `usd`.
    pub unit: &'static str,
    /// What has been used.
    pub used: f64,
    /// What calls that are under way have reserved.
    pub reserved: f64,
    /// All that there is.
    pub limit: f64,
    /// Both of it, in per cent.
    pub percent: f64,
    /// When it begins anew.
    pub until: Time,
}

/// How each budget stands, by the rows of the ledger.
pub fn standings(budgets: &[Budget], rows: &[Usage], now: Time) -> Vec<Standing> {
    let standing = |budget: &Budget| {
        let (name, period) = (name(budget), period(budget.period, now));
        let row = rows.iter().find(|row| row.budget == name && row.period == period);
        let (unit, scale) = if budget.requests.is_some() { ("requests", 1.0) } else { ("usd", MICROS) };
        let (used, reserved) = row.map_or((0, 0), |row| (row.used, row.reserved));
        let limit = limit(budget);
        let taken = used.saturating_add(reserved);
        // Of nothing, nothing is left.
        let percent = if limit > 0 { taken as f64 * 100.0 / limit as f64 } else { 100.0 };
        Standing {
            budget: name,
            period,
            unit,
            used: used as f64 / scale,
            reserved: reserved as f64 / scale,
            limit: limit as f64 / scale,
            percent: (percent * 10.0).round() / 10.0,
            until: next(budget.period, now),
        }
    };
    budgets.iter().map(standing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_those_of_utc() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        for (now, day, month) in [
            ("2026-11-28T23:59:59Z", "2026-11-29T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            assert_eq!(next(Period::Day, at(now)), at(day));
            assert_eq!(next(Period::Month, at(now)), at(month));
        }
        assert_eq!(period(Period::Month, at("2026-11-28T23:59:59Z")), "2026-11");
    }

    #[test]
    fn what_was_told_of_a_budget_is_over_with_its_period() {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        for (at, past) in [("2026-11-28", false), ("2026-11", false), ("2026-11-27", true), ("2026-10", true)]
        {
            let budget = ("all agents · all providers · day · usd".into(), at.into());
            let alert = format!("openclaw:{}", key(&Share { budget, amount: 0, limit: 0 }, 90));
            assert_eq!(is_past(&alert, now), past, "{alert}");
        }
        for alert in
            ["openclaw:provider:a:breaker", "scout:agent:budget:x", "scout:agent:budget:2020-01-01:90"]
        {
            assert!(!is_past(alert, now), "{alert}");
        }
    }

    #[test]
    fn only_what_is_used_up_is_called_so_and_who_need_not_wait_is_not_told_to() {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        let budget = ("all agents · all providers · day · usd".into(), "2026-11-28".into());
        let told = |used, reserved, amount| {
            let share = Share { budget: Clone::clone(&budget), amount, limit: 10_000 };
            refused(&Short { share, used, reserved }, now)
        };
        let (why, until) = told(10_000, 0, 1);
        assert!(
            why.contains("is used up in 2026-11-28: 0.0100 USD of 0.0100 USD") && until.is_some(),
            "{why}"
        );
        for (short, wait, what) in [
            ((0, 0, 30_000), false, "this call may take 0.0300 USD"),
            ((0, 9_000, 2_000), false, "0.0090 USD reserved by calls under way: try again when"),
            ((9_000, 0, 2_000), true, "ask for less; it begins anew"),
        ] {
            let (why, until) = told(short.0, short.1, short.2);
            assert!(why.contains(what) && !why.contains("used up"), "{why}");
            assert_eq!(until.is_some(), wait, "{why}");
        }
    }

    #[test]
    fn a_call_takes_of_each_budget_that_is_about_it() {
        let (scout, now) = ("scout".parse::<AgentName>().unwrap(), Time::UNIX_EPOCH);
        let budgets = [
            Budget { requests: Some(3), ..Budget::default() },
            Budget { agent: Some(scout.clone()), usd: Some(0.5), period: Period::Month, ..Budget::default() },
            Budget { provider: Some("brave".into()), requests: Some(1), ..Budget::default() },
            Budget { agent: Some("atlas".parse().unwrap()), requests: Some(1), ..Budget::default() },
        ];
        let taken = shares(&budgets, &scout, "xai", Cost { requests: 1, micros: 70 }, now);
        let taken: Vec<_> = taken
            .iter()
            .map(|share| (share.budget.0.as_str(), share.amount, share.limit, of(share)))
            .collect();
        assert_eq!(
            taken,
            [
                ("all agents · all providers · day · requests", 1, 3, (true, Period::Day)),
                ("scout · all providers · month · usd", 70, 500_000, (false, Period::Month)),
            ]
        );
    }
}
