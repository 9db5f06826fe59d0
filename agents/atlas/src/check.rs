//! The scheduled check: look, decide, tell, remember, act.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use openclaw_agent_api::chrono::{Days, TimeDelta};
use openclaw_agent_api::context::{AlertLevel, CallError, CallErrorKind, Scope};
use openclaw_agent_api::prelude::*;

use crate::decide::{self, Action, LastCheck, Limits};
use crate::findings::{Remedy, findings};
use crate::seen::Seen;
use crate::uptime::Report;
use crate::{Atlas, PERIOD};

/// Where the last check is in memory.
pub const KEY: &str = "last_check";
/// Days for which a report is kept.
const REPORTS: u64 = 30;

impl Atlas {
    /// The check. What is told is told before that is remembered: an alert has a key, and said twice it is one. An act is
    /// remembered before it is done, so that a death in between repeats none.
    pub(crate) fn check(&self, ctx: &Context) -> Result<()> {
        let now = ctx.now();
        let last = self.last(ctx);
        let before = last.clone().unwrap_or_else(|| LastCheck::none(now));
        let reported = before.uptime.reported();
        // A task that was given back is done again at once: the same look, not another.
        let since = now - before.at;
        let again =
            last.is_some() && since >= TimeDelta::zero() && since.to_std().is_ok_and(|s| s < PERIOD / 4);
        let (mut next, actions, reports) = if again {
            (before, Vec::new(), Vec::new())
        } else {
            let seen = Seen::look(ctx);
            let found = findings(&seen, last.as_ref(), &self.thresholds);
            let limits = Limits {
                restarts: self.thresholds.restarts_per_hour,
                breakers: self.thresholds.breakers_per_hour,
            };
            let (mut next, actions) = decide::decide(&before, &found, &seen.there(), limits, now);
            if let Ok(status) = &seen.status {
                next.restarts = status.restarts();
            }
            let reports = next.uptime.add(seen.status.as_ref().ok(), now);
            (next, actions, reports)
        };
        let (acts, told): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Act { .. }));
        // Of what could not be told yet the newest is told.
        let mut untold = std::mem::take(&mut next.untold);
        untold.retain(|key, _| !told.iter().any(|action| action.alert() == Some(key)));
        next.untold = untold.into_values().filter(|action| !tell(ctx, action)).filter_map(by_alert).collect();
        next.untold.extend(say(ctx, &told));
        let handed_in: Vec<_> = reports.iter().map(|report| hand_in(ctx, report)).collect();
        if handed_in.contains(&false) {
            next.uptime.report_again(reported);
        }
        let mut kept = ctx.memory().set(KEY, &next);
        let mut instead = Vec::new();
        for action in &acts {
            instead.extend(act(ctx, action, kept.as_ref().err(), &mut next));
        }
        next.untold.extend(say(ctx, &instead));
        // What was not done must not be remembered as done.
        if !instead.is_empty() && kept.is_ok() {
            kept = ctx.memory().set(KEY, &next);
        }
        if !told.is_empty() || !acts.is_empty() {
            publish(ctx, &next);
        }
        let unkept = kept.is_err().then_some(next);
        *self.unkept.lock().unwrap_or_else(PoisonError::into_inner) = unkept;
        Ok(kept?)
    }

    /// The last check: the one in memory, but for one that could not be kept there.
    pub(crate) fn last(&self, ctx: &Context) -> Option<LastCheck> {
        let own = self.unkept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        own.or_else(|| {
            ctx.memory().get(KEY).unwrap_or_else(|error| {
                ctx.warn(format!("checking without knowing the last check: {error}"));
                None
            })
        })
    }
}

/// Restarts an agent or a unit, or moves a breaker; where that is not done, the answer is what is told instead.
fn act(ctx: &Context, action: &Action, unkept: Option<&CallError>, next: &mut LastCheck) -> Vec<Action> {
    let Action::Act { remedy, subject, reason } = action else { return Vec::new() };
    // How often that was done must be known after a death too.
    let done = match unkept {
        None => match remedy {
            Remedy::Restart => ctx.restart(subject, reason),
            Remedy::RestartUnit => ctx.restart_unit(subject, reason),
            Remedy::OpenBreaker => ctx.open_breaker(Scope::Provider, subject, reason),
            Remedy::CloseBreaker => ctx.close_breaker(Scope::Provider, subject, reason),
        },
        Some(error) => Err(error.clone()),
    };
    match done {
        Ok(()) => {
            ctx.warn(format!("I {}: {reason}", remedy.words().1));
            Vec::new()
        }
        Err(error) => decide::not_done(next, *remedy, subject, &error),
    }
}

/// Tells the log and the operator; answers what is to be told again.
fn say(ctx: &Context, actions: &[Action]) -> BTreeMap<String, Action> {
    for action in actions {
        match action {
            Action::Raise { level: AlertLevel::Critical, text, .. } => ctx.warn(format!("critical: {text}")),
            Action::Raise { level: AlertLevel::Warning, text, .. } => ctx.warn(text),
            Action::Raise { text, .. } | Action::Resolve { text, .. } | Action::Note { text } => {
                ctx.info(text);
            }
            Action::Act { .. } => {}
        }
    }
    actions.iter().filter(|action| !tell(ctx, action)).cloned().filter_map(by_alert).collect()
}

fn by_alert(action: Action) -> Option<(String, Action)> {
    Some((action.alert()?.to_owned(), action))
}

/// Tells the operator where that is granted; answers whether that is done with.
fn tell(ctx: &Context, action: &Action) -> bool {
    let told = match action {
        Action::Raise { key, level, text } => ctx.raise(key, *level, text),
        Action::Resolve { key, text } => ctx.resolve(key, text),
        Action::Note { .. } | Action::Act { .. } => Ok(()),
    };
    let Err(error) = told else { return true };
    ctx.warn(format!("the operator was not told: {error}"));
    is_final(&error)
}

/// Whether another try would end as this one.
fn is_final(error: &CallError) -> bool {
    matches!(error.kind, CallErrorKind::NotGranted | CallErrorKind::NotConfigured | CallErrorKind::Invalid)
}

/// A report is kept in memory, and listed among the operator's alerts as good to know; answers whether that is done with.
fn hand_in(ctx: &Context, report: &Report) -> bool {
    let memory = ctx.memory();
    let kept = memory.set(&format!("report {}", report.name), &report.text);
    let old = (ctx.now().date_naive().checked_sub_days(Days::new(REPORTS)))
        .map(|day| format!("report daily {day}"));
    // Deleted one by one as they age; weekly ones are few, and stay.
    let kept = kept.and_then(|()| old.map_or(Ok(()), |old| memory.delete(&old)));
    let told = ctx.raise(&report.name, AlertLevel::Info, &format!("uptime, {}", report.text));
    ctx.info(format!("uptime, {}", report.text));
    let errors: Vec<_> = [kept, told].into_iter().filter_map(std::result::Result::err).collect();
    for error in &errors {
        ctx.warn(format!("the report {} is not everywhere: {error}", report.name));
    }
    errors.iter().all(is_final)
}

fn publish(ctx: &Context, check: &LastCheck) {
    let news = json!({"at": check.at, "findings": check.findings, "cases": check.cases});
    match ctx.publish("atlas.findings", news) {
        // Publishing is extra: it may be neither granted nor configured.
        Err(e) if !matches!(e.kind, CallErrorKind::NotGranted | CallErrorKind::NotConfigured) => {
            ctx.warn(format!("these findings were not published: {e}"));
        }
        _ => {}
    }
}
