//! Scout finds things out: signals in prices that it is given, and what the web says about a topic, each finding with its source.
//! It trades nothing; what it finds goes to a mission, a person or the archive, by how sure it is.
//!
//! | module | what is in it |
//! |---|---|
//! | [`series`] | what is sent to it, checked |
//! | [`momentum`] | cleaning a series and reading its momentum: pure arithmetic |
//! | [`venues`] | one asset at several venues: pure arithmetic |
//! | [`signal`] | what a reading says, as a signal |
//! | [`research`] | sources, read by a language model |
//! | [`scan`] | scheduled research, within the day's searches |
//! | [`route`], [`kept`] | where what was found goes; what is kept of it |
//! | [`settings`] | the settings |

pub mod kept;
pub mod momentum;
pub mod research;
pub mod route;
pub mod scan;
pub mod series;
pub mod settings;
pub mod signal;
pub mod venues;

use std::collections::BTreeMap;
use std::time::Duration;

use openclaw_agent_api::chrono::{DateTime, SecondsFormat, Utc};
use openclaw_agent_api::context::CallErrorKind;
use openclaw_agent_api::prelude::*;

use crate::kept::Archive;
use crate::momentum::{Cleaned, MIN_POINTS, Reading};
use crate::route::{Found, Route};
use crate::series::{Batch, Series, wrong};
use crate::settings::{Settings, TOPIC_CHARS};
use crate::signal::Signal;
use crate::venues::Quote;

/// The schedule's name, and its period: a topic each, so that no tick takes longer than one answer.
const SCAN: &str = "scan";
const PERIOD: Duration = Duration::from_secs(600);
/// What `/signals` shows.
const SHOWN: usize = 10;

/// The agent that finds things out.
pub struct Scout {
    settings: Settings,
    archive: Archive,
}

impl Agent for Scout {
    fn describe() -> Manifest {
        Manifest::new("Finds things out: signals in prices, and what the web says about a topic.")
            .command(
                "/analyze SERIES",
                "looks for momentum in {\"venue\",\"asset\",\"prices\":[{\"at\",\"price\"}]}; compares venues in {\"series\":[…]}",
            )
            .command("/research TOPIC", "searches the web: findings, each with its source, and recommendations")
            .command("/signals", "what was found lately, and where it went")
            .schedule(every(PERIOD, SCAN).when("topics"))
            .settings(Settings::schema())
    }

    fn create(settings: Value) -> Result<Self> {
        Ok(Self { settings: Settings::parse(settings)?, archive: Archive::default() })
    }

    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
        let text = message.text.trim();
        let bare = text.strip_prefix('/').unwrap_or(text);
        let (word, rest) = bare.split_once(char::is_whitespace).unwrap_or((bare, ""));
        match word {
            "research" => self.research(ctx, rest.trim(), research::within(message.time())),
            "signals" => Ok(self.signals(ctx)),
            _ => match bare.strip_prefix("analyze") {
                Some(json) => self.analyze(ctx, Batch::of(json.trim(), &message.data)?),
                None if text.is_empty() || text.starts_with('{') => {
                    self.analyze(ctx, Batch::of(text, &message.data)?)
                }
                None => Err(wrong("scout knows /research, /analyze and /signals")),
            },
        }
    }

    fn tick(&self, ctx: &Context, schedule: &str) -> Result<()> {
        if schedule == SCAN { self.scan(ctx) } else { Ok(()) }
    }
}

/// A series, analyzed.
struct Analyzed {
    venue: String,
    asset: String,
    cleaned: Cleaned,
    /// Points before the last gap.
    before_gap: usize,
    reading: Option<Reading>,
}

impl Analyzed {
    fn of(series: Series, now: DateTime<Utc>) -> Self {
        let cleaned = momentum::clean(series.prices, now);
        let (points, before_gap) = momentum::after_gap(&cleaned.points);
        let reading = momentum::read(points);
        Self { venue: series.venue, asset: series.asset, cleaned, before_gap, reading }
    }

