//! Stores new tasks.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{id, to_json};
use crate::task::{NewTask, Submitted, TaskId};
use crate::{Error, stamp};

/// `value ->> 10`: an earlier one of its session in this batch blocks it, as one in the table does.
pub const SUBMIT: &str =
    "insert into task_queue (id, queue, kind, payload, session, dedupe_key, priority, max_attempts, run_at, source,
                             state, blocked, created_at, updated_at)
     select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
            value ->> 8, value ->> 9, 'queued',
            value ->> 10 or (value ->> 4 is not null and exists (
                select 1 from task_queue t
                where t.queue = value ->> 1 and t.session = value ->> 4 and t.session is not null
                  and t.state in ('queued', 'leased'))),
            ?2, ?2
     from json_each(?1) order by key";

pub const KNOWN: &str = "select t.id, t.queue, t.dedupe_key from json_each(?1) j
       cross join task_queue t on t.queue = j.value ->> 1 and t.dedupe_key = j.value ->> 2
       where t.dedupe_key is not null
     union all
     select t.id, null, null from json_each(?1) j cross join task_queue t on t.id = j.value ->> 0";

pub async fn submit(
    db: &mut SqliteConnection,
    tasks: &[&NewTask],
    now: DateTime<Utc>,
) -> Result<Vec<Submitted>, Error> {
    let mut known = known(db, tasks).await?;
    let mut sessions = HashSet::new();
    let mut rows = Vec::with_capacity(tasks.len());
    let mut submitted = Vec::with_capacity(tasks.len());
    for task in tasks {
        if let Some(id) = known.earlier(task) {
            submitted.push(Submitted { id, existing: true });
            continue;
        }
        known.add(task);
        let follows = task.session.as_ref().is_some_and(|session| !sessions.insert((&task.queue, session)));
        rows.push(json!([
            task.id,
            task.queue,
            task.kind,
            task.payload,
            task.session,
            task.dedupe_key,
            task.priority,
            task.max_attempts,
            stamp(task.run_at.unwrap_or(now)),
            task.source,
            u8::from(follows),
        ]));
        submitted.push(Submitted { id: task.id, existing: false });
    }
    if !rows.is_empty() {
        sqlx::query(SUBMIT).bind(to_json(&rows)).bind(stamp(now)).execute(&mut *db).await?;
    }
    Ok(submitted)
}

/// Those that add nothing, since they or another with their dedupe key are stored.
pub async fn stored(db: &mut SqliteConnection, tasks: &[&NewTask]) -> Result<Vec<TaskId>, Error> {
    let known = known(db, tasks).await?;
    Ok(tasks.iter().filter(|task| known.earlier(task).is_some()).map(|task| task.id).collect())
}

/// What is stored already of that which is submitted.
struct Known {
    keys: HashMap<(String, String), TaskId>,
    ids: HashSet<TaskId>,
}

impl Known {
    /// The task that stands for this one: with its dedupe key, or itself. A task that comes twice must not fail its
    /// batch, since a batch with results in it is tried until it succeeds.
    fn earlier(&self, task: &NewTask) -> Option<TaskId> {
        let key = task.dedupe_key.as_ref().map(|key| (task.queue.to_string(), key.clone()));
        let by_key = key.and_then(|key| self.keys.get(&key).copied());
        by_key.or_else(|| self.ids.get(&task.id).copied())
    }

    fn add(&mut self, task: &NewTask) {
        self.ids.insert(task.id);
        if let Some(key) = &task.dedupe_key {
            self.keys.insert((task.queue.to_string(), key.clone()), task.id);
        }
    }
}

async fn known(db: &mut SqliteConnection, tasks: &[&NewTask]) -> Result<Known, Error> {
    let wanted: Vec<_> = tasks.iter().map(|task| (task.id, &task.queue, &task.dedupe_key)).collect();
    let rows = sqlx::query(KNOWN).bind(to_json(&wanted)).fetch_all(&mut *db).await?;
    let mut known = Known { keys: HashMap::new(), ids: HashSet::new() };
    for row in &rows {
        let id = id(row, 0)?;
        match (row.get::<Option<String>, _>(1), row.get::<Option<String>, _>(2)) {
            (Some(queue), Some(key)) => drop(known.keys.insert((queue, key), id)),
            _ => drop(known.ids.insert(id)),
        }
    }
    Ok(known)
}
