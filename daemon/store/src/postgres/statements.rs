//! A transaction's statements in PostgreSQL's own words. Many rows go in as one array per column, since every statement
//! costs a round trip.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use sqlx::Row;
use uuid::Uuid;

use super::dialect::{
    self, Connection, document_text, get_id, get_text, get_time, maybe_text, open_document,
};
use super::shared;
use crate::Error;
use crate::alert::{Report, Told, Which};
use crate::backend::{Claimant, MemoryChange, NewEvent, NewHeartbeat, Record};
use crate::ledger::{BudgetKey, Kept, NewCall};
use crate::mission::Mission;
use crate::shared::{CALL, KEEP_BUDGET, OPEN_BUDGET, count};
use crate::tally::Tally;
use crate::task::{LeasedTask, NewTask, TaskId};
use crate::transaction::{
    Claimed, Found, Freed, Held, Lost, Moment, NewRow, OutcomeRow, Sessions, Statements, Stored, Try,
};

pub const COMPLETE: &str = "update task_queue t set
       state = j.state, result = j.result::jsonb,
       error = coalesce(j.error, case when j.state = 'done' then null else t.error end),
       run_at = coalesce(j.run_at, t.run_at), attempts = t.attempts - j.uncounted,
       lease_owner = null, lease_until = null, updated_at = $2,
       blocked = t.session is not null and j.state = 'queued',
       finished_at = case when j.state = 'queued' then null else $2::timestamptz end
     from unnest($1::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::integer[])
       as j (id, token, state, result, error, run_at, uncounted)
     where t.id = j.id and t.lease_token = j.token and t.state = 'leased'
     returning t.id, t.lease_token, t.session, t.attempts, t.created_at";

/// Of the unended tasks of a session one is not `blocked`, that which an agent is at work on, or else the earliest.
pub const UNBLOCK: &str = "update task_queue t set blocked = false
     from unnest($1::text[], $2::text[]) as j (queue, session)
       cross join lateral (
         select id from task_queue f
         where f.queue = j.queue and f.session = j.session and f.session is not null
           and f.state in ('queued', 'leased')
         order by f.seq limit 1) first
     where t.id = first.id and t.blocked";

/// `follows`: an earlier one of its session in this batch blocks it, as one in the table does.
pub const SUBMIT: &str =
    "insert into task_queue (id, queue, kind, payload, session, dedupe_key, priority, max_attempts, run_at, source,
                             state, blocked, created_at, updated_at)
     select j.id, j.queue, j.kind, j.payload::jsonb, j.session, j.dedupe_key, j.priority, j.max_attempts, j.run_at,
            j.source, 'queued',
            j.follows or (j.session is not null and exists (
                select 1 from task_queue t
                where t.queue = j.queue and t.session = j.session and t.session is not null
                  and t.state in ('queued', 'leased'))),
            $2, $2
     from unnest($1::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::integer[],
                 $10::timestamptz[], $11::text[], $12::boolean[])
       with ordinality
       as j (id, queue, kind, payload, session, dedupe_key, priority, max_attempts, run_at, source, follows, place)
     order by j.place";

pub const KNOWN: &str = "select t.id, t.queue, t.dedupe_key
     from unnest($2::text[], $3::text[]) as j (queue, key)
       join task_queue t on t.queue = j.queue and t.dedupe_key = j.key and t.dedupe_key is not null
     union all
     select t.id, null, null from task_queue t where t.id = any($1)";

/// Both in one round trip.
const HISTORY: &str = "with outcomes as (
       insert into ops_outcomes (agent, kind, task_id, success, duration_ms, attempts, detail, created_at)
       select agent, kind, task_id, detail is null, duration_ms, attempts, detail, $7
       from unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::integer[], $6::text[]) with ordinality
         as o (agent, kind, task_id, duration_ms, attempts, detail, place)
       order by place)
     insert into agent_events (agent_name, event_type, payload, created_at)
     select agent_name, event_type, payload::jsonb, created_at
     from unnest($8::text[], $9::text[], $10::text[], $11::timestamptz[]) with ordinality
       as e (agent_name, event_type, payload, created_at, place)
     order by place";

