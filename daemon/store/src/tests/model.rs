//! Any sequence of what agents, people and crashes can do, against a model in memory.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::task::{Ended, Filter};

const QUEUES: [&str; 2] = ["milkbot", "atlas"];

#[derive(Clone, Debug)]
enum Step {
    /// All at once: (queue, session, dedupe key, priority).
    Submit(Vec<(usize, Option<u8>, Option<u8>, i32)>),
    Credit(usize, u32),
    Withdraw(usize),
    Consumer(usize),
    /// The n-th of the leased tasks ends well; a follow-up for this queue and session comes with it.
    Done(usize, Option<(usize, u8)>),
    /// Tried again at once, or a dead letter.
    Fail(usize, bool),
    Release(usize),
    /// A result under a lease that is no more.
    Late(usize),
    Cancel(usize),
    Retry(usize),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let new = (0..2usize, prop::option::of(0..3u8), prop::option::weighted(0.2, 0..3u8), -1..2i32);
    prop_oneof![
        6 => vec(new, 1..4).prop_map(Step::Submit),
        5 => (0..2usize, 1..4u32).prop_map(|(queue, more)| Step::Credit(queue, more)),
        1 => (0..2usize).prop_map(Step::Withdraw),
        1 => (0..2usize).prop_map(Step::Consumer),
        5 => (any::<usize>(), prop::option::weighted(0.3, (0..2usize, 0..3u8)))
            .prop_map(|(n, follow)| Step::Done(n, follow)),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(n, again)| Step::Fail(n, again)),
        2 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Late),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Retry),
        1 => Just(Step::Crash),
    ]
}

/// What the model knows of an accepted task.
struct Known {
    task: NewTask,
    state: TaskState,
    attempts: u32,
    ended: Option<oneshot::Receiver<Ended>>,
}

struct World {
    /// None while it crashes.
    rig: Option<Rig>,
    consumers: Vec<Consumer>,
    /// In the order of acceptance.
    tasks: Vec<Known>,
    at: HashMap<TaskId, usize>,
    keys: HashMap<(usize, u8), TaskId>,
    leased: Vec<LeasedTask>,
    lost: Vec<LeasedTask>,
    outcomes: i64,
}

impl World {
    async fn new(on: On) -> Self {
        let rig = Rig::new(on).await;
        let consumers = QUEUES.map(|queue| rig.store.consumer(agent(queue))).into();
        let (tasks, at, keys) = Default::default();
        Self { rig: Some(rig), consumers, tasks, at, keys, leased: vec![], lost: vec![], outcomes: 0 }
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().expect("it has not crashed")
    }

    fn accept(&mut self, task: NewTask, ended: Option<oneshot::Receiver<Ended>>) {
        self.at.insert(task.id, self.tasks.len());
        self.tasks.push(Known { task, state: TaskState::Queued, attempts: 0, ended });
    }

    fn known(&mut self, id: TaskId) -> &mut Known {
        &mut self.tasks[self.at[&id]]
    }

