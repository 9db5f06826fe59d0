//! What the daemon tells of itself.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use supervisor::Health;

/// What kind of part it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Where everything durable is.
    Store,
    /// What carries signals.
    Bus,
    /// Another service.
    Service,
    /// An agent.
    Agent,
}

/// A part of this process, and what it last proved.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// What follows from the evidence.
    pub health: Health,
    /// Why.
    pub reason: String,
    /// What it last proved.
    pub evidence: String,
    /// When.
    pub at: Option<DateTime<Utc>>,
}

/// Who can tell how the whole stands.
#[async_trait]
pub trait Whole: Send + Sync + 'static {
    /// Its clock.
    fn now(&self) -> DateTime<Utc>;

    /// Every part of this process as it stands; else why that cannot be told.
    async fn parts(&self) -> Result<Vec<Part>, String>;
}
