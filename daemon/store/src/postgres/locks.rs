//! Who may add to a session or end something of it, and who may store a dedupe key: one transaction at a time.
//!
//! Whether a task is blocked depends on others of its session, and whether it is new on others with its key. Both are
//! looked up under locks that are all taken first, in one order, and held to the transaction's end; each statement sees
//! what was committed before it. So what SQLite has by having one writer holds here for each session and key. A claim
//! needs none: it changes nothing that these depend on.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::dialect;
use crate::Error;
use crate::backend::{Batch, Claimant, Order};
use crate::task::{NewTask, Outcome, TaskId};
use crate::transaction::Moment;

/// So many locks stand for all sessions and keys: a large batch must not fill the server's table of locks.
const STRIPES: i64 = 256;
/// Tells these locks from other programs'.
const SPACE: i32 = 0x6f63_6c77;

/// Whoever works on the database has this one, in common with others; who copies it has it alone.
const USE: i32 = -1;

/// Of tasks by their ids, of what a sweep at `$3` finds, and of new tasks by queue and name.
pub const LOCK: &str = "select pg_advisory_xact_lock($6, stripe) from (
       select distinct (hashtextextended(queue || chr(1) || name, 0) & ($7 - 1))::integer as stripe from (
         select queue, 's' || session as name from task_queue where id = any($1) and session is not null
         union all
         select queue, 's' || session from task_queue
         where $2 and state = 'leased' and lease_until < $3 and session is not null
         union all
         select * from unnest($4::text[], $5::text[])) names
       order by stripe) stripes";

/// The locks that a batch needs.
pub async fn of_batch(db: &mut PgConnection, batch: &Batch, moment: &Moment) -> Result<(), Error> {
    let completed = batch.completions.iter().map(|completion| completion.id);
    let ordered = batch.orders.iter().map(|(Order::Retry(id) | Order::Cancel(id))| *id);
    let ids: Vec<_> = completed.chain(ordered).map(dialect::id).collect();
    let follow_ups = batch.completions.iter().flat_map(|completion| match &completion.outcome {
        Outcome::Done { follow_ups, .. } => follow_ups.as_slice(),
        _ => &[],
    });
    let mut names = Vec::new();
    for task in batch.submissions.iter().chain(follow_ups).chain(batch.messages()) {
        names.extend(named(task));
    }
    if !batch.reports.is_empty() || !batch.alerts.is_empty() {
        // One transaction at a time changes alerts: what it reads of them stays so.
        names.push(("alerts", "a".to_owned()));
    }
    if !batch.missions.is_empty() {
        names.push(("missions", "m".to_owned()));
    }
    let sweeps = batch.sweep && moment.tells_leases;
    if ids.is_empty() && names.is_empty() && !sweeps {
        return Ok(());
    }
    let (queues, names): (Vec<_>, Vec<_>) = names.into_iter().unzip();
    let lock = sqlx::query(LOCK).bind(ids).bind(sweeps).bind(dialect::at(moment.now));
    lock.bind(queues).bind(names).bind(SPACE).bind(STRIPES).execute(db).await?;
    Ok(())
}

fn named(task: &NewTask) -> impl Iterator<Item = (&str, String)> {
    let session = task.session.as_deref().map(|session| format!("s{}", dialect::text(session)));
    let key = task.dedupe_key.as_deref().map(|key| format!("k{}", dialect::text(key)));
    session.into_iter().chain(key).map(|name| (task.queue.as_str(), name))
}

/// The locks that freeing what earlier lives had leased needs.
pub async fn of_lives(db: &mut PgConnection, claimant: &Claimant) -> Result<(), Error> {
    let sql = "select id from task_queue where state = 'leased' and starts_with(lease_owner, $1)";
    let ids = sqlx::query_scalar(sql).bind(format!("{}/", claimant.installation)).fetch_all(&mut *db).await?;
    let orders = ids.into_iter().map(|id: Uuid| Order::Cancel(TaskId::from(id))).collect();
    let moment = Moment::own(chrono::DateTime::UNIX_EPOCH);
    of_batch(db, &Batch { orders, ..Batch::default() }, &moment).await
}

/// Takes part in the work on the database for as long as this connection lives; false while somebody copies it.
pub async fn take_part(db: &mut PgConnection) -> Result<bool, Error> {
    let sql = "select pg_try_advisory_lock_shared($1, $2)";
    Ok(sqlx::query_scalar(sql).bind(SPACE).bind(USE).fetch_one(db).await?)
}

/// What answers 1 once nobody takes part any more, and nobody can while the connection lives that asked.
pub fn alone() -> String {
    format!("select pg_try_advisory_lock({SPACE}, {USE})::integer::bigint")
}
