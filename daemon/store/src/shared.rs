//! The statements that both databases understand word for word, written once. Each database has them in its module
//! `shared`, in the words of its `dialect`: how a time, a text, a document and an id go in and come out.

/// Makes them. `$lock` is what makes a row that is read this transaction's until its end.
macro_rules! shared_statements {
    ($lock:literal) => {
        use std::collections::HashSet;

        use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
        use openclaw_agent_api::AgentName;
        use openclaw_agent_api::context::Turn;
        use sqlx::Row as _;
        use uuid::Uuid;

        use super::dialect::{self, Connection, Pool, Row};
        use crate::Error;
        use crate::alert::{Alert, LISTED_ALERTS, Level, News, Report, Told, Which};
        use crate::backend::{
            Depth, Event, Heartbeat, KEPT_TRANSITIONS, KEPT_TURNS, KEPT_TURNS_OF_AGENT, MemoryChange, NewEvent, TRANSITION,
        };
        use crate::ledger::{ABANDONED, Call, UNDER_WAY, Usage};
        use crate::mission::Mission;
        use crate::shared::count;
        use crate::tally::Count;
        use crate::task::{Task, TaskId};
        use crate::transaction::{Found, Moment};

        type Db = <Connection as sqlx::Connection>::Database;

        /// The blocked ones too: who unblocks one need not think of its time.
        pub const NEXT_DUE: &str = "select min(run_at) from task_queue where state = 'queued' and run_at > $1";

        pub async fn next_due(
            db: &mut Connection,
            after: DateTime<Utc>,
        ) -> Result<Option<DateTime<Utc>>, Error> {
            let row = sqlx::query(NEXT_DUE).bind(dialect::at(after)).fetch_one(db).await?;
            Ok(dialect::maybe_time(&row, 0))
        }

        /// Each state by its own index: never past the ended tasks, of which there are most.
        pub const DEPTHS: &str = "select queue, sum(queued), sum(leased), sum(failed) from (
               select queue, 1 as queued, 0 as leased, 0 as failed from task_queue where state = 'queued'
               union all select queue, 0, 1, 0 from task_queue where state = 'leased'
               union all select queue, 0, 0, 1 from task_queue where state = 'failed') depths
             group by queue order by queue";

        pub async fn depths(db: impl sqlx::Executor<'_, Database = Db>) -> Result<Vec<(String, Depth)>, Error> {
            let rows = sqlx::query(DEPTHS).fetch_all(db).await?;
            let sum = |row: &Row, column: usize| count(row.get::<i64, _>(column));
            let depth = |row: &Row| Depth { queued: sum(row, 1), leased: sum(row, 2), failed: sum(row, 3) };
            Ok(rows.iter().map(|row| (row.get(0), depth(row))).collect())
        }

        pub async fn task(db: impl sqlx::Executor<'_, Database = Db>, id: TaskId) -> Result<Option<Task>, Error> {
            let sql = "select * from task_queue where id = $1";
            let row = sqlx::query(sql).bind(dialect::id(id)).fetch_optional(db).await?;
            row.as_ref().map(to_task).transpose()
        }

        pub fn to_task(row: &Row) -> Result<Task, Error> {
            let state = row.get::<String, _>("state").parse();
            Ok(Task {
                id: dialect::get_id(row, "id")?,
                queue: row.get("queue"),
                kind: dialect::get_text(row, "kind"),
                state: state.map_err(|_| Error::Database("a row of task_queue has a broken state".into()))?,
                session: dialect::maybe_text(row, "session"),
                dedupe_key: dialect::maybe_text(row, "dedupe_key"),
                priority: row.get("priority"),
                attempts: count(row.get::<i32, _>("attempts")),
                max_attempts: count(row.get::<i32, _>("max_attempts")),
                run_at: dialect::get_time(row, "run_at"),
                payload: dialect::maybe_value(row, "payload").unwrap_or_default(),
                result: dialect::maybe_value(row, "result"),
                error: dialect::maybe_text(row, "error"),
                source: dialect::get_text(row, "source"),
                created_at: dialect::get_time(row, "created_at"),
                updated_at: dialect::get_time(row, "updated_at"),
                finished_at: dialect::maybe_time(row, "finished_at"),
            })
        }

        pub async fn records(db: &Pool) -> Result<Vec<(String, String)>, Error> {
            let sql = "select agent_name, record from agent_state where record is not null";
            let rows = sqlx::query(sql).fetch_all(db).await?;
            Ok(rows.iter().map(|row| (row.get(0), dialect::get_document(row, 1))).collect())
        }

        const EVENTS: &str = "select id, agent_name, event_type, payload, created_at from agent_events
             where agent_name = $1 and event_type = $2 order by id desc limit $3";
        pub const TRANSITIONS: &str = "select id, agent_name, event_type, payload, created_at from agent_events
             where agent_name = $1 and event_type = $2 and event_type = 'agent.transition' order by id desc limit $3";
        pub const ALERTS: &str = "select alerts.*, (select coalesce(error, 'it was cancelled') from task_queue
               where task_queue.id = alerts.message_id and state in ('failed', 'cancelled')) as undelivered
             from alerts order by last_at desc limit $1";

        pub async fn alerts(db: &Pool, limit: u32) -> Result<Vec<Alert>, Error> {
            let rows = sqlx::query(ALERTS).bind(i64::from(limit)).fetch_all(db).await?;
            let shown = |row: &Row| Ok(Alert { undelivered: dialect::maybe_text(row, "undelivered"), ..alert(row)? });
            rows.iter().map(shown).collect()
        }

        pub const OPEN_ALERTS: &str =
            "select severity, count(*) from alerts where resolved_at is null group by severity";

        pub async fn open_alerts(db: &Pool) -> Result<Vec<(Level, u64)>, Error> {
            let rows = sqlx::query(OPEN_ALERTS).fetch_all(db).await?;
            rows.iter().map(|row| Ok((level(row)?, u64::try_from(row.get::<i64, _>(1)).unwrap_or_default()))).collect()
        }

        fn level(row: &Row) -> Result<Level, Error> {
            let broken = |_| Error::Database("a row of alerts has a broken severity".into());
            row.get::<&str, _>("severity").parse().map_err(broken)
        }

        pub const ALERTS_DUE: &str =
            "select * from alerts where due_at <= $1 and due_at is not null order by due_at limit $2";

        pub async fn alerts_due(
            db: impl sqlx::Executor<'_, Database = Db>,
            by: DateTime<Utc>,
        ) -> Result<Vec<Alert>, Error> {
            let query = sqlx::query(ALERTS_DUE).bind(dialect::at(by)).bind(i64::from(LISTED_ALERTS));
            query.fetch_all(db).await?.iter().map(alert).collect()
        }

        pub const NEXT_ALERT: &str = "select min(due_at) from alerts where due_at is not null";

        pub async fn next_alert(db: impl sqlx::Executor<'_, Database = Db>) -> Result<Option<DateTime<Utc>>, Error> {
            Ok(dialect::maybe_time(&sqlx::query(NEXT_ALERT).fetch_one(db).await?, 0))
        }

        pub const ARRIVED: &str = "select a.id, t.finished_at from alerts a join task_queue t on t.id = a.message_id
             where a.delivered_at is null and a.message_id is not null and t.state = 'done' limit $1";

        pub async fn alerts_arrived(db: &Pool) -> Result<Vec<(i64, DateTime<Utc>)>, Error> {
            let rows = sqlx::query(ARRIVED).bind(i64::from(LISTED_ALERTS)).fetch_all(db).await?;
            Ok(rows.iter().map(|row| (row.get(0), dialect::get_time(row, 1))).collect())
        }

        fn alert(row: &Row) -> Result<Alert, Error> {
            Ok(Alert {
                id: row.get("id"),
                level: level(row)?,
                source: row.get("source"),
                text: dialect::get_text(row, "title"),
                key: dialect::get_text(row, "dedupe_key"),
                count: count(row.get::<i64, _>("count")),
                created_at: dialect::get_time(row, "created_at"),
                last_at: dialect::get_time(row, "last_at"),
                acked_at: dialect::maybe_time(row, "acked_at"),
                acked_by: dialect::maybe_text(row, "acked_by"),
                message: dialect::maybe_id(row, "message_id")?.map(TaskId::from),
                delivered_at: dialect::maybe_time(row, "delivered_at"),
                undelivered: None,
                resolved_at: dialect::maybe_time(row, "resolved_at"),
                resolution: dialect::maybe_text(row, "resolution"),
                told: dialect::maybe_value(row, "detail").unwrap_or_default(),
                revision: row.get("revision"),
            })
        }

        /// What comes back soon after it was over is the same alert, as bad as it is now; who knew of it knows of the last
        /// time.
        pub const REOPEN: &str = "update alerts set resolved_at = null, resolution = null, severity = $3,
               acked_at = null, acked_by = null, revision = revision + 1
             where id = (select id from alerts where dedupe_key = $1 and resolved_at > $2
                         order by resolved_at desc, id desc limit 1)
               and not exists (select 1 from alerts where dedupe_key = $1 and resolved_at is null)";

        /// An open alert has the worst of its levels, and its newest text.
        const REPORT: &str =
            "insert into alerts (source, severity, title, dedupe_key, count, created_at, last_at, due_at)
             values ($1, $2, $3, $4, $5, $6, $6, $7)
             on conflict (dedupe_key) where resolved_at is null do update set
               severity = case when alerts.severity = 'critical' or excluded.severity = 'info' then alerts.severity
                               else excluded.severity end,
               title = excluded.title, count = alerts.count + excluded.count, last_at = excluded.last_at,
               due_at = excluded.due_at";

        pub async fn report(
            db: &mut Connection,
            report: &Report,
            cooldown: TimeDelta,
            moment: &Moment,
        ) -> Result<bool, Error> {
            let Report { key, source, news, text, at } = report;
            let soon = dialect::at(moment.of(at.checked_sub_signed(cooldown).unwrap_or_default()));
            let (text, key, at) = (dialect::text(text), dialect::text(key), dialect::at(moment.of(*at)));
            let done = match news {
                News::Wrong(level, times) => {
                    let reopen = sqlx::query(REOPEN).bind(key.clone()).bind(soon).bind(level.as_str());
                    reopen.execute(&mut *db).await?;
                    let insert = sqlx::query(REPORT).bind(source.as_str()).bind(level.as_str()).bind(text).bind(key);
                    insert.bind(i64::from(*times)).bind(at).bind(dialect::at(moment.now)).execute(db).await?
                }
                News::Over => {
                    let sql = "update alerts set resolved_at = $2, resolution = $3, due_at = $4, revision = revision + 1
                               where dedupe_key = $1 and resolved_at is null";
                    let end = sqlx::query(sql).bind(key).bind(at).bind(text).bind(dialect::at(moment.now));
                    end.execute(db).await?
                }
            };
            Ok(done.rows_affected() > 0)
        }

        pub async fn acknowledge(
            db: &mut Connection,
            which: &Which,
            actor: &str,
            at: DateTime<Utc>,
            now: DateTime<Utc>,
        ) -> Result<u64, Error> {
            let (id, key) = match which {
                Which::All => (None, None),
                Which::Id(id) => (Some(*id), None),
                Which::Key(key) => (None, Some(dialect::text(key))),
            };
            let all = *which == Which::All;
            let sql = "update alerts set acked_at = $1, acked_by = $2, due_at = $3, revision = revision + 1
                       where resolved_at is null and (id = $4 or dedupe_key = $5 or ($6 and severity <> 'info' and acked_at is null))";
            let known = sqlx::query(sql).bind(dialect::at(at)).bind(dialect::text(actor)).bind(dialect::at(now));
            Ok(known.bind(id).bind(key).bind(all).execute(db).await?.rows_affected())
        }

        pub async fn alert_revision(db: &mut Connection, id: i64) -> Result<Option<i64>, Error> {
            let sql = concat!("select revision from alerts where id = $1", $lock);
            Ok(sqlx::query_scalar(sql).bind(id).fetch_optional(db).await?)
        }

        pub async fn tell(db: &mut Connection, told: &Told, moment: &Moment) -> Result<(), Error> {
            let time = |at: Option<DateTime<Utc>>| at.map(|at| dialect::at(moment.of(at)));
            // What happened since it was read is looked at at once.
            let sql = "update alerts set detail = $2, revision = revision + 1,
                         due_at = case when count = $3 then $4 else $5 end,
                         delivered_at = case when $6 is null then delivered_at end,
                         message_id = coalesce($6, message_id), resolved_at = coalesce(resolved_at, $7),
                         acked_at = case when $8 then null else acked_at end,
                         acked_by = case when $8 then null else acked_by end
                       where id = $1";
            let tell = sqlx::query(sql).bind(told.id).bind(dialect::document(&told.told.to_string()).to_owned());
            let tell = tell.bind(i64::from(told.count)).bind(time(told.due)).bind(dialect::at(moment.now));
            let tell = tell.bind(told.message.map(dialect::id)).bind(time(told.closed));
            tell.bind(told.anew).execute(db).await?;
            Ok(())
        }

        pub async fn delivered(db: &mut Connection, id: i64, at: DateTime<Utc>) -> Result<u64, Error> {
            let sql = "update alerts set delivered_at = $2 where id = $1 and delivered_at is null";
            Ok(sqlx::query(sql).bind(id).bind(dialect::at(at)).execute(db).await?.rows_affected())
        }

        pub async fn missions(db: &Pool, limit: u32) -> Result<Vec<Mission>, Error> {
            let sql = "select * from ops_missions order by created_at desc limit $1";
            let rows = sqlx::query(sql).bind(i64::from(limit)).fetch_all(db).await?;
            rows.iter().map(to_mission).collect()
        }

        fn to_mission(row: &Row) -> Result<Mission, Error> {
            let broken = |_| Error::Database("a row of ops_missions has a broken proposal".into());
            Ok(Mission {
                id: dialect::get_id(row, "id")?.into(),
                title: dialect::get_text(row, "title"),
                status: row.get("status"),
                proposal: serde_json::from_value(dialect::maybe_value(row, "proposal").unwrap_or_default()).map_err(broken)?,
                created_at: dialect::get_time(row, "created_at"),
                updated_at: dialect::get_time(row, "updated_at"),
            })
        }

        pub async fn mission(db: &mut Connection, id: Uuid) -> Result<Option<Mission>, Error> {
            let sql = concat!("select * from ops_missions where id = $1", $lock);
            let row = sqlx::query(sql).bind(dialect::id(id.into())).fetch_optional(db).await?;
            row.as_ref().map(to_mission).transpose()
        }

        pub const WAITING_MISSIONS: &str = "select count(*) from ops_missions where status = 'proposed'";

        pub async fn waiting_missions(db: &mut Connection) -> Result<u32, Error> {
            Ok(count(sqlx::query_scalar::<_, i64>(WAITING_MISSIONS).fetch_one(db).await?))
        }

        /// The agent of the column is the one that proposed it: who carries it out stands in its steps.
        pub async fn add_mission(db: &mut Connection, mission: &Mission) -> Result<(), Error> {
            let sql = "insert into ops_missions (id, title, status, agent, proposal, created_at, updated_at)
                       values ($1, $2, $3, $4, $5, $6, $6)";
            let proposal = serde_json::to_string(&mission.proposal).unwrap_or_default();
            let add = sqlx::query(sql).bind(dialect::id(mission.id.into())).bind(dialect::text(&mission.title));
            let add = add.bind(&mission.status).bind(mission.proposal.by.as_str());
            let add = add.bind(dialect::document(&proposal).to_owned()).bind(dialect::at(mission.created_at));
            add.execute(db).await?;
            Ok(())
        }

        pub async fn keep_mission(db: &mut Connection, mission: &Mission, ended: bool) -> Result<(), Error> {
            let sql = "update ops_missions set status = $2, proposal = $3, updated_at = $4,
                         finished_at = case when $5 then $4 else finished_at end where id = $1";
            let proposal = serde_json::to_string(&mission.proposal).unwrap_or_default();
            let keep = sqlx::query(sql).bind(dialect::id(mission.id.into())).bind(&mission.status);
            let keep = keep.bind(dialect::document(&proposal).to_owned()).bind(dialect::at(mission.updated_at));
            keep.bind(ended).execute(db).await?;
            Ok(())
        }

        pub async fn events(db: &Pool, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error> {
            // A transition is named in the text, or its index would not serve.
            let sql = if kind == TRANSITION { TRANSITIONS } else { EVENTS };
            let query = sqlx::query(sql).bind(agent.as_str()).bind(kind).bind(i64::from(limit));
            Ok(query.fetch_all(db).await?.iter().map(event).collect())
        }

        pub const EVENTS_AFTER: &str = "select id, agent_name, event_type, payload, created_at from agent_events
             where id > $1 order by id limit $2";

        pub async fn events_after(db: &Pool, id: i64, limit: u32) -> Result<Vec<Event>, Error> {
            let rows = sqlx::query(EVENTS_AFTER).bind(id).bind(i64::from(limit)).fetch_all(db).await?;
            Ok(rows.iter().map(event).collect())
        }

        pub async fn last_event(db: &Pool) -> Result<i64, Error> {
            Ok(sqlx::query_scalar("select coalesce(max(id), 0) from agent_events").fetch_one(db).await?)
        }

        fn event(row: &Row) -> Event {
            let payload = dialect::maybe_value(row, 3).unwrap_or_default();
            let at = dialect::get_time(row, 4);
            Event { id: row.get(0), agent: row.get(1), kind: row.get(2), payload, at }
        }

        pub const HEARTBEATS: &str = "select id, agent_name, status, metadata, created_at from agent_heartbeats
             where agent_name = $1 order by id desc limit $2";

        pub async fn heartbeats(db: &Pool, agent: &AgentName, limit: u32) -> Result<Vec<Heartbeat>, Error> {
            let query = sqlx::query(HEARTBEATS).bind(agent.as_str()).bind(i64::from(limit));
            Ok(query.fetch_all(db).await?.iter().map(heartbeat).collect())
        }

        /// Each agent that was watched, and its newest heartbeat, by a step of the index each.
        pub const LAST_HEARTBEATS: &str = "with recursive watched (name) as (
               select min(agent_name) from agent_heartbeats
               union all
               select (select min(agent_name) from agent_heartbeats where agent_name > name) from watched
               where name is not null)
             select h.id, h.agent_name, h.status, h.metadata, h.created_at from watched
               join agent_heartbeats h
                 on h.id = (select id from agent_heartbeats where agent_name = name order by id desc limit 1)
             where name is not null";

        pub async fn last_heartbeats(db: &Pool) -> Result<Vec<Heartbeat>, Error> {
            let rows = sqlx::query(LAST_HEARTBEATS).fetch_all(db).await?;
            Ok(rows.iter().map(heartbeat).collect())
        }

        fn heartbeat(row: &Row) -> Heartbeat {
            let metadata = dialect::maybe_value(row, 3).unwrap_or_default();
            let at = dialect::get_time(row, 4);
            Heartbeat { id: row.get(0), agent: row.get(1), status: row.get(2), metadata, at }
        }

        pub async fn agents_since(db: &Pool, since: DateTime<Utc>) -> Result<Vec<String>, Error> {
            let sql = "select agent_name from agent_state where updated_at >= $1 or lease_until >= $1
                       order by agent_name";
            Ok(sqlx::query_scalar(sql).bind(dialect::at(since)).fetch_all(db).await?)
        }

        pub async fn recall(db: &Pool, agent: &AgentName, key: &str) -> Result<Option<String>, Error> {
            let sql = "select value from agent_memory where agent_name = $1 and key = $2";
            let row = sqlx::query(sql).bind(agent.as_str()).bind(dialect::text(key)).fetch_optional(db).await?;
            Ok(row.map(|row| dialect::get_document(&row, 0)))
        }

        pub async fn keys(
            db: &Pool,
            agent: &AgentName,
            prefix: &str,
            limit: u32,
        ) -> Result<Vec<String>, Error> {
            // In order, those with the prefix stand together and first.
            let sql = "select key from agent_memory where agent_name = $1 and key >= $2 order by key limit $3";
            let query = sqlx::query(sql).bind(agent.as_str()).bind(dialect::text(prefix));
            let rows = query.bind(i64::from(limit)).fetch_all(db).await?;
            let keys = rows.iter().map(|row| dialect::get_text(row, 0));
            Ok(keys.take_while(|key| key.starts_with(prefix)).collect())
        }

        pub async fn memory_keys(db: &Pool, agent: &AgentName) -> Result<u32, Error> {
            let sql = "select count(*) from agent_memory where agent_name = $1";
            Ok(count(sqlx::query_scalar::<_, i64>(sql).bind(agent.as_str()).fetch_one(db).await?))
        }

        pub async fn turns(
            db: &Pool,
            agent: &AgentName,
            session: &str,
            limit: u32,
        ) -> Result<Vec<Turn>, Error> {
            let sql = "select role, text, created_at from agent_turns where agent_name = $1 and session = $2
                       order by id desc limit $3";
            let query = sqlx::query(sql).bind(agent.as_str()).bind(dialect::text(session));
            let rows = query.bind(i64::from(limit)).fetch_all(db).await?;
            let turn = |row: &Row| Turn {
                role: dialect::get_text(row, 0),
                text: dialect::get_text(row, 1),
                at: dialect::get_time(row, 2),
            };
            Ok(rows.iter().rev().map(turn).collect())
        }

        pub async fn remember(
            db: &mut Connection,
            change: &MemoryChange,
            now: DateTime<Utc>,
        ) -> Result<(), Error> {
            match change {
                MemoryChange::Set { agent, key, value } => {
                    let sql = "insert into agent_memory (agent_name, key, value, updated_at)
                               values ($1, $2, $3, $4)
                               on conflict (agent_name, key) do update set value = $3, updated_at = $4";
                    let set = sqlx::query(sql).bind(agent.as_str()).bind(dialect::text(key));
                    set.bind(dialect::document(value)).bind(dialect::at(now)).execute(&mut *db).await?;
                }
                MemoryChange::Delete { agent, key } => {
                    let sql = "delete from agent_memory where agent_name = $1 and key = $2";
                    sqlx::query(sql).bind(agent.as_str()).bind(dialect::text(key)).execute(&mut *db).await?;
                }
                MemoryChange::Remember { agent, session, role, text } => {
                    let sql = "insert into agent_turns (agent_name, session, role, text, created_at)
                               values ($1, $2, $3, $4, $5)";
                    let session = dialect::text(session);
                    let insert = sqlx::query(sql).bind(agent.as_str()).bind(&session).bind(dialect::text(role));
                    insert.bind(dialect::text(text)).bind(dialect::at(now)).execute(&mut *db).await?;
                    let sql = "delete from agent_turns where agent_name = $1 and session = $2 and id <= (
                                 select id from agent_turns where agent_name = $1 and session = $2
                                 order by id desc limit 1 offset $3)";
                    let trim = sqlx::query(sql).bind(agent.as_str()).bind(&session);
                    trim.bind(i64::from(KEPT_TURNS)).execute(&mut *db).await?;
                }
            }
            Ok(())
        }

        /// Forgets the transitions beyond those that are kept, of each agent that has a new one.
        pub async fn trim(db: &mut Connection, events: &[NewEvent]) -> Result<(), Error> {
            let moved: HashSet<&AgentName> =
                events.iter().filter(|event| event.kind == TRANSITION).map(|event| &event.agent).collect();
            for agent in moved {
                let sql =
                    "delete from agent_events where event_type = 'agent.transition' and agent_name = $1 and id <= (
                       select id from agent_events where event_type = 'agent.transition' and agent_name = $1
                       order by id desc limit 1 offset $2)";
                let trim = sqlx::query(sql).bind(agent.as_str()).bind(i64::from(KEPT_TRANSITIONS));
                trim.execute(&mut *db).await?;
            }
            Ok(())
        }

        pub async fn find(db: &mut Connection, id: TaskId) -> Result<Option<Found>, Error> {
            let sql = concat!(
                "select queue, session, attempts, created_at, state, blocked from task_queue where id = $1",
                $lock
            );
            let row = sqlx::query(sql).bind(dialect::id(id)).fetch_optional(db).await?;
            Ok(row.map(|row| Found {
                queue: row.get(0),
                session: dialect::maybe_text(&row, 1),
                attempts: count(row.get::<i32, _>(2)),
                created_at: dialect::get_time(&row, 3),
                state: row.get(4),
                blocked: row.get(5),
            }))
        }

        pub async fn revive(db: &mut Connection, id: TaskId, now: DateTime<Utc>) -> Result<(), Error> {
            let sql = "update task_queue set state = 'queued', attempts = 0, run_at = $2, updated_at = $2,
                         finished_at = null
                       where id = $1";
            sqlx::query(sql).bind(dialect::id(id)).bind(dialect::at(now)).execute(db).await?;
            Ok(())
        }

        pub async fn cancel(db: &mut Connection, id: TaskId, now: DateTime<Utc>) -> Result<(), Error> {
            let sql =
                "update task_queue set state = 'cancelled', updated_at = $2, finished_at = $2 where id = $1";
            sqlx::query(sql).bind(dialect::id(id)).bind(dialect::at(now)).execute(db).await?;
            Ok(())
        }

        pub async fn hold_back(db: &mut Connection, queue: &AgentName, session: &str) -> Result<bool, Error> {
            let sql = "update task_queue set blocked = true
                       where queue = $1 and session = $2 and session is not null and state in ('queued', 'leased')
                         and state = 'queued' and not blocked";
            let session = dialect::text(session);
            sqlx::query(sql).bind(queue.as_str()).bind(&session).execute(&mut *db).await?;
            let sql = "select exists (
                         select 1 from task_queue where queue = $1 and session = $2 and session is not null
                           and state in ('queued', 'leased') and state = 'leased')";
            Ok(sqlx::query_scalar(sql).bind(queue.as_str()).bind(&session).fetch_one(&mut *db).await?)
        }

        pub async fn any_leased(db: &mut Connection) -> Result<bool, Error> {
            let sql = "select exists (select 1 from task_queue where state = 'leased')";
            Ok(sqlx::query_scalar(sql).fetch_one(db).await?)
        }

        pub async fn prove(db: &mut Connection, now: DateTime<Utc>) -> Result<(), Error> {
            let sql = "insert into proof values (1, $1) on conflict (id) do update set written_at = $1";
            sqlx::query(sql).bind(dialect::at(now)).execute(db).await?;
            Ok(())
        }

        pub async fn abandon(db: &mut Connection, before: DateTime<Utc>) -> Result<(), Error> {
            let sql = "update provider_calls set outcome = $1 where outcome = $2 and created_at < $3";
            let abandon = sqlx::query(sql).bind(ABANDONED).bind(UNDER_WAY).bind(dialect::at(before));
            abandon.execute(&mut *db).await?;
            // A call that another process begins at this moment is counted twice at the worst.
            let sql = "update provider_budgets set used = used + reserved, reserved = 0
                       where reserved > 0 and not exists (select 1 from provider_calls where outcome = $1)";
            sqlx::query(sql).bind(UNDER_WAY).execute(db).await?;
            Ok(())
        }

        pub async fn usage(db: &Pool, periods: &[String]) -> Result<Vec<Usage>, Error> {
            let mut all = Vec::new();
            for period in periods {
                let sql = "select budget, used, reserved from provider_budgets where period = $1 order by budget";
                let rows = sqlx::query(sql).bind(period).fetch_all(db).await?;
                all.extend(rows.iter().map(|row| Usage {
                    budget: row.get(0),
                    period: period.clone(),
                    used: row.get(1),
                    reserved: row.get(2),
                }));
            }
            Ok(all)
        }

        pub async fn calls(db: &Pool, agent: Option<&AgentName>, limit: u32) -> Result<Vec<Call>, Error> {
            let sql = "select id, agent, capability, provider, model, tokens_in, tokens_out, cost, duration_ms, outcome,
                         detail, created_at
                       from provider_calls where $1 = '' or agent = $1 order by id desc limit $2";
            let query = sqlx::query(sql).bind(agent.map_or("", AgentName::as_str)).bind(i64::from(limit));
            let call = |row: &Row| Call {
                id: row.get(0),
                agent: row.get(1),
                capability: row.get(2),
                provider: dialect::get_text(row, 3),
                model: dialect::maybe_text(row, 4),
                tokens_in: row.get(5),
                tokens_out: row.get(6),
                cost: row.get(7),
                duration_ms: row.get(8),
                outcome: row.get(9),
                detail: dialect::maybe_text(row, 10),
                at: dialect::get_time(row, 11),
            };
            Ok(query.fetch_all(db).await?.iter().map(call).collect())
        }

        pub const ASKED: &str =
            "select method, outcome, count from agent_calls where day = $1 and agent = $2 order by method, outcome";

        pub async fn asked(db: &Pool, agent: &AgentName, day: NaiveDate) -> Result<Vec<Count>, Error> {
            let rows = sqlx::query(ASKED).bind(day.to_string()).bind(agent.as_str()).fetch_all(db).await?;
            let number = |row: &Row| u64::try_from(row.get::<i64, _>(2)).unwrap_or_default();
            let counted = |row: &Row| Count { method: row.get(0), outcome: row.get(1), count: number(row) };
            Ok(rows.iter().map(counted).collect())
        }

        /// Rows that one pruning deletes of one table and for one reason at the most: some 10 ms of work.
        const PRUNED_AT_ONCE: u32 = 2_000;

        /// What ended before `$1`. Outcomes and events are as old as their ids, so only the oldest are looked at.
        pub const OLD: [&str; 9] = [
            "delete from task_queue where seq in (select seq from task_queue
               where finished_at < $1 and finished_at is not null and dedupe_key is null and state <> 'failed' limit $2)",
            "delete from task_queue where seq in (select seq from task_queue
               where finished_at < $1 and finished_at is not null and dedupe_key is not null and state <> 'failed' limit $2)",
            "delete from task_queue where seq in (select seq from task_queue
               where finished_at < $1 and state = 'failed' limit $2)",
            "delete from ops_outcomes where id in (
               select id from (select id, created_at from ops_outcomes order by id limit $2) oldest where created_at < $1)",
            "delete from agent_events where id in (
               select id from (select id, created_at from agent_events where event_type <> 'agent.transition'
                               order by id limit $2) oldest
               where created_at < $1)",
            "delete from agent_heartbeats where id in (
               select id from (select id, created_at from agent_heartbeats order by id limit $2) oldest
               where created_at < $1)",
            "delete from alerts where id in (
               select id from alerts where resolved_at < $1 and resolved_at is not null order by resolved_at limit $2)",
            "delete from ops_missions where id in (
               select id from ops_missions where status in ('proposed', 'rejected') and created_at < $1 limit $2)",
            "delete from provider_calls where id in (
               select id from (select id, created_at from provider_calls order by id limit $2) oldest
               where created_at < $1)",
        ];

        /// The oldest beyond the newest `$1`, of each class of tasks for itself: a flood of successes pushes out neither
        /// dead letters nor what makes a repeated submission known. Ids are dense enough: what is further from the newest
        /// is beyond the bound.
        pub const MANY: [&str; 8] = [
            "delete from task_queue where seq in (
               select seq from task_queue where finished_at is not null and dedupe_key is null and state <> 'failed'
                 and finished_at < (select finished_at from task_queue
                                    where finished_at is not null and dedupe_key is null and state <> 'failed'
                                    order by finished_at desc limit 1 offset $1 - 1)
               order by finished_at limit $2)",
            "delete from task_queue where seq in (
               select seq from task_queue where finished_at is not null and dedupe_key is not null and state <> 'failed'
                 and finished_at < (select finished_at from task_queue
                                    where finished_at is not null and dedupe_key is not null and state <> 'failed'
                                    order by finished_at desc limit 1 offset $1 - 1)
               order by finished_at limit $2)",
            "delete from task_queue where seq in (
               select seq from task_queue where state = 'failed'
                 and finished_at < (select finished_at from task_queue where state = 'failed'
                                    order by finished_at desc limit 1 offset $1 - 1)
               order by finished_at limit $2)",
            "delete from ops_outcomes where id in (
               select id from ops_outcomes where id <= (select max(id) from ops_outcomes) - $1 order by id limit $2)",
            "delete from agent_events where id in (
               select id from agent_events
               where id <= (select max(id) from agent_events) - $1 and event_type <> 'agent.transition'
               order by id limit $2)",
            "delete from agent_heartbeats where id in (
               select id from agent_heartbeats where id <= (select max(id) from agent_heartbeats) - $1
               order by id limit $2)",
            "delete from alerts where id in (
               select id from alerts where id <= (select max(id) from alerts) - $1 and resolved_at is not null
               order by id limit $2)",
            "delete from provider_calls where id in (
               select id from provider_calls where id <= (select max(id) from provider_calls) - $1
               order by id limit $2)",
        ];

        /// Each agent that has turns, by one step of the index each.
        pub const SPEAKERS: &str = "with recursive speakers (name) as (
               select min(agent_name) from agent_turns
               union all
               select (select min(agent_name) from agent_turns where agent_name > name) from speakers
               where name is not null)
             select name from speakers where name is not null";

        pub const TURNS: &str = "delete from agent_turns where id in (
               select id from agent_turns where agent_name = $1
                 and id <= (select id from agent_turns where agent_name = $1 order by id desc limit 1 offset $2)
               order by id limit $3)";

        /// Deletes what is too old or too much, a part at a time, so that it never holds up the others for long.
        /// Answers whether there is more.
        pub async fn prune(db: &mut Connection, before: DateTime<Utc>, rows: u32) -> Result<bool, Error> {
            let (mut most, at_once) = (0, i64::from(PRUNED_AT_ONCE));
            for sql in OLD {
                let done = sqlx::query(sql).bind(dialect::at(before)).bind(at_once).execute(&mut *db).await?;
                most = most.max(done.rows_affected());
            }
            for sql in MANY {
                let done = sqlx::query(sql).bind(i64::from(rows)).bind(at_once).execute(&mut *db).await?;
                most = most.max(done.rows_affected());
            }
            // A month is over when nothing was used of it for longer; few rows, and one a period.
            let over = before - chrono::TimeDelta::days(62);
            let sql = "delete from provider_budgets where updated_at < $1";
            sqlx::query(sql).bind(dialect::at(over)).execute(&mut *db).await?;
            // As few: some of each agent and day.
            let sql = "delete from agent_calls where day < $1";
            sqlx::query(sql).bind(before.date_naive().to_string()).execute(&mut *db).await?;
            let speakers: Vec<String> = sqlx::query_scalar(SPEAKERS).fetch_all(&mut *db).await?;
            for agent in speakers {
                let turns = sqlx::query(TURNS).bind(agent).bind(i64::from(KEPT_TURNS_OF_AGENT)).bind(at_once);
                most = most.max(turns.execute(&mut *db).await?.rows_affected());
            }
            Ok(most >= u64::from(PRUNED_AT_ONCE))
        }
    };
}

pub(crate) use shared_statements;

// Calls to providers and what they use.

pub(crate) const OPEN_BUDGET: &str =
    "insert into provider_budgets (budget, period, updated_at) values ($1, $2, $3)
     on conflict (budget, period) do nothing";

pub(crate) const KEEP_BUDGET: &str =
    "update provider_budgets set used = $3, reserved = $4, told = $5, updated_at = $6
     where budget = $1 and period = $2";

pub(crate) const CALL: &str =
    "insert into provider_calls (call_id, agent, capability, provider, model, tokens_in, tokens_out, cost,
       duration_ms, outcome, detail, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
     on conflict (call_id) do update set model = excluded.model, tokens_in = excluded.tokens_in,
       tokens_out = excluded.tokens_out, cost = excluded.cost, duration_ms = excluded.duration_ms,
       outcome = excluded.outcome, detail = excluded.detail
     where provider_calls.outcome = 'under_way' and excluded.outcome <> 'under_way'";

/// A number of the database, which has no unsigned ones.
pub(crate) fn count(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or_default()
}
