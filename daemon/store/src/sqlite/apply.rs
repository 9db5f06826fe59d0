//! One batch, one transaction. Many rows go in as one JSON text each, since every statement costs a thread change.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::read::time;
use crate::backend::{
    Applied, Batch, Claimant, KEPT_TRANSITIONS, KEPT_TURNS, MemoryChange, NewEvent, Order, TRANSITION,
};
use crate::task::{Completion, Ended, LeasedTask, NewTask, Outcome, Submitted, TaskId, TaskState};
use crate::{Error, stamp};

/// Rows that one pruning deletes from one table at the most, so that it never holds up the others for long.
const PRUNED_AT_ONCE: u32 = 5_000;

pub async fn apply(
    db: &mut SqliteConnection,
    batch: &Batch,
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    if !batch.completions.is_empty() {
        complete(db, &batch.completions, now, &mut applied).await?;
    }
    for order in &batch.orders {
        let done = carry_out(db, order, now, &mut applied).await?;
        applied.orders.push(done);
    }
    if !batch.submissions.is_empty() {
        applied.submitted = submit(db, &batch.submissions.iter().collect::<Vec<_>>(), now).await?;
    }
    if !batch.renewals.is_empty() {
        applied.lost = renew(db, &batch.renewals, claimant, now).await?;
    }
    for change in &batch.memory {
        remember(db, change, now).await?;
    }
    if !batch.events.is_empty() {
        write_events(db, &batch.events).await?;
    }
    for (agent, record) in &batch.records {
        let sql = "insert into agent_state (agent_name, record, updated_at) values (?1, ?2, ?3)
                   on conflict (agent_name) do update set record = ?2, updated_at = ?3";
        sqlx::query(sql).bind(agent.as_str()).bind(record).bind(stamp(now)).execute(&mut *db).await?;
    }
    if batch.sweep {
        sweep(db, now, &mut applied).await?;
    }
    if let Some((before, rows)) = batch.prune {
        prune(db, before, rows).await?;
    }
    for (queue, most) in &batch.claims {
        claim(db, queue, *most, claimant, now, &mut applied.claimed).await?;
    }
    if batch.proof {
        let sql = "insert into proof values (1, ?1) on conflict (id) do update set written_at = ?1";
        sqlx::query(sql).bind(stamp(now)).execute(&mut *db).await?;
    }
    Ok(applied)
}

