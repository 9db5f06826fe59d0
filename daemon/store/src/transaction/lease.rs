//! Leases: taken, lost, and freed at the start.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;

use super::complete::{millis, task_event};
use super::{Lost, Moment, OutcomeRow, Sessions, Statements};
use crate::Error;
use crate::backend::{Applied, Claimant};
use crate::failpoint::Boundary;
use crate::task::{Ended, LeasedTask, TaskState};

const SILENT: &str = "the worker stopped renewing its lease";

/// Leases the most urgent tasks of each queue that are due and first in their sessions.
pub(super) async fn claim(
    db: &mut impl Statements,
    claims: &[(AgentName, u32)],
    claimant: &Claimant,
    moment: &Moment,
) -> Result<Vec<LeasedTask>, Error> {
    let mut claimed = db.claim(claims, claimant, moment.now).await?;
    claimed.sort_by_key(|claimed| (Reverse(claimed.priority), claimed.seq));
    Ok(claimed.into_iter().map(|claimed| claimed.task).collect())
}

/// Frees tasks whose worker has not renewed; one that has used up its tries is a dead letter.
pub(super) async fn sweep(
    db: &mut impl Statements,
    moment: &Moment,
    applied: &mut Applied,
) -> Result<(), Error> {
    let lost = db.take_back(SILENT, moment.now).await?;
    applied.swept = !lost.is_empty();
    // A queue that is no agent's name is nobody's.
    let lost: Vec<_> = lost.into_iter().filter_map(named).collect();
    let (mut sessions, mut outcomes, mut events) = (Sessions::new(), Vec::new(), Vec::new());
    let since = |at: DateTime<Utc>| (moment.now - at).to_std().unwrap_or_default();
    for (queue, task) in &lost {
        if let Some(session) = &task.session {
            sessions.insert((queue.clone(), session.clone()));
        }
        let dead = task.attempts >= task.max_attempts;
        outcomes.push(OutcomeRow {
            agent: queue,
            kind: &task.kind,
            task: task.id,
            duration_ms: millis(since(task.since)),
            attempts: task.attempts,
            error: Some(SILENT),
        });
        let kind = if dead { "task.failed" } else { "task.retry" };
        events.push(task_event(queue.clone(), kind, task.id, task.attempts, moment));
        if dead {
            let (id, attempts, duration) = (task.id, task.attempts, since(task.created_at));
            let (state, error) = (TaskState::Failed, Some(SILENT.to_owned()));
            let ended = Ended { id, state, result: None, error, attempts, duration };
            applied.ended.push((queue.clone(), ended));
        }
    }
    if !sessions.is_empty() {
        db.unblock(&sessions).await?;
    }
    if !events.is_empty() {
        db.history(&outcomes, &events, moment).await?;
    }
    applied.leased = Some(db.any_leased().await?);
    Ok(())
}

fn named(lost: Lost) -> Option<(AgentName, Lost)> {
    Some((lost.queue.parse().ok()?, lost))
}

/// Frees what earlier lives of the claimant had leased: their end is not the tasks' fault.
pub(crate) async fn free(
    db: &mut impl Statements,
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    let freed = db.take_over(claimant, now).await?;
    let sessions = freed.iter().filter_map(|(queue, session)| Some((queue.parse().ok()?, session.clone()?)));
    let sessions: Sessions = sessions.collect();
    if !sessions.is_empty() {
        db.unblock(&sessions).await?;
    }
    if !freed.is_empty() {
        db.written(Boundary::RecoverWritten).await?;
    }
    Ok(freed.len() as u64)
}
