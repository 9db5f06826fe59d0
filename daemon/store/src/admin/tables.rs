//! The tables and columns, as both databases have them; a test compares this with each.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Real,
    Bool,
    Time,
    /// JSON.
    Doc,
    /// A UUID.
    Id,
}

use Kind::{Bool, Doc, Id, Int, Real, Text, Time};

pub struct Table {
    pub name: &'static str,
    /// How many of the first columns are its key.
    pub key: usize,
    /// Whether the first column, or `seq`, is numbered by the database.
    pub numbered: Option<&'static str>,
    pub columns: &'static [(&'static str, Kind)],
}

/// In an order in which they can be filled.
pub const TABLES: &[Table] = &[
    Table {
        name: "task_queue",
        key: 1,
        numbered: Some("seq"),
        columns: &[
            ("seq", Int),
            ("id", Id),
            ("queue", Text),
            ("kind", Text),
            ("payload", Doc),
            ("session", Text),
            ("dedupe_key", Text),
            ("priority", Int),
            ("state", Text),
            ("blocked", Bool),
            ("attempts", Int),
            ("max_attempts", Int),
            ("run_at", Time),
            ("lease_owner", Text),
            ("lease_token", Int),
            ("lease_until", Time),
            ("result", Doc),
            ("error", Text),
            ("source", Text),
            ("created_at", Time),
            ("updated_at", Time),
            ("finished_at", Time),
        ],
    },
    Table {
        name: "ops_outcomes",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("agent", Text),
            ("kind", Text),
            ("mission_id", Id),
            ("step_id", Id),
            ("task_id", Id),
            ("success", Bool),
            ("duration_ms", Int),
            ("attempts", Int),
            ("cost", Real),
            ("detail", Text),
            ("created_at", Time),
        ],
    },
    Table {
        name: "agent_events",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("agent_name", Text),
            ("event_type", Text),
            ("payload", Doc),
            ("created_at", Time),
        ],
    },
    Table {
        name: "agent_state",
        key: 1,
        numbered: None,
        columns: &[
            ("agent_name", Text),
            ("record", Doc),
            ("updated_at", Time),
            ("lease_owner", Text),
            ("lease_token", Int),
            ("lease_until", Time),
            ("lease_ms", Int),
        ],
    },
    Table {
        name: "agent_memory",
        key: 2,
        numbered: None,
        columns: &[("agent_name", Text), ("key", Text), ("value", Doc), ("updated_at", Time)],
    },
    Table {
        name: "agent_turns",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("agent_name", Text),
            ("session", Text),
            ("role", Text),
            ("text", Text),
            ("created_at", Time),
        ],
    },
    Table {
        name: "agent_heartbeats",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("agent_name", Text),
            ("status", Text),
            ("metadata", Doc),
            ("created_at", Time),
        ],
    },
    Table {
        name: "ops_missions",
        key: 1,
        numbered: None,
        columns: &[
            ("id", Id),
            ("title", Text),
            ("status", Text),
            ("agent", Text),
            ("proposal", Doc),
            ("result", Doc),
            ("created_at", Time),
            ("updated_at", Time),
            ("finished_at", Time),
        ],
    },
    Table {
        name: "ops_mission_steps",
        key: 1,
        numbered: None,
        columns: &[
            ("id", Id),
            ("mission_id", Id),
            ("position", Int),
            ("kind", Text),
            ("status", Text),
            ("agent", Text),
            ("task_id", Id),
            ("payload", Doc),
            ("result", Doc),
            ("error", Text),
            ("created_at", Time),
            ("updated_at", Time),
            ("finished_at", Time),
        ],
    },
    Table {
        name: "ops_policy",
        key: 1,
        numbered: None,
        columns: &[("key", Text), ("value", Doc), ("updated_at", Time)],
    },
    Table {
        name: "ops_reaction_rules",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("name", Text),
            ("enabled", Bool),
            ("trigger", Doc),
            ("action", Doc),
            ("created_at", Time),
            ("updated_at", Time),
        ],
    },
    Table {
        name: "ops_agent_events",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("agent", Text),
            ("kind", Text),
            ("title", Text),
            ("summary", Text),
            ("tags", Doc),
            ("metadata", Doc),
            ("created_at", Time),
        ],
    },
    Table {
        name: "alerts",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("source", Text),
            ("severity", Text),
            ("title", Text),
            ("detail", Doc),
            ("dedupe_key", Text),
            ("count", Int),
            ("revision", Int),
            ("created_at", Time),
            ("last_at", Time),
            ("due_at", Time),
            ("acked_at", Time),
            ("acked_by", Text),
            ("message_id", Id),
            ("delivered_at", Time),
            ("resolved_at", Time),
            ("resolution", Text),
        ],
    },
    Table {
        name: "provider_budgets",
        key: 2,
        numbered: None,
        columns: &[
            ("budget", Text),
            ("period", Text),
            ("used", Int),
            ("reserved", Int),
            ("told", Int),
            ("updated_at", Time),
        ],
    },
    Table {
        name: "provider_calls",
        key: 1,
        numbered: Some("id"),
        columns: &[
            ("id", Int),
            ("call_id", Id),
            ("agent", Text),
            ("capability", Text),
            ("provider", Text),
            ("model", Text),
            ("tokens_in", Int),
            ("tokens_out", Int),
            ("cost", Int),
            ("duration_ms", Int),
            ("outcome", Text),
            ("detail", Text),
            ("created_at", Time),
        ],
    },
    Table {
        name: "agent_calls",
        key: 4,
        numbered: None,
        columns: &[("day", Text), ("agent", Text), ("method", Text), ("outcome", Text), ("count", Int)],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::TABLES;
    use crate::admin::Raw;
    use crate::tests::database::{Database, On, there_is_postgres};

    /// The columns of all tables but those of the machinery.
    async fn columns(on: On, sql: &'static str) -> BTreeSet<String> {
        let database = Database::new(on).await;
        database.open().await.unwrap();
        Raw::open(&database.place()).await.unwrap().texts(sql).await.unwrap().into_iter().collect()
    }

    fn here() -> BTreeSet<String> {
        let names = |table: &'static super::Table| {
            table.columns.iter().map(|(name, _)| format!("{}.{name}", table.name))
        };
        TABLES.iter().flat_map(names).collect()
    }

    #[tokio::test]
    async fn they_are_those_of_sqlite() {
        let sql = "select t.name || '.' || c.name from sqlite_schema t, pragma_table_info(t.name) c
                   where t.type = 'table' and t.name not in ('proof', '_sqlx_migrations', 'sqlite_sequence')";
        assert_eq!(columns(On::Sqlite, sql).await, here());
    }

    #[tokio::test]
    async fn they_are_those_of_postgres() {
        if !there_is_postgres() {
            return;
        }
        let sql = "select table_name || '.' || column_name from information_schema.columns
                   where table_schema = 'public' and table_name not in ('proof', 'commits', '_sqlx_migrations')";
        assert_eq!(columns(On::Postgres, sql).await, here());
    }
}
