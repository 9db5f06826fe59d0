//! One host process: spawned, signalled, reaped. Nothing is ever signalled by name, or by a number that could be
//! another's by now: signals go out only while the child is not reaped, and so keeps its number.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// What a host is started from.
#[derive(Clone, Debug)]
pub struct Program {
    /// This binary: `/proc/self/exe`, which stays the running one when a newer is installed over it.
    pub path: PathBuf,
    /// Its first arguments; the agent's name follows, for who looks at `ps`.
    pub args: Vec<String>,
}

impl Program {
    /// This process's own binary.
    pub fn this() -> Self {
        Self { path: "/proc/self/exe".into(), args: vec!["agent-host".into()] }
    }
}

/// A living host.
pub struct Process {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
}

/// How the supervisor hears of a host.
pub struct Streams {
    /// The wire.
    pub socket: UnixStream,
    /// What the agent prints.
    pub stdout: pipe::Receiver,
    /// What it complains of.
    pub stderr: pipe::Receiver,
}

/// What of this process's environment a host sees: nothing that could be a secret.
const PASSED_ON: [&str; 4] = ["PATH", "TZ", "LANG", "RUST_BACKTRACE"];

impl Process {
    /// Starts a host in a process group of its own, with one end of a socketpair as its standard input.
    ///
    /// No `pre_exec`: with it std would fork, which takes 60 ms from a parent of 2 GB instead of 1.
    ///
    /// # Errors
    /// Those of the system calls: out of processes, descriptors, or memory.
    pub fn spawn(program: &Program, agent: &str, workspace: &std::path::Path) -> io::Result<(Self, Streams)> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&program.path);
        command.arg0("openclaw").args(&program.args).arg(agent).current_dir(workspace).process_group(0);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped()).env_clear();
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let mut child = command.spawn()?;
        let streams = |child: &mut Child| {
            let missing = || io::Error::other("a pipe of the child is missing");
            let stdout = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
            let stderr = OwnedFd::from(child.stderr.take().ok_or_else(missing)?);
            let pidfd = pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())?;
            let streams = Streams {
                socket: UnixStream::from_std(ours)?,
                stdout: pipe::Receiver::from_owned_fd(stdout)?,
                stderr: pipe::Receiver::from_owned_fd(stderr)?,
            };
            // SAFETY: an OwnedFd keeps its descriptor open and the same until it is dropped, which `AsyncFd` does
            // only after it is deregistered.
            let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
            Ok((pidfd, streams))
        };
        match streams(&mut child) {
            Ok((pidfd, streams)) => Ok((Self { child, pidfd }, streams)),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Signals its process group.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // The group may be gone already: that is what was wanted.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }

    /// Resolves when it has ended. Safe to cancel; it is not reaped by this.
    pub async fn ended(&self) {
        // An error here could only mean that the runtime is shutting down.
        let _ = self.pidfd.readable().await;
    }

    /// Ends whatever is left of its group, and answers its exit code and signal.
    pub async fn reap(mut self) -> (Option<i32>, Option<i32>) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
        match self.child.wait() {
            Ok(status) => (status.code(), status.signal()),
            Err(_) => (None, None),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Dropped before it was reaped: the daemon ends at once. Its host sees the socket close as well.
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGKILL);
        }
    }
}
