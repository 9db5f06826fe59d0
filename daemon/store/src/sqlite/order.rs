//! What a person does to a task.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::read::time;
use super::record::{task_event, write_events};
use super::session::{rejoin, unblock};
use crate::backend::{Applied, Order};
use crate::task::{Ended, TaskState};
use crate::{Error, stamp};

pub async fn carry_out(
    db: &mut SqliteConnection,
    order: &Order,
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> Result<Result<AgentName, Error>, Error> {
    let (Order::Retry(task) | Order::Cancel(task)) = *order;
    let sql = "select queue, session, attempts, created_at, state, blocked from task_queue where id = ?1";
    let Some(row) = sqlx::query(sql).bind(task.to_string()).fetch_optional(&mut *db).await? else {
        return Ok(Err(Error::NoSuchTask(task.to_string())));
    };
    let state: TaskState = row.get::<String, _>(4).parse().map_err(Error::Database)?;
    let queue: AgentName =
        row.get::<String, _>(0).parse().map_err(|error| Error::Database(format!("task {task}: {error}")))?;
    let session: Option<String> = row.get(1);
    let why = match (order, state) {
        (Order::Retry(_), TaskState::Failed | TaskState::Cancelled)
        | (Order::Cancel(_), TaskState::Queued) => None,
        (Order::Retry(_), TaskState::Done) => Some("it has ended well; send it again if you want it twice"),
        (Order::Retry(_), _) => Some("it has not ended yet; wait for it"),
        (Order::Cancel(_), TaskState::Leased) => {
            Some("an agent is at work on it; wait, or restart the agent")
        }
        (Order::Cancel(_), _) => Some("it has ended already"),
    };
    if let Some(why) = why {
        return Ok(Err(Error::WrongState { id: task, state, why }));
    }
    let attempts: u32 = row.get(2);
    let kind = match order {
        Order::Retry(_) => "task.retried",
        Order::Cancel(_) => "task.cancelled",
    };
    write_events(db, &[task_event(queue.clone(), kind, task, attempts, now)]).await?;
    match order {
        Order::Retry(_) => {
            let sql = "update task_queue set state = 'queued', attempts = 0, run_at = ?2, updated_at = ?2,
                         finished_at = null
                       where id = ?1";
            sqlx::query(sql).bind(task.to_string()).bind(stamp(now)).execute(&mut *db).await?;
            if let Some(session) = &session {
                rejoin(db, &queue, session).await?;
            }
        }
        Order::Cancel(_) => {
            let sql =
                "update task_queue set state = 'cancelled', updated_at = ?2, finished_at = ?2 where id = ?1";
            sqlx::query(sql).bind(task.to_string()).bind(stamp(now)).execute(&mut *db).await?;
            // One that waited for another of its session leaves that one's successor alone.
            if let (Some(session), false) = (session, row.get(5)) {
                unblock(db, &HashSet::from([(queue.clone(), session)])).await?;
            }
            let duration = (now - time(row.get(3))).to_std().unwrap_or_default();
            let state = TaskState::Cancelled;
            let ended = Ended { id: task, state, result: None, error: None, attempts, duration };
            applied.ended.push((queue.clone(), ended));
        }
    }
    Ok(Ok(queue))
}
