//! stub
use super::Libraries;
use crate::known::Team;
use openclaw_agent_api::AgentName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
/// What the watch saw.
pub enum News {
    /// Settled.
    Settled {
        /// Whose
        agent: AgentName,
    },
    /// Gone.
    Gone {
        /// Whose
        agent: AgentName,
    },
    /// New.
    Discovered {
        /// Who
        name: AgentName,
        /// Where
        file: PathBuf,
    },
}
/// Watch
pub struct Watch {
    #[allow(missing_docs)]
    pub agents: PathBuf,
    #[allow(missing_docs)]
    pub libraries: Arc<Libraries>,
    #[allow(missing_docs)]
    pub team: watch::Receiver<Team>,
    #[allow(missing_docs)]
    pub settle: Duration,
    #[allow(missing_docs)]
    pub discover: bool,
    #[allow(missing_docs)]
    pub news: mpsc::Sender<News>,
}
impl Watch {
    /// run
    pub async fn run(self) {
        std::future::pending::<()>().await
    }
}
