//! Whether what is in a database can be.

use serde::Serialize;

use super::tables::TABLES;
use super::{Database, Raw};
use crate::Error;

/// One rule, and how often it is broken.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: String,
    /// How many break it.
    pub broken: i64,
    /// What the database says of it, if anything.
    pub detail: Option<String>,
}

/// Rules of the queue, and a count of what breaks each.
const RULES: [(&str, &str); 7] = [
    (
        "every leased task has an owner and a time",
        "select count(*) from task_queue where state = 'leased' and (lease_owner is null or lease_until is null)",
    ),
    (
        "only leased tasks have one",
        "select count(*) from task_queue where state <> 'leased' and (lease_owner is not null or lease_until is not null)",
    ),
    (
        "no session has two tasks in work",
        "select count(*) from (select 1 as one from task_queue where state = 'leased' and session is not null
                               group by queue, session having count(*) > 1) twice",
    ),
    (
        "of what has not ended of a session, one task may run",
        "select count(*) from (select 1 as one from task_queue where state in ('queued', 'leased') and session is not null
                               group by queue, session having sum(case when blocked then 0 else 1 end) <> 1) other",
    ),
    (
        "a task without a session is not blocked",
        "select count(*) from task_queue where session is null and blocked and state in ('queued', 'leased')",
    ),
    (
        "what has ended has the time of its end, and nothing else has",
        "select count(*) from task_queue where (finished_at is not null) <> (state in ('done', 'failed', 'cancelled'))",
    ),
    (
        "tries are counted from 0, and those in work from 1",
        "select count(*) from task_queue where attempts < case when state = 'leased' then 1 else 0 end",
    ),
];

impl Database {
    /// Holds the database against the rules. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Away`], [`Error::Refused`], [`Error::Database`].
    pub async fn check(&self) -> Result<Vec<Finding>, Error> {
        let mut raw = Raw::open(self).await?;
        let mut findings = Vec::new();
        if !raw.is_postgres() {
            let said = raw.texts("pragma integrity_check").await?;
            let bad: Vec<_> = said.into_iter().filter(|line| line != "ok").collect();
            let broken = i64::try_from(bad.len()).unwrap_or(i64::MAX);
            let detail = bad.into_iter().next();
            findings.push(Finding { rule: "the file is whole".into(), broken, detail });
        }
        for (rule, sql) in RULES {
            let broken = raw.number(sql).await?;
            findings.push(Finding { rule: rule.into(), broken, detail: None });
        }
        if raw.is_postgres() {
            let mut broken = 0;
            for (table, column) in TABLES.iter().filter_map(|table| Some((table.name, table.numbered?))) {
                let behind = format!(
                    "select count(*) from {table} where {column} > coalesce(
                       (select last_value from pg_sequences where schemaname = current_schema()
                          and sequencename = '{table}_{column}_seq'), 0)"
                );
                broken += raw.number(&behind).await?;
            }
            let rule = "no number will be given a second time".into();
            findings.push(Finding { rule, broken, detail: None });
        }
        Ok(findings)
    }
}
