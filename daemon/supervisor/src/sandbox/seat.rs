//! How a listener gets from the host to the daemon, and who watches it there.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::listener::Listener;
use super::reach::Reach;
use super::watch::Watch;
use crate::instance::{Log, SharedVitals};

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
    watch: JoinSet<()>,
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

    /// The host has said what holds it: watches it, where there is a listener. False: it had said so before.
    pub fn take(&mut self, library: &Path, workspace: &Path, log: &Log, shared: &SharedVitals) -> bool {
        if std::mem::replace(&mut self.known, true) {
            return false;
        }
        let Some(listener) = self.listener.take() else { return true };
        // SAFETY: a `Listener` keeps its descriptor open and the same until it is dropped, which `AsyncFd` does only
        // after it is deregistered.
        let listener =
            unsafe { AsyncFd::register_with_interest(Listener::from(listener), Interest::READABLE) };
        match listener {
            Ok(listener) => {
                let host = self.host;
                let reach = Reach::new(library, workspace, host);
                let watch = Watch { listener, host, reach, log: log.clone(), shared: shared.clone() };
                self.watch.spawn(watch.run());
            }
            // The listener is closed by this: the host's calls fail, and so does its start.
            Err(error) => tracing::error!(%error, "a host's sandbox cannot be watched"),
        }
        true
    }

    /// Resolves when all that was refused is told: after the host's end.
    pub async fn told(&mut self) {
        while self.watch.join_next().await.is_some() {}
    }
}
