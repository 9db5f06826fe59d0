//! Other processes on the same database: what they add and end is looked for, since nobody tells of it for certain.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::Engine;
use crate::Error;
use crate::backend::Batch;
use crate::inbox::Pending;

/// How often others' work is looked for: a message that no nudge announced waits no longer than this.
const POLL: Duration = Duration::from_millis(500);
/// The same while nothing is found.
const IDLE_POLL: Duration = Duration::from_secs(1);
/// How often the waiting tasks are counted anew.
const COUNT: Duration = Duration::from_secs(10);
/// The most watched tasks that are looked up at once; the others' turn comes with the next look.
const LOOKED_UP: usize = 4096;

/// When to look.
pub(super) struct Others {
    poll: Duration,
    poll_at: Instant,
    count_at: Instant,
}

impl Others {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { poll: POLL, poll_at: now + POLL, count_at: now + COUNT }
    }

    /// Something was found: more may follow soon.
    pub(super) fn found(&mut self) {
        self.poll = POLL;
    }
}

impl Engine {
    /// When to look for others' work next, if there is anything to look for.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        let waits = self.lanes.wants() || !self.watchers.is_empty();
        (self.backend.shared() && waits).then_some(self.others.poll_at)
    }

    /// Has the lanes claim again, and tells those who wait for tasks that others have ended.
    pub(super) async fn look_around(&mut self, arrived: &mut Pending) {
        let nudged = std::mem::take(&mut arrived.nudged);
        nudged.iter().for_each(|queue| self.lanes.touch(queue));
        let now = Instant::now();
        if !self.backend.shared() || self.retry_at.is_some() {
            return;
        }
        if nudged.is_empty() && now < self.others.poll_at {
            return;
        }
        self.others.poll_at = now + self.others.poll;
        self.others.poll = IDLE_POLL;
        self.lanes.touch_all();
        let watched = self.watchers.some(LOOKED_UP);
        if !watched.is_empty() {
            // A look that fails is repeated.
            for ended in self.backend.ended(&watched).await.unwrap_or_default() {
                self.others.found();
                self.watchers.tell(&ended);
            }
        }
        if now >= self.others.count_at {
            self.others.count_at = now + COUNT;
            if let Ok(depths) = self.backend.depths().await {
                self.count(depths);
            }
        }
    }

    /// What became of a batch whose commit was not answered. Until that is known nothing else is stored.
    pub(super) async fn settle_doubt(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        let Some(batch) = self.doubt.take() else { return Ok(()) };
        match self.backend.resolve().await {
            Ok(Some(applied)) => {
                let new = batch.submissions.iter().zip(&applied.submitted);
                let new: Vec<_> = new.filter(|(_, s)| !s.existing).map(|(t, _)| t.queue.clone()).collect();
                new.into_iter().for_each(|queue| self.waits(queue));
                self.committed(*batch, Pending::default(), applied, now).await;
                Ok(())
            }
            Ok(None) => {
                self.hold_first(*batch);
                Ok(())
            }
            Err(error) => {
                self.doubt = Some(batch);
                Err(error)
            }
        }
    }

    /// What must not be lost of a batch that was not stored waits before all that came later.
    pub(super) fn hold_first(&mut self, batch: Batch) {
        let since = std::mem::take(&mut self.held);
        self.held.add(
            batch.completions,
            batch.events,
            batch.heartbeats,
            batch.reports,
            batch.records,
            batch.tally,
        );
        self.held.add(
            since.completions,
            since.events,
            since.heartbeats,
            since.reports,
            since.records,
            since.tally,
        );
    }
}
