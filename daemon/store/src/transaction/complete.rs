//! Ends tries under their leases, with outcome, event and follow-ups beside each.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde_json::json;

use super::submit::submit;
use super::{Held, Moment, OutcomeRow, Sessions, Statements, Try};
use crate::Error;
use crate::backend::{Applied, NewEvent};
use crate::failpoint::Boundary;
use crate::task::{Completion, Ended, Outcome, TaskId, TaskState};

pub(super) async fn complete(
    db: &mut impl Statements,
    completions: &[Completion],
    moment: &Moment,
    applied: &mut Applied,
) -> Result<(), Error> {
    // The first word on a lease counts; a second one in this batch is as stale as it would be in the next.
    let mut first = HashSet::new();
    let tries = completions.iter().filter(|c| first.insert((c.id, c.token))).map(|c| ending(c, moment));
    let tries: Vec<_> = tries.collect();
    let held = db.end(&tries, moment.now).await?;
    let mut held: HashMap<_, _> = held.into_iter().map(|held| ((held.id, held.token), held)).collect();

    let (mut outcomes, mut events, mut follow_ups) = (Vec::new(), Vec::new(), Vec::new());
    let mut sessions = Sessions::new();
    for completion in completions {
        let Some(held) = held.remove(&(completion.id, completion.token)) else {
            applied.stale.push(completion.id);
            continue;
        };
        let state = state_after(&completion.outcome);
        if state.ended() {
            applied.ended.push((completion.agent.clone(), ended(completion, state, &held, moment.now)));
        }
        if let Some(session) = held.session {
            sessions.insert((completion.agent.clone(), session));
        }
        if let Outcome::Done { follow_ups: more, .. } = &completion.outcome {
            follow_ups.extend(more);
        }
        if !matches!(completion.outcome, Outcome::Released) {
            outcomes.push(outcome_of(completion));
        }
        events.push(event_of(completion, state, moment));
    }
    if !sessions.is_empty() {
        db.unblock(&sessions).await?;
    }
    if !events.is_empty() {
        db.history(&outcomes, &events, moment).await?;
    }
    if !follow_ups.is_empty() {
        let submitted = submit(db, &follow_ups, moment).await?;
        let new = follow_ups.iter().zip(submitted).filter(|(_, submitted)| !submitted.existing);
        applied.followed.extend(new.map(|(task, _)| task.queue.clone()));
        db.written(Boundary::FollowUpWritten).await?;
    }
    Ok(())
}

fn state_after(outcome: &Outcome) -> TaskState {
    match outcome {
        Outcome::Done { .. } => TaskState::Done,
        Outcome::Failed { retry_at: None, .. } => TaskState::Failed,
        Outcome::Failed { .. } | Outcome::Released => TaskState::Queued,
    }
}

fn ending<'a>(completion: &'a Completion, moment: &Moment) -> Try<'a> {
    let (result, error, run_at) = match &completion.outcome {
        Outcome::Done { result, .. } => (Some(result.as_str()), None, None),
        Outcome::Failed { error, retry_at } => (None, Some(error.as_str()), retry_at.map(|at| moment.of(at))),
        Outcome::Released => (None, None, None),
    };
    let counts = !matches!(completion.outcome, Outcome::Released);
    let Completion { id, token, .. } = *completion;
    Try { id, token, state: state_after(&completion.outcome), result, error, run_at, counts }
}

fn ended(completion: &Completion, state: TaskState, held: &Held, now: DateTime<Utc>) -> Ended {
    let (result, error) = match &completion.outcome {
        Outcome::Done { result, .. } => (Some(result.clone()), None),
        Outcome::Failed { error, .. } => (None, Some(error.clone())),
        Outcome::Released => (None, None),
    };
    let duration = (now - held.created_at).to_std().unwrap_or_default();
    Ended { id: completion.id, state, result, error, attempts: held.attempts, duration }
}

fn outcome_of(completion: &Completion) -> OutcomeRow<'_> {
    let error = match &completion.outcome {
        Outcome::Failed { error, .. } => Some(error.as_str()),
        _ => None,
    };
    let Completion { agent, kind, id, attempts, duration, .. } = completion;
    OutcomeRow { agent, kind, task: *id, duration_ms: millis(*duration), attempts: *attempts, error }
}

/// As the database counts them.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn event_of(completion: &Completion, state: TaskState, moment: &Moment) -> NewEvent {
    let kind = match (&completion.outcome, state) {
        (Outcome::Released, _) => "task.released",
        (_, TaskState::Done) => "task.done",
        (_, TaskState::Failed) => "task.failed",
        _ => "task.retry",
    };
    task_event(completion.agent.clone(), kind, completion.id, completion.attempts, moment)
}

/// What a task's event says.
pub(super) fn task_event(
    agent: AgentName,
    kind: &'static str,
    id: TaskId,
    attempt: u32,
    moment: &Moment,
) -> NewEvent {
    let payload = json!({"task_id": id, "attempt": attempt}).to_string();
    NewEvent { agent, kind, payload, at: moment.told() }
}
