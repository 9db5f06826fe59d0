//! The commit: the one moment at which a broken connection leaves open what has happened.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::{Postgres, Writer, connect};
use crate::Error;
use crate::backend::Applied;

/// How long a commit may take.
const COMMIT: Duration = Duration::from_secs(10);
/// How long an unanswered commit is asked after before it is told that nobody knows.
const ASK: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// A transaction that is to be committed, or perhaps has been.
pub(super) struct Doubt {
    /// Its number, by which the server knows it ever after.
    pub number: String,
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
        let committed = tokio::time::timeout(COMMIT, connect::run(&mut db, "commit")).await;
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
        let ask = sqlx::query_scalar("select pg_xact_status($1::text::xid8)").bind(&doubt.number);
        let status: Option<String> = super::bounded(async { Ok(ask.fetch_one(&mut db).await?) }).await?;
        writer.connection = Some(db);
        match status.as_deref() {
            Some("in progress") => Err(Error::Away("the commit is under way".into())),
            // One that the server has forgotten is very old: its results are still fenced by their leases.
            Some("aborted") | None => {
                writer.doubt = None;
                Ok(None)
            }
            _ => Ok(writer.doubt.take().map(|doubt| doubt.applied)),
        }
    }
}
