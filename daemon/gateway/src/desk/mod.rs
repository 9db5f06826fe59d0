//! What people and programs ask of the team, whichever door they come through: the control socket or HTTP.

mod alerts;
mod error;
mod signals;
mod words;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use openclaw_agent_api::AgentName;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use settings::Tasks;
use store::task::{Ended, NewTask, TaskId, TaskState};
use store::{Clock, Posted, Store};
use supervisor::Handle;
use supervisor::library::{Entry, Hash, Libraries};
use supervisor::submission::{Draft, Payload};
use tokio::sync::oneshot;

pub use alerts::{ALL, Acknowledged, Raise, Raised};
pub use error::Error;
pub use signals::Signals;
pub use words::{Action, Kept, Message, Order, Reloaded, Sent, Settled};

/// Beyond an agent's own time-outs.
const SETTLE: Duration = Duration::from_secs(60);
/// An agent that has not answered within this is worth a look at its state.
const AT_ONCE: Duration = Duration::from_millis(50);

/// The desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    /// Who starts and stops agents.
    pub supervisor: Handle,
    /// Where messages become durable.
    pub store: Store,
    /// The daemon's clock.
    pub clock: Clock,
    /// What a message may be.
    pub tasks: Tasks,
    /// The libraries that are kept.
    pub libraries: Arc<Libraries>,
    /// Who answers agents' questions, and what that may cost.
    pub providers: providers::Handle,
    /// Who hears of what became durable.
    pub signals: Signals,
    /// Who may lead what this process does not; none: whoever asks finds them by himself.
    pub neighbours: Option<Arc<dyn Neighbours>>,
}

/// The other processes of this home.
#[async_trait]
pub trait Neighbours: Send + Sync {
    /// Has the one that leads an agent carry an order out, and hands its answer on; none: no other one leads it.
    async fn carry_out(
        &self,
        agent: &AgentName,
        order: Order,
        actor: &str,
    ) -> Option<Result<Box<RawValue>, String>>;
}

/// A message on its way into the store, and who waits for its end.
pub struct Sending {
    posted: Posted,
    /// What is told of it once it is durable, but for its id.
    news: Value,
    wait: Option<(AgentName, oneshot::Receiver<Ended>, Duration)>,
}

