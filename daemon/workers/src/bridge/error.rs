//! What the bridge could not do. It goes on: the next look tries again.

/// A sentence each.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// What agents show of themselves cannot be read: nobody can tell how any of them is.
    #[error("the agents' heartbeats cannot be read: {0}")]
    Read(#[source] bus::Error),
    /// Whether this process leads cannot be told: it goes on as it was.
    #[error("the lead of the heartbeat bridge cannot be kept: {0}")]
    Lead(#[source] store::Error),
}
