//! People and programs that wait for the end of a task.

use std::collections::BTreeMap;
use std::ops::Bound;

use tokio::sync::oneshot;

use crate::task::{Ended, TaskId};

/// The most tasks that are waited for; beyond it, a watcher is dropped, which its owner sees.
const MAX_WATCHED: usize = 65_536;

#[derive(Default)]
pub(crate) struct Watchers {
    tasks: BTreeMap<TaskId, Vec<oneshot::Sender<Ended>>>,
    /// Up to which [`some`](Self::some) has come.
    looked_up: Option<TaskId>,
}

impl Watchers {
    pub fn add(&mut self, id: TaskId, watcher: oneshot::Sender<Ended>) {
        if self.tasks.len() >= MAX_WATCHED {
            self.tasks.retain(|_, watchers| {
                watchers.retain(|watcher| !watcher.is_closed());
                !watchers.is_empty()
            });
        }
        if self.tasks.len() < MAX_WATCHED {
            let watchers = self.tasks.entry(id).or_default();
            // Somebody who asks again and again with a short patience must not pile up.
            if watchers.len() >= 16 {
                watchers.retain(|watcher| !watcher.is_closed());
            }
            watchers.push(watcher);
        }
    }

    /// Answers whether anybody waited for it.
    pub fn tell(&mut self, ended: &Ended) -> bool {
        let watchers = self.tasks.remove(&ended.id).unwrap_or_default();
        let awaited = !watchers.is_empty();
        for watcher in watchers {
            let _ = watcher.send(ended.clone());
        }
        awaited
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Some of the watched tasks; one call after the other goes through all of them.
    pub fn some(&mut self, most: usize) -> Vec<TaskId> {
        let from = self.looked_up.take().map_or(Bound::Unbounded, Bound::Excluded);
        let some: Vec<_> = self.tasks.range((from, Bound::Unbounded)).map(|(id, _)| *id).take(most).collect();
        // None at the end: the next call begins anew.
        self.looked_up = some.last().copied().filter(|_| some.len() == most);
        some
    }
}
