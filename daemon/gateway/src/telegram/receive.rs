//! Updates become tasks. They are durable when this returns: only then does the offset move, or the webhook answer.

use serde_json::json;
use store::task::{NewTask, Submitted};
use supervisor::submission::{Draft, Payload};

use super::Error;
use super::direct;
use super::pairing::{Admission, admit};
use super::shared::{Shared, texts};
use super::tasks::Job;
use super::update::{Inbound, Update, moved, read};
use crate::routing::{Arrival, route};

/// What an update becomes.
enum Plan {
    /// Rows that stand for themselves.
    Rows(Vec<NewTask>),
    /// A message whose files are fetched first.
    File { inbound: Inbound, task: NewTask },
    /// A message for an agent, and the answer that is owed for it.
    Message { inbound: Inbound, task: NewTask, rule: Option<usize> },
}

/// Stores what these say, in their order. A second delivery of one adds nothing: each row has the update's key.
///
/// # Errors
/// Not all are stored: all of them are to be delivered again.
pub async fn take(shared: &Shared, updates: Vec<Update>) -> Result<(), Error> {
    let store = &shared.within()?.desk.store;
    // Before its name is known nobody can say whether it is spoken to.
    let me = shared.me().ok_or(Error::Nameless)?;
    let mut plans = Vec::new();
    for update in updates {
        if let Some((from, to)) = moved(&update) {
            shared.said_to_move(from, to).await?;
        }
        if let Some(inbound) = read(update, &me) {
            plans.extend(plan(shared, inbound).await?);
        }
    }
    if plans.is_empty() {
        return Ok(());
    }
    let now = shared.clock.now();
    shared.health().received_at = Some(now);
    // All are left before any is waited for, so that they share a transaction.
    let (mut rows, mut files, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    for plan in plans {
        match plan {
            Plan::Rows(tasks) => {
                for task in tasks {
                    rows.push(store.post(task, None).await?);
                }
            }
            Plan::File { inbound, task } => files.push((inbound, store.post(task, None).await?)),
            Plan::Message { inbound, task, rule } => {
                messages.push((inbound, task.clone(), rule, store.post(task, None).await?));
            }
        }
    }
    for (inbound, posted) in files {
        if posted.submitted().await?.existing {
            shared.fetching().ends(&inbound);
        }
    }
    for posted in rows {
        posted.submitted().await?;
    }
    let mut owed = Vec::new();
    for (inbound, mut task, rule, posted) in messages {
        match posted.submitted().await {
            Ok(Submitted { id, existing }) => {
                task.id = id;
                if !existing {
                    shared.routed(&inbound, &task, rule);
                }
                owed.push(store.post(owing(&inbound, &task), None).await?);
            }
            // Nobody else must wait for this agent: whoever wrote is told.
            Err(error @ store::Error::QueueFull { .. }) => {
                for task in texts(&inbound.place, &format!("Not taken: {error}"), Some(&inbound.key())) {
                    owed.push(store.post(task, None).await?);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    for posted in owed {
        posted.submitted().await?;
    }
    Ok(())
}

/// The answer that is owed for a message.
pub fn owing(inbound: &Inbound, task: &NewTask) -> NewTask {
    let job =
        Job::Owed { task: task.id, agent: task.queue.clone(), place: inbound.place.clone(), late: false };
    job.task(Some(inbound.key()), inbound.source())
}

async fn plan(shared: &Shared, inbound: Inbound) -> Result<Option<Plan>, Error> {
    let people = shared.people().await?;
    let operator = match admit(&inbound, &shared.settings, &people) {
        Admission::Admitted { operator } => operator,
        Admission::Stranger => return stranger(shared, &inbound).await,
        Admission::Ignored => return Ok(None),
    };
    let (key, source) = (Some(inbound.key()), inbound.source());
    if inbound.file.is_none()
        && let Some(direct) = direct::read(&inbound.text, operator)
    {
        let job = Job::Direct { direct, place: inbound.place.clone(), sender: inbound.sender.clone() };
        return Ok(Some(Plan::Rows(vec![job.task(key, source)])));
    }
    // What is said after a file must not overtake it.
    if inbound.file.is_some() || shared.fetching().holds(inbound.place.chat) {
        shared.fetching().begins(&inbound);
        let task = Job::File { inbound: inbound.clone() }.task(key, source);
        return Ok(Some(Plan::File { inbound, task }));
    }
    Ok(Some(match message(shared, &inbound, None).await {
        Ok((task, rule)) => Plan::Message { inbound, task, rule },
        Err(why) => Plan::Rows(texts(&inbound.place, &format!("Not taken: {why}"), Some(&inbound.key()))),
    }))
}

/// The task of a message, and the rule that sent it there; else why there is none.
pub async fn message(
    shared: &Shared,
    inbound: &Inbound,
    file: Option<serde_json::Value>,
) -> Result<(NewTask, Option<usize>), String> {
    let desk = &shared.within().map_err(|error| error.to_string())?.desk;
    let arrival = Arrival {
        channel: "telegram",
        chat: Some(shared.chat_of_rules(inbound.place.chat).await),
        sender: Some(inbound.sender.id),
        text: &inbound.text,
    };
    let (agent, rule) = route(&shared.routing, &arrival);
    let to = desk.supervisor.agent(agent.as_str()).map_err(|error| error.to_string())?;
    let data = file.map(|file| serde_json::value::to_raw_value(&json!({"file": file}))).transpose();
    let draft = Draft {
        to,
        payload: Payload { text: inbound.text.clone(), data: data.map_err(|error| error.to_string())? },
        session: Some(inbound.place.session()),
        key: Some(inbound.key()),
        priority: 0,
        source: inbound.source(),
    };
    Ok((draft.task(&desk.tasks)?, rule))
}

/// Somebody who is not known, in a chat of their own: they may be told a code, once.
async fn stranger(shared: &Shared, inbound: &Inbound) -> Result<Option<Plan>, Error> {
    let (now, dice) = (shared.clock.now(), fastrand::u64(..));
    let (_, code) =
        shared.with_people(|people| people.knock(&inbound.sender, inbound.update, now, dice)).await?;
    let Some(code) = code else { return Ok(None) };
    tracing::info!(
        sender = inbound.sender.id,
        "telegram: a stranger wrote and has a code: `openclaw telegram pending`"
    );
    let text = format!(
        "I do not know you yet. Whoever runs this bot lets you in with\n\n`openclaw telegram approve {code}`\n\nwithin an hour."
    );
    Ok(Some(Plan::Rows(texts(&inbound.place, &text, Some(&inbound.key())))))
}
