//! Lines to journald, which may be slow, stopped or gone: the daemon waits for it once, and then drops lines for a while.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// A line waits so long for room in journald's queue, in microseconds: bursts pass.
const PATIENCE_US: i64 = 100_000;
/// After one that waited in vain, so long nothing is sent.
const PAUSE: Duration = Duration::from_secs(2);

/// Whether standard error is the journal's, as `JOURNAL_STREAM` says: it names device and inode, since the variable is
/// inherited and standard error may have been turned elsewhere.
pub fn has_standard_error() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(io::stderr().as_fd()).is_ok_and(|it| told == format!("{}:{}", it.st_dev, it.st_ino))
}

/// The layer, with COMPONENT and OPENCLAW_VERSION on each line.
///
/// # Errors
/// There is no journald.
pub fn layer(process: &str) -> io::Result<Bounded<tracing_journald::Layer>> {
    let before = descriptors()?;
    let layer = tracing_journald::layer()?;
    // The crate has no way to its socket. Nothing else opens files yet: this is the start, and one thread.
    for socket in descriptors()?.difference(&before) {
        // SAFETY: the descriptor is open, since the layer that opened it lives.
        let socket = unsafe { BorrowedFd::borrow_raw(*socket) };
        // Of what is no socket (the list's own folder, closed by now) it is refused.
        let _ = setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(0, PATIENCE_US));
    }
    let mappings = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let fields = [("COMPONENT", process), ("OPENCLAW_VERSION", env!("CARGO_PKG_VERSION"))];
    let layer = layer
        .with_field_prefix(None)
        .with_syslog_identifier("openclaw".into())
        .with_priority_mappings(mappings)
        .with_custom_fields(fields);
    Ok(Bounded { layer, gate: Mutex::default() })
}

fn descriptors() -> io::Result<BTreeSet<RawFd>> {
    let named = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(std::fs::read_dir("/proc/self/fd")?.filter_map(named).collect())
}

/// A layer whose lines are dropped for a while after one that took too long.
pub struct Bounded<L> {
    layer: L,
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    closed_until: Option<Instant>,
    dropped: u64,
}

impl Gate {
    /// Whether a line passes now; if it is the first after a pause, how many did not.
    fn passes(&mut self, now: Instant) -> Option<u64> {
        if self.closed_until.is_some_and(|until| now < until) {
            self.dropped += 1;
            return None;
        }
        self.closed_until = None;
        Some(std::mem::take(&mut self.dropped))
    }

    /// A line took so long.
    fn took(&mut self, now: Instant, time: Duration) {
        if time >= Duration::from_micros(PATIENCE_US as u64) {
            self.closed_until = Some(now + PAUSE);
            self.dropped += 1;
        }
    }
}

impl<L> Bounded<L> {
    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<S, L> Layer<S> for Bounded<L>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        self.layer.on_new_span(attributes, id, ctx);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, ctx: Context<'_, S>) {
        self.layer.on_record(id, record, ctx);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let begun = Instant::now();
        let Some(dropped) = self.gate().passes(begun) else { return };
        self.layer.on_event(event, ctx);
        self.gate().took(Instant::now(), begun.elapsed());
        if dropped > 0 {
            // Not as a line of the log: whoever writes one here writes it into itself. Standard error is the journal's too.
            let _ = writeln!(io::stderr(), "openclaw: journald was slow: {dropped} lines were dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_waited_in_vain_closes_the_gate_for_a_while_and_the_dropped_are_counted() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert_eq!(gate.passes(now), Some(0));
        gate.took(now, Duration::from_millis(5));
        assert_eq!(gate.passes(now), Some(0));
        gate.took(now, Duration::from_millis(100));
        assert_eq!(gate.passes(now), None);
        assert_eq!(gate.passes(now + PAUSE / 2), None);
        assert_eq!(gate.passes(now + PAUSE), Some(3));
        assert_eq!(gate.passes(now + PAUSE), Some(0));
    }

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            struct Text<'l>(&'l mut Vec<String>);
            impl tracing::field::Visit for Text<'_> {
                fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                    if field.name() == "message" {
                        self.0.push(format!("{value:?}"));
                    }
                }
            }
            event.record(&mut Text(&mut self.0.lock().unwrap()));
        }
    }

    #[test]
    fn lines_pass_and_filters_hold() {
        use tracing_subscriber::layer::SubscriberExt;
        let lines = Lines::default();
        let gate = Mutex::new(Gate { closed_until: None, dropped: 3 });
        let layer = Bounded { layer: lines.clone(), gate };
        let subscriber = tracing_subscriber::registry()
            .with(layer.with_filter(tracing_subscriber::EnvFilter::new("info")));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("first");
            tracing::debug!("filtered");
            tracing::info!("second");
        });
        let lines = lines.0.lock().unwrap();
        assert_eq!(*lines, ["first", "second"]);
    }
}
