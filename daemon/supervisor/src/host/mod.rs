//! The child's side: one process, one library, one agent. Blocking std and threads; no runtime.
//!
//! ```text
//!  socket ─▶ I/O thread (main) ─▶ [tasks] ─▶ agent threads, at most `concurrency`
//!     ▲        │ answers pings itself                │ handle, host calls
//!     └────────┴────────────── outbox ◀──────────────┘
//! ```
//!
//! When the socket closes, the supervisor is gone or wants this process gone: it ends, and its group with it.

mod agent;
mod library;
mod outbox;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{Pid, getpgrp, getpid};
use settings::Sandbox;

use crate::sandbox::{self, Trouble};
use crate::wire::{Decoder, FromHost, ToHost};
use agent::{Agent, Calls};
use outbox::Outbox;

/// Refused: the supervisor was told why.
const EXIT_REFUSED: i32 = 78;
/// The machine is short of something: the supervisor was told of what.
const EXIT_SHORT: i32 = 71;
/// As a Rust program that panicked.
const EXIT_PANIC: i32 = 101;
/// Open files: a host has a dozen, and its agent no sockets; a leak shows soon.
const DESCRIPTORS: u64 = 256;
/// The longest file, in bytes: far more than an agent's notes, and a loop cannot fill the disk with one.
const FILE: u64 = 1 << 30;

/// `openclaw agent-host`: never returns.
///
/// Must be called before any thread is started: it puts the process in order first.
pub fn run() -> ! {
    let status = match take_socket() {
        Ok(socket) => serve(socket),
        Err(error) => {
            eprintln!("agent-host is started by the daemon, with a socket as its standard input: {error}");
            64
        }
    };
    end(status)
}

fn end(status: i32) -> ! {
    #[allow(clippy::disallowed_methods, reason = "this is the host's main, which has no caller to return to")]
    std::process::exit(status)
}

/// Moves the socket away from descriptor 0, where the agent's code and children would find it.
fn take_socket() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null: OwnedFd = File::open("/dev/null")?.into();
    nix::unistd::dup2_stdin(null)?;
    let socket = UnixStream::from(socket);
    socket.peer_addr()?;
    Ok(socket)
}

fn serve(mut socket: UnixStream) -> i32 {
    let outbox = match socket.try_clone() {
        Ok(socket) => Outbox::new(socket),
        Err(error) => {
            eprintln!("no descriptor for the host: {error}");
            return EXIT_SHORT;
        }
    };
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 64 * 1024]);
    let (mut stage, mut until) = (Stage::New, None::<Instant>);
    loop {
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
                return abandoned();
            }
        }
        let read = match socket.read(&mut chunk) {
            Ok(0) => return abandoned(),
            Ok(read) => read,
            // Out of time: looked at above.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                continue;
            }
            Err(_) => return abandoned(),
        };
        decoder.extend(&chunk[..read]);
        loop {
            match decoder.frame::<ToHost>() {
                Ok(None) => break,
                Ok(Some(ToHost::Live { ms })) => until = Some(Instant::now() + Duration::from_millis(ms)),
                Ok(Some(ToHost::Ping { seq, pad })) => drop(outbox.send(&FromHost::Pong { seq, pad })),
                Ok(Some(message)) => match stage.step(message, &outbox) {
                    Ok(next) => stage = next,
                    Err(trouble) => {
                        let (said, status) = match trouble {
                            Trouble::Never(why) => (FromHost::Refused { why }, EXIT_REFUSED),
                            Trouble::Short(why) => (FromHost::StartFailed { why }, EXIT_SHORT),
                        };
                        outbox.send(&said);
                        outbox.flush();
                        return status;
                    }
                },
                Err(error) => {
                    eprintln!("the supervisor speaks another language: {error}");
                    return 76;
                }
            }
        }
    }
}

/// How far this host has come.
enum Stage {
    New,
    Opened {
        module: openclaw_agent_api::abi::AgentModuleV1_Ref,
        concurrency: u32,
        log_rate: u32,
        ask_time: bool,
        _lock: File,
    },
    Running {
        agent: Arc<Agent>,
        _lock: File,
    },
}

