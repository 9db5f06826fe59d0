//! The agents' wishes for tasks: each gets one per credit.

use std::collections::HashMap;

use openclaw_agent_api::AgentName;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::task::LeasedTask;

/// What a consumer wants of its lane.
pub(crate) enum LaneOp {
    /// Begin.
    Attach(AgentName, UnboundedSender<LeasedTask>),
    /// So many more.
    Credit(AgentName, u32),
    /// No more; answered when nothing more will come.
    Withdraw(AgentName, oneshot::Sender<()>),
    /// The consumer is gone; what it has not received goes back.
    Detach(AgentName, UnboundedReceiver<LeasedTask>),
}

/// One agent's wish.
struct Lane {
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
                LaneOp::Attach(queue, tasks) => {
                    self.0.insert(queue, Lane { tasks, credit: 0, ready: true });
                }
                LaneOp::Credit(queue, more) => {
                    if let Some(lane) = self.0.get_mut(&queue) {
                        lane.credit = lane.credit.saturating_add(more);
                    }
                }
                LaneOp::Withdraw(queue, reply) => {
                    if let Some(lane) = self.0.get_mut(&queue) {
                        lane.credit = 0;
                        lane.ready = true;
                    }
                    let _ = reply.send(());
                }
                LaneOp::Detach(queue, mut tasks) => {
                    tasks.close();
                    left.extend(std::iter::from_fn(|| tasks.try_recv().ok()));
                    // A successor may be there already: its lane is open.
                    if self.0.get(&queue).is_some_and(|lane| lane.tasks.is_closed()) {
                        self.0.remove(&queue);
                    }
                }
            }
        }
        left
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
