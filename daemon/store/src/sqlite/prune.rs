//! Deletes what is too old or too much, a part at a time, so that it never holds up the others for long.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;

use crate::backend::KEPT_TURNS_OF_AGENT;
use crate::{Error, stamp};

/// Rows that one pruning deletes of one table and for one reason at the most: some 10 ms of work.
pub const PRUNED_AT_ONCE: u32 = 2_000;

/// What ended before `?1`. Outcomes and events are as old as their ids, so only the oldest are looked at.
pub const OLD: [&str; 5] = [
    "delete from task_queue where seq in (select seq from task_queue
       where finished_at < ?1 and finished_at is not null and dedupe_key is null and state <> 'failed' limit ?2)",
    "delete from task_queue where seq in (select seq from task_queue
       where finished_at < ?1 and finished_at is not null and dedupe_key is not null and state <> 'failed' limit ?2)",
    "delete from task_queue where seq in (select seq from task_queue
       where finished_at < ?1 and state = 'failed' limit ?2)",
    "delete from ops_outcomes where id in (
       select id from (select id, created_at from ops_outcomes order by id limit ?2) where created_at < ?1)",
    "delete from agent_events where id in (
       select id from (select id, created_at from agent_events where event_type <> 'agent.transition'
                       order by id limit ?2)
       where created_at < ?1)",
];

/// The oldest beyond the newest `?1`, of each class of tasks for itself: a flood of successes pushes out neither dead
/// letters nor what makes a repeated submission known. Ids are dense enough: what is further from the newest is beyond
/// the bound.
pub const MANY: [&str; 5] = [
    "delete from task_queue where seq in (
       select seq from task_queue where finished_at is not null and dedupe_key is null and state <> 'failed'
         and finished_at < (select finished_at from task_queue
                            where finished_at is not null and dedupe_key is null and state <> 'failed'
                            order by finished_at desc limit 1 offset ?1 - 1)
       order by finished_at limit ?2)",
    "delete from task_queue where seq in (
       select seq from task_queue where finished_at is not null and dedupe_key is not null and state <> 'failed'
         and finished_at < (select finished_at from task_queue
                            where finished_at is not null and dedupe_key is not null and state <> 'failed'
                            order by finished_at desc limit 1 offset ?1 - 1)
       order by finished_at limit ?2)",
    "delete from task_queue where seq in (
       select seq from task_queue where state = 'failed'
         and finished_at < (select finished_at from task_queue where state = 'failed'
                            order by finished_at desc limit 1 offset ?1 - 1)
       order by finished_at limit ?2)",
    "delete from ops_outcomes where id in (
       select id from ops_outcomes where id <= (select max(id) from ops_outcomes) - ?1 order by id limit ?2)",
    "delete from agent_events where id in (
       select id from agent_events
       where id <= (select max(id) from agent_events) - ?1 and event_type <> 'agent.transition'
       order by id limit ?2)",
];

/// Each agent that has turns, by one step of the index each.
pub const SPEAKERS: &str = "with recursive speakers (name) as (
       select min(agent_name) from agent_turns
       union all
       select (select min(agent_name) from agent_turns where agent_name > name) from speakers where name is not null)
     select name from speakers where name is not null";

pub const TURNS: &str = "delete from agent_turns where id in (
       select id from agent_turns where agent_name = ?1
         and id <= (select id from agent_turns where agent_name = ?1 order by id desc limit 1 offset ?2)
       order by id limit ?3)";

/// Answers whether there is more to delete.
pub async fn prune(db: &mut SqliteConnection, before: DateTime<Utc>, rows: u32) -> Result<bool, Error> {
    let mut most = 0;
    for sql in OLD {
        let done = sqlx::query(sql).bind(stamp(before)).bind(PRUNED_AT_ONCE).execute(&mut *db).await?;
        most = most.max(done.rows_affected());
    }
    for sql in MANY {
        let done = sqlx::query(sql).bind(rows).bind(PRUNED_AT_ONCE).execute(&mut *db).await?;
        most = most.max(done.rows_affected());
    }
    let speakers: Vec<String> = sqlx::query_scalar(SPEAKERS).fetch_all(&mut *db).await?;
    for agent in speakers {
        let turns = sqlx::query(TURNS).bind(agent).bind(KEPT_TURNS_OF_AGENT).bind(PRUNED_AT_ONCE);
        most = most.max(turns.execute(&mut *db).await?.rows_affected());
    }
    Ok(most >= u64::from(PRUNED_AT_ONCE))
}
