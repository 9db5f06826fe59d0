//! One batch, in the order of [`Batch`]'s fields. Many rows go in as one JSON text each, since every statement costs
//! a thread change.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;

use super::complete::complete;
use super::lease::{claim, renew, sweep};
use super::order::carry_out;
use super::prune::prune;
use super::record::{remember, save, write_events};
use super::submit::submit;
use crate::backend::{Applied, Batch, Claimant};
use crate::{Error, stamp};

pub async fn apply(
    db: &mut SqliteConnection,
    batch: &Batch,
    claimant: &Claimant,
    now: DateTime<Utc>,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    if !batch.completions.is_empty() {
        complete(db, &batch.completions, now, &mut applied).await?;
    }
    for order in &batch.orders {
        let done = carry_out(db, order, now, &mut applied).await?;
        applied.orders.push(done);
    }
    if !batch.submissions.is_empty() {
        applied.submitted = submit(db, &batch.submissions.iter().collect::<Vec<_>>(), now).await?;
    }
    if !batch.renewals.is_empty() {
        applied.lost = renew(db, &batch.renewals, claimant, now).await?;
    }
    for change in &batch.memory {
        remember(db, change, now).await?;
    }
    if !batch.events.is_empty() {
        write_events(db, &batch.events).await?;
    }
    for (agent, record) in &batch.records {
        save(db, agent, record, now).await?;
    }
    if batch.sweep {
        sweep(db, now, &mut applied).await?;
    }
    if let Some((before, rows)) = batch.prune {
        applied.prune_more = prune(db, before, rows).await?;
    }
    for (queue, most) in &batch.claims {
        claim(db, queue, *most, claimant, now, &mut applied.claimed).await?;
    }
    if batch.proof {
        let sql = "insert into proof values (1, ?1) on conflict (id) do update set written_at = ?1";
        sqlx::query(sql).bind(stamp(now)).execute(&mut *db).await?;
    }
    Ok(applied)
}
