//! Scheduled scans: a topic at a time, within the day's searches. What is due is decided purely.

use std::collections::BTreeMap;
use std::time::Duration;

use openclaw_agent_api::chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Scout;
use crate::research::{self, Research};
use crate::route::{Found, Route};
use crate::settings::Settings;

const KEY: &str = "scans";
/// Addresses that are known of each topic.
const SEEN: usize = 50;
/// How long a topic waits that could not be searched; each further time twice as long, up to its usual pause.
const AGAIN: TimeDelta = TimeDelta::minutes(10);

/// What scans leave for the next ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scans {
    /// The day that is counted.
    day: Option<NaiveDate>,
    /// Searches on that day.
    used: u32,
    /// Not before then, as the daemon said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<DateTime<Utc>>,
    topics: BTreeMap<String, Topic>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Topic {
    /// Scanned last, or tried to.
    at: Option<DateTime<Utc>>,
    /// Tries in a row that failed.
    #[serde(default)]
    failures: u32,
    /// Addresses that were read.
    #[serde(default)]
    seen: Vec<String>,
}

impl Scans {
    /// The topic whose turn it is: the one that has waited longest, if there is a search left today. That search is counted.
    pub fn take(&mut self, settings: &Settings, now: DateTime<Utc>) -> Option<String> {
        self.topics.retain(|topic, _| settings.topics.contains(topic));
        if self.day != Some(now.date_naive()) {
            (self.day, self.used) = (Some(now.date_naive()), 0);
        }
        if self.used >= settings.searches_per_day || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let last = |topic: &String| self.topics.get(topic).and_then(|topic| topic.at);
        let usual = TimeDelta::hours(i64::from(settings.scan_hours));
        let pause = |topic: &String| match self.topics.get(topic).map_or(0, |topic| topic.failures) {
            0 => usual,
            failures => usual.min(AGAIN * (1 << (failures - 1).min(10))),
        };
        let due =
            |topic: &&String| last(topic).is_none_or(|at| now.signed_duration_since(at) >= pause(topic));
        let topic = settings.topics.iter().filter(due).min_by_key(|topic| last(topic))?.clone();
        self.used += 1;
        self.topics.entry(topic.clone()).or_default().at = Some(now);
        Some(topic)
    }

    /// It could not be searched: see [`again`](Self::again). A search that was refused was not made, and is not counted.
    fn unsearched(&mut self, topic: &str, error: &CallError) {
        if error.kind != CallErrorKind::Failed {
            self.used = self.used.saturating_sub(1);
        }
        self.again(topic, error.retry_at);
    }

    /// It could not be searched, or nobody could read what was found: it is due again after a while that doubles, once the
    /// daemon allows, and after those that have waited longer.
    fn again(&mut self, topic: &str, not_before: Option<DateTime<Utc>>) {
        self.not_before = not_before;
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.failures = topic.failures.saturating_add(1);
        }
    }

    /// Whether an address of it was not read yet.
    fn is_new(&self, topic: &str, url: &str) -> bool {
        self.topics.get(topic).is_none_or(|topic| !topic.seen.iter().any(|seen| seen == url))
    }

    /// It was scanned, and these new addresses were read.
    fn scanned(&mut self, topic: &str, new: impl IntoIterator<Item = String>) {
        let Topic { seen, failures, .. } = self.topics.entry(topic.into()).or_default();
        *failures = 0;
        seen.extend(new);
        seen.drain(..seen.len().saturating_sub(SEEN));
    }
}

impl Scout {
    /// The scheduled scan. A search is counted before it is made, so that a death repeats none.
    pub(crate) fn scan(&self, ctx: &Context) -> Result<()> {
        let mut scans: Scans = ctx.memory().get(KEY)?.unwrap_or_default();
        let Some(topic) = scans.take(&self.settings, ctx.now()) else { return Ok(()) };
        ctx.memory().set(KEY, &scans)?;
        // A tick does not say how long it may take: of the default.
        let within = research::within(Duration::from_secs(120));
        let hits = match ctx.search_within(&topic, within) {
            Ok(hits) => hits,
            Err(error) => {
                scans.unsearched(&topic, &error);
                ctx.warn(format!("`{topic}` was not searched: {error}"));
                return Ok(ctx.memory().set(KEY, &scans)?);
            }
        };
        let hits: Vec<_> = hits.into_iter().filter(|hit| scans.is_new(&topic, &hit.url)).collect();
        let sources = research::sources(hits);
        if sources.is_empty() {
            scans.scanned(&topic, []);
            ctx.info(format!("nothing new about `{topic}`"));
            return Ok(ctx.memory().set(KEY, &scans)?);
        }
        let research = match research::read(ctx, &topic, sources.clone(), within) {
            Ok(research) => research,
            // Nobody will read them later either.
            Err(error) if error.kind == CallErrorKind::NotConfigured => {
                research::unread(&topic, sources, format!("no language model has read the sources: {error}"))
            }
            Err(error) => {
                scans.again(&topic, error.retry_at);
                ctx.warn(format!("nobody could read what was found about `{topic}`: {error}"));
                return Ok(ctx.memory().set(KEY, &scans)?);
            }
        };
        // Only then: what was not read, or not sent, is new the next time.
        match self.found(ctx, &research) {
            Ok(done) => {
                ctx.info(format!("scanned `{topic}`: {} findings. {done}", research.findings.len()));
                scans.scanned(&topic, research.sources.into_iter().map(|source| source.url));
            }
            Err(why) => {
                scans.again(&topic, None);
                ctx.warn(format!("what was found about `{topic}` reached nobody: {why}"));
            }
        }
        Ok(ctx.memory().set(KEY, &scans)?)
    }

