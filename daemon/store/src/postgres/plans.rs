//! How PostgreSQL goes about the statements that run all the time: by their indexes, whether or not its statistics know
//! yet that the table has grown.

use sqlx::{AssertSqlSafe, Row};

use super::{list, locks, shared, statements};
use crate::tests::database::{Database, On, there_is_postgres};

/// Ended tasks for the most part, as in life.
const ROWS: &str = "insert into task_queue (id, queue, kind, payload, session, dedupe_key, max_attempts, run_at, state,
       blocked, source, created_at, updated_at, finished_at, lease_until)
     select gen_random_uuid(), 'q' || n % 5, 'message', '{}', case when n % 3 = 0 then 's' || n % 100 end,
       case when n % 4 = 0 then 'k' || n end, 3, now() + n * interval '1 s',
       case when n % 50 = 0 then 'queued' when n % 51 = 0 then 'leased' when n % 20 = 0 then 'failed' else 'done' end,
       n % 100 = 0, 'test', now(), now(),
       case when n % 50 <> 0 and n % 51 <> 0 then now() - n * interval '1 s' end,
       case when n % 50 <> 0 and n % 51 = 0 then now() end
     from generate_series(1, 20000) n;
     insert into agent_events (agent_name, event_type, payload, created_at)
     select 'a' || n % 5, case n % 50 when 0 then 'agent.transition' when 1 then 'agent.alert' else 'task.done' end,
       '{}', now() from generate_series(1, 20000) n;
     insert into ops_outcomes (agent, kind, task_id, success, duration_ms, attempts, created_at)
     select 'a', 'message', gen_random_uuid(), true, 1, 1, now() from generate_series(1, 20000) n;
     insert into agent_heartbeats (agent_name, status, created_at)
     select 'a' || n % 5, 'fresh', now() from generate_series(1, 20000) n;
     insert into agent_turns (agent_name, session, role, text, created_at)
     select 'a' || n % 5, 's' || n % 100, 'user', 'x', now() from generate_series(1, 20000) n";

struct Explained {
    database: Database,
}

impl Explained {
    /// The plan that serves whatever the parameters are, on a connection as the engine has it.
    async fn plan(&self, sql: &str) -> String {
        let mut db = self.database.server().connect().await.unwrap();
        let parameters = (1..20).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0);
        let nulls = vec!["null"; parameters].join(", ");
        let arguments = if parameters == 0 { String::new() } else { format!("({nulls})") };
        let prepare = AssertSqlSafe(format!("prepare p as {sql}"));
        sqlx::raw_sql(prepare).execute(&mut db).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        let explain = AssertSqlSafe(format!("explain (costs off) execute p{arguments}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut db).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
    }

    /// By these indexes, and never through a whole table of ours.
    async fn goes_by(&self, sql: &str, indexes: &[&str]) {
        let plan = self.plan(sql).await;
        for index in indexes {
            assert!(plan.contains(&format!("using {index}")), "not by {index}:\n{plan}");
        }
        assert!(!plan.contains("Seq Scan"), "a full scan:\n{plan}");
    }
}

/// Everything, before and after the statistics know of the rows.
#[tokio::test]
async fn all_goes_by_indexes() {
    if !there_is_postgres() {
        return;
    }
    let explained = Explained { database: Database::new(On::Postgres).await };
    explained.database.open().await.unwrap();
    for change in [ROWS, "analyze"] {
        explained.database.execute(change).await;
        let goes_by = async |sql: &str, indexes: &[&str]| explained.goes_by(sql, indexes).await;
        goes_by(statements::CLAIM, &["task_queue_claimable"]).await;
        let claim = explained.plan(statements::CLAIM).await;
        assert!(!claim.contains("Sort"), "it sorts:\n{claim}");
        goes_by(statements::COMPLETE, &["task_queue_pkey"]).await;
        goes_by(statements::RENEW, &["task_queue_pkey"]).await;
        goes_by(statements::UNBLOCK, &["task_queue_session"]).await;
        goes_by(statements::SUBMIT, &["task_queue_session"]).await;
        goes_by(statements::KNOWN, &["task_queue_dedupe", "task_queue_pkey"]).await;
        goes_by(statements::SWEEP, &["task_queue_leases"]).await;
        goes_by(statements::TAKE_OVER, &["task_queue_leases"]).await;
        goes_by(locks::LOCK, &["task_queue_pkey", "task_queue_leases"]).await;
        goes_by(list::ENDED, &["task_queue_pkey"]).await;
        goes_by(shared::NEXT_DUE, &["task_queue_due"]).await;
        let ended = ["task_queue_ended", "task_queue_ended_keyed", "task_queue_ended_failed"];
        for statements in [&shared::OLD[..], &shared::MANY[..]] {
            for (sql, index) in statements.iter().zip(ended) {
                goes_by(sql, &[index, "task_queue_seq_key"]).await;
            }
            for sql in &statements[3..] {
                goes_by(sql, &[]).await;
            }
        }
        goes_by(shared::TURNS, &["agent_turns_agent"]).await;
        goes_by(shared::SPEAKERS, &["agent_turns_agent"]).await;
        goes_by(shared::TRANSITIONS, &["agent_events_history"]).await;
        goes_by(shared::ALERTS, &["alerts_last"]).await;
        goes_by(shared::ALERTS_DUE, &["alerts_due"]).await;
        goes_by(shared::NEXT_ALERT, &["alerts_due"]).await;
        goes_by(shared::ASKED, &["agent_calls_pkey"]).await;
        goes_by(shared::EVENTS_AFTER, &["agent_events_pkey"]).await;
        goes_by(shared::HEARTBEATS, &["agent_heartbeats_agent"]).await;
        goes_by(shared::LAST_HEARTBEATS, &["agent_heartbeats_agent", "agent_heartbeats_pkey"]).await;
        goes_by(shared::DEPTHS, &[]).await;
    }
}
