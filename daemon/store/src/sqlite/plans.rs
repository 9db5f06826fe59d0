//! How SQLite goes about the statements that run all the time: by their indexes, never through the whole table.

use sqlx::{AssertSqlSafe, Row};

use super::{Sqlite, shared, statements};

async fn plan(sql: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&dir.path().join("store.db")).await.unwrap();
    let explain = AssertSqlSafe(format!("explain query plan {sql}"));
    let rows = sqlx::query(explain).fetch_all(&mut *sqlite.writer.lock().await).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(3) + "\n").collect()
}

/// Every step over a table of ours goes by one of these indexes.
async fn goes_by(sql: &str, indexes: &[&str]) {
    let plan = plan(sql).await;
    for index in indexes {
        assert!(plan.contains(index), "not by {index}:\n{plan}");
    }
    for line in plan.lines().filter(|line| line.starts_with("SCAN")) {
        let fine = ["json_each", "SCAN j", "SCAN (", "SCAN depths", "SCAN t USING COVERING INDEX"];
        let by_index = indexes.iter().any(|index| line.contains(index));
        assert!(by_index || fine.iter().any(|fine| line.contains(fine)), "a full scan:\n{plan}");
    }
}

#[tokio::test]
async fn claims() {
    goes_by(statements::CLAIM, &["task_queue_claimable"]).await;
    let plan = plan(statements::CLAIM).await;
    assert!(!plan.contains("TEMP B-TREE FOR ORDER"), "it sorts:\n{plan}");
}

#[tokio::test]
async fn completes_and_renews() {
    goes_by(statements::COMPLETE, &["sqlite_autoindex_task_queue_1"]).await;
    goes_by(statements::RENEW, &["sqlite_autoindex_task_queue_1"]).await;
}

#[tokio::test]
async fn unblocks() {
    goes_by(statements::UNBLOCK, &["task_queue_session"]).await;
}

#[tokio::test]
async fn submits() {
    goes_by(statements::SUBMIT, &["task_queue_session"]).await;
    goes_by(statements::KNOWN, &["task_queue_dedupe", "sqlite_autoindex_task_queue_1"]).await;
}

#[tokio::test]
async fn sweeps() {
    goes_by(statements::LOST, &["task_queue_leases"]).await;
    goes_by(statements::SWEEP, &["task_queue_leases"]).await;
}

#[tokio::test]
async fn is_due() {
    goes_by(shared::NEXT_DUE, &["task_queue_due"]).await;
}

#[tokio::test]
async fn prunes() {
    let indexes = ["task_queue_ended", "task_queue_ended_keyed", "task_queue_ended_failed"];
    for statements in [&shared::OLD[..], &shared::MANY[..]] {
        for (sql, index) in statements.iter().zip(indexes) {
            goes_by(sql, &[&format!("COVERING INDEX {index} "), index]).await;
            assert!(!plan(sql).await.contains("TEMP B-TREE"), "it sorts");
        }
    }
    goes_by(shared::TURNS, &["agent_turns_agent"]).await;
    let plan = plan(shared::SPEAKERS).await;
    assert!(!plan.contains("SCAN agent_turns"), "{plan}");
}

#[tokio::test]
async fn counts() {
    goes_by(shared::DEPTHS, &["task_queue_due", "task_queue_leases", "task_queue_failed"]).await;
}

#[tokio::test]
async fn shows_transitions_and_alerts() {
    goes_by(shared::TRANSITIONS, &["agent_events_history"]).await;
    goes_by(shared::ALERTS, &["alerts_last"]).await;
    goes_by(shared::OPEN_ALERTS, &["alerts_open"]).await;
    goes_by(shared::ALERTS_DUE, &["alerts_due"]).await;
    goes_by(shared::NEXT_ALERT, &["alerts_due"]).await;
    goes_by(shared::ASKED, &["PRIMARY KEY"]).await;
    goes_by(shared::REOPEN, &["alerts_open", "alerts_resolved"]).await;
    goes_by(shared::HEARTBEATS, &["agent_heartbeats_agent"]).await;
    let plan = plan(shared::LAST_HEARTBEATS).await;
    assert!(!plan.contains("SCAN agent_heartbeats") && !plan.contains("SCAN h"), "{plan}");
}
