//! No more tasks wait for one agent than `max_queued`.

use std::collections::HashMap;

use openclaw_agent_api::AgentName;

use super::Engine;
use crate::Error;
use crate::inbox::Pending;
use crate::task::{Completion, NewTask, Outcome};

/// What a batch adds to each queue.
pub(super) type Coming = HashMap<AgentName, u32>;

impl Engine {
    /// A result whose follow-ups find no room is not stored with them: it is a dead letter, which a person may retry.
    pub(super) fn bound_follow_ups(&self, completions: &mut [Completion], coming: &mut Coming) {
        for completion in completions {
            let Outcome::Done { follow_ups, .. } = &completion.outcome else { continue };
            let mut more = Coming::new();
            for task in follow_ups {
                *more.entry(task.queue.clone()).or_default() += 1;
            }
            // Its own end makes room for one.
            if let Some(own) = more.get_mut(&completion.agent) {
                *own -= 1;
            }
            let full =
                more.iter().find(|(queue, more)| **more > self.room(queue, coming)).map(|(queue, _)| queue);
            if let Some(queue) = full {
                let max = self.options.max_queued;
                let error = format!(
                    "{max} tasks wait for `{queue}` already, the most that tasks.max_queued allows: the work handed \
                     to it was not stored"
                );
                completion.outcome = Outcome::Failed { error, retry_at: None };
                continue;
            }
            for (queue, more) in more {
                *coming.entry(queue).or_default() += more;
            }
        }
    }

    /// Repeats of what is stored already come through: they add nothing.
    pub(super) async fn refuse_what_is_too_much(&self, arrived: &mut Pending, mut coming: Coming) {
        let mut beyond = Vec::new();
        for submission in std::mem::take(&mut arrived.submissions) {
            let queue = &submission.task.queue;
            if self.room(queue, &coming) == 0 {
                beyond.push(submission);
                continue;
            }
            *coming.entry(queue.clone()).or_default() += 1;
            arrived.submissions.push(submission);
        }
        let keyed = beyond.iter().map(|s| &s.task).filter(|task| task.dedupe_key.is_some());
        let keyed: Vec<&NewTask> = keyed.collect();
        // A read that fails says no more than that the queue is full.
        let stored = match keyed.is_empty() {
            true => Vec::new(),
            false => self.backend.stored(&keyed).await.unwrap_or_default(),
        };
        for submission in beyond {
            if stored.contains(&submission.task.id) {
                arrived.submissions.push(submission);
                continue;
            }
            let (queue, waiting) = (submission.task.queue.to_string(), self.options.max_queued);
            let _ = submission.reply.send(Err(Error::QueueFull { queue, waiting }));
        }
    }

    fn room(&self, queue: &AgentName, coming: &Coming) -> u32 {
        let of = |counts: &Coming| counts.get(queue).copied().unwrap_or(0);
        self.options.max_queued.saturating_sub(of(&self.waiting)).saturating_sub(of(coming))
    }
}
