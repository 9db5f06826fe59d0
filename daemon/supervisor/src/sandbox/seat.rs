//! How a listener gets from the host to the daemon, and who watches it there.

use std::fmt::Display;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use settings::Sandbox;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::InForce;
use super::listener::Listener;
use super::reach::Reach;
use super::threads::{self, Counted};
use super::watch::Watch;
use crate::instance::{Log, SharedVitals};

/// Of a thread that watches: it resolves paths and writes lines, and one stands for each host.
const STACK: usize = 128 * 1024;

/// Host: writes `frame`, and the listener with its first byte.
pub fn hand_over(mut socket: impl Write + AsFd, frame: &[u8], listener: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let listener = [listener];
    control.push(SendAncillaryMessage::ScmRights(&listener));
    let sent = sendmsg(&socket, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&frame[sent..])
}

/// Daemon: what an instance has of its host's sandbox.
#[derive(Default)]
pub struct Seat {
    host: u32,
    /// The host has said what holds it: whatever comes after could be its agent's words.
    known: bool,
    listener: Option<OwnedFd>,
    /// Its thread, which nobody joins: where it hangs only itself may. Closed when it has ended.
    watch: Option<(oneshot::Receiver<()>, Counted)>,
}

impl Seat {
    /// Of the host with this number.
    pub fn of(host: u32) -> Self {
        Self { host, ..Self::default() }
    }

    /// Reads from the socket; until the host has said what holds it, with the descriptor that may come with it.
    pub fn read(&mut self, socket: &UnixStream, chunk: &mut [u8]) -> io::Result<usize> {
        if self.known {
            return socket.try_read(chunk);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(chunk)];
        let received = socket.try_io(Interest::READABLE, || {
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            recvmsg(socket, &mut into, &mut control, flags).map_err(io::Error::from)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.listener = descriptors.last();
            }
        }
        Ok(received.bytes)
    }

    /// The host has said what holds it: watches it, where it says that it can be. False: it had said so before.
    ///
    /// # Errors
    /// It says so, and cannot be: the daemon is short of something.
    pub fn take(
        &mut self,
        sandbox: &InForce,
        read: [&Path; 2],
        workspace: &Path,
        log: &Log,
        shared: &SharedVitals,
    ) -> Result<bool, String> {
        if std::mem::replace(&mut self.known, true) {
            return Ok(false);
        }
        if !sandbox.is_watched() {
            return Ok(true);
        }
        let short = |what: &dyn Display| format!("its sandbox cannot be watched: {what}");
        let listener = self.listener.take();
        // The kernel drops what it finds no number for.
        let listener = listener.ok_or_else(|| short(&"the daemon is out of file descriptors"))?;
        let (counted, own) = threads::one_more().ok_or_else(|| {
            short(&"too many hosts before it left threads on file systems that do not answer")
        })?;
        let landlock = sandbox.landlock();
        let through = sandbox.mode == Sandbox::Strict && landlock.is_none();
        let called = if through { "violations" } else { "refused" };
        let (host, log, shared) = (self.host, log.clone(), shared.clone());
        let (read, workspace) = (read.map(Path::to_owned), workspace.to_owned());
        let (over, told) = oneshot::channel();
        let thread = thread::Builder::new().name("sandbox".into()).stack_size(STACK);
        let spawned = thread.spawn(move || {
            let reach = Reach::new([&read[0], &read[1]], &workspace, host);
            Watch { listener: Listener::from(listener), host, reach, landlock, called, log, shared }.run();
            drop((over, counted));
        });
        spawned.map_err(|error| short(&error))?;
        self.watch = Some((told, own));
        Ok(true)
    }

    /// Resolves when all that was refused is told: after the host's end, unless the last call never ends.
    pub async fn told(&mut self) {
        if let Some((told, _)) = &mut self.watch {
            // The thread says nothing, it only ends.
            let _ = told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings::Redactor;

    use crate::logs::Logs;

    #[test]
    fn a_host_whose_listener_was_lost_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, writer) = Logs::start(folder.path().into(), Redactor::default()).unwrap();
        let log = Log::new("scout".parse().unwrap(), logs.clone(), 10, store::Clock::default());
        let take = |seat: &mut Seat, sandbox: &InForce| {
            seat.take(
                sandbox,
                ["/library", "/uploads"].map(Path::new),
                folder.path(),
                &log,
                &SharedVitals::default(),
            )
        };
        let watched = InForce { in_force: vec![super::super::WATCHED.into()], ..InForce::default() };
        let mut seat = Seat::of(1);
        let why = take(&mut seat, &watched).unwrap_err();
        assert_eq!(why, "its sandbox cannot be watched: the daemon is out of file descriptors");
        assert_eq!(take(&mut seat, &watched), Ok(false));
        // One that no filter listens to needs no watch.
        assert_eq!(take(&mut Seat::of(1), &InForce::default()), Ok(true));
        logs.close();
        writer.join().unwrap();
    }
}
