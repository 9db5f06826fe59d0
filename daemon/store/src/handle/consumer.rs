//! One agent's tasks, as they are leased.

use std::sync::Arc;

use openclaw_agent_api::AgentName;
use tokio::sync::{mpsc, oneshot};

use crate::inbox::Inbox;
use crate::lanes::{ConsumerId, LaneOp};
use crate::task::LeasedTask;

/// One agent's tasks: it gets as many as it gives credit for, each leased to this daemon. When it is dropped, what it
/// has not received goes back untried.
pub struct Consumer {
    pub(super) queue: AgentName,
    pub(super) id: ConsumerId,
    pub(super) inbox: Arc<Inbox>,
    pub(super) tasks: mpsc::UnboundedReceiver<LeasedTask>,
}

impl Consumer {
    /// Allows `more` tasks to be leased beyond those allowed and not yet received.
    pub fn credit(&self, more: u32) {
        if more > 0 {
            self.inbox.put(|pending| pending.lanes.push(LaneOp::Credit(self.queue.clone(), self.id, more)));
        }
    }

    /// The next leased task. Safe to cancel.
    pub async fn next(&mut self) -> Option<LeasedTask> {
        self.tasks.recv().await
    }

    /// A leased task that is already there.
    pub fn try_next(&mut self) -> Option<LeasedTask> {
        self.tasks.try_recv().ok()
    }

    /// Takes all credit back. Once the answer is there, nothing more will come, and what was leased before is to be
    /// had from [`try_next`](Self::try_next).
    pub fn take_back(&self) -> oneshot::Receiver<()> {
        let (reply, done) = oneshot::channel();
        self.inbox.put(|pending| pending.lanes.push(LaneOp::Withdraw(self.queue.clone(), self.id, reply)));
        done
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // The engine takes the tasks out: it alone knows that it sends no more.
        let tasks = std::mem::replace(&mut self.tasks, mpsc::unbounded_channel().1);
        self.inbox.put(|pending| pending.lanes.push(LaneOp::Detach(self.queue.clone(), self.id, tasks)));
    }
}
