//! Where the daemon's own lines go: journald under systemd, else standard error. None holds a secret.

mod journald;
mod redacting;

use std::io::IsTerminal;

use settings::Redactor;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::exit::{Code, Failure};
use redacting::Redacting;

/// Lines on their way to standard error; the room for them is taken at the start.
const WAITING: usize = 4096;

/// The form of lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// A JSON object each, for programs.
    Json,
}

/// The log, as long as it is held: what is left is written when it is dropped.
pub struct Journal {
    _writer: WorkerGuard,
    /// What passes.
    pub filter: Filter,
}

/// Which lines pass, to be changed while the daemon runs. Cheap to clone.
#[derive(Clone)]
pub struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    /// Lines that pass `filter` are written from now on. One that is none changes nothing.
    pub fn set(&self, filter: &str) {
        if let Some(filter) = settings::log_filter(filter)
            && let Err(error) = self.0.reload(filter)
        {
            tracing::error!(%error, "the log's filter stays as it was");
        }
    }
}

/// Starts writing lines that pass `filter`.
///
/// A thread writes to standard error, and drops what it cannot: a terminal that was stopped must not stop the daemon.
/// Under systemd, unless a format is asked for, they go to the journal with their fields: AGENT, EVENT, TASK_ID and so on as
/// the lines have them, COMPONENT and OPENCLAW_VERSION with each.
pub fn start(
    filter: &str,
    format: Option<Format>,
    process: &str,
    redactor: Redactor,
) -> Result<Journal, Failure> {
    let filter = settings::log_filter(filter).ok_or_else(|| {
        Failure::new(Code::Config, "daemon.log is no filter: write `info` or `warn,supervisor=debug`")
    })?;
    let (stderr, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING).finish(std::io::stderr());
    let journald = format.is_none() && journald::has_standard_error();
    let journal = journald.then(|| journald::layer(process, stderr.clone()).ok()).flatten();
    let lines = || {
        let layer = tracing_subscriber::fmt::layer().with_writer(stderr);
        if format == Some(Format::Json) {
            return layer.json().flatten_event(true).with_ansi(false).boxed();
        }
        layer.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).boxed()
    };
    let layer = Redacting { layer: journal.map_or_else(lines, Layer::boxed), redactor };
    let (filter, handle) = reload::Layer::new(filter);
    let started = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    started.map_err(|error| Failure::new(Code::Failed, format!("the log cannot be started: {error}")))?;
    Ok(Journal { _writer: guard, filter: Filter(handle) })
}
