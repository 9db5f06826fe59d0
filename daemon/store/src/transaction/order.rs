//! What a person does to a task.

use openclaw_agent_api::AgentName;

use super::complete::task_event;
use super::{Moment, Sessions, Statements};
use crate::Error;
use crate::backend::{Applied, Order};
use crate::task::{Ended, TaskState};

pub(super) async fn carry_out(
    db: &mut impl Statements,
    order: &Order,
    moment: &Moment,
    applied: &mut Applied,
) -> Result<Result<AgentName, Error>, Error> {
    let (Order::Retry(id) | Order::Cancel(id)) = *order;
    let Some(task) = db.find(id).await? else {
        return Ok(Err(Error::NoSuchTask(id.to_string())));
    };
    let state: TaskState = task.state.parse().map_err(Error::Database)?;
    let queue: AgentName =
        task.queue.parse().map_err(|error| Error::Database(format!("task {id}: {error}")))?;
    if let Some(why) = refused(order, state) {
        return Ok(Err(Error::WrongState { id, state, why }));
    }
    let kind = match order {
        Order::Retry(_) => "task.retried",
        Order::Cancel(_) => "task.cancelled",
    };
    let event = task_event(queue.clone(), kind, id, task.attempts, moment);
    db.history(&[], &[event], moment).await?;
    match order {
        Order::Retry(_) => {
            db.revive(id, moment.now).await?;
            if let Some(session) = task.session {
                rejoin(db, queue.clone(), session).await?;
            }
        }
        Order::Cancel(_) => {
            db.cancel(id, moment.now).await?;
            // One that waited for another of its session leaves that one's successor alone.
            if let (Some(session), false) = (task.session, task.blocked) {
                db.unblock(&Sessions::from([(queue.clone(), session)])).await?;
            }
            let duration = (moment.now - task.created_at).to_std().unwrap_or_default();
            let (state, attempts) = (TaskState::Cancelled, task.attempts);
            let ended = Ended { id, state, result: None, error: None, attempts, duration };
            applied.ended.push((queue.clone(), ended));
        }
    }
    Ok(Ok(queue))
}

/// Why the order makes no sense, if it does not.
fn refused(order: &Order, state: TaskState) -> Option<&'static str> {
    match (order, state) {
        (Order::Retry(_), TaskState::Failed | TaskState::Cancelled)
        | (Order::Cancel(_), TaskState::Queued) => None,
        (Order::Retry(_), TaskState::Done) => Some("it has ended well; send it again if you want it twice"),
        (Order::Retry(_), _) => Some("it has not ended yet; wait for it"),
        (Order::Cancel(_), TaskState::Leased) => {
            Some("an agent is at work on it; wait, or restart the agent")
        }
        (Order::Cancel(_), _) => Some("it has ended already"),
    }
}

/// A task has come back: it takes its old place in the order, unless an agent is at work on a later one.
async fn rejoin(db: &mut impl Statements, queue: AgentName, session: String) -> Result<(), Error> {
    if db.hold_back(&queue, &session).await? {
        return Ok(());
    }
    db.unblock(&Sessions::from([(queue, session)])).await
}