const HEARTBEATS: &str = "insert into agent_heartbeats (agent_name, status, metadata, created_at)
     select agent_name, status, metadata::jsonb, created_at
     from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) with ordinality
       as h (agent_name, status, metadata, created_at, place)
     order by place";

/// In one order, which all daemons agree on.
const COUNT: &str = "insert into agent_calls (day, agent, method, outcome, count)
     select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
     on conflict (day, agent, method, outcome) do update set count = agent_calls.count + excluded.count";

pub const RENEW: &str = "update task_queue t set lease_until = $3
     from unnest($1::uuid[], $2::bigint[]) as j (id, token)
     where t.id = j.id and t.lease_token = j.token and t.state = 'leased'
     returning t.id, t.lease_token";

/// A claim is the last change of a leased task, so `updated_at` says since when it was in work. What somebody else is
/// about to complete, renew or sweep is left to them.
pub const SWEEP: &str = "with lost as materialized (
       select id, updated_at as since from task_queue where state = 'leased' and lease_until < $1
       for update skip locked)
     update task_queue t set
       state = case when t.attempts >= t.max_attempts then 'failed' else 'queued' end,
       finished_at = case when t.attempts >= t.max_attempts then $1::timestamptz end,
       error = $2, lease_owner = null, lease_until = null, updated_at = $1,
       blocked = t.session is not null and t.attempts < t.max_attempts
     from lost where t.id = lost.id
     returning t.id, t.session, t.attempts, t.max_attempts, t.created_at, t.queue, t.kind, lost.since";

/// Of this installation alone: other living daemons keep theirs.
pub const TAKE_OVER: &str =
    "update task_queue set state = 'queued', attempts = attempts - 1, blocked = session is not null,
       lease_owner = null, lease_until = null, updated_at = $3
     where state = 'leased' and starts_with(lease_owner, $1) and lease_owner <> $2
     returning queue, session";

/// All queues at once; what another daemon is about to claim is skipped.
pub const CLAIM: &str = "with next as materialized (
       select first.id from unnest($1::text[], $2::bigint[]) as j (queue, most)
         cross join lateral (
           select id from task_queue
           where queue = j.queue and state = 'queued' and not blocked and run_at <= $3
           order by priority desc, seq limit j.most for update skip locked) first)
     update task_queue t set state = 'leased', attempts = t.attempts + 1, lease_token = t.lease_token + 1,
       lease_owner = $4, lease_until = $5, updated_at = $3
     from next where t.id = next.id
     returning t.id, t.lease_token, t.queue, t.kind, t.payload::text, t.session, t.source, t.attempts, t.max_attempts,
       t.created_at, t.priority, t.seq";

/// Under a lead it is saved while that holds; without one, while nobody has the lead.
const SAVE: &str = "insert into agent_state as s (agent_name, record, updated_at) values ($1, $2, $3)
     on conflict (agent_name) do update set record = $2, updated_at = $3
     where case when $4::bigint is null then s.lease_until is null
                else s.lease_token = $4 and s.lease_owner = $5 end";

