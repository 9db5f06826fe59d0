//! Ends tries under their leases, with outcome, event and follow-ups beside each.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::read::time;
use super::record::{outcome, task_event, write_events, write_outcomes};
use super::session::unblock;
use super::submit::submit;
use super::{id, to_json};
use crate::backend::{Applied, NewEvent};
use crate::task::{Completion, Ended, Outcome, TaskState};
use crate::{Error, stamp};

pub const COMPLETE: &str = "update task_queue set
       state = j.value ->> 'state', result = j.value ->> 'result',
       error = coalesce(j.value ->> 'error', case when j.value ->> 'state' = 'done' then null else error end),
       run_at = coalesce(j.value ->> 'run_at', run_at), attempts = attempts - (j.value ->> 'uncounted'),
       lease_owner = null, lease_until = null, updated_at = ?2,
       blocked = session is not null and j.value ->> 'state' = 'queued',
       finished_at = case when j.value ->> 'state' = 'queued' then null else ?2 end
     from json_each(?1) j
     where task_queue.id = j.value ->> 'id' and task_queue.lease_token = j.value ->> 'token'
       and task_queue.state = 'leased'
     returning id, lease_token, session, attempts, created_at";

pub async fn complete(
    db: &mut SqliteConnection,
    completions: &[Completion],
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> Result<(), Error> {
    // The first word on a lease counts; a second one in this batch is as stale as it would be in the next.
    let mut first = HashSet::new();
    let rows = completions.iter().filter(|c| first.insert((c.id, c.token))).map(completion_row);
    let rows: Vec<Value> = rows.collect();
    let returned = sqlx::query(COMPLETE).bind(to_json(&rows)).bind(stamp(now)).fetch_all(&mut *db).await?;
    let mut held = HashMap::new();
    for row in returned {
        held.insert((id(&row, 0)?, row.get::<i64, _>(1)), row);
    }

    let (mut outcomes, mut events, mut follow_ups) = (Vec::new(), Vec::new(), Vec::new());
    let mut sessions = HashSet::new();
    for completion in completions {
        let Some(row) = held.remove(&(completion.id, completion.token)) else {
            applied.stale.push(completion.id);
            continue;
        };
        let state = state_after(&completion.outcome);
        if let Some(session) = row.get(2) {
            sessions.insert((completion.agent.clone(), session));
        }
        let attempts: u32 = row.get(3);
        if state.ended() {
            applied.ended.push((completion.agent.clone(), ended(completion, state, attempts, &row, now)));
        }
        if let Outcome::Done { follow_ups: more, .. } = &completion.outcome {
            follow_ups.extend(more);
        }
        if !matches!(completion.outcome, Outcome::Released) {
            outcomes.push(outcome_row(completion, now));
        }
        events.push(event_of(completion, state, now));
    }
    unblock(db, &sessions).await?;
    write_outcomes(db, &outcomes).await?;
    write_events(db, &events).await?;
    if !follow_ups.is_empty() {
        let submitted = submit(db, &follow_ups, now).await?;
        let new = follow_ups.iter().zip(submitted).filter(|(_, submitted)| !submitted.existing);
        applied.followed.extend(new.map(|(task, _)| task.queue.clone()));
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

fn completion_row(completion: &Completion) -> Value {
    let (result, error, run_at) = match &completion.outcome {
        Outcome::Done { result, .. } => (Some(result), None, None),
        Outcome::Failed { error, retry_at } => (None, Some(error), retry_at.map(stamp)),
        Outcome::Released => (None, None, None),
    };
    json!({
        "id": completion.id, "token": completion.token, "state": state_after(&completion.outcome).as_str(),
        "result": result, "error": error, "run_at": run_at,
        "uncounted": u8::from(matches!(completion.outcome, Outcome::Released)),
    })
}

fn ended(
    completion: &Completion,
    state: TaskState,
    attempts: u32,
    row: &SqliteRow,
    now: DateTime<Utc>,
) -> Ended {
    let (result, error) = match &completion.outcome {
        Outcome::Done { result, .. } => (Some(result.clone()), None),
        Outcome::Failed { error, .. } => (None, Some(error.clone())),
        Outcome::Released => (None, None),
    };
    let duration = (now - time(row.get(4))).to_std().unwrap_or_default();
    Ended { id: completion.id, state, result, error, attempts, duration }
}

fn outcome_row(completion: &Completion, now: DateTime<Utc>) -> Value {
    let Completion { agent, kind, id, attempts, duration, .. } = completion;
    let error = match &completion.outcome {
        Outcome::Failed { error, .. } => Some(error.as_str()),
        _ => None,
    };
    outcome(agent, kind, *id, *attempts, *duration, error, now)
}

fn event_of(completion: &Completion, state: TaskState, at: DateTime<Utc>) -> NewEvent {
    let kind = match (&completion.outcome, state) {
        (Outcome::Released, _) => "task.released",
        (_, TaskState::Done) => "task.done",
        (_, TaskState::Failed) => "task.failed",
        _ => "task.retry",
    };
    task_event(completion.agent.clone(), kind, completion.id, completion.attempts, at)
}
