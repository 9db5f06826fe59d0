//! What a database is, and what is in it.

use serde::Serialize;
use sqlx::migrate::Migration;

use super::tables::TABLES;
use super::{Database, Raw};
use crate::{Error, postgres, sqlite};

/// What a database is, and what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Which, for people; never with a password.
    pub database: String,
    /// The last migration that was run; none where there are no tables yet.
    pub migration: Option<i64>,
    /// The last that this binary knows.
    pub newest: i64,
    /// Its size on the disk.
    pub bytes: i64,
    /// The tables, and how many rows each has.
    pub tables: Vec<TableStatus>,
}

/// One table.
#[derive(Clone, Debug, Serialize)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: i64,
}

impl Database {
    /// What it is, and what is in it. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Away`], [`Error::Refused`], [`Error::Database`].
    pub async fn status(&self) -> Result<Status, Error> {
        let mut raw = Raw::open(self).await?;
        let migration = raw.migration().await?;
        let newest = migrations(self).last().map_or(0, |migration| migration.version);
        let size = match self {
            Self::Sqlite(_) => "select page_count * page_size from pragma_page_count(), pragma_page_size()",
            Self::Postgres(_) => "select pg_database_size(current_database())",
        };
        let bytes = raw.number(size).await?;
        let mut tables = Vec::new();
        // One that is of another version has other tables.
        if migration == Some(newest) {
            for table in TABLES {
                let rows = raw.number(&format!("select count(*) from {}", table.name)).await?;
                tables.push(TableStatus { name: table.name.into(), rows });
            }
        }
        Ok(Status { database: self.shown(), migration, newest, bytes, tables })
    }
}

/// All that this binary knows.
pub(super) fn migrations(database: &Database) -> &'static [Migration] {
    match database {
        Database::Sqlite(_) => &sqlite::MIGRATIONS.migrations,
        Database::Postgres(_) => &postgres::MIGRATIONS.migrations,
    }
}
