//! The agents' wishes for tasks: each gets one per credit.

use std::collections::HashMap;

use openclaw_agent_api::AgentName;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::task::LeasedTask;

/// Tells the consumers of one agent apart: while it is replaced it has two, and the newer has the lane.
pub(crate) type ConsumerId = u64;

/// What a consumer wants of its lane. The lane may be its successor's by now.
pub(crate) enum LaneOp {
    /// Begin.
    Attach(AgentName, ConsumerId, UnboundedSender<LeasedTask>),
    /// So many more.
    Credit(AgentName, ConsumerId, u32),
    /// No more; answered when nothing more will come.
    Withdraw(AgentName, ConsumerId, oneshot::Sender<()>),
    /// The consumer is gone; what it has not received goes back.
    Detach(AgentName, ConsumerId, UnboundedReceiver<LeasedTask>),
}

/// One agent's wish.
struct Lane {
    owner: ConsumerId,
    /// Bounded by the credit, which its consumer chose.
    tasks: UnboundedSender<LeasedTask>,
    credit: u32,
    /// Whether a claim may find something: set by whatever adds or frees a task, cleared by a claim that found less
    /// than it asked for.
    ready: bool,
}

#[derive(Default)]
pub(crate) struct Lanes(HashMap<AgentName, Lane>);

impl Lanes {
    /// Does what consumers want; answers the tasks of those that are gone.
    pub fn change(&mut self, ops: Vec<LaneOp>) -> Vec<LeasedTask> {
        let mut left = Vec::new();
        for op in ops {
            match op {
                LaneOp::Attach(queue, owner, tasks) => {
                    self.0.insert(queue, Lane { owner, tasks, credit: 0, ready: true });
                }
                LaneOp::Credit(queue, id, more) => {
                    if let Some(lane) = self.of(&queue, id) {
                        lane.credit = lane.credit.saturating_add(more);
                    }
                }
                LaneOp::Withdraw(queue, id, reply) => {
                    if let Some(lane) = self.of(&queue, id) {
                        lane.credit = 0;
                        lane.ready = true;
                    }
                    let _ = reply.send(());
                }
                LaneOp::Detach(queue, id, mut tasks) => {
                    tasks.close();
                    left.extend(std::iter::from_fn(|| tasks.try_recv().ok()));
                    if self.of(&queue, id).is_some() {
                        self.0.remove(&queue);
                    }
                }
            }
        }
        left
    }

    /// The lane, if it is still this consumer's.
    fn of(&mut self, queue: &AgentName, id: ConsumerId) -> Option<&mut Lane> {
        self.0.get_mut(queue).filter(|lane| lane.owner == id)
    }

    /// Whether its tasks are taken here.
    pub fn has(&self, queue: &AgentName) -> bool {
        self.0.contains_key(queue)
    }

    /// Something was added to this queue, or freed.
    pub fn touch(&mut self, queue: &AgentName) {
        if let Some(lane) = self.0.get_mut(queue) {
            lane.ready = true;
        }
    }

    /// Something may have been, anywhere.
    pub fn touch_all(&mut self) {
        self.0.values_mut().for_each(|lane| lane.ready = true);
    }

    /// Whether anybody has credit left.
    pub fn wants(&self) -> bool {
        self.0.values().any(|lane| lane.credit > 0)
    }

    /// What to claim.
    pub fn claims(&self) -> Vec<(AgentName, u32)> {
        let hungry = self.0.iter().filter(|(_, lane)| lane.ready && lane.credit > 0);
        hungry.map(|(queue, lane)| (queue.clone(), lane.credit)).collect()
    }

    /// Gives the leased tasks to their consumers; answers those whose consumer is gone.
    pub fn hand_out(&mut self, claims: &[(AgentName, u32)], claimed: Vec<LeasedTask>) -> Vec<LeasedTask> {
        let mut got: HashMap<AgentName, u32> = HashMap::new();
        let mut left = Vec::new();
        for task in claimed {
            *got.entry(task.queue.clone()).or_default() += 1;
            let Some(lane) = self.0.get_mut(&task.queue) else {
                left.push(task);
                continue;
            };
            lane.credit = lane.credit.saturating_sub(1);
            if let Err(error) = lane.tasks.send(task) {
                left.push(error.0);
            }
        }
        for (queue, asked) in claims {
            if let Some(lane) = self.0.get_mut(queue) {
                lane.ready = got.get(queue).copied().unwrap_or(0) >= *asked;
            }
        }
        left
    }
}
