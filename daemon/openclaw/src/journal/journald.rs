//! Lines to journald, which may be slow, stopped or gone: the daemon waits for it once at the most, and drops lines for a
//! while.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// A line waits so long for room in journald's queue, in microseconds: bursts pass.
const PATIENCE_US: i64 = 100_000;
/// After one that waited in vain, so long nothing is sent.
const PAUSE: Duration = Duration::from_secs(2);
/// Before a line, journald is asked whether it takes any, if it was not for so long.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Where it listens: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Whether standard error is the journal's, as `JOURNAL_STREAM` says: it names device and inode, since the variable is
/// inherited and standard error may have been turned elsewhere.
pub fn has_standard_error() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(io::stderr().as_fd()).is_ok_and(|it| told == format!("{}:{}", it.st_dev, it.st_ino))
}

/// The layer, with COMPONENT and OPENCLAW_VERSION on each line. How many were dropped is said `aside`.
///
/// # Errors
/// There is no journald, or it could make this process wait for ever.
pub fn layer(process: &str, aside: NonBlocking) -> io::Result<Bounded<tracing_journald::Layer>> {
    // The crate asks the same, and waits for the answer.
    ask()?;
    let before: BTreeSet<PathBuf> = sockets()?.into_iter().map(|(_, socket)| socket).collect();
    let layer = tracing_journald::layer()?;
    // The crate has no way to its socket: it is the one that was not there before; at the start nothing else opens any.
    let new = sockets()?.into_iter().find(|(_, socket)| !before.contains(socket));
    let (socket, _) = new.ok_or_else(|| io::Error::other("the way to journald is not to be found"))?;
    // SAFETY: the descriptor is open, since the layer that opened it lives.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(0, PATIENCE_US))?;
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
    Ok(Bounded { layer, gate: Mutex::default(), takes: || ask().is_ok(), aside })
}

/// Whether journald takes a line now; it throws an empty one away.
fn ask() -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to(&[], SOCKET).map(drop)
}

/// The sockets of this process: their numbers, which are used again, and what they are, which is not.
fn sockets() -> io::Result<Vec<(RawFd, PathBuf)>> {
    let socket = |entry: io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let is = std::fs::read_link(&path).ok()?;
        let number = path.file_name()?.to_str()?.parse().ok()?;
        is.to_str()?.starts_with("socket:").then_some((number, is))
    };
    Ok(std::fs::read_dir("/proc/self/fd")?.filter_map(socket).collect())
}

/// A layer whose lines are dropped for a while after one that took too long.
pub struct Bounded<L> {
    layer: L,
    gate: Mutex<Gate>,
    takes: fn() -> bool,
    aside: NonBlocking,
}

#[derive(Default)]
struct Gate {
    closed_until: Option<Instant>,
    asked_at: Option<Instant>,
    dropped: u64,
}

impl Gate {
    /// Whether a line passes now; if it is the first after a pause, how many did not. Asks now and then whether it `takes`
    /// any.
    fn passes(&mut self, now: Instant, takes: impl FnOnce() -> bool) -> Option<u64> {
        if self.closed_until.is_some_and(|until| now < until) {
            self.dropped += 1;
            return None;
        }
        self.closed_until = None;
        if self.asked_at.is_none_or(|at| now.duration_since(at) >= ASK_EVERY) {
            self.asked_at = Some(now);
            if !takes() {
                self.closed_until = Some(now + PAUSE);
                self.dropped += 1;
                return None;
            }
        }
        Some(std::mem::take(&mut self.dropped))
    }

    /// A line took so long, behind so many that were dropped: how many are to be told of, now that one has passed.
    fn took(&mut self, now: Instant, time: Duration, before: u64) -> u64 {
        if time < Duration::from_micros(PATIENCE_US as u64) {
            return before;
        }
        self.closed_until = Some(now + PAUSE);
        self.dropped += before + 1;
        0
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
        let Some(dropped) = self.gate().passes(begun, self.takes) else { return };
        self.layer.on_event(event, ctx);
        let dropped = self.gate().took(Instant::now(), begun.elapsed(), dropped);
        if dropped > 0 {
            // Not as a line of the log: whoever writes one here writes it into itself. Standard error is the journal's too.
            let _ = writeln!(
                self.aside.clone(),
                "openclaw: journald took nothing for a while: {dropped} lines were dropped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_waited_in_vain_closes_the_gate_for_a_while_and_the_dropped_are_counted() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert_eq!(gate.passes(now, || true), Some(0));
        assert_eq!(gate.took(now, Duration::from_millis(5), 0), 0);
        assert_eq!(gate.passes(now, || true), Some(0));
        assert_eq!(gate.took(now, Duration::from_millis(100), 0), 0);
        assert_eq!(gate.passes(now, || true), None);
        assert_eq!(gate.passes(now + PAUSE / 2, || true), None);
        assert_eq!(gate.passes(now + PAUSE, || true), Some(3));
        // The next one waits in vain as well: all are told of once one passes.
        assert_eq!(gate.took(now + PAUSE, Duration::from_millis(100), 3), 0);
        assert_eq!(gate.passes(now + PAUSE * 2, || true), Some(4));
        assert_eq!(gate.took(now + PAUSE * 2, Duration::ZERO, 4), 4);
        assert_eq!(gate.passes(now + PAUSE * 2, || true), Some(0));
        // One that is gone takes none: it is not waited for.
        let later = now + PAUSE * 2 + ASK_EVERY;
        assert_eq!(gate.passes(later, || false), None);
        assert_eq!(gate.passes(later + ASK_EVERY, || true), None);
        assert_eq!(gate.passes(later + PAUSE, || false), None);
        assert_eq!(gate.passes(later + PAUSE * 2, || true), Some(3));
        assert_eq!(gate.passes(later + PAUSE * 2, || panic!("asked a moment ago")), Some(0));
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
        let (aside, _guard) = tracing_appender::non_blocking(io::sink());
        let layer = Bounded { layer: lines.clone(), gate: Mutex::default(), takes: || true, aside };
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
