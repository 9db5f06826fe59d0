//! The team and its tasks as text.

use openclaw_agent_api::chrono::{DateTime, Utc};
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;

use crate::team::{Component, Team, Usage};
use crate::words::{ago, short, span};
use crate::{MilkBot, not_done};

/// The newest tasks that `/tasks` shows: a screenful on a telephone.
const TASKS: u32 = 10;

/// `/help`: every command of every agent. Its own are listed even when the team cannot be seen.
pub fn help(ctx: &Context) -> Result<Reply> {
    let mut lines: Vec<String> =
        MilkBot::describe().commands.iter().map(|own| entry(&own.usage, &own.help)).collect();
    match Team::look(ctx) {
        Ok((team, _)) => {
            for agent in team.others() {
                let mut commands = agent.commands().map(line_of).peekable();
                if commands.peek().is_some() {
                    lines.push(format!("\n{}:", agent.name()));
                    lines.extend(commands);
                }
            }
        }
        Err(error) => lines.push(format!("\nWhat the other agents understand cannot be seen: {error}")),
    }
    Ok(Reply::text(lines.join("\n")))
}

fn line_of(command: &Usage) -> String {
    entry(command.usage.as_deref().unwrap_or_default(), command.help.as_deref().unwrap_or_default())
}

fn entry(usage: &str, help: &str) -> String {
    if help.is_empty() { usage.into() } else { format!("{usage} - {help}") }
}

/// `/status`: a line per component.
pub fn status(ctx: &Context) -> Result<Reply> {
    let (team, json) = match Team::look(ctx) {
        Ok(seen) => seen,
        Err(error) => return not_done(error, "I cannot see how the team is"),
    };
    Ok(Reply::text(lines(&team, ctx.now()).join("\n")).with_data(json))
}

/// The daemon, and a line per component.
pub fn lines(team: &Team, now: DateTime<Utc>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(daemon) = &team.daemon {
        let version = daemon.version.as_deref().unwrap_or("of unknown version");
        let up = daemon.uptime_seconds.map_or("for an unknown time".into(), span);
        lines.push(format!("openclaw {version}, up {up}"));
    }
    lines.extend(team.components().map(|component| status_line(component, now)));
    if team.components().next().is_none() {
        lines.push("No components.".into());
    }
    lines
}

/// A budget, as `openclaw budget --json` shows it. Any field may be null.
#[derive(Debug, Deserialize)]
struct Budget {
    budget: Option<String>,
    used: Option<f64>,
    limit: Option<f64>,
    percent: Option<f64>,
    until: Option<DateTime<Utc>>,
}

/// `/budget`: what is used of each.
pub fn budget(ctx: &Context) -> Result<Reply> {
    let (lines, json) = match budget_lines(ctx) {
        Ok(seen) => seen,
        Err(error) => return not_done(error, "I cannot see the budgets"),
    };
    let text = if lines.is_empty() { "No budgets.".into() } else { lines.join("\n") };
    Ok(Reply::text(text).with_data(json))
}

/// A line for each budget, and the JSON that they came from.
///
/// # Errors
/// Those of `supervisor.budgets`; `Failed` when the answer does not fit.
pub fn budget_lines(ctx: &Context) -> Result<(Vec<String>, Value), CallError> {
    let json = ctx.budgets()?;
    let budgets = <Option<Vec<Budget>>>::deserialize(&json).map_err(|error: serde_json::Error| {
        CallError::new(CallErrorKind::Failed, format!("the answer to /budget does not fit: {error}"))
    })?;
    let number = |number: Option<f64>| number.map_or("?".into(), |number| number.to_string());
    let lines = budgets.iter().flatten().map(|budget| {
        let until = budget.until.map(|at| format!(", until {}", at.format("%F %T UTC"))).unwrap_or_default();
        let name = budget.budget.as_deref().unwrap_or("?");
        let percent = budget.percent.map_or("?".into(), |percent| format!("{percent:.0}"));
        format!("{name}: {percent} % ({} of {}){until}", number(budget.used), number(budget.limit))
    });
    let lines = lines.collect();
    Ok((lines, json))
}