impl Desk {
    /// How each budget of provider calls stands.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn budgets(&self) -> Result<Vec<providers::Standing>, Error> {
        Ok(self.providers.budgets().await?)
    }

    /// Leaves a message to be stored, of `source`; it is not accepted yet. What is left first is stored first.
    ///
    /// # Errors
    /// What is wrong with it: nothing has been stored.
    pub async fn post(&self, message: Message, source: String) -> Result<Sending, Error> {
        let wait = message.wait_ms.map(Duration::from_millis);
        let task = self.task(message, source)?;
        let agent = task.queue.clone();
        let news = json!({"agent": agent, "channel": task.source, "session": task.session});
        let (watch, ended) = oneshot::channel();
        let posted = self.store.post(task, wait.map(|_| watch)).await?;
        Ok(Sending { posted, news, wait: wait.map(|wait| (agent, ended, wait)) })
    }

    /// Waits until a message is durable, and for its end where that is asked for, until `enough`. Also says whether it was there
    /// before, under the same key.
    ///
    /// # Errors
    /// Why it was not stored.
    pub async fn sent(
        &self,
        sending: Sending,
        enough: impl Future<Output = ()>,
    ) -> Result<(Sent, bool), Error> {
        let submitted = sending.posted.submitted().await?;
        if !submitted.existing {
            let mut news = sending.news;
            news["task_id"] = json!(submitted.id);
            self.signals.accepted(news, self.clock.now());
        }
        if sending.wait.is_none() && !submitted.existing {
            // What has become of it since is nobody's question, and costs a look at the database.
            return Ok((queued(submitted.id), false));
        }
        if let Some((agent, ended, wait)) = sending.wait {
            let ended = tokio::select! {
                ended = end_of(&self.supervisor, &agent, ended, wait) => ended,
                () = enough => Ok(None),
            };
            match ended {
                Ok(Some(ended)) => return Ok((sent(ended), submitted.existing)),
                // It is stored, and that is said also while the daemon stops.
                Ok(None) | Err(supervisor::Error::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((self.standing(submitted.id).await?, submitted.existing))
    }

    /// What has become of a message so far.
    ///
    /// # Errors
    /// There is no such task.
    pub async fn standing(&self, id: TaskId) -> Result<Sent, Error> {
        let task = self.store.task(id).await?;
        let until = task.finished_at.unwrap_or_else(|| self.clock.now());
        let duration = (until - task.created_at).to_std().unwrap_or_default();
        Ok(Sent {
            task_id: id,
            state: task.state.to_string(),
            result: task.result,
            error: task.error,
            attempts: task.attempts,
            duration_ms: duration.as_secs_f64() * 1e3,
        })
    }

    /// What is wrong with a message is said before anything is stored.
    fn task(&self, message: Message, source: String) -> Result<NewTask, Error> {
        let draft = Draft {
            to: self.supervisor.agent(&message.agent)?,
            payload: Payload { text: message.text, data: message.data },
            session: message.session,
            key: message.key,
            priority: message.priority,
            source,
        };
        draft.task(&self.tasks).map_err(Error::Wrong)
    }

    /// Starts, stops or restarts an agent, or opens or closes its breaker, and waits until it has settled.
    ///
    /// # Errors
    /// There is no such agent, or it is not this process's.
    pub async fn act(
        &self,
        name: &str,
        action: Action,
        reason: Option<String>,
        actor: String,
    ) -> Result<Settled, Error> {
        let name = self.supervisor.agent(name)?;
        let order = Order::Act { action, reason: reason.clone() };
        let why = |what: &str| reason.clone().unwrap_or_else(|| format!("{what} by {actor}"));
        let done = match action {
            Action::Start => self.supervisor.start(&name, actor.clone()).await,
            Action::Stop => self.supervisor.stop(&name, actor.clone()).await,
            Action::Restart => self.supervisor.restart(&name, actor.clone(), why("restarted")).await,
            Action::OpenBreaker => self.supervisor.open_breaker(&name, actor.clone(), why("opened")).await,
            Action::CloseBreaker => self.supervisor.close_breaker(&name, actor.clone(), why("closed")).await,
        };
        if let Some(elsewhere) = self.elsewhere(&name, done.as_ref().err(), order, &actor).await {
            return elsewhere;
        }
        done?;
        let stand = self.supervisor.settled(&name, SETTLE).await?;
        Ok(Settled { name, state: stand.record.state.name().into(), reason: stand.reason })
    }

    /// What came of an order where another process leads the agent; none: that is not why it failed, or nobody does.
    async fn elsewhere<T: DeserializeOwned>(
        &self,
        name: &AgentName,
        failed: Option<&supervisor::Error>,
        order: Order,
        actor: &str,
    ) -> Option<Result<T, Error>> {
        let Some(supervisor::Error::Elsewhere { .. } | supervisor::Error::StandsBy { .. }) = failed else {
            return None;
        };
        let answer = self.neighbours.as_ref()?.carry_out(name, order, actor).await?;
        let read = |json: Box<RawValue>| {
            serde_json::from_str(json.get())
                .map_err(|error| format!("it is done, and the answer does not read: {error}"))
        };
        Some(answer.and_then(read).map_err(Error::Neighbour))
    }

    /// Runs the file that the agents folder has for an agent now, and waits for the verdict.
    ///
    /// # Errors
    /// Why what ran goes on running.
    pub async fn reload(&self, name: &str, actor: String) -> Result<Reloaded, Error> {
        let name = self.supervisor.agent(name)?;
        let verdict = self.supervisor.reload(&name, actor.clone()).await;
        if let Some(elsewhere) = self.elsewhere(&name, verdict.as_ref().err(), Order::Reload, &actor).await {
            return elsewhere;
        }
        self.reloaded(name, verdict?).await
    }

    /// Runs an older library again: the one whose hash begins so, or the last good one.
    ///
    /// # Errors
    /// Why what ran goes on running.
    pub async fn rollback(&self, name: &str, to: Option<String>, actor: String) -> Result<Reloaded, Error> {
        let name = self.supervisor.agent(name)?;
        let verdict = self.supervisor.rollback(&name, to.clone(), actor.clone()).await;
        let order = Order::Rollback { to };
        if let Some(elsewhere) = self.elsewhere(&name, verdict.as_ref().err(), order, &actor).await {
            return elsewhere;
        }
        self.reloaded(name, verdict?).await
    }

    async fn reloaded(&self, name: AgentName, verdict: (Hash, String)) -> Result<Reloaded, Error> {
        let stand = self.supervisor.settled(&name, SETTLE).await?;
        let (asked, verdict) = verdict;
        // It did not run, was started with it, and went back already.
        if stand.library.installed.current.as_ref() != Some(&asked) {
            return Err(Error::WentBack { name, hash: asked, reason: stand.reason });
        }
        Ok(Reloaded {
            name,
            state: stand.record.state.name().into(),
            verdict,
            sha256: stand.library.installed.current,
            version: stand.manifest.map(|manifest| manifest.version),
            reason: stand.reason,
        })
    }

    /// The libraries that are kept of an agent.
    ///
    /// # Errors
    /// There is no such agent, or it is not this process's.
    pub async fn libraries(&self, name: &str) -> Result<Vec<Kept>, Error> {
        let name = self.supervisor.agent(name)?;
        let current = self.supervisor.one(&name).await?.library.installed.current;
        let kept = |entry: Entry| Kept { running: current.as_ref() == Some(&entry.hash), entry };
        Ok(self.libraries.entries(&name).into_iter().map(kept).collect())
    }
}

/// Waits for the end of a task of `agent`, at most so long; an agent that will not come up by itself is not waited for:
/// the task keeps.
///
/// # Errors
/// There is no such agent.
pub async fn end_of(
    supervisor: &Handle,
    agent: &AgentName,
    mut ended: oneshot::Receiver<Ended>,
    most: Duration,
) -> Result<Option<Ended>, supervisor::Error> {
    let waited = tokio::time::timeout(most, async {
        if let Ok(ended) = tokio::time::timeout(AT_ONCE, &mut ended).await {
            return Ok(ended.ok());
        }
        tokio::select! {
            ended = &mut ended => Ok(ended.ok()),
            down = supervisor.down(agent) => down.map(|()| None),
        }
    });
    // Out of time; or the engine watches too much already.
    waited.await.unwrap_or(Ok(None))
}

fn queued(id: TaskId) -> Sent {
    let state = TaskState::Queued.to_string();
    Sent { task_id: id, state, result: None, error: None, attempts: 0, duration_ms: 0.0 }
}

fn sent(ended: Ended) -> Sent {
    Sent {
        task_id: ended.id,
        state: ended.state.to_string(),
        result: ended.result.as_deref().and_then(|json| serde_json::from_str(json).ok()),
        error: ended.error,
        attempts: ended.attempts,
        duration_ms: ended.duration.as_secs_f64() * 1e3,
    }
}
