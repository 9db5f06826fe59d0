//! Scout, signals: looks for momentum in a series of prices that it is given. It fetches nothing and trades nothing.
//!
//! | module | what is in it |
//! |---|---|
//! | [`series`] | what is sent to it, checked |
//! | [`momentum`] | cleaning a series and reading its momentum: pure arithmetic |
//! | [`signal`] | what a reading says, as a signal |
//! | [`settings`] | the settings |

pub mod momentum;
pub mod series;
pub mod settings;
pub mod signal;

use openclaw_agent_api::prelude::*;

use crate::momentum::{Cleaned, MIN_POINTS, Reading};
use crate::series::Series;
use crate::settings::Settings;
use crate::signal::Signal;

/// The signals agent.
pub struct Scout {
    settings: Settings,
}

impl Agent for Scout {
    fn describe() -> Manifest {
        Manifest::new("Looks for momentum signals in price series.")
            .command(
                "/analyze SERIES",
                "looks for momentum in {\"venue\",\"asset\",\"prices\":[{\"at\",\"price\"}]}",
            )
            .settings(Settings::schema())
    }

    fn create(settings: Value) -> Result<Self> {
        Ok(Self { settings: Settings::parse(settings)? })
    }

    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
        let series = Series::of(message)?;
        let cleaned = momentum::clean(series.prices);
        let (venue, asset) = (series.venue, series.asset);
        let reading = momentum::read(&cleaned.points);
        let signal = reading
            .filter(|reading| reading.z.abs() >= self.settings.threshold)
            .zip(cleaned.points.last())
            .map(|(reading, newest)| {
                Signal::new(&venue, &asset, &reading, newest, ctx.now(), self.settings.expires())
            });

        let verdict = match (&reading, &signal) {
            (Some(_), Some(signal)) => signal.to_string(),
            (Some(reading), None) => format!(
                "No signal for {asset} on {venue}: {}, and the threshold is {}.",
                signal::rationale(reading),
                self.settings.threshold
            ),
            (None, _) => format!(
                "No signal for {asset} on {venue}: {} usable points within 24 h of the newest, and {MIN_POINTS} are \
                 needed.",
                cleaned.points.len()
            ),
        };
        Ok(Reply::text(verdict + &left_out(&cleaned)).with_data(data(&cleaned, reading, signal)))
    }
}

fn data(cleaned: &Cleaned, reading: Option<Reading>, signal: Option<Signal>) -> Value {
    json!({
        "signals": Vec::from_iter(signal),
        "points": cleaned.points.len(),
        "ignored": cleaned.ignored,
        "duplicates": cleaned.duplicates,
        "z": reading.map(|reading| reading.z),
    })
}

fn left_out(cleaned: &Cleaned) -> String {
    match (cleaned.ignored, cleaned.duplicates) {
        (0, 0) => String::new(),
        (ignored, 0) => format!(" {ignored} points were ignored: too old, or no price above zero."),
        (0, duplicates) => format!(" {duplicates} points were replaced by a later one of the same time."),
        (ignored, duplicates) => format!(
            " {ignored} points were ignored: too old, or no price above zero; {duplicates} were replaced by a later \
             one of the same time."
        ),
    }
}

export_agent!(Scout);

#[cfg(test)]
mod tests;
