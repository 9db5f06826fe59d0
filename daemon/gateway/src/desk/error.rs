//! Why something that was asked for was not done.

use openclaw_agent_api::AgentName;
use supervisor::library::Hash;

/// Why.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The message cannot be one.
    #[error("{0}")]
    Wrong(String),
    /// The supervisor did not do it.
    #[error(transparent)]
    Supervisor(#[from] supervisor::Error),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No such alert is open.
    #[error("no open alert has the id or fingerprint `{}`: `openclaw alert list` shows them", .0.escape_debug())]
    NoSuchAlert(String),
    /// The process that leads the agent did not do it.
    #[error("{0}")]
    Neighbour(String),
    /// A library was started and went back already.
    #[error("{name} does not run {}: {reason}", hash.short())]
    WentBack {
        /// Whose.
        name: AgentName,
        /// What it was to run.
        hash: Hash,
        /// Why it does not.
        reason: String,
    },
}