    fn signal(&self, settings: &Settings, now: DateTime<Utc>) -> Option<Signal> {
        let reading = self.reading.filter(|reading| reading.z.abs() >= settings.threshold)?;
        let newest = self.cleaned.points.last()?;
        let signal = Signal::new(&self.venue, &self.asset, &reading, newest, now, settings.expires());
        (signal.expires_at > now).then_some(signal)
    }

    /// That it is too old for a signal.
    fn stale(&self, settings: &Settings, now: DateTime<Utc>) -> Option<String> {
        let newest = self.cleaned.points.last()?;
        let is_stale = signal::good_until(newest, now, settings.expires()) <= now;
        let at = newest.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        is_stale
            .then(|| format!("its newest price, of {at}, is older than {} minutes", settings.expires_minutes))
    }

    /// How much of it is later than now.
    fn future(&self) -> Option<String> {
        let future = self.cleaned.future;
        (future > 0).then(|| format!("{future} points were ignored: later than now"))
    }

    /// Why there is no signal of it.
    fn silence(&self, settings: &Settings, now: DateTime<Utc>) -> String {
        let Self { venue, asset, .. } = self;
        match (&self.reading, self.stale(settings, now)) {
            (Some(_), Some(stale)) => format!("No signal for {asset} on {venue}: {stale}."),
            (Some(reading), None) => format!(
                "No signal for {asset} on {venue}: {}, and the threshold is {}.",
                signal::rationale(reading),
                settings.threshold
            ),
            (None, _) => format!(
                "No signal for {asset} on {venue}: {} usable points within 24 h of the newest, and {MIN_POINTS} are \
                 needed.",
                self.cleaned.points.len() - self.before_gap
            ),
        }
    }

    fn left_out(&self) -> String {
        let Cleaned { ignored, duplicates, .. } = self.cleaned;
        let said = |n: usize, what: &str| (n > 0).then(|| format!("{n} points {what}"));
        let parts = [
            said(ignored, "were ignored: too old, or no price above zero"),
            self.future(),
            said(duplicates, "were replaced by a later one of the same time"),
            said(self.before_gap, "lie before a gap, and were not read"),
        ];
        parts.into_iter().flatten().map(|part| format!(" {part}.")).collect()
    }

    fn data(&self) -> Value {
        let mut data = json!({
            "points": self.cleaned.points.len(),
            "ignored": self.cleaned.ignored,
            "duplicates": self.cleaned.duplicates,
            "z": self.reading.map(|reading| reading.z),
        });
        if self.cleaned.future > 0 {
            data["future"] = json!(self.cleaned.future);
        }
        if self.before_gap > 0 {
            data["before_gap"] = json!(self.before_gap);
        }
        data
    }
}

impl Scout {
    fn analyze(&self, ctx: &Context, batch: Batch) -> Result<Reply> {
        let now = ctx.now();
        match batch {
            Batch::One(series) => {
                let one = Analyzed::of(series, now);
                let signals = Vec::from_iter(one.signal(&self.settings, now));
                let mut data = one.data();
                data["signals"] = json!(signals);
                let text = match signals.is_empty() {
                    true => one.silence(&self.settings, now),
                    false => self.send(ctx, &signals).join("\n"),
                };
                Ok(Reply::text(text + &one.left_out()).with_data(data))
            }
            Batch::Several(series) => {
                let all: Vec<_> = series.into_iter().map(|one| Analyzed::of(one, now)).collect();
                let mut signals: Vec<_> =
                    all.iter().filter_map(|one| one.signal(&self.settings, now)).collect();
                let (off, not_compared) = self.cross_venue(&all, now);
                signals.extend(off);
                let mut lines = self.send(ctx, &signals);
                if signals.is_empty() {
                    lines.push(format!("No signal in {} series.", all.len()));
                }
                for one in &all {
                    let odd = [one.stale(&self.settings, now), one.future()].into_iter().flatten();
                    lines.extend(odd.map(|odd| format!("{} on {}: {odd}.", one.asset, one.venue)));
                }
                lines.extend(not_compared);
                let each = all.iter().map(|one| {
                    let mut data = one.data();
                    (data["venue"], data["asset"]) = (json!(one.venue), json!(one.asset));
                    data
                });
                let data = json!({"signals": signals, "series": each.collect::<Vec<_>>()});
                Ok(Reply::text(lines.join("\n")).with_data(data))
            }
        }
    }

