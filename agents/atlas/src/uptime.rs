//! How much of the time each component was well: tallies of looks, day by day, and the reports made of them. Pure.

use std::collections::BTreeMap;

use openclaw_agent_api::chrono::{DateTime, Datelike, Days, NaiveDate, Utc, Weekday};
use serde::{Deserialize, Serialize};

use crate::PERIOD;
use crate::seen::Status;

/// Days that are kept: a week, and the one that is under way.
const KEPT: u64 = 8;
/// Components that are counted.
const COUNTED: usize = 500;
const SECONDS_A_DAY: f64 = 86_400.0;

/// Looks at a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// It was well.
    pub ok: u32,
    /// It was not.
    pub ill: u32,
    /// It was stopped by the operator, or had proved nothing.
    pub unknown: u32,
    /// It was not there, and had been in the last days.
    #[serde(default)]
    pub absent: u32,
}

/// How a component was at a look. What is true of one of several counts before what stands above it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Was {
    Absent,
    Ok,
    Unknown,
    Ill,
}

impl Tally {
    /// Per cent of the looks that tell anything; none where none does.
    pub fn percent(self) -> Option<f64> {
        let told = self.ok + self.ill + self.absent;
        (told > 0).then(|| 100.0 * f64::from(self.ok) / f64::from(told))
    }

    fn was_there(self) -> bool {
        self.ok + self.ill + self.unknown > 0
    }
}

/// A day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Looks at the team.
    pub looks: u32,
    /// At each of it.
    pub components: BTreeMap<String, Tally>,
}

/// The days that are kept, by their date (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    days: BTreeMap<NaiveDate, Day>,
    /// Up to this day (not with it) reports were made.
    reported: Option<NaiveDate>,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `daily 2025-01-01` or `weekly 2025-W01`: each is made once.
    pub name: String,
    /// For people.
    pub text: String,
}

impl Uptime {
    /// Adds a look; answers the reports of what has ended with it.
    pub fn add(&mut self, status: Option<&Status>, now: DateTime<Utc>) -> Vec<Report> {
        let today = now.date_naive();
        let reports = self.ended(today);
        let oldest = today.checked_sub_days(Days::new(KEPT)).unwrap_or(today);
        self.days.retain(|day, _| *day > oldest);
        if let Some(status) = status {
            self.count(status, today);
        }
        reports
    }

    fn count(&mut self, status: &Status, today: NaiveDate) {
        // A process that was killed takes its components along: who was there in the last days should be there.
        let known = self.days.values().flat_map(|day| &day.components);
        let known = known.filter(|(_, tally)| tally.was_there());
        let mut seen: BTreeMap<String, Was> = known.map(|(name, _)| (name.clone(), Was::Absent)).collect();
        for (name, component) in status.others().filter(|(_, c)| c.kind.as_deref() != Some("provider")) {
            let was = match component.health.as_deref() {
                Some("ok") => Was::Ok,
                Some("degraded" | "failed") => Was::Ill,
                _ => Was::Unknown,
            };
            // Each process of the home has a store and a bus.
            let worst = seen.entry(name.to_owned()).or_insert(was);
            *worst = was.max(*worst);
        }
        let day = self.days.entry(today).or_default();
        day.looks += 1;
        for (name, was) in seen {
            if day.components.len() >= COUNTED && !day.components.contains_key(&name) {
                continue;
            }
            let tally = day.components.entry(name).or_default();
            match was {
                Was::Absent => tally.absent += 1,
                Was::Ok => tally.ok += 1,
                Was::Unknown => tally.unknown += 1,
                Was::Ill => tally.ill += 1,
            }
        }
    }

    /// Reports of days, and of a week, that ended before `today`. A clock that went back ends nothing.
    fn ended(&mut self, today: NaiveDate) -> Vec<Report> {
        let from = *self.reported.get_or_insert(today);
        if from >= today {
            return Vec::new();
        }
        self.reported = Some(today);
        let days = self.days.range(from..today).map(|(date, day)| Report {
            name: format!("daily {date}"),
            text: format!("{date} (UTC): {}", lines(&[day])),
        });
        let mut reports: Vec<_> = days.collect();
        // The Monday on which the week before ended, if that lies within.
        let monday = today.week(Weekday::Mon).first_day();
        if from < monday
            && let Some(first) = monday.checked_sub_days(Days::new(7))
        {
            let days: Vec<_> = self.days.range(first..monday).map(|(_, day)| day).collect();
            if !days.is_empty() {
                let week = first.iso_week();
                reports.push(Report {
                    name: format!("weekly {}-W{:02}", week.year(), week.week()),
                    text: format!("the week from {first} (UTC): {}", lines(&days)),
                });
            }
        }
        reports
    }

    /// Up to which day reports were made.
    pub fn reported(&self) -> Option<NaiveDate> {
        self.reported
    }

    /// Those from this day on are made again.
    pub fn report_again(&mut self, from: Option<NaiveDate>) {
        self.reported = from;
    }

    /// Today so far.
    pub fn so_far(&self, now: DateTime<Utc>) -> String {
        let today = now.date_naive();
        match self.days.get(&today) {
            Some(day) => format!("{today} (UTC) so far: {}", lines(&[day])),
            None => format!("{today} (UTC) so far: nothing has been looked at"),
        }
    }
}

