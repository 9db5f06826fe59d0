//! The order within a session: of its unended tasks one is not `blocked`, that which an agent is at work on, or else
//! the earliest. So a task that goes back blocks itself, and then the earliest is let go: mostly the same one, but a
//! dead letter before it may have been retried meanwhile.

use std::collections::HashSet;

use openclaw_agent_api::AgentName;
use sqlx::sqlite::SqliteConnection;

use super::to_json;
use crate::Error;

pub const UNBLOCK: &str = "update task_queue set blocked = 0 where blocked = 1 and seq in (
       select (select min(seq) from task_queue t
               where t.queue = j.value ->> 0 and t.session = j.value ->> 1 and t.session is not null
                 and t.state in ('queued', 'leased'))
       from json_each(?1) j)";

/// All that has not ended of each of these sessions is blocked: the earliest may run.
pub async fn unblock(
    db: &mut SqliteConnection,
    sessions: &HashSet<(AgentName, String)>,
) -> Result<(), Error> {
    if sessions.is_empty() {
        return Ok(());
    }
    let sessions: Vec<_> = sessions.iter().collect();
    sqlx::query(UNBLOCK).bind(to_json(&sessions)).execute(&mut *db).await?;
    Ok(())
}

/// A task has come back: it takes its old place in the order, unless an agent is at work on a later one.
pub async fn rejoin(db: &mut SqliteConnection, queue: &AgentName, session: &str) -> Result<(), Error> {
    let sql = "update task_queue set blocked = 1
               where queue = ?1 and session = ?2 and session is not null and state in ('queued', 'leased')
                 and state = 'queued' and blocked = 0";
    sqlx::query(sql).bind(queue.as_str()).bind(session).execute(&mut *db).await?;
    let sql =
        "select exists (select 1 from task_queue where queue = ?1 and session = ?2 and session is not null
                              and state in ('queued', 'leased') and state = 'leased')";
    let at_work: bool =
        sqlx::query_scalar(sql).bind(queue.as_str()).bind(session).fetch_one(&mut *db).await?;
    if at_work {
        return Ok(());
    }
    unblock(db, &HashSet::from([(queue.clone(), session.to_owned())])).await
}