/// `atlas: ready, ok (answered a ping 3 s ago)`, and what is odd about it.
pub fn status_line(component: &Component, now: DateTime<Utc>) -> String {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let state = component.state.as_deref().map_or("state unknown", |state| state);
    let evidence = match &component.evidence {
        Some(evidence) if evidence.what.is_some() || evidence.at.is_some() => {
            let what = evidence.what.as_deref().unwrap_or("last seen");
            evidence.at.map_or(what.into(), |at| format!("{what} {}", ago(now, at)))
        }
        _ => "no evidence yet".into(),
    };
    let mut line =
        format!("{}: {state}, health {} ({evidence})", component.name(), or_unknown(&component.health));
    if let Some(restarts @ 1..) = component.restarts {
        line += &format!(", restarts {restarts}");
    }
    if let Some(breaker) = component.breaker.as_ref().and_then(|breaker| breaker.state.as_deref())
        && breaker != "closed"
    {
        line += &format!(", breaker {}", breaker.replace('_', "-"));
    }
    // Of one that runs, how an earlier process ended is history.
    if let Some(exit) = component.last_exit.as_ref().filter(|_| state != "ready") {
        let detail = exit.detail.as_deref().map(|detail| format!(" ({})", short(detail, 80)));
        line += &format!(", last exit {}{}", or_unknown(&exit.class), detail.unwrap_or_default());
    }
    line
}

/// `/agents`: the agents only.
pub fn agents(ctx: &Context) -> Result<Reply> {
    let (team, _) = match Team::look(ctx) {
        Ok(seen) => seen,
        Err(error) => return not_done(error, "I cannot see the agents"),
    };
    let lines: Vec<_> = team
        .agents()
        .map(|agent| {
            let version = agent.version.as_deref().unwrap_or("of unknown version");
            let state = agent.state.as_deref().unwrap_or("state unknown");
            let description = agent.description.as_deref().unwrap_or("no description");
            format!("{} {version}, {state}: {description}", agent.name())
        })
        .collect();
    Ok(Reply::text(if lines.is_empty() { "No agents.".into() } else { lines.join("\n") }))
}

/// A task, as `openclaw tasks list --json` shows it. Any field may be null.
#[derive(Debug, Deserialize)]
struct Task {
    id: Value,
    queue: Option<String>,
    kind: Option<String>,
    state: Option<String>,
    attempts: Option<u64>,
    max_attempts: Option<u64>,
    created_at: Option<DateTime<Utc>>,
    error: Option<String>,
    text: Option<String>,
}

/// `/tasks`: the newest tasks.
pub fn tasks(ctx: &Context) -> Result<Reply> {
    let json = match ctx.tasks(TASKS) {
        Ok(json) => json,
        Err(error) => return not_done(error, "I cannot see the tasks"),
    };
    let tasks = <Option<Vec<Task>>>::deserialize(&json).map_err(|error: serde_json::Error| {
        AgentError::failed(format!("the answer to /tasks does not fit: {error}"))
    })?;
    let now = ctx.now();
    let lines: Vec<_> = tasks.iter().flatten().map(|task| task_line(task, now)).collect();
    let text = if lines.is_empty() { "No tasks.".into() } else { lines.join("\n") };
    Ok(Reply::text(text).with_data(json))
}

/// `01890… atlas message done, attempt 1 of 5, 3 s ago: /resources`.
fn task_line(task: &Task, now: DateTime<Utc>) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
    let id = match &task.id {
        Value::Null => "?".into(),
        Value::String(id) => id.clone(),
        other => other.to_string(),
    };
    let mut line = format!("{id} {} {} {}", known(&task.queue), known(&task.kind), known(&task.state));
    match (task.attempts, task.max_attempts) {
        (Some(attempts), Some(max)) => line += &format!(", attempt {attempts} of {max}"),
        (Some(attempts), None) => line += &format!(", attempt {attempts}"),
        _ => {}
    }
    if let Some(at) = task.created_at {
        line += &format!(", {}", ago(now, at));
    }
    if let Some(text) = task.text.as_deref().filter(|text| !text.trim().is_empty()) {
        line += &format!(": {}", short(text, 60));
    }
    if let Some(error) = &task.error {
        line += &format!(" [error: {}]", short(error, 100));
    }
    line
}
