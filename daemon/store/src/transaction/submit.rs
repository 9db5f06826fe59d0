//! Stores new tasks.

use std::collections::{HashMap, HashSet};

use super::{Moment, NewRow, Statements};
use crate::Error;
use crate::task::{NewTask, Submitted, TaskId};

/// A task that is known already, or comes twice, is answered with the first one.
pub(super) async fn submit(
    db: &mut impl Statements,
    tasks: &[&NewTask],
    moment: &Moment,
) -> Result<Vec<Submitted>, Error> {
    let mut known = Known::of(db, tasks).await?;
    let mut sessions = HashSet::new();
    let mut rows = Vec::with_capacity(tasks.len());
    let mut submitted = Vec::with_capacity(tasks.len());
    for &task in tasks {
        if let Some(id) = known.earlier(task) {
            submitted.push(Submitted { id, existing: true });
            continue;
        }
        known.add(task);
        let follows = task.session.as_ref().is_some_and(|session| !sessions.insert((&task.queue, session)));
        let run_at = task.run_at.map_or(moment.now, |at| moment.of(at));
        rows.push(NewRow { task, run_at, follows });
        submitted.push(Submitted { id: task.id, existing: false });
    }
    if !rows.is_empty() {
        db.insert(&rows, moment.now).await?;
    }
    Ok(submitted)
}

/// Those that add nothing, since they or another with their dedupe key are stored.
pub(crate) async fn stored(db: &mut impl Statements, tasks: &[&NewTask]) -> Result<Vec<TaskId>, Error> {
    let known = Known::of(db, tasks).await?;
    Ok(tasks.iter().filter(|task| known.earlier(task).is_some()).map(|task| task.id).collect())
}

/// What is stored already of that which is submitted.
struct Known {
    keys: HashMap<(String, String), TaskId>,
    ids: HashSet<TaskId>,
}

impl Known {
    async fn of(db: &mut impl Statements, tasks: &[&NewTask]) -> Result<Self, Error> {
        let mut known = Self { keys: HashMap::new(), ids: HashSet::new() };
        for stored in db.known(tasks).await? {
            match stored.key {
                Some(key) => drop(known.keys.insert(key, stored.id)),
                None => drop(known.ids.insert(stored.id)),
            }
        }
        Ok(known)
    }

    /// The task that stands for this one: with its dedupe key, or itself. A task that comes twice must not fail its
    /// batch, since a batch with results in it is tried until it succeeds.
    fn earlier(&self, task: &NewTask) -> Option<TaskId> {
        let key = task.dedupe_key.as_ref().map(|key| (task.queue.to_string(), key.clone()));
        let by_key = key.and_then(|key| self.keys.get(&key).copied());
        by_key.or_else(|| self.ids.get(&task.id).copied())
    }

    fn add(&mut self, task: &NewTask) {
        self.ids.insert(task.id);
        if let Some(key) = &task.dedupe_key {
            self.keys.insert((task.queue.to_string(), key.clone()), task.id);
        }
    }
}