/// Ends tries under their leases, with outcome, event and follow-ups beside each.
async fn complete(
    db: &mut SqliteConnection,
    completions: &[Completion],
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> Result<(), Error> {
    let rows: Vec<Value> = completions.iter().map(completion_row).collect();
    let sql = "update task_queue set
                 state = j.value ->> 'state', result = j.value ->> 'result',
                 error = coalesce(j.value ->> 'error', case when j.value ->> 'state' = 'done' then null else error end),
                 run_at = coalesce(j.value ->> 'run_at', run_at), attempts = attempts - (j.value ->> 'uncounted'),
                 lease_owner = null, lease_until = null, updated_at = ?2,
                 finished_at = case when j.value ->> 'state' = 'queued' then null else ?2 end
               from json_each(?1) j
               where task_queue.id = j.value ->> 'id' and task_queue.lease_token = j.value ->> 'token'
                 and task_queue.state = 'leased'
               returning id, session, attempts, created_at";
    let returned = sqlx::query(sql).bind(to_json(&rows)).bind(stamp(now)).fetch_all(&mut *db).await?;
    let mut held: HashMap<String, SqliteRow> = returned.into_iter().map(|row| (row.get(0), row)).collect();

    let (mut outcomes, mut events, mut follow_ups) = (Vec::new(), Vec::new(), Vec::new());
    let mut sessions = HashSet::new();
    for completion in completions {
        let Some(row) = held.remove(&completion.id.to_string()) else {
            applied.stale.push(completion.id);
            continue;
        };
        let state = state_after(&completion.outcome);
        if let (true, Some(session)) = (state.ended(), row.get::<Option<String>, _>(1)) {
            sessions.insert((completion.agent.clone(), session));
        }
        let attempts: u32 = row.get(2);
        if state.ended() {
            applied.ended.push((completion.agent.clone(), ended(completion, state, attempts, &row, now)));
        }
        if let Outcome::Done { follow_ups: more, .. } = &completion.outcome {
            follow_ups.extend(more);
        }
        if !matches!(completion.outcome, Outcome::Released) {
            outcomes.push(outcome_row(completion, now));
        }
        events.push(task_event(completion, state, now));
    }
    unblock(db, &sessions).await?;
    let sql = "insert into ops_outcomes (agent, kind, task_id, success, duration_ms, attempts, detail, created_at)
               select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                      value ->> 7
               from json_each(?1)";
    sqlx::query(sql).bind(to_json(&outcomes)).execute(&mut *db).await?;
    write_events(db, &events).await?;
    if !follow_ups.is_empty() {
        let submitted = submit(db, &follow_ups, now).await?;
        let new = follow_ups.iter().zip(submitted).filter(|(_, submitted)| !submitted.existing);
        applied.followed.extend(new.map(|(task, _)| task.queue.clone()));
    }
    Ok(())
}

fn state_after(outcome: &Outcome) -> TaskState {
    match outcome {
        Outcome::Done { .. } => TaskState::Done,
        Outcome::Failed { retry_at: None, .. } => TaskState::Failed,
        Outcome::Failed { .. } | Outcome::Released => TaskState::Queued,
    }
}

fn completion_row(completion: &Completion) -> Value {
    let (result, error, run_at) = match &completion.outcome {
        Outcome::Done { result, .. } => (Some(result), None, None),
        Outcome::Failed { error, retry_at } => (None, Some(error), retry_at.map(stamp)),
        Outcome::Released => (None, None, None),
    };
    json!({
        "id": completion.id, "token": completion.token, "state": state_after(&completion.outcome).as_str(),
        "result": result, "error": error, "run_at": run_at,
        "uncounted": u8::from(matches!(completion.outcome, Outcome::Released)),
    })
}

fn ended(
    completion: &Completion,
    state: TaskState,
    attempts: u32,
    row: &SqliteRow,
    now: DateTime<Utc>,
) -> Ended {
    let (result, error) = match &completion.outcome {
        Outcome::Done { result, .. } => (Some(result.clone()), None),
        Outcome::Failed { error, .. } => (None, Some(error.clone())),
        Outcome::Released => (None, None),
    };
    let duration = (now - time(row.get(3))).to_std().unwrap_or_default();
    Ended { id: completion.id, state, result, error, attempts, duration }
}

fn outcome_row(completion: &Completion, now: DateTime<Utc>) -> Value {
    let (success, detail) = match &completion.outcome {
        Outcome::Failed { error, .. } => (0, Some(error)),
        _ => (1, None),
    };
    let millis = u64::try_from(completion.duration.as_millis()).unwrap_or(u64::MAX);
    json!([
        completion.agent,
        completion.kind,
        completion.id,
        success,
        millis,
        completion.attempts,
        detail,
        stamp(now)
    ])
}

fn task_event(completion: &Completion, state: TaskState, at: DateTime<Utc>) -> NewEvent {
    let kind = match (&completion.outcome, state) {
        (Outcome::Released, _) => "task.released",
        (_, TaskState::Done) => "task.done",
        (_, TaskState::Failed) => "task.failed",
        _ => "task.retry",
    };
    let payload = json!({"task_id": completion.id, "attempt": completion.attempts}).to_string();
    NewEvent { agent: completion.agent.clone(), kind, payload, at }
}

/// The first unended task of each session may run.
async fn unblock(db: &mut SqliteConnection, sessions: &HashSet<(AgentName, String)>) -> Result<(), Error> {
    if sessions.is_empty() {
        return Ok(());
    }
    let sql = "update task_queue set blocked = 0 where blocked = 1 and seq in (
                 select (select min(seq) from task_queue t
                         where t.queue = j.value ->> 0 and t.session = j.value ->> 1 and t.session is not null
                           and t.state in ('queued', 'leased'))
                 from json_each(?1) j)";
    let sessions: Vec<_> = sessions.iter().collect();
    sqlx::query(sql).bind(to_json(&sessions)).execute(&mut *db).await?;
    Ok(())
}

async fn submit(
    db: &mut SqliteConnection,
    tasks: &[&NewTask],
    now: DateTime<Utc>,
) -> Result<Vec<Submitted>, Error> {
    let mut known = known_keys(db, tasks).await?;
    let mut sessions = HashSet::new();
    let mut rows = Vec::new();
    let mut submitted = Vec::with_capacity(tasks.len());
    for task in tasks {
        if let Some(key) = &task.dedupe_key {
            let key = (task.queue.to_string(), key.clone());
            if let Some(id) = known.get(&key) {
                submitted.push(Submitted { id: *id, existing: true });
                continue;
            }
            known.insert(key, task.id);
        }
        // An earlier one of its session in this batch blocks it, as one in the table does.
        let follows = task.session.as_ref().is_some_and(|session| !sessions.insert((&task.queue, session)));
        let run_at = stamp(task.run_at.unwrap_or(now));
        rows.push(json!([
            task.id,
            task.queue,
            task.kind,
            task.payload,
            task.session,
            task.dedupe_key,
            task.priority,
            task.max_attempts,
            run_at,
            task.source,
            u8::from(follows),
        ]));
        submitted.push(Submitted { id: task.id, existing: false });
    }
    let sql = "insert into task_queue (id, queue, kind, payload, session, dedupe_key, priority, max_attempts, run_at,
                                       source, state, blocked, created_at, updated_at)
               select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                      value ->> 7, value ->> 8, value ->> 9, 'queued',
                      value ->> 10 or (value ->> 4 is not null and exists (
                          select 1 from task_queue t
                          where t.queue = value ->> 1 and t.session = value ->> 4 and t.session is not null
                            and t.state in ('queued', 'leased'))),
                      ?2, ?2
               from json_each(?1) order by key";
    sqlx::query(sql).bind(to_json(&rows)).bind(stamp(now)).execute(&mut *db).await?;
    Ok(submitted)
}