impl Statements for Connection {
    async fn end(&mut self, tries: &[Try<'_>], now: DateTime<Utc>) -> Result<Vec<Held>, Error> {
        let held = sqlx::query(COMPLETE)
            .bind(column(tries, |t| dialect::id(t.id)))
            .bind(dialect::at(now))
            .bind(column(tries, |t| t.token))
            .bind(column(tries, |t| t.state.as_str()))
            .bind(column(tries, |t| t.result.map(document_text)))
            .bind(column(tries, |t| t.error.map(dialect::text)))
            .bind(column(tries, |t| t.run_at.map(dialect::at)))
            .bind(column(tries, |t| i32::from(!t.counts)))
            .fetch_all(&mut *self)
            .await?;
        let held = held.iter().map(|row| {
            Ok(Held {
                id: get_id(row, 0)?,
                token: row.get(1),
                session: maybe_text(row, 2),
                attempts: count(row.get::<i32, _>(3)),
                created_at: get_time(row, 4),
            })
        });
        held.collect()
    }

    async fn unblock(&mut self, sessions: &Sessions) -> Result<(), Error> {
        let sessions: Vec<_> = sessions.iter().collect();
        sqlx::query(UNBLOCK)
            .bind(column(&sessions, |(queue, _)| queue.as_str()))
            .bind(column(&sessions, |(_, session)| dialect::text(session)))
            .execute(&mut *self)
            .await?;
        Ok(())
    }

    async fn hold_back(&mut self, queue: &AgentName, session: &str) -> Result<bool, Error> {
        shared::hold_back(self, queue, session).await
    }

    async fn known(&mut self, tasks: &[&NewTask]) -> Result<Vec<Stored>, Error> {
        let keyed: Vec<_> =
            tasks.iter().filter_map(|t| t.dedupe_key.as_deref().map(|key| (t.queue.as_str(), key))).collect();
        let rows = sqlx::query(KNOWN)
            .bind(column(tasks, |task| dialect::id(task.id)))
            .bind(column(&keyed, |(queue, _)| *queue))
            .bind(column(&keyed, |(_, key)| dialect::text(key)))
            .fetch_all(&mut *self)
            .await?;
        let stored = rows.iter().map(|row| {
            let key = row.get::<Option<String>, _>(1).zip(maybe_text(row, 2));
            Ok(Stored { id: get_id(row, 0)?, key })
        });
        stored.collect()
    }

    async fn insert(&mut self, rows: &[NewRow<'_>], now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query(SUBMIT)
            .bind(column(rows, |row| dialect::id(row.task.id)))
            .bind(dialect::at(now))
            .bind(column(rows, |row| row.task.queue.as_str()))
            .bind(column(rows, |row| dialect::text(&row.task.kind)))
            .bind(column(rows, |row| document_text(&row.task.payload)))
            .bind(column(rows, |row| row.task.session.as_deref().map(dialect::text)))
            .bind(column(rows, |row| row.task.dedupe_key.as_deref().map(dialect::text)))
            .bind(column(rows, |row| row.task.priority))
            .bind(column(rows, |row| number(row.task.max_attempts)))
            .bind(column(rows, |row| dialect::at(row.run_at)))
            .bind(column(rows, |row| dialect::text(&row.task.source)))
            .bind(column(rows, |row| row.follows))
            .execute(&mut *self)
            .await?;
        Ok(())
    }

    async fn history(
        &mut self,
        outcomes: &[OutcomeRow<'_>],
        events: &[NewEvent],
        moment: &Moment,
    ) -> Result<(), Error> {
        sqlx::query(HISTORY)
            .bind(column(outcomes, |o| o.agent.as_str()))
            .bind(column(outcomes, |o| dialect::text(o.kind)))
            .bind(column(outcomes, |o| dialect::id(o.task)))
            .bind(column(outcomes, |o| o.duration_ms))
            .bind(column(outcomes, |o| number(o.attempts)))
            .bind(column(outcomes, |o| o.error.map(dialect::text)))
            .bind(dialect::at(moment.now))
            .bind(column(events, |e| e.agent.as_str()))
            .bind(column(events, |e| e.kind))
            .bind(column(events, |e| document_text(&e.payload)))
            .bind(column(events, |e| dialect::at(moment.of(e.at))))
            .execute(&mut *self)
            .await?;
        shared::trim(self, events).await
    }

    async fn heartbeats(&mut self, heartbeats: &[NewHeartbeat], moment: &Moment) -> Result<(), Error> {
        sqlx::query(HEARTBEATS)
            .bind(column(heartbeats, |h| h.agent.as_str()))
            .bind(column(heartbeats, |h| h.status))
            .bind(column(heartbeats, |h| document_text(&h.metadata)))
            .bind(column(heartbeats, |h| dialect::at(moment.of(h.at))))
            .execute(&mut *self)
            .await?;
        Ok(())
    }

    async fn report(&mut self, report: &Report, cooldown: TimeDelta, moment: &Moment) -> Result<bool, Error> {
        shared::report(self, report, cooldown, moment).await
    }

    async fn acknowledge(
        &mut self,
        which: &Which,
        actor: &str,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        shared::acknowledge(self, which, actor, at, now).await
    }

    async fn alert_revision(&mut self, id: i64) -> Result<Option<i64>, Error> {
        shared::alert_revision(self, id).await
    }

    async fn tell(&mut self, told: &Told, moment: &Moment) -> Result<(), Error> {
        shared::tell(self, told, moment).await
    }

    async fn delivered(&mut self, id: i64, at: DateTime<Utc>) -> Result<u64, Error> {
        shared::delivered(self, id, at).await
    }

    async fn mission(&mut self, id: Uuid) -> Result<Option<Mission>, Error> {
        shared::mission(self, id).await
    }

    async fn waiting_missions(&mut self) -> Result<u32, Error> {
        shared::waiting_missions(self).await
    }

    async fn add_mission(&mut self, mission: &Mission) -> Result<(), Error> {
        shared::add_mission(self, mission).await
    }

    async fn keep_mission(&mut self, mission: &Mission, ended: bool) -> Result<(), Error> {
        shared::keep_mission(self, mission, ended).await
    }

    async fn find(&mut self, id: TaskId) -> Result<Option<Found>, Error> {
        shared::find(self, id).await
    }

    async fn revive(&mut self, id: TaskId, now: DateTime<Utc>) -> Result<(), Error> {
        shared::revive(self, id, now).await
    }

    async fn cancel(&mut self, id: TaskId, now: DateTime<Utc>) -> Result<(), Error> {
        shared::cancel(self, id, now).await
    }

    async fn renew(
        &mut self,
        leases: &[(TaskId, i64)],
        until: DateTime<Utc>,
    ) -> Result<HashSet<(TaskId, i64)>, Error> {
        let rows = sqlx::query(RENEW)
            .bind(column(leases, |(id, _)| dialect::id(*id)))
            .bind(column(leases, |(_, token)| *token))
            .bind(dialect::at(until))
            .fetch_all(&mut *self)
            .await?;
        rows.iter().map(|row| Ok((get_id(row, 0)?, row.get(1)))).collect()
    }

    async fn remember(&mut self, change: &MemoryChange, now: DateTime<Utc>) -> Result<(), Error> {
        shared::remember(self, change, now).await
    }

    async fn budget(&mut self, (budget, period): &BudgetKey, now: DateTime<Utc>) -> Result<Kept, Error> {
        let open = sqlx::query(OPEN_BUDGET).bind(budget).bind(period).bind(dialect::at(now));
        open.execute(&mut *self).await?;
        let sql =
            "select used, reserved, told from provider_budgets where budget = $1 and period = $2 for update";
        let row = sqlx::query(sql).bind(budget).bind(period).fetch_one(&mut *self).await?;
        Ok(Kept { used: row.get(0), reserved: row.get(1), told: row.get(2) })
    }

    async fn keep_budget(
        &mut self,
        (budget, period): &BudgetKey,
        kept: &Kept,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let keep = sqlx::query(KEEP_BUDGET).bind(budget).bind(period).bind(kept.used).bind(kept.reserved);
        keep.bind(kept.told).bind(dialect::at(now)).execute(&mut *self).await?;
        Ok(())
    }

    async fn call(&mut self, call: &NewCall, at: DateTime<Utc>) -> Result<bool, Error> {
        let insert = sqlx::query(CALL).bind(dialect::id(TaskId::from(call.id))).bind(call.agent.as_str());
        let insert = insert.bind(call.capability).bind(dialect::text(&call.provider));
        let insert = insert.bind(call.model.as_deref().map(dialect::text)).bind(call.tokens_in);
        let insert = insert.bind(call.tokens_out).bind(call.cost).bind(call.duration_ms).bind(call.outcome);
        let insert = insert.bind(call.detail.as_deref().map(dialect::text)).bind(dialect::at(at));
        Ok(insert.execute(&mut *self).await?.rows_affected() > 0)
    }

    async fn abandon(&mut self, before: DateTime<Utc>) -> Result<(), Error> {
        shared::abandon(self, before).await
    }

    async fn count(&mut self, tally: &Tally) -> Result<(), Error> {
        let rows: Vec<_> = tally.iter().collect();
        sqlx::query(COUNT)
            .bind(column(&rows, |(asked, _)| asked.day.to_string()))
            .bind(column(&rows, |(asked, _)| asked.agent.as_str()))
            .bind(column(&rows, |(asked, _)| asked.method))
            .bind(column(&rows, |(asked, _)| asked.outcome))
            .bind(column(&rows, |(_, count)| i64::from(**count)))
            .execute(&mut *self)
            .await?;
        Ok(())
    }

    async fn save(
        &mut self,
        agent: &AgentName,
        record: &Record,
        claimant: &Claimant,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let save = sqlx::query(SAVE).bind(agent.as_str()).bind(dialect::document(&record.text));
        let saved =
            save.bind(dialect::at(now)).bind(record.lease).bind(claimant.owner()).execute(&mut *self).await?;
        Ok(saved.rows_affected() > 0)
    }

    async fn take_back(&mut self, error: &str, now: DateTime<Utc>) -> Result<Vec<Lost>, Error> {
        let rows = sqlx::query(SWEEP).bind(dialect::at(now)).bind(error).fetch_all(&mut *self).await?;
        let lost = rows.iter().map(|row| {
            Ok(Lost {
                id: get_id(row, 0)?,
                session: maybe_text(row, 1),
                attempts: count(row.get::<i32, _>(2)),
                max_attempts: count(row.get::<i32, _>(3)),
                created_at: get_time(row, 4),
                queue: row.get(5),
                kind: get_text(row, 6),
                since: get_time(row, 7),
            })
        });
        lost.collect()
    }

    async fn any_leased(&mut self) -> Result<bool, Error> {
        shared::any_leased(self).await
    }

    async fn take_over(&mut self, claimant: &Claimant, now: DateTime<Utc>) -> Result<Vec<Freed>, Error> {
        let rows = sqlx::query(TAKE_OVER)
            .bind(format!("{}/", claimant.installation))
            .bind(claimant.owner())
            .bind(dialect::at(now))
            .fetch_all(&mut *self)
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), maybe_text(row, 1))).collect())
    }

    async fn prune(&mut self, before: DateTime<Utc>, rows: u32) -> Result<bool, Error> {
        // One daemon at a time: two would delete the same rows, and wait for each other.
        let mine = "select pg_try_advisory_xact_lock(hashtextextended('openclaw.prune', 0))";
        if sqlx::query_scalar(mine).fetch_one(&mut *self).await? {
            return shared::prune(self, before, rows).await;
        }
        Ok(false)
    }

    async fn claim(
        &mut self,
        claims: &[(AgentName, u32)],
        claimant: &Claimant,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>, Error> {
        let rows = sqlx::query(CLAIM)
            .bind(column(claims, |(queue, _)| queue.as_str()))
            .bind(column(claims, |(_, most)| i64::from(*most)))
            .bind(dialect::at(now))
            .bind(claimant.owner())
            .bind(dialect::at(now + claimant.lease))
            .fetch_all(&mut *self)
            .await?;
        let claimed = rows.iter().map(|row| {
            let queue = row.get::<&str, _>(2).parse();
            let task = LeasedTask {
                id: get_id(row, 0)?,
                token: row.get(1),
                queue: queue.map_err(|error| Error::Database(format!("a row of task_queue: {error}")))?,
                kind: get_text(row, 3),
                payload: open_document(row.get(4)),
                session: maybe_text(row, 5),
                source: get_text(row, 6),
                attempts: count(row.get::<i32, _>(7)),
                max_attempts: count(row.get::<i32, _>(8)),
                created_at: get_time(row, 9),
            };
            Ok(Claimed { priority: row.get(10), seq: row.get(11), task })
        });
        claimed.collect()
    }

    async fn prove(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        shared::prove(self, now).await
    }
}

/// One column of many rows.
fn column<'r, R, T>(rows: &'r [R], of: impl FnMut(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The database has no unsigned numbers.
fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
