//! The tasks that one host is given: as many at once as the supervisor lets it have, by credit with the store.

use openclaw_agent_api::AgentName;
use store::task::LeasedTask;
use store::{Consumer, Store};
use tokio::sync::oneshot;

/// Where a host's tasks come from.
pub struct Supply {
    agent: AgentName,
    store: Store,
    /// From the first limit on: a canary must not take its predecessor's place.
    consumer: Option<Consumer>,
    limit: u32,
    credited: u32,
    /// Credit is being taken back; until that is through none is given.
    withdrawing: Option<oneshot::Receiver<()>>,
}

impl Supply {
    pub fn new(agent: AgentName, store: Store) -> Self {
        Self { agent, store, consumer: None, limit: 0, credited: 0, withdrawing: None }
    }

    /// How many at once.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// From now on so many at once.
    pub fn set_limit(&mut self, limit: u32) {
        if limit > 0 && self.consumer.is_none() {
            self.consumer = Some(self.store.consumer(self.agent.clone()));
        }
        if limit < self.limit {
            self.withdrawing = self.consumer.as_ref().map(Consumer::take_back);
        }
        self.limit = limit;
    }

    /// Asks for as many as may come while so many are in work.
    pub fn ask(&mut self, in_work: u32) {
        if let (None, Some(consumer)) = (&self.withdrawing, &self.consumer) {
            let more = self.limit.saturating_sub(in_work + self.credited);
            consumer.credit(more);
            self.credited += more;
        }
    }

    /// The next task; `None` once credit that was being taken back is. Safe to cancel.
    pub async fn next(&mut self) -> Option<LeasedTask> {
        let withdrawn = async {
            match &mut self.withdrawing {
                Some(done) => drop(done.await),
                None => std::future::pending().await,
            }
        };
        let leased = async {
            match &mut self.consumer {
                Some(consumer) => consumer.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // None says that the store has ended: nothing comes any more.
            Some(task) = leased => {
                self.credited = self.credited.saturating_sub(1);
                Some(task)
            }
            () = withdrawn => {
                self.withdrawn();
                None
            }
        }
    }

    /// One that is there already.
    pub fn try_next(&mut self) -> Option<LeasedTask> {
        let task = self.consumer.as_mut().and_then(Consumer::try_next)?;
        self.credited = self.credited.saturating_sub(1);
        Some(task)
    }

    /// Gives one back untried.
    pub fn release(&self, task: LeasedTask) {
        self.store.release(task);
    }

    /// Whether nothing comes but by new credit.
    pub fn is_settled(&self) -> bool {
        self.withdrawing.is_none()
    }

    /// The host has ended: what is to be given back once the store knows that it has no more credit.
    pub fn end(self) -> Option<Leftover> {
        let store = self.store;
        self.consumer.map(|consumer| Leftover { done: consumer.take_back(), consumer, store })
    }

    fn withdrawn(&mut self) {
        self.withdrawing = None;
        while let Some(task) = self.try_next() {
            self.store.release(task);
        }
        self.credited = 0;
    }
}

/// What was leased for a host and never reached it. The credit was taken back before the successor's consumer
/// attached, so this ends with the engine's next turn.
pub struct Leftover {
    done: oneshot::Receiver<()>,
    consumer: Consumer,
    store: Store,
}

impl Leftover {
    pub async fn give_back(mut self) {
        let _ = self.done.await;
        while let Some(task) = self.consumer.try_next() {
            self.store.release(task);
        }
    }
}