async fn known_keys(
    db: &mut SqliteConnection,
    tasks: &[&NewTask],
) -> Result<HashMap<(String, String), TaskId>, Error> {
    let keys: Vec<_> =
        tasks.iter().filter_map(|t| t.dedupe_key.as_ref().map(|key| (&t.queue, key))).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "select t.queue, t.dedupe_key, t.id from json_each(?1) j
               join task_queue t on t.queue = j.value ->> 0 and t.dedupe_key = j.value ->> 1
               where t.dedupe_key is not null";
    let rows = sqlx::query(sql).bind(to_json(&keys)).fetch_all(&mut *db).await?;
    rows.iter().map(|row| Ok(((row.get(0), row.get(1)), id(row, 2)?))).collect()
}

async fn claim(
    db: &mut SqliteConnection,
    queue: &AgentName,
    most: u32,
    claimant: &Claimant,
    now: DateTime<Utc>,
    claimed: &mut Vec<LeasedTask>,
) -> Result<(), Error> {
    let sql =
        "update task_queue set state = 'leased', attempts = attempts + 1, lease_token = lease_token + 1,
                 lease_owner = ?3, lease_until = ?4, updated_at = ?2
               where seq in (select seq from task_queue
                             where queue = ?1 and state = 'queued' and blocked = 0 and run_at <= ?2
                             order by priority desc, seq limit ?5)
               returning id, lease_token, kind, payload, session, source, attempts, max_attempts, created_at,
                         priority, seq";
    let rows = sqlx::query(sql)
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

async fn renew(
    db: &mut SqliteConnection,
    leases: &[(TaskId, i64)],
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<Vec<TaskId>, Error> {
    let sql = "update task_queue set lease_until = ?2 from json_each(?1) j
               where task_queue.id = j.value ->> 0 and task_queue.lease_token = j.value ->> 1
                 and task_queue.state = 'leased'
               returning id";
    let until = stamp(now + claimant.lease);
    let rows = sqlx::query(sql).bind(to_json(leases)).bind(until).fetch_all(&mut *db).await?;
    let held = rows.iter().map(|row| id(row, 0)).collect::<Result<HashSet<_>, _>>()?;
    Ok(leases.iter().map(|(id, _)| *id).filter(|id| !held.contains(id)).collect())
}

/// Frees tasks whose worker has not renewed; one that has used up its tries is a dead letter.
async fn sweep(db: &mut SqliteConnection, now: DateTime<Utc>, applied: &mut Applied) -> Result<(), Error> {
    let sql = "update task_queue set
                 state = case when attempts >= max_attempts then 'failed' else 'queued' end,
                 finished_at = case when attempts >= max_attempts then ?1 end,
                 error = 'the worker stopped renewing its lease', lease_owner = null, lease_until = null,
                 updated_at = ?1
               where state = 'leased' and lease_until < ?1
               returning id, session, attempts, created_at, queue, state, error";
    let rows = sqlx::query(sql).bind(stamp(now)).fetch_all(&mut *db).await?;
    let mut sessions = HashSet::new();
    for row in &rows {
        applied.swept = true;
        let (queue, state): (String, String) = (row.get(4), row.get(5));
        let Ok(queue) = queue.parse::<AgentName>() else { continue };
        if state != TaskState::Failed.as_str() {
            continue;
        }
        if let Some(session) = row.get(1) {
            sessions.insert((queue.clone(), session));
        }
        let duration = (now - time(row.get(3))).to_std().unwrap_or_default();
        let (id, attempts, error) = (id(row, 0)?, row.get(2), row.get(6));
        applied
            .ended
            .push((queue, Ended { id, state: TaskState::Failed, result: None, error, attempts, duration }));
    }
    unblock(db, &sessions).await
}

pub async fn recover(
    db: &mut SqliteConnection,
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    // Nobody else holds this database's lock, so every lease is of an earlier life; that life's end is not the
    // task's fault.
    let sql = "update task_queue set state = 'queued', attempts = attempts - 1, lease_owner = null,
                 lease_until = null, updated_at = ?2
               where state = 'leased' and lease_owner is not ?1";
    let freed = sqlx::query(sql).bind(&claimant.owner).bind(stamp(now)).execute(&mut *db).await?;
    Ok(freed.rows_affected())
}

async fn carry_out(
    db: &mut SqliteConnection,
    order: &Order,
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> Result<Result<AgentName, Error>, Error> {
    let (Order::Retry(task) | Order::Cancel(task)) = *order;
    let sql = "select queue, session, attempts, created_at, state from task_queue where id = ?1";
    let Some(row) = sqlx::query(sql).bind(task.to_string()).fetch_optional(&mut *db).await? else {
        return Ok(Err(Error::NoSuchTask(task.to_string())));
    };
    let state: TaskState = row.get::<String, _>(4).parse().map_err(Error::Database)?;
    let queue: AgentName =
        row.get::<String, _>(0).parse().map_err(|error| Error::Database(format!("task {task}: {error}")))?;
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
    match order {
        Order::Retry(_) => {
            let sql = "update task_queue set state = 'queued', attempts = 0, run_at = ?2, updated_at = ?2,
                         finished_at = null, blocked = session is not null and exists (
                           select 1 from task_queue t
                           where t.queue = task_queue.queue and t.session = task_queue.session
                             and t.session is not null and t.state in ('queued', 'leased'))
                       where id = ?1";
            sqlx::query(sql).bind(task.to_string()).bind(stamp(now)).execute(&mut *db).await?;
        }
        Order::Cancel(_) => {
            let sql =
                "update task_queue set state = 'cancelled', updated_at = ?2, finished_at = ?2 where id = ?1";
            sqlx::query(sql).bind(task.to_string()).bind(stamp(now)).execute(&mut *db).await?;
            if let Some(session) = row.get(1) {
                unblock(db, &HashSet::from([(queue.clone(), session)])).await?;
            }
            let duration = (now - time(row.get(3))).to_std().unwrap_or_default();
            let (state, attempts) = (TaskState::Cancelled, row.get(2));
            let ended = Ended { id: task, state, result: None, error: None, attempts, duration };
            applied.ended.push((queue.clone(), ended));
        }
    }
    Ok(Ok(queue))
}

async fn remember(db: &mut SqliteConnection, change: &MemoryChange, now: DateTime<Utc>) -> Result<(), Error> {
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

async fn write_events(db: &mut SqliteConnection, events: &[NewEvent]) -> Result<(), Error> {
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

/// Deletes what is too old, and the oldest beyond `rows`; a part each time.
async fn prune(db: &mut SqliteConnection, before: DateTime<Utc>, rows: u32) -> Result<(), Error> {
    let old = [
        "delete from task_queue where seq in (select seq from task_queue where finished_at < ?1 limit ?2)",
        "delete from ops_outcomes where id in (select id from ops_outcomes where created_at < ?1 order by id limit ?2)",
        "delete from agent_events where id in (
           select id from agent_events where created_at < ?1 and event_type <> 'agent.transition'
           order by id limit ?2)",
    ];
    for sql in old {
        sqlx::query(sql).bind(stamp(before)).bind(PRUNED_AT_ONCE).execute(&mut *db).await?;
    }
    // Ids are dense enough: what is further than `rows` from the newest is beyond the bound.
    let many = [
        "delete from task_queue where seq in (
           select seq from task_queue where finished_at is not null
             and finished_at < (select finished_at from task_queue where finished_at is not null
                                order by finished_at desc limit 1 offset ?1)
           order by finished_at limit ?2)",
        "delete from ops_outcomes where id in (
           select id from ops_outcomes where id <= (select max(id) from ops_outcomes) - ?1 order by id limit ?2)",
        "delete from agent_events where id in (
           select id from agent_events
           where id <= (select max(id) from agent_events) - ?1 and event_type <> 'agent.transition'
           order by id limit ?2)",
    ];
    for sql in many {
        // More than one batch of work can add in a minute, or the bound would not hold.
        sqlx::query(sql).bind(rows).bind(PRUNED_AT_ONCE * 200).execute(&mut *db).await?;
    }
    Ok(())
}

fn id(row: &SqliteRow, column: usize) -> Result<TaskId, Error> {
    row.get::<&str, _>(column)
        .parse()
        .map_err(|_| Error::Database("a row of task_queue has a broken id".into()))
}

fn to_json<T: serde::Serialize + ?Sized>(rows: &T) -> String {
    // Vectors of strings, numbers and ids: nothing here can fail to serialize.
    serde_json::to_string(rows).unwrap_or_default()
}
