//! People and programs that wait for the end of a task.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::task::{Ended, TaskId};

/// The most tasks that are waited for; beyond it, a watcher is dropped, which its owner sees.
const MAX_WATCHED: usize = 65_536;

#[derive(Default)]
pub(crate) struct Watchers(HashMap<TaskId, Vec<oneshot::Sender<Ended>>>);

impl Watchers {
    pub fn add(&mut self, id: TaskId, watcher: oneshot::Sender<Ended>) {
        if self.0.len() >= MAX_WATCHED {
            self.0.retain(|_, watchers| {
                watchers.retain(|watcher| !watcher.is_closed());
                !watchers.is_empty()
            });
        }
        if self.0.len() < MAX_WATCHED {
            let watchers = self.0.entry(id).or_default();
            // Somebody who asks again and again with a short patience must not pile up.
            if watchers.len() >= 16 {
                watchers.retain(|watcher| !watcher.is_closed());
            }
            watchers.push(watcher);
        }
    }

    pub fn tell(&mut self, ended: &Ended) {
        for watcher in self.0.remove(&ended.id).unwrap_or_default() {
            let _ = watcher.send(ended.clone());
        }
    }
}
