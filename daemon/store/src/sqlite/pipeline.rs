//! Statements on their way to the database's thread.

use std::fmt::Write as _;

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Sqlite, Type};

use crate::Error;

/// Statements that answer nothing wait here and are sent with the next one that does: each exchange with the
/// database's thread costs two thread changes, more than most statements. One that fails ends the exchange with its
/// error, so the caller must be in a transaction that it then rolls back.
pub(super) struct Pipeline<'c> {
    db: &'c mut SqliteConnection,
    sql: String,
    arguments: SqliteArguments,
    refused: Option<sqlx::Error>,
}

impl<'c> Pipeline<'c> {
    pub fn new(db: &'c mut SqliteConnection) -> Self {
        Self { db, sql: String::new(), arguments: SqliteArguments::default(), refused: None }
    }

    /// Adds a statement. Its arguments `$1`, `$2`, ... follow, by [`Pipeline::bind`].
    pub fn add(&mut self, sql: &str) -> &mut Self {
        if !self.sql.is_empty() {
            self.sql.push(';');
        }
        renumber(sql, self.arguments.len(), &mut self.sql);
        self
    }

    pub fn bind<'t>(&mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.refused.get_or_insert(sqlx::Error::Encode(error));
        }
        self
    }

    /// Sends all that waits. What the last statement answers.
    pub async fn rows(&mut self) -> Result<Vec<SqliteRow>, Error> {
        let (sql, arguments) = (std::mem::take(&mut self.sql), std::mem::take(&mut self.arguments));
        if let Some(refused) = self.refused.take() {
            return Err(refused.into());
        }
        // The statements are constants of this crate; whatever comes from outside is bound.
        Ok(sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&mut *self.db).await?)
    }

    /// Sends all that waits. The connection, for what is sent by itself.
    pub async fn flushed(&mut self) -> Result<&mut SqliteConnection, Error> {
        if !self.sql.is_empty() {
            self.rows().await?;
        }
        Ok(self.db)
    }
}

/// `sql` as it reads behind so many arguments: sqlx counts `$1` from the first statement of an exchange.
fn renumber(sql: &str, by: usize, into: &mut String) {
    let mut parts = sql.split('$');
    into.extend(parts.next());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        match number.parse::<usize>() {
            // A String takes all that is written to it.
            Ok(number) => drop(write!(into, "${}{rest}", number + by)),
            Err(_) => {
                into.push('$');
                into.push_str(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Row};

    use super::*;

    #[test]
    fn arguments_count_on() {
        let mut sql = String::from("select $1;");
        renumber("select $2, $11, 'a$', '$x' where $1", 3, &mut sql);
        assert_eq!(sql, "select $1;select $5, $14, 'a$', '$x' where $4");
    }

    #[tokio::test]
    async fn what_waited_is_done_first_each_with_its_own_arguments() {
        let mut db = sqlx::sqlite::SqliteConnectOptions::new().connect().await.unwrap();
        let mut statements = Pipeline::new(&mut db);
        statements.add("create table t (a, b)");
        statements.add("insert into t values ($2, $1)").bind("b1").bind("a1");
        statements.add("insert into t values ($1, $1)").bind(2);
        let rows =
            statements.add("select a, b from t where a <> $1 order by rowid").bind("x").rows().await.unwrap();
        let rows: Vec<(String, String)> =
            rows.iter().map(|row| (row.get_unchecked(0), row.get_unchecked(1))).collect();
        assert_eq!(rows, [("a1".into(), "b1".into()), ("2".into(), "2".into())]);
    }

    #[tokio::test]
    async fn a_failure_ends_the_exchange_and_is_told() {
        let mut db = sqlx::sqlite::SqliteConnectOptions::new().connect().await.unwrap();
        let mut statements = Pipeline::new(&mut db);
        statements.add("create table t (a primary key)");
        statements.add("insert into t values ($1)").bind(1);
        statements.add("insert into t values ($1)").bind(1);
        statements.add("insert into t values ($1)").bind(2);
        statements.rows().await.unwrap_err();
        let count = statements.add("select count(*) from t").rows().await.unwrap();
        assert_eq!(count[0].get::<i64, _>(0), 1);
    }
}
