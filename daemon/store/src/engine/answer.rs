//! After a batch: everybody is told what became of theirs.

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Engine, RETRY, RETRY_MAX, added};
use crate::Error;
use crate::backend::{Applied, Batch, Order};
use crate::failpoint::{Boundary, reach};
use crate::inbox::Pending;
use crate::task::{Completion, Ended, Outcome, Submitted, TaskId};

impl Engine {
    /// All of the batch is stored.
    pub(super) async fn committed(
        &mut self,
        batch: Batch,
        arrived: Pending,
        applied: Applied,
        now: DateTime<Utc>,
    ) {
        untold(&batch, &applied).await;
        (self.retry_at, self.retry) = (None, RETRY);
        if self.health.borrow().error.is_some() {
            tracing::info!("the database can be written again");
            // What is held comes next, and everybody has the time to renew before a lease counts as lost.
            self.lanes.touch_all();
            self.sweep_at = Instant::now() + self.options.lease;
            self.inbox.wake.notify_one();
        }
        let held = self.held_results();
        self.health.send_modify(|health| {
            (health.committed_at, health.error, health.held) = (now, None, held);
        });
        for id in &applied.stale {
            tracing::warn!(task_id = %id, "a result came after its lease was lost and was refused");
        }
        for agent in &applied.fenced {
            tracing::warn!(%agent, "its record was not saved: another process leads it");
        }
        if !applied.claimed.is_empty() {
            self.others.found();
        }
        self.schedule(&batch, now);
        self.lent = !applied.claimed.is_empty() || applied.leased.unwrap_or(self.lent);
        if applied.prune_more {
            self.prune_at = Instant::now();
        }
        for (submission, submitted) in arrived.submissions.into_iter().zip(applied.submitted) {
            if !submitted.existing {
                self.waits(submission.task.queue);
            }
            if let Some(watcher) = submission.watch {
                self.watch_submitted(submitted, watcher).await;
            }
            let _ = submission.reply.send(Ok(submitted));
        }
        applied.followed.into_iter().for_each(|queue| self.waits(queue));
        for ((order, reply), done) in arrived.orders.into_iter().zip(applied.orders) {
            if let Ok(queue) = &done {
                if let Order::Retry(_) = order {
                    self.waits(queue.clone());
                }
                // The order was carried out before this turn's claims, but only the next turn's know of it.
                self.lanes.touch(queue);
                self.inbox.wake.notify_one();
            }
            let _ = reply.send(done);
        }
        arrived.memory.into_iter().for_each(|(_, reply)| drop(reply.send(Ok(()))));
        for ((_, reply), changed) in arrived.alerts.into_iter().zip(applied.alerts) {
            let _ = reply.send(Ok(changed));
        }
        for ((_, reply), outcome) in arrived.missions.into_iter().zip(applied.missions) {
            let _ = reply.send(Ok(outcome));
        }
        for ((_, reply), entered) in arrived.ledger.into_iter().zip(applied.entered) {
            let _ = reply.send(Ok(entered));
        }
        for (leases, reply) in arrived.renewals {
            let lost = leases.into_iter().filter(|lease| applied.lost.contains(lease));
            let _ = reply.send(lost.map(|(id, _)| id).collect());
        }
        for (queue, ended) in applied.ended {
            let waiting = self.waiting.entry(queue.clone()).or_default();
            *waiting = waiting.saturating_sub(1);
            if !self.watchers.tell(&ended) {
                self.abroad.changed(&queue);
            }
        }
        if applied.swept {
            self.lanes.touch_all();
        }
        let left = self.lanes.hand_out(&batch.claims, applied.claimed);
        if !left.is_empty() {
            self.held.completions.extend(left.into_iter().map(Completion::released));
            self.inbox.wake.notify_one();
        }
    }

    /// Results that wait to be stored, also those that may be.
    pub(super) fn held_results(&self) -> usize {
        self.held.completions.len() + self.doubt.as_ref().map_or(0, |batch| batch.completions.len())
    }

    pub(super) fn waits(&mut self, queue: AgentName) {
        if !self.lanes.has(&queue) {
            self.abroad.changed(&queue);
        }
        *self.waiting.entry(queue).or_default() += 1;
    }

    /// Nothing was stored. Results wait; whoever asked for something is told.
    pub(super) fn failed(&mut self, batch: Batch, arrived: Pending, error: Error) {
        if self.health.borrow().error.is_none() {
            tracing::error!(%error, "nothing can be stored; results wait, new tasks are refused");
        }
        // A commit that says that it failed may have leased all the same.
        self.lent = true;
        self.hold_first(batch);
        // Those wait for the retry, which nothing that fails in between puts off.
        let now = Instant::now();
        if self.retry_at.is_none_or(|at| at <= now) {
            self.retry_at = Some(now + self.retry);
            self.retry = (self.retry * 2).min(RETRY_MAX);
        }
        let held = self.held_results();
        self.health.send_modify(|health| (health.error, health.held) = (Some(error.to_string()), held));
        arrived.submissions.into_iter().for_each(|s| drop(s.reply.send(Err(error.clone()))));
        arrived.orders.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
        arrived.memory.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
        arrived.alerts.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
        arrived.missions.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
        arrived.ledger.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
        // Leases are kept while nobody can take them: an unanswered renewal changes nothing.
        arrived.renewals.into_iter().for_each(|(_, reply)| drop(reply.send(Vec::new())));
    }

    /// Remembers when the first of what now waits for its time is due.
    fn schedule(&mut self, batch: &Batch, now: DateTime<Utc>) {
        let retries = batch.completions.iter().filter_map(|completion| match &completion.outcome {
            Outcome::Failed { retry_at, .. } => *retry_at,
            _ => None,
        });
        let later = added(batch).filter_map(|task| task.run_at);
        let first = retries.chain(later).filter(|at| *at > now).min();
        self.next_due = [self.next_due, first].into_iter().flatten().min();
    }

    /// A deduplicated submission may be of a task that has ended long ago.
    async fn watch_submitted(&mut self, submitted: Submitted, watcher: oneshot::Sender<Ended>) {
        if submitted.existing {
            self.watch(submitted.id, watcher).await;
        } else {
            self.watchers.add(submitted.id, watcher);
        }
    }

    /// A task that may have ended before anybody waited for it.
    pub(super) async fn watch(&mut self, id: TaskId, watcher: oneshot::Sender<Ended>) {
        // Gone, or perhaps ended: the watcher is dropped rather than left to wait for ever.
        let Ok(Some(task)) = self.backend.task(id).await else { return };
        match task.ended() {
            Some(ended) => drop(watcher.send(ended)),
            None => self.watchers.add(id, watcher),
        }
    }
}

/// What is stored, and nobody knows it.
async fn untold(batch: &Batch, applied: &Applied) {
    if !applied.ended.is_empty() {
        reach(Boundary::CompleteCommitted).await;
    }
    if !applied.followed.is_empty() {
        reach(Boundary::FollowUpCommitted).await;
    }
    if !batch.submissions.is_empty() {
        reach(Boundary::SubmitCommitted).await;
    }
    if !batch.renewals.is_empty() {
        reach(Boundary::RenewCommitted).await;
    }
    if applied.swept {
        reach(Boundary::SweepCommitted).await;
    }
    if !applied.claimed.is_empty() {
        reach(Boundary::ClaimCommitted).await;
    }
}
