//! Where the daemon's own lines go: journald under systemd, else standard error.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::{Code, Failure};

/// Lines on their way to standard error; the room for them is taken at the start.
const WAITING: usize = 4096;

/// Starts writing lines that pass `filter`. What is left is written when the guard is dropped.
///
/// A thread writes to standard error, and drops what it cannot: a terminal that was stopped must not stop the daemon.
pub fn start(filter: &str) -> Result<WorkerGuard, Failure> {
    let filter = settings::log_filter(filter).ok_or_else(|| {
        Failure::new(Code::Config, "daemon.log is no filter: write `info` or `warn,supervisor=debug`")
    })?;
    // systemd sets this when standard error is the journal's.
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let (stderr, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING).finish(std::io::stderr());
    let text = || {
        let layer = tracing_subscriber::fmt::layer().with_writer(stderr);
        layer.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).boxed()
    };
    let layer = journal.map_or_else(text, Layer::boxed);
    let started = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    started.map_err(|error| Failure::new(Code::Failed, format!("the log cannot be started: {error}")))?;
    Ok(guard)
}
