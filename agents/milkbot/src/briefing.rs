//! Briefings at set hours: what the operators are told without asking. Which one is due is decided purely; what stands in it is
//! what the daemon answered.

use openclaw_agent_api::chrono::{DateTime, DurationRound, TimeDelta, Timelike, Utc};
use openclaw_agent_api::context::CallErrorKind;
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::{Deserialize, Serialize};

use crate::team::Team;
use crate::words::short;
use crate::{MilkBot, missions, show};

/// The schedule's name.
pub const BRIEFING: &str = "briefing";
/// Its period: briefings are at full hours.
pub const PERIOD: std::time::Duration = std::time::Duration::from_secs(3600);
/// Where the last one is in memory.
const KEY: &str = "briefing";
/// The tick may come so much before its hour, by another clock.
const EARLY: TimeDelta = TimeDelta::seconds(60);
/// Slots that are looked back at: who was away for longer knows that.
const BACK: i32 = 48;
/// Lines of one part.
const LINES: usize = 10;

/// What is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// The first time, between two hours: what passed before is not made up for.
    Begin(DateTime<Utc>),
    /// The briefing of this hour, and which before it were not given.
    Now(DateTime<Utc>, Vec<DateTime<Utc>>),
    /// The same, after its hour: nothing ran then, or it failed.
    Late(DateTime<Utc>, Vec<DateTime<Utc>>),
}

/// What is due at `now`, for these hours of UTC, where `last` was the last that was given.
pub fn due(hours: &[u32], last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Due {
    let hour = (now + EARLY).duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
    let back = (0..BACK).map(|ago| hour - TimeDelta::hours(ago.into()));
    let mut slots =
        back.filter(|slot| hours.contains(&slot.hour())).filter(|slot| last.is_none_or(|last| *slot > last));
    let Some(slot) = slots.next() else { return Due::Nothing };
    match last {
        None if slot < hour => Due::Begin(slot),
        None => Due::Now(slot, Vec::new()),
        Some(_) => {
            let mut missed: Vec<_> = slots.collect();
            missed.reverse();
            if slot == hour { Due::Now(slot, missed) } else { Due::Late(slot, missed) }
        }
    }
}

/// What is kept of briefings.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    last: DateTime<Utc>,
}

