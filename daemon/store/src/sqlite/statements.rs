//! A transaction's statements in SQLite's own words. Many rows go in as one JSON text each, and what answers nothing is
//! sent with what answers next ([`Pipeline`]), since every exchange costs thread changes.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use super::dialect::{get_id, get_time};
use super::pipeline::Pipeline;
use super::shared;
use crate::alert::{Report, Told, Which};
use crate::backend::{Claimant, MemoryChange, NewEvent, NewHeartbeat, Record, TRANSITION};
use crate::ledger::{BudgetKey, Kept, NewCall};
use crate::mission::Mission;
use crate::shared::{CALL, KEEP_BUDGET, OPEN_BUDGET, count};
use crate::tally::Tally;
use crate::task::{LeasedTask, NewTask, TaskId};
use crate::transaction::{
    Claimed, Found, Freed, Held, Lost, Moment, NewRow, OutcomeRow, Sessions, Statements, Stored, Try,
};
use crate::{Error, stamp};

pub const COMPLETE: &str = "update task_queue set
       state = j.value ->> 'state', result = j.value ->> 'result',
       error = coalesce(j.value ->> 'error', case when j.value ->> 'state' = 'done' then null else error end),
       run_at = coalesce(j.value ->> 'run_at', run_at), attempts = attempts - (j.value ->> 'uncounted'),
       lease_owner = null, lease_until = null, updated_at = $2,
       blocked = session is not null and j.value ->> 'state' = 'queued',
       finished_at = case when j.value ->> 'state' = 'queued' then null else $2 end
     from json_each($1) j
     where task_queue.id = j.value ->> 'id' and task_queue.lease_token = j.value ->> 'token'
       and task_queue.state = 'leased'
     returning id, lease_token, session, attempts, created_at";

/// Of the unended tasks of a session one is not `blocked`, that which an agent is at work on, or else the earliest.
pub const UNBLOCK: &str = "update task_queue set blocked = 0 where blocked = 1 and seq in (
       select (select min(seq) from task_queue t
               where t.queue = j.value ->> 0 and t.session = j.value ->> 1 and t.session is not null
                 and t.state in ('queued', 'leased'))
       from json_each($1) j)";

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
            $2, $2
     from json_each($1) order by key";

pub const KNOWN: &str = "select t.id, t.queue, t.dedupe_key from json_each($1) j
       cross join task_queue t on t.queue = j.value ->> 1 and t.dedupe_key = j.value ->> 2
       where t.dedupe_key is not null
     union all
     select t.id, null, null from json_each($1) j cross join task_queue t on t.id = j.value ->> 0";

const OUTCOMES: &str =
    "insert into ops_outcomes (agent, kind, task_id, success, duration_ms, attempts, detail, created_at)
     select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
     from json_each($1) order by key";

const EVENTS: &str = "insert into agent_events (agent_name, event_type, payload, created_at)
     select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each($1) order by key";

const HEARTBEATS: &str = "insert into agent_heartbeats (agent_name, status, metadata, created_at)
     select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each($1) order by key";

pub const COUNT: &str = "insert into agent_calls (day, agent, method, outcome, count)
     select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each($1) where true
     on conflict (day, agent, method, outcome) do update set count = agent_calls.count + excluded.count";

pub const RENEW: &str = "update task_queue set lease_until = $2 from json_each($1) j
     where task_queue.id = j.value ->> 0 and task_queue.lease_token = j.value ->> 1 and task_queue.state = 'leased'
     returning id, lease_token";

/// A claim is the last change of a leased task, so `updated_at` says since when it was in work.
pub const LOST: &str = "select id, session, attempts, max_attempts, created_at, queue, kind, updated_at
     from task_queue where state = 'leased' and lease_until < $1";

pub const SWEEP: &str = "update task_queue set
       state = case when attempts >= max_attempts then 'failed' else 'queued' end,
       finished_at = case when attempts >= max_attempts then $1 end,
       error = $2, lease_owner = null, lease_until = null, updated_at = $1,
       blocked = session is not null and attempts < max_attempts
     where state = 'leased' and lease_until < $1";

