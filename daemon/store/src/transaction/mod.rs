//! What one batch does, whatever the database: which rows change, in which order, and what everybody is told. How a
//! row is changed is each database's own: [`Statements`].

mod alerts;
mod complete;
mod lease;
mod ledger;
mod missions;
mod order;
mod statements;
mod submit;

use chrono::{DateTime, TimeDelta, Utc};

use crate::Error;
use crate::backend::{Applied, Batch, Claimant};
use crate::failpoint::Boundary;
pub(crate) use lease::free;
pub(crate) use statements::{
    Claimed, Found, Freed, Held, Lost, NewRow, OutcomeRow, Sessions, Statements, Stored, Try,
};
pub(crate) use submit::stored;

/// The time of a transaction, by the clock that decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Now.
    pub now: DateTime<Utc>,
    /// What is added to a time that comes from outside: by how much the deciding clock is ahead of the caller's.
    pub shift: TimeDelta,
    /// Whether a lease that looks run out has run out.
    pub tells_leases: bool,
    /// Whether what looks old is.
    pub tells_ages: bool,
}

impl Moment {
    /// By the caller's own clock.
    pub fn own(now: DateTime<Utc>) -> Self {
        Self { now, shift: TimeDelta::zero(), tells_leases: true, tells_ages: true }
    }

    /// By the database's clock, which says `now` while the caller's says `told`.
    pub fn of_database(now: DateTime<Utc>, told: DateTime<Utc>) -> Self {
        Self { shift: now - told, ..Self::own(now) }
    }

    /// A time from outside, by the deciding clock, and within what both databases can keep: from 1970 to 9999.
    pub fn of(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let latest = DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        at.clamp(DateTime::UNIX_EPOCH, latest).checked_add_signed(self.shift).unwrap_or(at).min(latest)
    }

    /// Now, by the caller's clock.
    fn told(&self) -> DateTime<Utc> {
        self.now - self.shift
    }
}

/// Carries a batch out, in the order of [`Batch`]'s fields. The caller has begun a transaction and ends it.
pub(crate) async fn apply(
    db: &mut impl Statements,
    batch: &Batch,
    claimant: &Claimant,
    moment: &Moment,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    if !batch.completions.is_empty() {
        complete::complete(db, &batch.completions, moment, &mut applied).await?;
        db.written(Boundary::CompleteWritten).await?;
    }
    for order in &batch.orders {
        let done = order::carry_out(db, order, moment, &mut applied).await?;
        applied.orders.push(done);
    }
    if !batch.submissions.is_empty() {
        let tasks: Vec<_> = batch.submissions.iter().collect();
        applied.submitted = submit::submit(db, &tasks, moment).await?;
        db.written(Boundary::SubmitWritten).await?;
    }
    if !batch.renewals.is_empty() {
        let held = db.renew(&batch.renewals, moment.now + claimant.lease).await?;
        applied.lost = batch.renewals.iter().filter(|lease| !held.contains(lease)).copied().collect();
    }
    for change in &batch.memory {
        db.remember(change, moment.now).await?;
    }
    if !batch.events.is_empty() {
        db.history(&[], &batch.events, moment).await?;
    }
    if !batch.heartbeats.is_empty() {
        db.heartbeats(&batch.heartbeats, moment).await?;
    }
    if !batch.reports.is_empty() {
        alerts::report(db, &batch.reports, batch.cooldown, moment).await?;
    }
    for change in &batch.alerts {
        let changed = alerts::change(db, change, batch.cooldown, moment, &mut applied).await?;
        applied.alerts.push(changed);
    }
    for change in &batch.missions {
        applied.missions.push(missions::change(db, change, moment).await?);
    }
    for (agent, record) in &batch.records {
        if !db.save(agent, record, claimant, moment.now).await? {
            applied.fenced.push(agent.clone());
        }
    }
    if !batch.ledger.is_empty() {
        applied.entered = ledger::enter(db, &batch.ledger, moment).await?;
    }
    if !batch.tally.is_empty() {
        db.count(&batch.tally).await?;
    }
    if batch.sweep && moment.tells_leases {
        lease::sweep(db, moment, &mut applied).await?;
        if applied.swept {
            db.written(Boundary::SweepWritten).await?;
        }
    }
    if let Some((before, rows)) = batch.prune {
        let before = if moment.tells_ages { moment.of(before) } else { DateTime::UNIX_EPOCH };
        applied.prune_more = db.prune(before, rows).await?;
    }
    if !batch.claims.is_empty() {
        applied.claimed = lease::claim(db, &batch.claims, claimant, moment).await?;
        if !applied.claimed.is_empty() {
            db.written(Boundary::ClaimWritten).await?;
        }
    }
    if batch.proof {
        db.prove(moment.now).await?;
    }
    Ok(applied)
}
