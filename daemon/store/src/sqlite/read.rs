//! Everything that is only read.

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Turn;
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use crate::backend::{Depth, Event, LISTED_ERROR, LISTED_TASKS, LISTED_TEXT, TRANSITION};
use crate::task::{Filter, Task, TaskId};
use crate::{Error, stamp};

/// The blocked ones too: who unblocks one need not think of its time.
pub const NEXT_DUE: &str = "select min(run_at) from task_queue where state = 'queued' and run_at > ?1";

pub async fn next_due(
    db: &mut SqliteConnection,
    after: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let due: Option<String> = sqlx::query_scalar(NEXT_DUE).bind(stamp(after)).fetch_one(db).await?;
    Ok(due.map(|text| time(&text)))
}

/// Each state by its own index: never past the ended tasks, of which there are most.
pub const DEPTHS: &str = "select queue, sum(queued), sum(leased), sum(failed) from (
       select queue, 1 as queued, 0 as leased, 0 as failed from task_queue where state = 'queued'
       union all select queue, 0, 1, 0 from task_queue where state = 'leased'
       union all select queue, 0, 0, 1 from task_queue where state = 'failed')
     group by queue order by queue";

pub async fn depths(db: &SqlitePool) -> Result<Vec<(String, Depth)>, Error> {
    let rows = sqlx::query(DEPTHS).fetch_all(db).await?;
    let depth = |row: &SqliteRow| Depth { queued: row.get(1), leased: row.get(2), failed: row.get(3) };
    Ok(rows.iter().map(|row| (row.get(0), depth(row))).collect())
}

pub async fn task(db: &SqlitePool, id: TaskId) -> Result<Option<Task>, Error> {
    let row =
        sqlx::query("select * from task_queue where id = ?1").bind(id.to_string()).fetch_optional(db).await?;
    row.as_ref().map(to_task).transpose()
}

pub async fn tasks(db: &SqlitePool, filter: &Filter) -> Result<Vec<Task>, Error> {
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

fn to_task(row: &SqliteRow) -> Result<Task, Error> {
    let broken = |what: &str| Error::Database(format!("a row of task_queue has a broken {what}"));
    let text = |column: &str| row.get::<String, _>(column);
    let maybe = |column: &str| row.get::<Option<String>, _>(column);
    Ok(Task {
        id: text("id").parse().map_err(|_| broken("id"))?,
        queue: text("queue"),
        kind: text("kind"),
        state: text("state").parse().map_err(|_| broken("state"))?,
        session: maybe("session"),
        dedupe_key: maybe("dedupe_key"),
        priority: row.get("priority"),
        attempts: row.get("attempts"),
        max_attempts: row.get("max_attempts"),
        run_at: time(&text("run_at")),
        payload: json(&text("payload")),
        result: maybe("result").as_deref().map(json),
        error: maybe("error"),
        source: text("source"),
        created_at: time(&text("created_at")),
        updated_at: time(&text("updated_at")),
        finished_at: maybe("finished_at").as_deref().map(time),
    })
}

pub async fn records(db: &SqlitePool) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as("select agent_name, record from agent_state").fetch_all(db).await?)
}

const EVENTS: &str = "select id, agent_name, event_type, payload, created_at from agent_events
     where agent_name = ?1 and event_type = ?2 order by id desc limit ?3";
pub const TRANSITIONS: &str = "select id, agent_name, event_type, payload, created_at from agent_events
     where agent_name = ?1 and event_type = ?2 and event_type = 'agent.transition' order by id desc limit ?3";

pub const ALERTS: &str = "select id, agent_name, event_type, payload, created_at from agent_events
     where event_type = 'agent.alert' order by id desc limit ?1";

pub async fn alerts(db: &SqlitePool, limit: u32) -> Result<Vec<Event>, Error> {
    let rows = sqlx::query(ALERTS).bind(limit).fetch_all(db).await?;
    Ok(rows.iter().map(event).collect())
}

pub async fn events(db: &SqlitePool, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error> {
    // A transition is named in the text, or its index would not serve.
    let sql = if kind == TRANSITION { TRANSITIONS } else { EVENTS };
    let rows = sqlx::query(sql).bind(agent.as_str()).bind(kind).bind(limit).fetch_all(db).await?;
    Ok(rows.iter().map(event).collect())
}

fn event(row: &SqliteRow) -> Event {
    Event {
        id: row.get(0),
        agent: row.get(1),
        kind: row.get(2),
        payload: json(&row.get::<String, _>(3)),
        at: time(&row.get::<String, _>(4)),
    }
}

pub async fn recall(db: &SqlitePool, agent: &AgentName, key: &str) -> Result<Option<String>, Error> {
    let sql = "select value from agent_memory where agent_name = ?1 and key = ?2";
    Ok(sqlx::query_scalar(sql).bind(agent.as_str()).bind(key).fetch_optional(db).await?)
}

pub async fn keys(
    db: &SqlitePool,
    agent: &AgentName,
    prefix: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    // In order, those with the prefix stand together and first.
    let sql = "select key from agent_memory where agent_name = ?1 and key >= ?2 order by key limit ?3";
    let keys: Vec<String> =
        sqlx::query_scalar(sql).bind(agent.as_str()).bind(prefix).bind(limit).fetch_all(db).await?;
    Ok(keys.into_iter().take_while(|key| key.starts_with(prefix)).collect())
}

pub async fn memory_keys(db: &SqlitePool, agent: &AgentName) -> Result<u32, Error> {
    let sql = "select count(*) from agent_memory where agent_name = ?1";
    Ok(sqlx::query_scalar(sql).bind(agent.as_str()).fetch_one(db).await?)
}

pub async fn turns(
    db: &SqlitePool,
    agent: &AgentName,
    session: &str,
    limit: u32,
) -> Result<Vec<Turn>, Error> {
    let sql = "select role, text, created_at from agent_turns where agent_name = ?1 and session = ?2
               order by id desc limit ?3";
    let rows = sqlx::query(sql).bind(agent.as_str()).bind(session).bind(limit).fetch_all(db).await?;
    let turn =
        |row: SqliteRow| Turn { role: row.get(0), text: row.get(1), at: time(&row.get::<String, _>(2)) };
    Ok(rows.into_iter().rev().map(turn).collect())
}

/// Only we write these, in one form; a row that somebody edited by hand shows the epoch rather than failing all.
pub fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).unwrap_or_default()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()))
}
