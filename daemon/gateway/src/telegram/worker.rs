//! Works a queue of Telegram's: leases, renews, and puts down how each ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use store::task::{Completion, LeasedTask, Outcome, TaskId};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::jobs;
use super::shared::Shared;
use super::tasks::Queue;
use crate::http::Drain;

/// Answers that are owed at once wait for agents and cost next to nothing; what is sent at once is a connection each.
const OWED: u32 = 1024;
const SENT: u32 = 16;
const FETCHED: u32 = 4;
/// What is being sent when all ends may take so long.
const LAST_WORDS: Duration = Duration::from_secs(3);

struct Running {
    task: LeasedTask,
    began: Instant,
    job: AbortHandle,
}

/// Works until the end of the drain.
pub async fn work(queue: Queue, shared: Arc<Shared>, mut drain: watch::Receiver<Drain>) {
    let Ok(within) = shared.within() else { return };
    let store = within.desk.store.clone();
    let mut consumer = store.consumer(queue.name());
    consumer.credit(match queue {
        Queue::Replies => OWED,
        Queue::Out => SENT,
        Queue::Files => FETCHED,
    });
    let mut renew = interval(shared.lease / 3);
    renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut jobs, mut running) = (JoinSet::<(TaskId, Outcome)>::new(), HashMap::<Id, Running>::new());
    loop {
        tokio::select! {
            Some(task) = consumer.next() => {
                let (shared, leased) = (shared.clone(), task.clone());
                let job = jobs.spawn(async move { (leased.id, jobs::run(&shared, &leased).await) });
                running.insert(job.id(), Running { task, began: Instant::now(), job });
            }
            Some(ended) = jobs.join_next_with_id() => {
                let (id, outcome) = match ended {
                    Ok((id, (_, outcome))) => (id, outcome),
                    // Its lease was lost, or it has a defect, which a second try does not mend at once.
                    Err(error) => (error.id(), jobs::failed("it was ended".into(), Duration::from_secs(60), &shared)),
                };
                if let Some(ended) = running.remove(&id) {
                    store.complete(Completion::of(ended.task, outcome, ended.began.elapsed()));
                }
                consumer.credit(1);
            }
            _ = renew.tick(), if !running.is_empty() => {
                let leases = running.values().map(|running| (running.task.id, running.task.token)).collect();
                let lost = store.renew(leases).await;
                running.values().filter(|running| lost.contains(&running.task.id)).for_each(|r| r.job.abort());
            }
            () = finishing(&mut drain) => break,
        }
    }
    drop(consumer);
    // What is owed is owed still at the next start; what is being sent is seen to its end, lest it is sent twice.
    if queue == Queue::Replies {
        jobs.abort_all();
    }
    let end = Instant::now() + LAST_WORDS;
    while let Ok(Some(ended)) = timeout(end - Instant::now(), jobs.join_next_with_id()).await {
        let (id, outcome) =
            ended.map_or_else(|e| (e.id(), Outcome::Released), |(id, (_, outcome))| (id, outcome));
        if let Some(ended) = running.remove(&id) {
            store.complete(Completion::of(ended.task, outcome, ended.began.elapsed()));
        }
    }
    running.into_values().for_each(|left| store.release(left.task));
}

async fn finishing(drain: &mut watch::Receiver<Drain>) {
    let _ = drain.wait_for(|drain| *drain == Drain::Finishing).await;
}
