//! What must be true afterwards, from the clients' notes, the database, and the effects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result};
use openclaw_tests::ledger::Ledger;
use store::task::{Task, TaskId, TaskState};

use super::AGENTS;
use super::load::{Accepted, Work};

/// How much there was.
#[derive(Default)]
pub struct Seen {
    tasks: usize,
    failed: usize,
    tried_again: usize,
    most_attempts: u32,
    effects: usize,
    effects_repeated: usize,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, failed, tried_again, most_attempts, effects, effects_repeated } = self;
        write!(f, "{tasks} tasks, {failed} failed as they should, {tried_again} tried again, at most ")?;
        write!(f, "{most_attempts} times; {effects} effects, {effects_repeated} of them repeated")
    }
}

/// Everything that is wrong, and what was seen.
pub fn all(ledger: &Ledger, accepted: &[Accepted]) -> Result<(Vec<String>, Seen)> {
    let tasks: HashMap<TaskId, &Task> = ledger.tasks.iter().map(|task| (task.id, task)).collect();
    let mut wrong = Vec::new();
    let mut seen = Seen { tasks: tasks.len(), ..Seen::default() };
    let mut files: BTreeMap<&Path, Vec<&Accepted>> = BTreeMap::new();
    let mut onward: BTreeSet<&str> = BTreeSet::new();
    for one in accepted {
        match tasks.get(&one.id) {
            Some(task) => wrong.extend(end(one, task).map(|what| format!("{}: {what}", named(one)))),
            None => wrong.push(format!("{}: accepted, and gone", named(one))),
        }
        files.entry(&one.file).or_default().push(one);
        if matches!(one.work, Work::Hand | Work::Run) {
            onward.insert(&one.onward);
        }
    }
    for task in &ledger.tasks {
        let ends = ledger.ends.get(&task.id).copied().unwrap_or_default();
        if ends != 1 {
            wrong.push(format!("{} {}: it ended {ends} times", task.queue, task.payload["text"]));
        }
        let recorded = ledger.outcomes.get(&task.id).copied().unwrap_or_default();
        let succeeded = i64::from(task.state == TaskState::Done);
        // One for each try that counts.
        if recorded.succeeded != succeeded || recorded.all != i64::from(task.attempts) {
            let of = format!("after {} tries", task.attempts);
            wrong
                .push(format!("{} {} {of}: its outcomes are {recorded:?}", task.queue, task.payload["text"]));
        }
        seen.failed += usize::from(task.state == TaskState::Failed);
        seen.tried_again += usize::from(task.attempts > 1);
        seen.most_attempts = seen.most_attempts.max(task.attempts);
    }
    wrong.extend(nothing_else(ledger, accepted, &onward));
    for (file, works) in files {
        effects(file, &works, &mut wrong, &mut seen)?;
    }
    Ok((wrong, seen))
}

fn named(one: &Accepted) -> String {
    format!("{} {} {:?} of {}", one.id, one.number, one.work, one.file.display())
}

/// It ended as it had to.
fn end(one: &Accepted, task: &Task) -> Option<String> {
    let expected = if one.work == Work::Invalid { TaskState::Failed } else { TaskState::Done };
    if task.state != expected || task.queue != one.agent {
        return Some(format!("{} of {}, its error {:?}", task.state, task.queue, task.error));
    }
    let number = one.number.to_string();
    (one.work == Work::Invalid && task.error.as_deref() != Some(&number))
        .then(|| format!("it failed with {:?}", task.error))
}

/// No task but those that were sent, and one for each that an agent passed on.
fn nothing_else(ledger: &Ledger, accepted: &[Accepted], onward: &BTreeSet<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    let sent: BTreeSet<TaskId> = accepted.iter().map(|one| one.id).collect();
    if sent.len() != accepted.len() {
        wrong.push(format!("{} messages became {} tasks", accepted.len(), sent.len()));
    }
    let mut passed_on = BTreeMap::new();
    for task in ledger.tasks.iter().filter(|task| !sent.contains(&task.id)) {
        let text = task.payload["text"].as_str().unwrap_or_default();
        if task.queue != AGENTS[1] || !onward.contains(text) || task.state != TaskState::Done {
            wrong.push(format!("{} {text}: {}, and nobody sent it", task.queue, task.state));
        }
        *passed_on.entry(text).or_insert(0) += 1;
    }
    for text in onward {
        let count = passed_on.get(text).copied().unwrap_or_default();
        if count != 1 {
            wrong.push(format!("{text}: it was passed on {count} times"));
        }
    }
    wrong
}

/// Each effect is there, in the order of the session, and no two at once.
fn effects(file: &Path, works: &[&Accepted], wrong: &mut Vec<String>, seen: &mut Seen) -> Result<()> {
    let lines = lines(file)?;
    let mut counts: HashMap<u32, usize> = HashMap::new();
    let (mut before, mut open) = (0, None);
    for line in &lines {
        let (number, part) = line.split_at(line.trim_end_matches(['(', ')']).len());
        let number: u32 = number.parse().with_context(|| format!("`{line}` in {}", file.display()))?;
        *counts.entry(number).or_default() += usize::from(part != "(");
        if !works[0].ordered {
            continue;
        }
        if number < before {
            wrong.push(format!("{}: {line} comes after {before}", file.display()));
        }
        if part == ")" && open != Some(number) {
            wrong.push(format!("{}: {line} ends what another one began", file.display()));
        }
        open = (part == "(").then_some(number);
        before = number;
    }
    for one in works {
        let count = counts.remove(&one.number).unwrap_or_default();
        let least = match one.work {
            Work::Line | Work::Span => 1,
            Work::Insist => 2,
            Work::Invalid | Work::Hand | Work::Run => 0,
        };
        if count < least || (least == 0 && count > 0) {
            wrong.push(format!("{}: its effect is there {count} times", named(one)));
        }
        seen.effects += count;
        seen.effects_repeated += count.saturating_sub(least);
    }
    if !counts.is_empty() {
        wrong.push(format!("{}: effects of nobody's: {counts:?}", file.display()));
    }
    let onward = lines_of_others(file)?;
    for one in works.iter().filter(|one| matches!(one.work, Work::Hand | Work::Run)) {
        if !onward.contains(&one.number.to_string()) {
            wrong.push(format!("{}: what it passed on has not been done", named(one)));
        }
    }
    Ok(())
}

fn lines_of_others(file: &Path) -> Result<BTreeSet<String>> {
    Ok(lines(&file.with_extension("onward"))?.into_iter().collect())
}

fn lines(file: &Path) -> Result<Vec<String>> {
    if !PathBuf::from(file).exists() {
        return Ok(Vec::new());
    }
    Ok(fs::read_to_string(file)?.lines().map(str::to_owned).collect())
}
