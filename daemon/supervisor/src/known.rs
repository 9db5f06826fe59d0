//! Who there is: may grow while the daemon runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use openclaw_agent_api::AgentName;
use tokio::sync::watch;

/// Every agent, and its library as configured.
pub type Team = Arc<BTreeMap<AgentName, PathBuf>>;

/// The agents that there are. Cheap to clone.
#[derive(Clone)]
pub struct Known(watch::Receiver<Team>);

/// An empty team, and who looks at it.
pub fn new() -> (watch::Sender<Team>, Known) {
    let (sender, receiver) = watch::channel(Team::default());
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

    /// The agent whose library has this file name.
    pub fn of_file(&self, file: &std::ffi::OsStr) -> Option<AgentName> {
        let team = self.0.borrow();
        team.iter().find(|(_, library)| library.file_name() == Some(file)).map(|(name, _)| name.clone())
    }
}
