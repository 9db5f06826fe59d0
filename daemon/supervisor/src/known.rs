//! Who there is: may grow while the daemon runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use openclaw_agent_api::AgentName;
use tokio::sync::watch;

use crate::library::watch::Watched;

/// The agents that there are. Cheap to clone.
#[derive(Clone)]
pub struct Known {
    own: watch::Receiver<Watched>,
    /// Those that other processes run: work can be left for them.
    elsewhere: Arc<BTreeSet<AgentName>>,
}

/// An empty team beside those who are elsewhere, and who looks at it.
pub fn new(elsewhere: BTreeSet<AgentName>) -> (watch::Sender<Watched>, Known) {
    let (sender, own) = watch::channel(Watched::default());
    (sender, Known { own, elsewhere: Arc::new(elsewhere) })
}

impl Known {
    /// The names of those that this process runs, in order.
    pub fn names(&self) -> Vec<AgentName> {
        self.own.borrow().keys().cloned().collect()
    }

    /// The names of all, in order.
    pub fn all(&self) -> BTreeSet<AgentName> {
        self.own.borrow().keys().chain(self.elsewhere.iter()).cloned().collect()
    }

    /// The agent of this name.
    pub fn get(&self, name: &str) -> Option<AgentName> {
        let own = self.own.borrow().get_key_value(name).map(|(name, _)| name.clone());
        own.or_else(|| self.elsewhere.get(name).cloned())
    }
}
