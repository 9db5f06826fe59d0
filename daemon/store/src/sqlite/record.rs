//! What is kept beside the tasks: memory, events, supervisors' records.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use super::to_json;
use crate::backend::{KEPT_TRANSITIONS, KEPT_TURNS, MemoryChange, NewEvent, TRANSITION};
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