    /// The n-th of those in one of these states.
    fn pick(&self, n: usize, states: &[TaskState]) -> Option<TaskId> {
        let fit: Vec<_> = self.tasks.iter().filter(|known| states.contains(&known.state)).collect();
        (!fit.is_empty()).then(|| fit[n % fit.len()].task.id)
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Submit(all) => self.submit(all).await,
            Step::Credit(queue, more) => self.consumers[queue].credit(more),
            Step::Withdraw(queue) => {
                for task in withdraw(&mut self.consumers[queue]).await {
                    self.got(task);
                }
            }
            Step::Consumer(queue) => self.consumers[queue] = self.rig().store.consumer(agent(QUEUES[queue])),
            Step::Done(n, follow) => self.done(n, follow),
            Step::Fail(n, again) => {
                let Some(task) = self.give(n) else { return };
                self.rig().store.complete(fails(&task, again.then(Utc::now)));
                self.known(task.id).state = if again { TaskState::Queued } else { TaskState::Failed };
                self.outcomes += 1;
            }
            Step::Release(n) => {
                let Some(task) = self.give(n) else { return };
                let known = self.known(task.id);
                (known.state, known.attempts) = (TaskState::Queued, known.attempts - 1);
                self.rig().store.release(task);
            }
            Step::Late(n) if !self.lost.is_empty() => {
                let task = &self.lost[n % self.lost.len()];
                let follow = NewTask { queue: task.queue.clone(), ..super::task() };
                self.rig().store.complete(followed(task, r#""late""#, vec![follow]));
            }
            Step::Late(_) => {}
            Step::Cancel(n) => {
                let Some(id) = self.pick(n, &[TaskState::Queued]) else { return };
                within(self.rig().store.cancel(id)).await.expect("it is queued");
                self.known(id).state = TaskState::Cancelled;
            }
            Step::Retry(n) => {
                let Some(id) = self.pick(n, &[TaskState::Failed, TaskState::Cancelled]) else { return };
                within(self.rig().store.retry(id)).await.expect("it has ended");
                let known = self.known(id);
                (known.state, known.attempts) = (TaskState::Queued, 0);
            }
            Step::Crash => self.crash().await,
        }
        self.look().await;
    }

    async fn submit(&mut self, all: Vec<(usize, Option<u8>, Option<u8>, i32)>) {
        let mut submitting = tokio::task::JoinSet::new();
        for (at, (queue, session, key, priority)) in all.into_iter().enumerate() {
            let new = NewTask {
                queue: agent(QUEUES[queue]),
                session: session.map(|n| n.to_string()),
                dedupe_key: key.map(|n| n.to_string()),
                priority,
                ..task()
            };
            let store = self.rig().store.clone();
            submitting.spawn(async move {
                (at, queue, key, store.submit_and_watch(new.clone()).await.expect("it is stored"), new)
            });
        }
        let mut answers = within(submitting.join_all()).await;
        answers.sort_by_key(|(at, ..)| *at);
        for (_, queue, key, (submitted, ended), new) in answers {
            let first = key.map(|key| *self.keys.entry((queue, key)).or_insert(new.id)).unwrap_or(new.id);
            assert_eq!(submitted, Submitted { id: first, existing: first != new.id });
            if !submitted.existing {
                self.accept(new, Some(ended));
            }
        }
    }

    /// The n-th leased task leaves the worker's hands.
    fn give(&mut self, n: usize) -> Option<LeasedTask> {
        let len = self.leased.len();
        let task = (len > 0).then(|| self.leased.swap_remove(n % len))?;
        self.lost.push(task.clone());
        Some(task)
    }

    fn done(&mut self, n: usize, follow: Option<(usize, u8)>) {
        let Some(task) = self.give(n) else { return };
        let follow = follow.map(|(queue, session)| NewTask {
            queue: agent(QUEUES[queue]),
            session: Some(session.to_string()),
            ..super::task()
        });
        self.rig().store.complete(followed(&task, "1", follow.iter().cloned().collect()));
        self.known(task.id).state = TaskState::Done;
        self.outcomes += 1;
        if let Some(follow) = follow {
            self.accept(follow, None);
        }
    }

    async fn crash(&mut self) {
        // What nobody received is not known to be leased, nor counted.
        self.consumers.clear();
        self.lost.append(&mut self.leased);
        for known in self.tasks.iter_mut().filter(|known| known.state == TaskState::Leased) {
            (known.state, known.attempts) = (TaskState::Queued, known.attempts - 1);
        }
        for known in &mut self.tasks {
            // Told before, or nobody is left to tell.
            known.ended = None;
        }
        let rig = self.rig.take().expect("it has not crashed");
        self.rig = Some(rig.crash(options()).await);
        self.consumers = QUEUES.map(|queue| self.rig().store.consumer(agent(queue))).into();
    }

    /// A task came into the worker's hands.
    fn got(&mut self, task: LeasedTask) {
        let at = self.at[&task.id];
        let known = &self.tasks[at];
        assert_eq!(known.state, TaskState::Queued, "leased twice, or after its end");
        assert_eq!(task.attempts, known.attempts + 1);
        if let Some(session) = &known.task.session {
            let of_session = |other: &&Known| {
                other.task.session.as_ref() == Some(session) && other.task.queue == known.task.queue
            };
            let mut others = self.tasks.iter().filter(of_session);
            assert!(others.all(|other| other.state != TaskState::Leased), "two of one session at once");
            let mut earlier = self.tasks[..at].iter().filter(of_session);
            assert!(earlier.all(|other| other.state.ended()), "before an earlier one of its session");
        }
        let known = &mut self.tasks[at];
        (known.state, known.attempts) = (TaskState::Leased, task.attempts);
        self.leased.push(task);
    }

    /// What has come, and whether the store and the model agree.
    async fn look(&mut self) {
        self.rig().settle().await;
        for queue in 0..QUEUES.len() {
            while let Some(task) = self.consumers[queue].try_next() {
                self.got(task);
            }
        }
        let rows = self.rig().store.tasks(&Filter { limit: 9999, ..Filter::default() }).await.expect("rows");
        assert_eq!(rows.len(), self.tasks.len());
        for (row, known) in rows.iter().rev().zip(&mut self.tasks) {
            assert_eq!((row.id, row.state, row.attempts), (known.task.id, known.state, known.attempts));
            let told = known.ended.as_mut().and_then(|ended| ended.try_recv().ok());
            if let Some(ended) = told {
                known.ended = None;
                assert_eq!((ended.id, ended.state), (row.id, row.state), "told of another end");
            }
            let waits = known.ended.is_some();
            assert!(!(known.state.ended() && waits), "the watcher of {} was not told", row.id);
        }
        assert_eq!(self.rig().number("select count(*) from ops_outcomes").await, self.outcomes);
        assert_eq!(self.rig().store.health().error, None);
    }

    /// Everything ends when somebody works it off.
    async fn drain(&mut self) {
        self.consumers.iter().for_each(|consumer| consumer.credit(1000));
        self.look().await;
        let mut turns = 0;
        while self.tasks.iter().any(|known| !known.state.ended()) {
            assert!(!self.leased.is_empty(), "stuck");
            self.take(Step::Done(turns, None)).await;
            turns += 1;
        }
        let waiting = self.rig().store.depths().await.expect("depths");
        assert!(waiting.iter().all(|(_, depth)| depth.queued == 0 && depth.leased == 0), "{waiting:?}");
    }
}

fn whatever_happens(on: On, cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    proptest!(config, |(steps in vec(step(), 1..40))| {
        runtime.block_on(async {
            let mut world = World::new(on).await;
            for step in steps {
                world.take(step).await;
            }
            world.drain().await;
        });
    });
}

mod sqlite {
    #[test]
    fn whatever_happens_every_task_ends_once_and_in_order() {
        super::whatever_happens(super::On::Sqlite, 64);
    }
}

mod postgres {
    #[test]
    fn whatever_happens_every_task_ends_once_and_in_order() {
        if crate::tests::database::there_is_postgres() {
            super::whatever_happens(super::On::Postgres, 12);
        }
    }
}
