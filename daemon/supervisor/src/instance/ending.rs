//! How a host ends: how far it is on its way out, and what it said of its end.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::policy::{Exit, ExitClass};

/// How far a host is on its way out.
pub enum Stop {
    No,
    /// Handlers end, then it is asked to stop.
    Draining,
    /// It was asked.
    Asked,
    /// It got SIGTERM; SIGKILL follows then.
    Killed {
        at: Instant,
    },
}

/// What is known of its end.
pub enum Ended {
    Refused(String),
    Failed(String),
    /// The daemon cannot watch it: it is let go of, and another is tried later.
    Unwatched(String),
    OutOfMemory(String),
    Panicked(String),
    Hung(String),
}

impl Stop {
    /// Whether it ends because it was told to.
    pub fn is_asked(&self) -> bool {
        !matches!(self, Self::No)
    }
}

impl Ended {
    /// The exit that this makes of its process's end, if it says more than that does.
    pub fn exit(&self, told_to: bool, now: DateTime<Utc>) -> Option<Exit> {
        let (class, detail) = match self {
            Self::Panicked(message) => (ExitClass::Panic, message),
            Self::Failed(why) => (ExitClass::Error, why),
            Self::OutOfMemory(why) => (ExitClass::OutOfMemory, why),
            Self::Unwatched(why) => (ExitClass::NotStarted, why),
            Self::Hung(what) if told_to => (ExitClass::Hang, what),
            Self::Hung(_) | Self::Refused(_) => return None,
        };
        Some(Exit::new(class, detail.clone(), now))
    }
}