/// `looked 4320 × (100 % of the time); bus 100 %, scout 97.91 % (unknown 2 ×, absent 90 ×)`.
fn lines(days: &[&Day]) -> String {
    let looks: u32 = days.iter().map(|day| day.looks).sum();
    let watched = (100.0 * f64::from(looks) * PERIOD.as_secs_f64()
        / (SECONDS_A_DAY * days.len().max(1) as f64))
        .min(100.0);
    let mut all: BTreeMap<&str, Tally> = BTreeMap::new();
    for (name, tally) in days.iter().flat_map(|day| &day.components) {
        let sum = all.entry(name).or_default();
        sum.ok += tally.ok;
        sum.ill += tally.ill;
        sum.unknown += tally.unknown;
        sum.absent += tally.absent;
    }
    let each = all.iter().map(|(name, tally)| {
        let besides = match (tally.unknown, tally.absent) {
            (0, 0) => String::new(),
            (unknown, 0) => format!(" (unknown {unknown} ×)"),
            (0, absent) => format!(" (absent {absent} ×)"),
            (unknown, absent) => format!(" (unknown {unknown} ×, absent {absent} ×)"),
        };
        match tally.percent() {
            // Rounded down: 99.999 % is not all of the time.
            Some(percent) => format!("{name} {} %{besides}", (percent * 100.0).floor() / 100.0),
            None => format!("{name} unknown"),
        }
    });
    format!("looked {looks} × ({watched:.0} % of the time); {}", each.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use openclaw_agent_api::prelude::*;

    use super::*;
    use crate::seen::typed;

    fn status(health: &str) -> Status {
        typed(json!({"components": [
            {"name": "scout", "kind": "agent", "health": health}, {"name": "xai", "kind": "provider", "health": "ok"},
        ]}))
        .unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_is_reported_once_when_it_has_ended_and_a_week_on_monday() {
        let mut uptime = Uptime::default();
        // 2025-01-03 is a Friday.
        for health in ["ok", "ok", "failed", "unknown"] {
            assert_eq!(uptime.add(Some(&status(health)), at("2025-01-03T10:00:00Z")), []);
        }
        assert_eq!(
            uptime.so_far(at("2025-01-03T11:00:00Z")),
            "2025-01-03 (UTC) so far: looked 4 × (0 % of the time); scout 66.66 % (unknown 1 ×)"
        );
        let reports = uptime.add(Some(&status("ok")), at("2025-01-04T00:00:10Z"));
        assert_eq!(reports.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["daily 2025-01-03"]);
        assert!(reports[0].text.contains("scout 66.66 %"), "{}", reports[0].text);
        assert_eq!(uptime.add(Some(&status("ok")), at("2025-01-04T00:00:30Z")), []);
        // Nobody looked on Sunday: no report of it.
        let reports = uptime.add(None, at("2025-01-06T08:00:00Z"));
        let names: Vec<_> = reports.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["daily 2025-01-04", "weekly 2025-W01"]);
        assert!(reports[1].text.contains("looked 6 ×") && reports[1].text.contains("scout 80 %"));
        // A clock that goes back, and comes again, ends nothing twice.
        assert_eq!(uptime.add(None, at("2025-01-01T08:00:00Z")), []);
        assert_eq!(uptime.add(None, at("2025-01-06T09:00:00Z")), []);
    }

    #[test]
    fn who_was_there_and_is_gone_was_not_well() {
        let mut uptime = Uptime::default();
        let none = Status::default();
        (0..10).for_each(|_| drop(uptime.add(Some(&status("ok")), at("2025-01-01T10:00:00Z"))));
        (0..90).for_each(|_| drop(uptime.add(Some(&none), at("2025-01-01T12:00:00Z"))));
        let shown = uptime.so_far(at("2025-01-01T13:00:00Z"));
        assert!(shown.ends_with("scout 10 % (absent 90 ×)"), "{shown}");
        uptime.add(Some(&none), at("2025-01-02T10:00:00Z"));
        let shown = uptime.so_far(at("2025-01-02T13:00:00Z"));
        assert!(shown.ends_with("scout 0 % (absent 1 ×)"), "{shown}");
        // Not for ever.
        uptime.add(Some(&none), at("2025-01-08T10:00:00Z"));
        uptime.add(Some(&none), at("2025-01-09T10:00:00Z"));
        assert!(!uptime.so_far(at("2025-01-09T13:00:00Z")).contains("scout"));
    }

    #[test]
    fn parts_of_the_same_name_are_one_as_ill_as_the_worst_of_them() {
        let of = |health: &[&str]| {
            let stores =
                health.iter().map(|health| json!({"name": "store", "kind": "service", "health": health}));
            let stores: Vec<_> = stores.collect();
            let mut uptime = Uptime::default();
            uptime.add(Some(&typed(json!({"components": stores})).unwrap()), at("2025-01-01T10:00:00Z"));
            uptime.so_far(at("2025-01-01T10:00:00Z"))
        };
        assert!(of(&["ok", "failed", "unknown"]).ends_with("looked 1 × (0 % of the time); store 0 %"));
        assert!(of(&["ok", "unknown"]).ends_with("store unknown"));
        assert!(of(&["ok", "ok"]).ends_with("store 100 %"));
    }

    #[test]
    fn only_a_week_is_kept() {
        let mut uptime = Uptime::default();
        let mut now = at("2025-01-01T12:00:00Z");
        for _ in 0..30 {
            uptime.add(Some(&status("ok")), now);
            now = now.checked_add_days(Days::new(1)).unwrap();
        }
        assert_eq!(uptime.days.len(), KEPT as usize);
    }
}