impl Stage {
    fn step(self, message: ToHost, outbox: &Arc<Outbox>) -> Result<Self, Trouble> {
        match (self, message) {
            (
                Self::New,
                ToHost::Open {
                    library,
                    shown,
                    concurrency,
                    memory_limit,
                    log_rate,
                    lock,
                    sandbox,
                    workspace,
                    ask_time,
                    uploads,
                },
            ) => {
                limit(memory_limit)?;
                let lock = hold(&lock)?;
                // Nothing of it is executed by that; inside, each file that is opened costs a word with the daemon.
                library::inspect(&library, &shown)?;
                shut_in(sandbox, [&library, &uploads], &workspace, outbox)?;
                let (module, manifest) = library::open(&library, &shown)?;
                outbox.send(&FromHost::Hello { manifest: Box::new(manifest) });
                Ok(Self::Opened { module, concurrency, log_rate, ask_time, _lock: lock })
            }
            (
                Self::Opened { module, concurrency, log_rate, ask_time, _lock },
                ToHost::Create { settings },
            ) => {
                let calls = Calls::new(outbox.clone(), log_rate, ask_time);
                let agent = Agent::create(module, settings, concurrency, calls, outbox.clone());
                Ok(Self::Running { agent, _lock })
            }
            (Self::Running { agent, _lock }, message) => {
                match message {
                    ToHost::Task { id, kind, message } => agent.take(id, kind, message),
                    ToHost::Answer { call, answer } => agent.answered(call, answer),
                    ToHost::Snapshot { seq } => agent.snapshot(seq),
                    ToHost::Restore { state } => agent.restore(state),
                    ToHost::Stop => agent.stop(),
                    _ => {}
                }
                Ok(Self::Running { agent, _lock })
            }
            // Told to stop before there is anything to say good-bye to.
            (_, ToHost::Stop) => end(0),
            (stage, _) => Ok(stage),
        }
    }
}

/// While there is only this thread: those that are made from here on are shut in with it.
fn shut_in(mode: Sandbox, read: [&Path; 2], workspace: &Path, outbox: &Arc<Outbox>) -> Result<(), Trouble> {
    let (sandbox, listener) = sandbox::enter(mode, read, workspace)?;
    let told = FromHost::Sandboxed { sandbox };
    match &listener {
        Some(listener) => outbox.hand_over(&told, listener.as_fd()).map_err(|error| {
            Trouble::Short(format!("the sandbox's listener cannot be handed over: {error}"))
        })?,
        None => drop(outbox.send(&told)),
    }
    // Whoever holds it could answer for the daemon.
    drop(listener);
    outbox.start().map_err(|error| Trouble::Short(format!("no thread for the host: {error}")))
}

fn limit(memory: u64) -> Result<(), String> {
    let set = |what, value: u64| {
        // A container may allow less already, which only root could raise.
        let (_, hard) = getrlimit(what)?;
        setrlimit(what, value.min(hard), value.min(hard))
    };
    set(Resource::RLIMIT_DATA, memory)
        .and_then(|()| set(Resource::RLIMIT_CORE, 0))
        .and_then(|()| set(Resource::RLIMIT_NOFILE, DESCRIPTORS))
        .and_then(|()| set(Resource::RLIMIT_FSIZE, FILE))
        // SAFETY: no handler, and no other thread yet: a write past the limit fails instead of ending the process.
        .and_then(|()| unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.map(drop))
        .map_err(|errno| format!("the host's limits cannot be set: {errno}"))
}

/// Holds a shared lock for this process's life: a new daemon waits until all hosts of the old one are gone.
fn hold(path: &Path) -> Result<File, Trouble> {
    // The daemon holds it as well, so it is there.
    let failed = |error: &dyn Display| Trouble::Short(format!("cannot lock {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    crate::orphans::hold(&file).map_err(|errno| failed(&errno))?;
    Ok(file)
}

/// The supervisor is gone, or has let go of this host.
fn abandoned() -> i32 {
    // Only a group of our own: under a shell or a test this process may be in somebody else's.
    if getpgrp() == getpid() {
        let _ = kill(Pid::from_raw(0), Signal::SIGKILL);
    }
    0
}
