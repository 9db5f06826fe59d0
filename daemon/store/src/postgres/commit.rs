//! The commit: the one moment at which a broken connection leaves open what has happened.
//!
//! Each transaction leaves a count of its own in `commits`, in the same message as the commit. A transaction's number
//! alone proves nothing: what a server had not written when it crashed is forgotten, and the number is given to another
//! one, whose commit would be taken for ours.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::{Postgres, Writer};
use crate::Error;
use crate::backend::Applied;

/// How long a commit may take.
const COMMIT: Duration = Duration::from_secs(10);
/// How long an unanswered commit is asked after before it is told that nobody knows.
const ASK: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether a transaction of this number is under way. A server that has crashed may not have come to it again.
const UNDER_WAY: &str = "select $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot())
    and coalesce(pg_xact_status($1::text::xid8) = 'in progress', false)";

/// A transaction that is to be committed, or perhaps has been.
pub(super) struct Doubt {
    /// Its number, by which the server knows whether it is under way.
    pub number: String,
    /// Which of this writer's it is.
    pub count: i64,
    /// What it did.
    pub applied: Applied,
}

impl Postgres {
    pub(super) async fn commit(
        &self,
        writer: &mut Writer,
        mut db: PgConnection,
        doubt: Doubt,
    ) -> Result<Applied, Error> {
        let leave_count = format!(
            "insert into commits (writer, number, written_at) values ('{}', {}, clock_timestamp()) on conflict (writer) \
             do update set number = excluded.number, written_at = excluded.written_at; commit",
            self.life, doubt.count
        );
        let commit = async {
            sqlx::raw_sql(AssertSqlSafe(leave_count)).execute(&mut db).await?;
            Ok::<_, Error>(())
        };
        let committed = tokio::time::timeout(COMMIT, commit).await;
        let why = match committed {
            Ok(Ok(())) => {
                writer.connection = Some(db);
                return Ok(doubt.applied);
            }
            // The server says that it did not.
            Ok(Err(error)) if !error.is_away() => return Err(error),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("none within {} s", COMMIT.as_secs()),
        };
        // Closed first: what was not committed is then soon rolled back.
        drop(db);
        writer.doubt = Some(doubt);
        let until = Instant::now() + ASK;
        loop {
            match self.settle(writer).await {
                Ok(Some(applied)) => return Ok(applied),
                Ok(None) => return Err(Error::Away(why)),
                Err(_) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                Err(_) => return Err(Error::Doubtful(why)),
            }
        }
    }

    /// What the doubtful transaction did, if it has been committed. An error leaves it in doubt.
    pub(super) async fn settle(&self, writer: &mut Writer) -> Result<Option<Applied>, Error> {
        let Some(doubt) = &writer.doubt else { return Ok(None) };
        let mut db = match writer.connection.take() {
            Some(db) => db,
            None => self.server.connect().await?,
        };
        let (number, count) = (&doubt.number, doubt.count);
        let asked = super::bounded(async {
            let under_way: bool = sqlx::query_scalar(UNDER_WAY).bind(number).fetch_one(&mut db).await?;
            // Asked afterwards: what has ended by now is seen.
            let ask = sqlx::query_scalar("select number from commits where writer = $1").bind(self.life);
            let last: Option<i64> = ask.fetch_optional(&mut db).await?;
            Ok((under_way, last))
        });
        let (under_way, last) = asked.await?;
        writer.connection = Some(db);
        if last == Some(count) {
            return Ok(writer.doubt.take().map(|doubt| doubt.applied));
        }
        if under_way {
            return Err(Error::Away("the commit is under way".into()));
        }
        writer.doubt = None;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Deciding;
    use crate::tests::database::{Database, On, there_is_postgres};

    /// As after a crash of the server: a number that is another one's now, and one that has not been given again.
    #[tokio::test]
    async fn another_transaction_s_commit_is_not_taken_for_ours() {
        if !there_is_postgres() {
            return;
        }
        let database = Database::new(On::Postgres).await;
        let postgres = Postgres::open(database.server(), Deciding::Database).await.unwrap();
        let other = database.number("select pg_current_xact_id()::text::bigint").await;
        for number in [other, other + 1_000_000] {
            let mut writer = postgres.writer.lock().await;
            let number = number.to_string();
            writer.doubt = Some(Doubt { number, count: 1, applied: Applied::default() });
            assert!(postgres.settle(&mut writer).await.unwrap().is_none());
            assert!(writer.doubt.is_none());
        }
    }
}
