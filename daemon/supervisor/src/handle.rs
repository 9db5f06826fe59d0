//! What others hold of the supervisor.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use tokio::sync::{mpsc, oneshot, watch};

use crate::known::Known;
use crate::library::Hash;
use crate::policy::Event;
use crate::status::AgentStatus;
use crate::supervisor::Reply;

/// Why something could not be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such agent.
    #[error("there is no agent `{name}`{}; `openclaw agents list` shows them", near.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest that there is.
        near: Option<String>,
    },
    /// It is another process's.
    #[error(
        "`{name}` is not run by this process: ask the one that runs it, or start one with `openclaw run {name}`"
    )]
    Elsewhere {
        /// Which.
        name: AgentName,
    },
    /// Another process leads it.
    #[error("`{name}` only stands by here: {why}")]
    StandsBy {
        /// Which.
        name: AgentName,
        /// Who leads it, as far as that is known.
        why: String,
    },
    /// The daemon ends.
    #[error("the supervisor has ended: the daemon is stopping")]
    Gone,
    /// An agent's working folder cannot be made.
    #[error("cannot make the working folder {path}: {source}")]
    Workspace {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// A reload or a rollback did not come to its end.
    #[error("{0}")]
    Reload(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A request to the supervisor's task.
pub(crate) enum Ask {
    Status(Reply<Vec<AgentStatus>>),
    Count {
        name: AgentName,
        reply: Reply<()>,
    },
    Do {
        name: AgentName,
        event: Event,
        reply: Reply<Result<(), Error>>,
    },
    Reload {
        name: AgentName,
        actor: String,
        reply: Reply<Result<(Hash, String), String>>,
    },
    Rollback {
        name: AgentName,
        to: Option<String>,
        actor: String,
        reply: Reply<Result<(Hash, String), String>>,
    },
    Shutdown(Reply<()>),
}

/// The supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    changes: watch::Receiver<u64>,
    known: Known,
}

impl Handle {
    pub(crate) fn new(asks: mpsc::Sender<Ask>, changes: watch::Receiver<u64>, known: Known) -> Self {
        Self { asks, changes, known }
    }

    /// The agents that there are.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The agent of this name.
    ///
    /// # Errors
    /// [`Error::Unknown`], with the nearest.
    pub fn agent(&self, name: &str) -> Result<AgentName, Error> {
        if let Some(known) = self.known.get(name) {
            return Ok(known);
        }
        let names = self.known.all();
        let near = settings::nearest(name, names.iter().map(AgentName::as_str)).map(str::to_owned);
        Err(Error::Unknown { name: name.escape_debug().to_string(), near })
    }

    /// Changes with each transition of any agent.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Every agent as it stands.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn status(&self) -> Result<Vec<AgentStatus>, Error> {
        self.ask(Ask::Status).await
    }

    /// Starts an agent, or lets an open breaker try at once.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`]; so for the two below.
    pub async fn start(&self, name: &AgentName, actor: String) -> Result<(), Error> {
        self.act(name, Event::Start { actor }).await
    }

    /// Stops an agent; it stays so over a restart of the daemon.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub async fn stop(&self, name: &AgentName, actor: String) -> Result<(), Error> {
        self.act(name, Event::Stop { actor }).await
    }

    /// Gives an agent a new host.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub async fn restart(&self, name: &AgentName, actor: String, reason: String) -> Result<(), Error> {
        self.act(name, Event::Restart { actor, reason }).await
    }

    /// Opens an agent's breaker: its host goes once its handlers have ended, its tasks wait. Nothing happens to one that is down,
    /// refused or open.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn open_breaker(&self, name: &AgentName, actor: String, reason: String) -> Result<(), Error> {
        self.act(name, Event::OpenBreaker { actor, reason }).await
    }

    /// Closes an agent's breaker for good, and brings the agent up. Nothing happens to one whose breaker is closed.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn close_breaker(&self, name: &AgentName, actor: String, reason: String) -> Result<(), Error> {
        self.act(name, Event::CloseBreaker { actor, reason }).await
    }

    /// Replaces an agent's library by the file that is in the agents folder now, and waits for the verdict: the
    /// hash that was to be run, and a sentence. An agent that did not run is on its way up with it then.
    ///
    /// # Errors
    /// [`Error::Reload`] says why what ran goes on running; [`Error::Unknown`], [`Error::Elsewhere`],
    /// [`Error::StandsBy`], [`Error::Gone`].
    pub async fn reload(&self, name: &AgentName, actor: String) -> Result<(Hash, String), Error> {
        self.led(name).await?;
        self.ask(|reply| Ask::Reload { name: name.clone(), actor, reply }).await?.map_err(Error::Reload)
    }

    /// Goes back to an older library: the one whose hash begins so, or the last good one.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub async fn rollback(
        &self,
        name: &AgentName,
        to: Option<String>,
        actor: String,
    ) -> Result<(Hash, String), Error> {
        self.led(name).await?;
        let ask = |reply| Ask::Rollback { name: name.clone(), to, actor, reply };
        self.ask(ask).await?.map_err(Error::Reload)
    }

    /// Whether it is this process's to move.
    async fn led(&self, name: &AgentName) -> Result<(), Error> {
        let stand = self.one(name).await?;
        if stand.led { Ok(()) } else { Err(Error::StandsBy { name: stand.name, why: stand.reason }) }
    }

    async fn act(&self, name: &AgentName, event: Event) -> Result<(), Error> {
        self.ask(|reply| Ask::Do { name: name.clone(), event, reply }).await?
    }

    /// Waits until an agent is neither on its way up nor down, at most so long; answers how it stands then.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub async fn settled(&self, name: &AgentName, most: Duration) -> Result<AgentStatus, Error> {
        let mut changes = self.changes.clone();
        let waited = tokio::time::timeout(most, async {
            loop {
                changes.mark_unchanged();
                let stand = self.one(name).await?;
                if stand.record.state.is_settled() {
                    return Ok(stand);
                }
                changes.changed().await.map_err(|_| Error::Gone)?;
            }
        });
        match waited.await {
            Ok(settled) => settled,
            Err(_) => self.one(name).await,
        }
    }

    /// Waits until only a person would bring an agent up again. For one that another process runs that is never known here.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub async fn down(&self, name: &AgentName) -> Result<(), Error> {
        let mut changes = self.changes.clone();
        loop {
            changes.mark_unchanged();
            match self.one(name).await {
                Ok(stand) if stand.record.state.is_down() => return Ok(()),
                Ok(_) => {}
                Err(Error::Elsewhere { .. }) => std::future::pending().await,
                Err(error) => return Err(error),
            }
            changes.changed().await.map_err(|_| Error::Gone)?;
        }
    }

    /// One agent as it stands.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub async fn one(&self, name: &AgentName) -> Result<AgentStatus, Error> {
        let found = self.status().await?.into_iter().find(|status| status.name == *name);
        found.ok_or_else(|| missing(&self.known, name))
    }

    /// Has the store told what an agent has asked for until now, as far as it runs here.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn count(&self, name: &AgentName) -> Result<(), Error> {
        let name = name.clone();
        self.ask(|reply| Ask::Count { name, reply }).await
    }

    /// Drains and stops every agent, in reverse order within each group. The supervisor's task ends when all have.
    ///
    /// # Errors
    /// [`Error::Gone`]: it has ended already.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.ask(Ask::Shutdown).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| Error::Gone)?;
        answer.await.map_err(|_| Error::Gone)
    }
}

/// Why an agent is not among those of this process.
pub(crate) fn missing(known: &Known, name: &AgentName) -> Error {
    if known.get(name.as_str()).is_some() {
        Error::Elsewhere { name: name.clone() }
    } else {
        Error::Unknown { name: name.to_string(), near: None }
    }
}
