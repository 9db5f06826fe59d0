//! What is known of both lines.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::{Error, Health};

/// The two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Carries commands.
    Commands,
    /// Hears signals.
    Signals,
}

impl Line {
    /// Its name in `CLIENT LIST` and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Signals => "signals",
        }
    }
}

/// How they are.
pub(super) struct Record {
    server: String,
    known: Mutex<Known>,
}

struct Known {
    version: Option<String>,
    last_ok: Option<Instant>,
    /// By [`Line`]: why it is down, and so since.
    lines: [(Option<Error>, Instant); 2],
}

impl Record {
    /// Nothing is listened to yet, so that the line of signals is well without a connection.
    pub fn new(server: String, why: Error) -> Self {
        let now = Instant::now();
        let lines = [(Some(why), now), (None, now)];
        Self { server, known: Mutex::new(Known { version: None, last_ok: None, lines }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held, and each change is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It answered just now.
    pub fn answered(&self) {
        self.known().last_ok = Some(Instant::now());
    }

    pub fn up(&self, line: Line, version: &str) {
        tracing::info!(line = line.name(), "{} is connected", self.server);
        let mut known = self.known();
        known.version = Some(version.to_owned()).filter(|version| !version.is_empty());
        known.last_ok = Some(Instant::now());
        known.lines[line as usize] = (None, Instant::now());
    }

    pub fn down(&self, line: Line, why: Error) {
        let mut known = self.known();
        let (told, since) = &mut known.lines[line as usize];
        match told {
            // Once for each reason, not for each try.
            Some(known) if *known == why => return,
            Some(_) => {}
            None => *since = Instant::now(),
        }
        tracing::warn!(line = line.name(), "{why}");
        *told = Some(why);
    }

    pub fn health(&self) -> Health {
        let known = self.known();
        let down = known.lines.iter().filter(|(why, _)| why.is_some());
        let since = match down.clone().map(|(_, since)| *since).min() {
            Some(since) => since,
            None => known.lines[0].1.max(known.lines[1].1),
        };
        let error = down.clone().find_map(|(why, _)| why.as_ref()).map(ToString::to_string);
        let what = match &known.version {
            Some(version) => self.server.replacen("Redis", &format!("Redis {version}"), 1),
            None => self.server.clone(),
        };
        Health { what, connected: error.is_none(), since, last_ok: known.last_ok, error }
    }
}
