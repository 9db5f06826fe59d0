//! Leases: taken, renewed, lost, and freed at the start.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::read::time;
use super::record::{outcome, task_event, write_events, write_outcomes};
use super::session::unblock;
use super::{id, to_json};
use crate::backend::{Applied, Claimant};
use crate::task::{Ended, LeasedTask, TaskId, TaskState};
use crate::{Error, stamp};

pub const CLAIM: &str =
    "update task_queue set state = 'leased', attempts = attempts + 1, lease_token = lease_token + 1,
       lease_owner = ?3, lease_until = ?4, updated_at = ?2
     where seq in (select seq from task_queue
                   where queue = ?1 and state = 'queued' and blocked = 0 and run_at <= ?2
                   order by priority desc, seq limit ?5)
     returning id, lease_token, kind, payload, session, source, attempts, max_attempts, created_at, priority, seq";

pub const RENEW: &str = "update task_queue set lease_until = ?2 from json_each(?1) j
     where task_queue.id = j.value ->> 0 and task_queue.lease_token = j.value ->> 1 and task_queue.state = 'leased'
     returning id, lease_token";

/// A claim is the last change of a leased task, so `updated_at` says since when it was in work.
pub const LOST: &str = "select id, session, attempts, max_attempts, created_at, queue, kind, updated_at
     from task_queue where state = 'leased' and lease_until < ?1";

pub const SWEEP: &str = "update task_queue set
       state = case when attempts >= max_attempts then 'failed' else 'queued' end,
       finished_at = case when attempts >= max_attempts then ?1 end,
       error = ?2, lease_owner = null, lease_until = null, updated_at = ?1,
       blocked = session is not null and attempts < max_attempts
     where state = 'leased' and lease_until < ?1";

const SILENT: &str = "the worker stopped renewing its lease";

/// Leases the most urgent tasks of a queue that are due and first in their sessions.
pub async fn claim(
    db: &mut SqliteConnection,
    queue: &AgentName,
    most: u32,
    claimant: &Claimant,
    now: DateTime<Utc>,
    claimed: &mut Vec<LeasedTask>,
) -> Result<(), Error> {
    let rows = sqlx::query(CLAIM)
        .bind(queue.as_str())
        .bind(stamp(now))
        .bind(&claimant.owner)
        .bind(stamp(now + claimant.lease))
        .bind(most)
        .fetch_all(&mut *db)
        .await?;
    let mut tasks = Vec::with_capacity(rows.len());
    for row in &rows {
        let task = LeasedTask {
            id: id(row, 0)?,
            token: row.get(1),
            queue: queue.clone(),
            kind: row.get(2),
            payload: row.get(3),
            session: row.get(4),
            source: row.get(5),
            attempts: row.get(6),
            max_attempts: row.get(7),
            created_at: time(row.get(8)),
        };
        tasks.push((std::cmp::Reverse(row.get::<i32, _>(9)), row.get::<i64, _>(10), task));
    }
    tasks.sort_by_key(|(priority, seq, _)| (*priority, *seq));
    claimed.extend(tasks.into_iter().map(|(_, _, task)| task));
    Ok(())
}

/// Answers the leases that hold no more.
pub async fn renew(
    db: &mut SqliteConnection,
    leases: &[(TaskId, i64)],
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<Vec<(TaskId, i64)>, Error> {
    let until = stamp(now + claimant.lease);
    let rows = sqlx::query(RENEW).bind(to_json(leases)).bind(until).fetch_all(&mut *db).await?;
    let held = rows.iter().map(|row| Ok((id(row, 0)?, row.get(1))));
    let held = held.collect::<Result<HashSet<(TaskId, i64)>, Error>>()?;
    Ok(leases.iter().filter(|lease| !held.contains(lease)).copied().collect())
}

/// Frees tasks whose worker has not renewed; one that has used up its tries is a dead letter.
pub async fn sweep(
    db: &mut SqliteConnection,
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> Result<(), Error> {
    let lost = sqlx::query(LOST).bind(stamp(now)).fetch_all(&mut *db).await?;
    if !lost.is_empty() {
        applied.swept = true;
        sqlx::query(SWEEP).bind(stamp(now)).bind(SILENT).execute(&mut *db).await?;
    }
    let (mut sessions, mut outcomes, mut events) = (HashSet::new(), Vec::new(), Vec::new());
    for row in &lost {
        let Ok(queue) = row.get::<String, _>(5).parse::<AgentName>() else { continue };
        let (id, attempts) = (id(row, 0)?, row.get::<u32, _>(2));
        let since = |column: usize| (now - time(row.get(column))).to_std().unwrap_or_default();
        if let Some(session) = row.get(1) {
            sessions.insert((queue.clone(), session));
        }
        let dead = attempts >= row.get::<u32, _>(3);
        outcomes.push(outcome(&queue, row.get(6), id, attempts, since(7), Some(SILENT), now));
        let kind = if dead { "task.failed" } else { "task.retry" };
        events.push(task_event(queue.clone(), kind, id, attempts, now));
        if dead {
            let (state, error, duration) = (TaskState::Failed, Some(SILENT.to_owned()), since(4));
            applied.ended.push((queue, Ended { id, state, result: None, error, attempts, duration }));
        }
    }
    unblock(db, &sessions).await?;
    write_outcomes(db, &outcomes).await?;
    if !events.is_empty() {
        write_events(db, &events).await?;
    }
    let sql = "select exists (select 1 from task_queue where state = 'leased')";
    applied.leased = Some(sqlx::query_scalar(sql).fetch_one(&mut *db).await?);
    Ok(())
}

/// Frees what an earlier life of this daemon had leased.
pub async fn recover(
    db: &mut SqliteConnection,
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    // Nobody else holds this database's lock, so every lease is of an earlier life; that life's end is not the
    // task's fault.
    let sql =
        "update task_queue set state = 'queued', attempts = attempts - 1, blocked = session is not null,
                 lease_owner = null, lease_until = null, updated_at = ?2
               where state = 'leased' and lease_owner is not ?1
               returning queue, session";
    let mut tx = db.begin_with("begin immediate").await?;
    let freed = sqlx::query(sql).bind(&claimant.owner).bind(stamp(now)).fetch_all(&mut *tx).await?;
    let mut sessions = HashSet::new();
    for row in &freed {
        if let (Ok(queue), Some(session)) = (row.get::<String, _>(0).parse(), row.get(1)) {
            sessions.insert((queue, session));
        }
    }
    unblock(&mut tx, &sessions).await?;
    tx.commit().await?;
    Ok(freed.len() as u64)
}