impl MilkBot {
    /// Gives the briefing that is due. It has its hour as its key, so that a death before it is kept doubles nothing.
    pub(crate) fn brief(&self, ctx: &Context) -> Result<()> {
        let now = ctx.now();
        let last = ctx.memory().get::<Kept>(KEY)?.map(|kept| kept.last);
        let (slot, missed, late) = match due(&self.settings.briefings, last, now) {
            Due::Nothing => return Ok(()),
            Due::Begin(slot) => return Ok(ctx.memory().set(KEY, &Kept { last: slot })?),
            Due::Now(slot, missed) => (slot, missed, false),
            Due::Late(slot, missed) => (slot, missed, true),
        };
        let mut lines = vec![format!("Briefing of {}", slot.format("%F %H:%M UTC"))];
        if late {
            lines.push("It is late: at that hour it could not be given.".into());
        }
        if !missed.is_empty() {
            let hours: Vec<_> = missed.iter().map(|slot| slot.format("%F %H:%M").to_string()).collect();
            lines.push(format!("Not given: {}.", hours.join(", ")));
        }
        lines.extend(report(ctx, last, now));
        match ctx.notify(&slot.format("%FT%H").to_string(), &lines.join("\n")) {
            Ok(()) => ctx.info(format!("the briefing of {} is sent", slot.format("%F %H:%M UTC"))),
            // It would be the same in an hour, and late then.
            Err(error) if matches!(error.kind, CallErrorKind::NotConfigured | CallErrorKind::NotGranted) => {
                ctx.warn(format!("nobody is briefed: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(ctx.memory().set(KEY, &Kept { last: slot })?)
    }
}

/// How all is; what cannot be seen is said.
fn report(ctx: &Context, since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Vec<String> {
    let mut lines = Vec::new();
    match Team::look(ctx) {
        Ok((team, _)) => {
            let all = team.components().count();
            let well =
                team.components().filter(|component| component.health.as_deref() == Some("ok")).count();
            lines.push(format!("{well} of {all} components are well."));
            let odd = team.components().filter(|component| component.health.as_deref() != Some("ok"));
            lines.extend(odd.take(LINES).map(|component| short(&show::status_line(component, now), 300)));
        }
        Err(error) => lines.push(format!("How the team is cannot be seen: {error}")),
    }
    match show::budget_lines(ctx) {
        Ok((budgets, _)) if budgets.is_empty() => {}
        Ok((budgets, _)) => {
            lines.push("Budgets:".into());
            lines.extend(budgets.into_iter().take(LINES));
        }
        Err(error) => lines.push(format!("The budgets cannot be seen: {error}")),
    }
    match failed(ctx, since) {
        Ok(failed) if failed.is_empty() => {}
        Ok(failed) => {
            lines.push("Failed since the last briefing, of the newest 100 tasks:".into());
            lines.extend(failed.into_iter().take(LINES));
        }
        Err(error) => lines.push(format!("The tasks cannot be seen: {error}")),
    }
    match missions::look(ctx) {
        Ok((missions, _)) => {
            let waiting: Vec<_> = missions.iter().filter(|mission| mission.waits(now)).collect();
            if !waiting.is_empty() {
                lines.push("Missions that wait for you (/approve ID, /reject ID):".into());
                lines.extend(waiting.iter().take(LINES).map(|mission| mission.line(now)));
            }
        }
        // A front desk without missions has none to tell of.
        Err(error) if matches!(error.kind, CallErrorKind::NotGranted) => {}
        Err(error) => lines.push(format!("The missions cannot be seen: {error}")),
    }
    lines
}

/// The tasks that failed since then, newest first.
fn failed(ctx: &Context, since: Option<DateTime<Utc>>) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Task {
        queue: Option<String>,
        state: Option<String>,
        text: Option<String>,
        error: Option<String>,
        created_at: Option<DateTime<Utc>>,
    }
    let tasks: Option<Vec<Task>> = serde_json::from_value(ctx.tasks(100)?)?;
    let new = |task: &Task| since.zip(task.created_at).is_none_or(|(since, at)| at > since);
    let failed =
        tasks.into_iter().flatten().filter(|task| task.state.as_deref() == Some("failed") && new(task));
    let line = |task: Task| {
        let known = |text: Option<String>| text.unwrap_or_else(|| "?".into());
        format!(
            "{}: {} ({})",
            known(task.queue),
            short(&known(task.text), 60),
            short(&known(task.error), 100)
        )
    };
    Ok(failed.map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2025-01-{text}:00Z").parse().unwrap()
    }

    #[test]
    fn each_hour_has_one_briefing() {
        let hours = [8, 18];
        assert_eq!(due(&hours, None, at("02T08:00")), Due::Now(at("02T08:00"), vec![]));
        assert_eq!(due(&hours, None, at("02T12:00")), Due::Begin(at("02T08:00")));
        assert_eq!(due(&hours, Some(at("02T08:00")), at("02T08:40")), Due::Nothing);
        assert_eq!(due(&hours, Some(at("02T08:00")), at("02T17:00")), Due::Nothing);
        assert_eq!(due(&hours, Some(at("02T08:00")), at("02T18:00")), Due::Now(at("02T18:00"), vec![]));
        // A clock that is a little behind.
        assert_eq!(due(&hours, Some(at("02T08:00")), at("02T17:59")), Due::Now(at("02T18:00"), vec![]));
        assert_eq!(due(&[], Some(at("02T08:00")), at("02T18:00")), Due::Nothing);
    }

    #[test]
    fn what_passed_while_nothing_ran_is_said_once() {
        let hours = [8, 18];
        let late = due(&hours, Some(at("02T08:00")), at("03T21:00"));
        assert_eq!(late, Due::Late(at("03T18:00"), vec![at("02T18:00"), at("03T08:00")]));
        assert_eq!(due(&hours, Some(at("03T18:00")), at("03T22:00")), Due::Nothing);
        let now = due(&hours, Some(at("02T08:00")), at("03T18:10"));
        assert_eq!(now, Due::Now(at("03T18:00"), vec![at("02T18:00"), at("03T08:00")]));
        // After months, two days are enough to say.
        assert!(
            matches!(due(&hours, Some(at("02T08:00")), at("28T09:00")), Due::Late(_, missed) if missed.len() == 3)
        );
    }
}