/// Nobody else holds this database's lock, so every lease is of an earlier life.
const TAKE_OVER: &str =
    "update task_queue set state = 'queued', attempts = attempts - 1, blocked = session is not null,
       lease_owner = null, lease_until = null, updated_at = $2
     where state = 'leased' and lease_owner is not $1
     returning queue, session";

/// `0 + $5`: SQLite looks at the value of a bare limit, and would plan the statement anew at every call.
pub const CLAIM: &str =
    "update task_queue set state = 'leased', attempts = attempts + 1, lease_token = lease_token + 1,
       lease_owner = $3, lease_until = $4, updated_at = $2
     where seq in (select seq from task_queue
                   where queue = $1 and state = 'queued' and blocked = 0 and run_at <= $2
                   order by priority desc, seq limit 0 + $5)
     returning id, lease_token, kind, payload, session, source, attempts, max_attempts, created_at, priority, seq";

impl Statements for Pipeline<'_> {
    async fn end(&mut self, tries: &[Try<'_>], now: DateTime<Utc>) -> Result<Vec<Held>, Error> {
        let row = |t: &Try<'_>| {
            json!({
                "id": t.id, "token": t.token, "state": t.state.as_str(), "result": t.result, "error": t.error,
                "run_at": t.run_at.map(stamp), "uncounted": u8::from(!t.counts),
            })
        };
        let rows: Vec<Value> = tries.iter().map(row).collect();
        let held = self.add(COMPLETE).bind(to_json(&rows)).bind(stamp(now)).rows().await?;
        let held = held.iter().map(|row| {
            Ok(Held {
                id: get_id(row, 0)?,
                token: row.get(1),
                session: row.get(2),
                attempts: row.get(3),
                created_at: get_time(row, 4),
            })
        });
        held.collect()
    }

    async fn unblock(&mut self, sessions: &Sessions) -> Result<(), Error> {
        let sessions: Vec<_> = sessions.iter().collect();
        self.add(UNBLOCK).bind(to_json(&sessions));
        Ok(())
    }

    async fn hold_back(&mut self, queue: &AgentName, session: &str) -> Result<bool, Error> {
        shared::hold_back(self.flushed().await?, queue, session).await
    }

    async fn known(&mut self, tasks: &[&NewTask]) -> Result<Vec<Stored>, Error> {
        let wanted: Vec<_> = tasks.iter().map(|task| (task.id, &task.queue, &task.dedupe_key)).collect();
        let rows = self.add(KNOWN).bind(to_json(&wanted)).rows().await?;
        let stored = rows.iter().map(|row| {
            let key = row.get::<Option<String>, _>(1).zip(row.get::<Option<String>, _>(2));
            Ok(Stored { id: get_id(row, 0)?, key })
        });
        stored.collect()
    }

    async fn insert(&mut self, rows: &[NewRow<'_>], now: DateTime<Utc>) -> Result<(), Error> {
        let row = |NewRow { task, run_at, follows }: &NewRow<'_>| {
            json!([
                task.id,
                task.queue,
                task.kind,
                task.payload,
                task.session,
                task.dedupe_key,
                task.priority,
                task.max_attempts,
                stamp(*run_at),
                task.source,
                u8::from(*follows),
            ])
        };
        let rows: Vec<Value> = rows.iter().map(row).collect();
        self.add(SUBMIT).bind(to_json(&rows)).bind(stamp(now));
        Ok(())
    }

    async fn history(
        &mut self,
        outcomes: &[OutcomeRow<'_>],
        events: &[NewEvent],
        moment: &Moment,
    ) -> Result<(), Error> {
        if !outcomes.is_empty() {
            let now = stamp(moment.now);
            let row = |o: &OutcomeRow<'_>| {
                let success = u8::from(o.error.is_none());
                json!([o.agent, o.kind, o.task, success, o.duration_ms, o.attempts, o.error, now])
            };
            let rows: Vec<Value> = outcomes.iter().map(row).collect();
            self.add(OUTCOMES).bind(to_json(&rows));
        }
        let row = |e: &NewEvent| json!([e.agent, e.kind, e.payload, stamp(moment.of(e.at))]);
        let rows: Vec<Value> = events.iter().map(row).collect();
        self.add(EVENTS).bind(to_json(&rows));
        if events.iter().any(|event| event.kind == TRANSITION) {
            shared::trim(self.flushed().await?, events).await?;
        }
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[NewHeartbeat], moment: &Moment) -> Result<(), Error> {
        let row = |h: &NewHeartbeat| json!([h.agent, h.status, h.metadata, stamp(moment.of(h.at))]);
        let rows: Vec<Value> = heartbeats.iter().map(row).collect();
        self.add(HEARTBEATS).bind(to_json(&rows));
        Ok(())
    }

    async fn report(&mut self, report: &Report, cooldown: TimeDelta, moment: &Moment) -> Result<bool, Error> {
        shared::report(self.flushed().await?, report, cooldown, moment).await
    }

    async fn acknowledge(
        &mut self,
        which: &Which,
        actor: &str,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        shared::acknowledge(self.flushed().await?, which, actor, at, now).await
    }

    async fn alert_revision(&mut self, id: i64) -> Result<Option<i64>, Error> {
        shared::alert_revision(self.flushed().await?, id).await
    }

    async fn tell(&mut self, told: &Told, moment: &Moment) -> Result<(), Error> {
        shared::tell(self.flushed().await?, told, moment).await
    }

    async fn delivered(&mut self, id: i64, at: DateTime<Utc>) -> Result<u64, Error> {
        shared::delivered(self.flushed().await?, id, at).await
    }

    async fn mission(&mut self, id: Uuid) -> Result<Option<Mission>, Error> {
        shared::mission(self.flushed().await?, id).await
    }

    async fn waiting_missions(&mut self) -> Result<u32, Error> {
        shared::waiting_missions(self.flushed().await?).await
    }

    async fn add_mission(&mut self, mission: &Mission) -> Result<(), Error> {
        shared::add_mission(self.flushed().await?, mission).await
    }

    async fn keep_mission(&mut self, mission: &Mission, ended: bool) -> Result<(), Error> {
        shared::keep_mission(self.flushed().await?, mission, ended).await
    }

    async fn find(&mut self, id: TaskId) -> Result<Option<Found>, Error> {
        shared::find(self.flushed().await?, id).await
    }

    async fn revive(&mut self, id: TaskId, now: DateTime<Utc>) -> Result<(), Error> {
        shared::revive(self.flushed().await?, id, now).await
    }

    async fn cancel(&mut self, id: TaskId, now: DateTime<Utc>) -> Result<(), Error> {
        shared::cancel(self.flushed().await?, id, now).await
    }

    async fn renew(
        &mut self,
        leases: &[(TaskId, i64)],
        until: DateTime<Utc>,
    ) -> Result<HashSet<(TaskId, i64)>, Error> {
        let rows = self.add(RENEW).bind(to_json(leases)).bind(stamp(until)).rows().await?;
        rows.iter().map(|row| Ok((get_id(row, 0)?, row.get(1)))).collect()
    }

    async fn remember(&mut self, change: &MemoryChange, now: DateTime<Utc>) -> Result<(), Error> {
        shared::remember(self.flushed().await?, change, now).await
    }

    async fn budget(&mut self, (budget, period): &BudgetKey, now: DateTime<Utc>) -> Result<Kept, Error> {
        self.add(OPEN_BUDGET).bind(budget).bind(period).bind(stamp(now));
        let sql = "select used, reserved, told from provider_budgets where budget = $1 and period = $2";
        let rows = self.add(sql).bind(budget).bind(period).rows().await?;
        let row = rows.first().ok_or_else(|| Error::Database(format!("the budget `{budget}` has no row")))?;
        Ok(Kept { used: row.get(0), reserved: row.get(1), told: row.get(2) })
    }

    async fn keep_budget(
        &mut self,
        (budget, period): &BudgetKey,
        kept: &Kept,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let keep = self.add(KEEP_BUDGET).bind(budget).bind(period).bind(kept.used).bind(kept.reserved);
        keep.bind(kept.told).bind(stamp(now));
        Ok(())
    }

    async fn call(&mut self, call: &NewCall, at: DateTime<Utc>) -> Result<bool, Error> {
        let insert =
            self.add(&format!("{CALL} returning 1")).bind(call.id.to_string()).bind(call.agent.as_str());
        insert.bind(call.capability).bind(&call.provider).bind(&call.model).bind(call.tokens_in);
        insert.bind(call.tokens_out).bind(call.cost).bind(call.duration_ms).bind(call.outcome);
        Ok(!insert.bind(&call.detail).bind(stamp(at)).rows().await?.is_empty())
    }

    async fn abandon(&mut self, before: DateTime<Utc>) -> Result<(), Error> {
        shared::abandon(self.flushed().await?, before).await
    }

    async fn count(&mut self, tally: &Tally) -> Result<(), Error> {
        let rows: Vec<Value> = tally
            .iter()
            .map(|(asked, count)| json!([asked.day, asked.agent, asked.method, asked.outcome, count]))
            .collect();
        self.add(COUNT).bind(to_json(&rows));
        Ok(())
    }

    async fn save(
        &mut self,
        agent: &AgentName,
        record: &Record,
        _claimant: &Claimant,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let sql = "insert into agent_state (agent_name, record, updated_at) values ($1, $2, $3)
                   on conflict (agent_name) do update set record = $2, updated_at = $3";
        self.add(sql).bind(agent.as_str()).bind(&record.text).bind(stamp(now));
        Ok(true)
    }

    async fn take_back(&mut self, error: &str, now: DateTime<Utc>) -> Result<Vec<Lost>, Error> {
        let rows = self.add(LOST).bind(stamp(now)).rows().await?;
        if !rows.is_empty() {
            self.add(SWEEP).bind(stamp(now)).bind(error);
        }
        let lost = rows.iter().map(|row| {
            Ok(Lost {
                id: get_id(row, 0)?,
                session: row.get(1),
                attempts: row.get(2),
                max_attempts: row.get(3),
                created_at: get_time(row, 4),
                queue: row.get(5),
                kind: row.get(6),
                since: get_time(row, 7),
            })
        });
        lost.collect()
    }

    async fn any_leased(&mut self) -> Result<bool, Error> {
        shared::any_leased(self.flushed().await?).await
    }

    async fn take_over(&mut self, claimant: &Claimant, now: DateTime<Utc>) -> Result<Vec<Freed>, Error> {
        let freed = self.add(TAKE_OVER).bind(claimant.owner()).bind(stamp(now)).rows().await?;
        Ok(freed.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn prune(&mut self, before: DateTime<Utc>, rows: u32) -> Result<bool, Error> {
        shared::prune(self.flushed().await?, before, rows).await
    }

    async fn claim(
        &mut self,
        claims: &[(AgentName, u32)],
        claimant: &Claimant,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>, Error> {
        let mut claimed = Vec::new();
        for (queue, most) in claims {
            let claim = self.add(CLAIM).bind(queue.as_str()).bind(stamp(now)).bind(claimant.owner());
            let rows = claim.bind(stamp(now + claimant.lease)).bind(most).rows().await?;
            for row in &rows {
                let task = LeasedTask {
                    id: get_id(row, 0)?,
                    token: row.get(1),
                    queue: queue.clone(),
                    kind: row.get(2),
                    payload: row.get(3),
                    session: row.get(4),
                    source: row.get(5),
                    attempts: count(row.get::<i64, _>(6)),
                    max_attempts: count(row.get::<i64, _>(7)),
                    created_at: get_time(row, 8),
                };
                claimed.push(Claimed { priority: row.get(9), seq: row.get(10), task });
            }
        }
        Ok(claimed)
    }

    async fn sent(&mut self) -> Result<(), Error> {
        self.flushed().await.map(|_| ())
    }

    async fn prove(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        shared::prove(self.flushed().await?, now).await
    }
}

fn to_json<T: serde::Serialize + ?Sized>(rows: &T) -> String {
    // Vectors of strings, numbers and ids: nothing here can fail to serialize.
    serde_json::to_string(rows).unwrap_or_default()
}
