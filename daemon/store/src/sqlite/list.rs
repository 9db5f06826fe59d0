//! Lists of tasks.

use super::dialect::Pool;
use super::shared::to_task;
use crate::Error;
use crate::backend::{LISTED_ERROR, LISTED_TASKS, LISTED_TEXT};
use crate::task::{Filter, Task};

pub async fn tasks(db: &Pool, filter: &Filter) -> Result<Vec<Task>, Error> {
    // A payload that is no JSON, by somebody's hand, must not fail the list.
    let sql = "select id, queue, kind, state, session, dedupe_key, priority, attempts, max_attempts, run_at, source,
                 created_at, updated_at, finished_at, null as result, substr(error, 1, ?5) as error,
                 json_object('text', substr(case when json_valid(payload) then payload ->> 'text' else payload end,
                                            1, ?6)) as payload
               from task_queue
               where (?1 is null or queue = ?1) and (?2 is null or state = ?2) and (?3 is null or session = ?3)
               order by seq desc limit ?4";
    let rows = sqlx::query(sql)
        .bind(&filter.queue)
        .bind(filter.state.map(|state| state.as_str()))
        .bind(&filter.session)
        .bind(filter.limit.min(LISTED_TASKS))
        .bind(LISTED_ERROR)
        .bind(LISTED_TEXT)
        .fetch_all(db)
        .await?;
    rows.iter().map(to_task).collect()
}