    /// Sends what a scan found to where it belongs.
    fn found(&self, ctx: &Context, research: &Research) -> Result<String, String> {
        let now = ctx.now();
        let route = Route::of(research.confidence, &self.settings);
        let day = TimeDelta::hours(i64::from(self.settings.scan_hours));
        let first = research.findings.first();
        let told = first.map(|finding| {
            let url = research.sources.iter().find(|s| s.number == finding.source).map(|s| s.url.as_str());
            format!("{} ({})", finding.text, url.unwrap_or("?"))
        });
        let more = research.findings.len().saturating_sub(1);
        let topic = &research.topic;
        // A later scan of the topic has other sources, and is another finding.
        let url = research.sources.first().map_or("", |source| source.url.as_str());
        let id = crate::signal::fnv1a(format!("{topic}\0{url}").as_bytes());
        let found = Found {
            id: format!("research {id:016x}"),
            at: now,
            expires_at: now.checked_add_signed(day).unwrap_or(now),
            confidence: research.confidence,
            text: format!("{topic}: {} and {more} more findings", told.unwrap_or_else(|| "nothing".into())),
        };
        self.archive.send(ctx, &[(found, route)]).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn topics_take_turns_within_the_days_searches() {
        let settings = Settings {
            topics: vec!["a".into(), "b".into(), "c".into()],
            scan_hours: 6,
            searches_per_day: 4,
            ..Settings::default()
        };
        let mut scans = Scans::default();
        let mut take = |when: &str| scans.take(&settings, at(when));
        assert_eq!(take("2025-01-01T00:00:00Z").as_deref(), Some("a"));
        assert_eq!(take("2025-01-01T00:10:00Z").as_deref(), Some("b"));
        assert_eq!(take("2025-01-01T00:20:00Z").as_deref(), Some("c"));
        assert_eq!(take("2025-01-01T00:30:00Z"), None);
        assert_eq!(take("2025-01-01T06:00:00Z").as_deref(), Some("a"));
        // The day's four are used up.
        assert_eq!(take("2025-01-01T06:10:00Z"), None);
        assert_eq!(take("2025-01-02T00:00:00Z").as_deref(), Some("b"));
    }

    #[test]
    fn what_cannot_be_searched_is_tried_again_later_and_keeps_nobody_from_their_turn() {
        let settings = Settings {
            topics: vec!["a".into(), "b".into(), "c".into()],
            searches_per_day: 20,
            ..Settings::default()
        };
        let failed = CallError::new(CallErrorKind::Failed, "away");
        let (mut scans, start) = (Scans::default(), at("2025-01-01T00:00:00Z"));
        let mut taken = Vec::new();
        for minute in 0..(24 * 60) {
            if let Some(topic) = scans.take(&settings, start + TimeDelta::minutes(minute)) {
                if topic == "a" {
                    scans.unsearched("a", &failed);
                } else {
                    scans.scanned(&topic, []);
                }
                taken.push(topic);
            }
        }
        assert_eq!(taken[..3], ["a", "b", "c"]);
        // After 10, 20, 40, … minutes.
        assert_eq!(taken[3..], ["a"; 7]);
        scans.scanned("a", []);
        assert!(scans.take(&settings, start + TimeDelta::hours(23)).is_none());
    }

    #[test]
    fn what_is_refused_is_no_search_and_waits_until_the_daemon_allows() {
        let settings = Settings { topics: vec!["a".into()], searches_per_day: 2, ..Settings::default() };
        let mut scans = Scans::default();
        assert!(scans.take(&settings, at("2025-01-01T00:00:00Z")).is_some());
        let refused = CallError::new(CallErrorKind::OverBudget, "used up");
        scans.unsearched("a", &refused.until(Some(at("2025-01-01T01:00:00Z"))));
        assert!(scans.take(&settings, at("2025-01-01T00:59:00Z")).is_none());
        for hour in 1..5 {
            let now = at("2025-01-01T00:00:00Z") + TimeDelta::hours(hour * 3);
            assert!(scans.take(&settings, now).is_some(), "{hour}");
            scans.unsearched("a", &CallError::new(CallErrorKind::TooSoon, "wait"));
            assert_eq!(scans.used, 0);
        }
        // What was sent counts, so that a loop is bounded by the day.
        let failed = CallError::new(CallErrorKind::Failed, "away");
        for hour in [5, 11] {
            assert!(scans.take(&settings, at("2025-01-02T00:00:00Z") + TimeDelta::hours(hour)).is_some());
            scans.unsearched("a", &failed);
        }
        assert!(scans.take(&settings, at("2025-01-02T23:59:00Z")).is_none());
    }

    #[test]
    fn an_address_is_new_once() {
        let mut scans = Scans::default();
        assert!(scans.is_new("a", "u"));
        scans.scanned("a", ["u".into()]);
        assert_eq!(
            (scans.is_new("a", "u"), scans.is_new("a", "v"), scans.is_new("b", "u")),
            (false, true, true)
        );
        scans.scanned("a", (0..500).map(|n| n.to_string()));
        assert_eq!(scans.topics["a"].seen.len(), SEEN);
    }
}