    /// The signals of venues that are off the mean, and a line for each that was not compared.
    fn cross_venue(&self, all: &[Analyzed], now: DateTime<Utc>) -> (Vec<Signal>, Vec<String>) {
        let mut assets: BTreeMap<&str, Vec<Quote>> = BTreeMap::new();
        for one in all {
            if let Some(newest) = one.cleaned.points.last() {
                let quote = Quote { venue: one.venue.clone(), newest: *newest };
                assets.entry(&one.asset).or_default().push(quote);
            }
        }
        let (mut signals, mut not_compared) = (Vec::new(), Vec::new());
        let (good_for, minutes) = (self.settings.expires(), venues::FRESH.num_minutes());
        for (asset, quotes) in assets {
            let late = venues::late(&quotes, now).map(|late| {
                format!(
                    "{asset} on {} is not compared: others are newer by more than {minutes} minutes.",
                    late.venue
                )
            });
            not_compared.extend(late);
            let off = venues::off(quotes, self.settings.venue_percent / 100.0, now);
            signals.extend(off.iter().map(|off| Signal::cross_venue(asset, off, now, good_for)));
        }
        signals.retain(|signal| signal.expires_at > now);
        (signals, not_compared)
    }

    /// Sends signals to where they belong, each once while it is good; a line for each.
    fn send(&self, ctx: &Context, signals: &[Signal]) -> Vec<String> {
        let found = signals.iter().map(|signal| {
            let found = Found {
                id: signal.signal_id.clone(),
                at: signal.timestamp,
                expires_at: signal.expires_at,
                confidence: signal.confidence,
                text: signal.to_string(),
            };
            (found, Route::of(signal.confidence, &self.settings))
        });
        let found: Vec<_> = found.collect();
        let done = self.archive.send(ctx, &found);
        let told = |((found, _), done): (&(Found, Route), Result<String, String>)| {
            format!("{} {}", found.text, done.unwrap_or_else(|why| why))
        };
        found.iter().zip(done).map(told).collect()
    }

    fn signals(&self, ctx: &Context) -> Reply {
        let (all, now) = (self.archive.all(ctx), ctx.now());
        let lines = all.iter().take(SHOWN).map(|kept| {
            let at = kept.found.at.to_rfc3339_opts(SecondsFormat::Secs, true);
            let good = if kept.found.expires_at > now { "" } else { ", no longer good" };
            let went = match kept.route {
                _ if kept.unsent => "archived, since nobody could be told",
                Route::Archive => "archived",
                Route::Person => "for a person",
                Route::Mission => "for a mission",
            };
            format!("{at} ({went}{good}): {}", kept.found.text)
        });
        let lines: Vec<_> = lines.collect();
        let text = if lines.is_empty() { "Nothing was found yet.".into() } else { lines.join("\n") };
        Reply::text(text).with_data(json!(all))
    }

    fn research(&self, ctx: &Context, topic: &str, within: Duration) -> Result<Reply> {
        if topic.is_empty() || topic.chars().count() > TOPIC_CHARS {
            return Err(AgentError::invalid(format!(
                "type /research TOPIC, of at most {TOPIC_CHARS} characters"
            )));
        }
        let hits = match ctx.search_within(topic, within) {
            Ok(hits) => hits,
            Err(error) if error.kind == CallErrorKind::Failed => return Err(error.into()),
            Err(error) => {
                let text = format!("I cannot search the web: {error}");
                return Ok(Reply::text(text).with_data(json!({"error": error})));
            }
        };
        let sources = research::sources(hits);
        if sources.is_empty() {
            return Ok(Reply::text(format!("The search found nothing about {topic}.")));
        }
        let research = match research::read(ctx, topic, sources.clone(), within) {
            Err(error) if error.kind != CallErrorKind::Failed => {
                let why = format!("no language model has read the sources: {error}");
                research::unread(topic, sources, why)
            }
            read => read?,
        };
        Ok(Reply::text(research.text()).with_data(json!(research)))
    }
}

export_agent!(Scout);

#[cfg(test)]
mod tests;
