//! What is kept beside the tasks: memory, events, supervisors' records.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use super::to_json;
use crate::backend::{KEPT_TRANSITIONS, KEPT_TURNS, MemoryChange, NewEvent, TRANSITION};
use crate::task::TaskId;
use crate::{Error, stamp};

pub async fn remember(
    db: &mut SqliteConnection,
    change: &MemoryChange,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    match change {
        MemoryChange::Set { agent, key, value } => {
            let sql = "insert into agent_memory (agent_name, key, value, updated_at) values (?1, ?2, ?3, ?4)
                       on conflict (agent_name, key) do update set value = ?3, updated_at = ?4";
            sqlx::query(sql)
                .bind(agent.as_str())
                .bind(key)
                .bind(value)
                .bind(stamp(now))
                .execute(&mut *db)
                .await?;
        }
        MemoryChange::Delete { agent, key } => {
            let sql = "delete from agent_memory where agent_name = ?1 and key = ?2";
            sqlx::query(sql).bind(agent.as_str()).bind(key).execute(&mut *db).await?;
        }
        MemoryChange::Remember { agent, session, role, text } => {
            let sql = "insert into agent_turns (agent_name, session, role, text, created_at)
                       values (?1, ?2, ?3, ?4, ?5)";
            let insert = sqlx::query(sql).bind(agent.as_str()).bind(session).bind(role).bind(text);
            insert.bind(stamp(now)).execute(&mut *db).await?;
            let sql = "delete from agent_turns where agent_name = ?1 and session = ?2 and id <= (
                         select id from agent_turns where agent_name = ?1 and session = ?2
                         order by id desc limit 1 offset ?3)";
            sqlx::query(sql).bind(agent.as_str()).bind(session).bind(KEPT_TURNS).execute(&mut *db).await?;
        }
    }
    Ok(())
}

const OUTCOMES: &str =
    "insert into ops_outcomes (agent, kind, task_id, success, duration_ms, attempts, detail, created_at)
     select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
     from json_each(?1) order by key";

/// A row for [`write_outcomes`]; with an error, of a try that failed.
pub fn outcome(
    agent: &AgentName,
    kind: &str,
    id: TaskId,
    attempts: u32,
    duration: Duration,
    error: Option<&str>,
    now: DateTime<Utc>,
) -> Value {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!([agent, kind, id, u8::from(error.is_none()), millis, attempts, error, stamp(now)])
}

pub async fn write_outcomes(db: &mut SqliteConnection, outcomes: &[Value]) -> Result<(), Error> {
    if !outcomes.is_empty() {
        sqlx::query(OUTCOMES).bind(to_json(outcomes)).execute(&mut *db).await?;
    }
    Ok(())
}

/// What a task's event says.
pub fn task_event(
    agent: AgentName,
    kind: &'static str,
    id: TaskId,
    attempt: u32,
    at: DateTime<Utc>,
) -> NewEvent {
    NewEvent { agent, kind, payload: json!({"task_id": id, "attempt": attempt}).to_string(), at }
}

pub async fn write_events(db: &mut SqliteConnection, events: &[NewEvent]) -> Result<(), Error> {
    let row = |event: &NewEvent| json!([event.agent, event.kind, event.payload, stamp(event.at)]);
    let rows: Vec<Value> = events.iter().map(row).collect();
    let sql = "insert into agent_events (agent_name, event_type, payload, created_at)
               select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(?1) order by key";
    sqlx::query(sql).bind(to_json(&rows)).execute(&mut *db).await?;
    let moved: HashSet<&AgentName> =
        events.iter().filter(|e| e.kind == TRANSITION).map(|e| &e.agent).collect();
    for agent in moved {
        let sql =
            "delete from agent_events where event_type = 'agent.transition' and agent_name = ?1 and id <= (
                     select id from agent_events where event_type = 'agent.transition' and agent_name = ?1
                     order by id desc limit 1 offset ?2)";
        sqlx::query(sql).bind(agent.as_str()).bind(KEPT_TRANSITIONS).execute(&mut *db).await?;
    }
    Ok(())
}

/// Keeps a supervisor's record.
pub async fn save(
    db: &mut SqliteConnection,
    agent: &AgentName,
    record: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let sql = "insert into agent_state (agent_name, record, updated_at) values (?1, ?2, ?3)
               on conflict (agent_name) do update set record = ?2, updated_at = ?3";
    sqlx::query(sql).bind(agent.as_str()).bind(record).bind(stamp(now)).execute(&mut *db).await?;
    Ok(())
}
