//! What is read in PostgreSQL's own words.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::dialect::{self, Pool};
use super::shared::to_task;
use crate::Error;
use crate::backend::{LISTED_ERROR, LISTED_TASKS, LISTED_TEXT};
use crate::task::{Ended, Filter, Task, TaskId};

pub async fn tasks(db: &Pool, filter: &Filter) -> Result<Vec<Task>, Error> {
    let sql = "select id, queue, kind, state, session, dedupe_key, priority, attempts, max_attempts, run_at, source,
                 created_at, updated_at, finished_at, null::jsonb as result, left(error, $5) as error,
                 jsonb_build_object('text', left(coalesce(payload ->> 'text', payload ->> '$text'), $6)) as payload
               from task_queue
               where ($1 is null or queue = $1) and ($2 is null or state = $2) and ($3 is null or session = $3)
               order by seq desc limit $4";
    let rows = sqlx::query(sql)
        .bind(&filter.queue)
        .bind(filter.state.map(|state| state.as_str()))
        .bind(filter.session.as_deref().map(dialect::text))
        .bind(i64::from(filter.limit.min(LISTED_TASKS)))
        .bind(i32::try_from(LISTED_ERROR).unwrap_or(i32::MAX))
        .bind(i32::try_from(LISTED_TEXT).unwrap_or(i32::MAX))
        .fetch_all(db)
        .await?;
    rows.iter().map(to_task).collect()
}

pub const ENDED: &str = "select * from task_queue where id = any($1) and finished_at is not null";

pub async fn ended(db: &mut PgConnection, tasks: &[TaskId]) -> Result<Vec<Ended>, Error> {
    let ids: Vec<Uuid> = tasks.iter().map(|id| dialect::id(*id)).collect();
    let rows = sqlx::query(ENDED).bind(ids).fetch_all(db).await?;
    let ended = rows.iter().filter_map(|row| {
        let mut ended = to_task(row).ok()?.ended()?;
        // As it was sent, and not as it is shown.
        ended.result = dialect::maybe_document(row, "result");
        Some(ended)
    });
    Ok(ended.collect())
}

/// Only who leads an agent saves its record.
pub async fn led(db: &Pool, agents: &[AgentName], lately: Duration) -> Result<Vec<AgentName>, Error> {
    let sql = "select agent_name from agent_state where agent_name = any($1)
               and greatest(lease_until, updated_at + make_interval(secs => $2)) > clock_timestamp()";
    let agents: Vec<_> = agents.iter().map(AgentName::as_str).collect();
    let led: Vec<String> =
        sqlx::query_scalar(sql).bind(agents).bind(lately.as_secs_f64()).fetch_all(db).await?;
    Ok(led.iter().filter_map(|name| name.parse().ok()).collect())
}
