//! One connection to either database, as it is: nothing is brought up to date.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, SqliteConnection};

use super::Database;
use crate::Error;

pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// The same of both.
macro_rules! on {
    ($raw:expr, $db:ident => $done:expr) => {
        match $raw {
            Raw::Sqlite($db) => $done,
            Raw::Postgres($db) => $done,
        }
    };
}

impl Raw {
    pub async fn open(database: &Database) -> Result<Self, Error> {
        match database {
            Database::Sqlite(path) => {
                let refused = |error: sqlx::Error| Error::Open {
                    path: path.display().to_string(),
                    reason: error.to_string(),
                };
                let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
                Ok(Self::Sqlite(options.connect().await.map_err(refused)?))
            }
            Database::Postgres(server) => Ok(Self::Postgres(server.dial_unbounded().await?)),
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// What a query for one number says.
    pub async fn number(&mut self, sql: &str) -> Result<i64, Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        Ok(on!(self, db => sqlx::query_scalar(sql).fetch_one(db).await?))
    }

    /// A statement without parameters or rows.
    pub async fn run(&mut self, sql: &str) -> Result<(), Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        on!(self, db => {
            sqlx::raw_sql(sql).execute(db).await?;
        });
        Ok(())
    }

    pub async fn texts(&mut self, sql: &'static str) -> Result<Vec<String>, Error> {
        Ok(on!(self, db => sqlx::query_scalar(sql).fetch_all(db).await?))
    }

    /// The last migration that was run; none where there are no tables yet.
    pub async fn migration(&mut self) -> Result<Option<i64>, Error> {
        let there = match self {
            Self::Sqlite(_) => "select count(*) from sqlite_schema where name = '_sqlx_migrations'",
            Self::Postgres(_) => "select count(to_regclass('_sqlx_migrations'))",
        };
        if self.number(there).await? == 0 {
            return Ok(None);
        }
        let last =
            self.number("select coalesce(max(version), 0) from _sqlx_migrations where success").await?;
        Ok((last > 0).then_some(last))
    }
}
