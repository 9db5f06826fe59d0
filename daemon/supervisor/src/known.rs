//! Who there is: may grow while the daemon runs.

use openclaw_agent_api::AgentName;
use tokio::sync::watch;

use crate::library::watch::Watched;

/// The agents that there are. Cheap to clone.
#[derive(Clone)]
pub struct Known(watch::Receiver<Watched>);

/// An empty team, and who looks at it.
pub fn new() -> (watch::Sender<Watched>, Known) {
    let (sender, receiver) = watch::channel(Watched::default());
    (sender, Known(receiver))
}

impl Known {
    /// Their names, in order.
    pub fn names(&self) -> Vec<AgentName> {
        self.0.borrow().keys().cloned().collect()
    }

    /// The agent of this name.
    pub fn get(&self, name: &str) -> Option<AgentName> {
        self.0.borrow().get_key_value(name).map(|(name, _)| name.clone())
    }
}
