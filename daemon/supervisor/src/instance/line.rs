//! What is said to a host: kept until its socket takes it.

use openclaw_agent_api::context::{CallError, CallErrorKind};
use store::failpoint::{Boundary, reach_now};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::wire::{self, ToHost};

/// Kept for the next messages once all is said.
const KEPT: usize = 64 * 1024;

/// The socket to a host.
pub struct Line {
    socket: UnixStream,
    out: Vec<u8>,
}

impl Line {
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, out: Vec::new() }
    }

    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Waits until there is something to read, or room for what is to be said. Answers whether it can be read; `None`: the
    /// host is gone. Safe to cancel.
    pub async fn ready(&self) -> Option<bool> {
        let interest =
            if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let ready = self.socket.ready(interest).await.ok()?;
        Some(ready.is_readable() || ready.is_read_closed())
    }

    pub fn send(&mut self, message: &ToHost) {
        // Too long can only be an answer: the agent is told that instead.
        if let (Err(error), ToHost::Answer { call, .. }) = (self.try_send(message), message) {
            let answer =
                Err(CallError::new(CallErrorKind::Failed, format!("the answer is too long: {error}")));
            let _ = self.try_send(&ToHost::Answer { call: *call, answer });
        }
    }

    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// It is too long; nothing of it is said.
    pub fn try_send(&mut self, message: &ToHost) -> Result<(), wire::Error> {
        wire::encode(message, &mut self.out)
    }

    /// Writes what the socket takes; the rest when it is writable.
    pub fn write(&mut self, at_work: bool) {
        while !self.out.is_empty() {
            match self.socket.try_write(&self.out) {
                Ok(written) => {
                    self.out.drain(..written);
                    if at_work {
                        reach_now(Boundary::Delivered);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // The host is gone, which reading will tell. What is left for it must not keep this loop awake: it
                // would wait for nothing, and the runtime's one thread would never look.
                Err(_) => self.out.clear(),
            }
        }
        self.out.shrink_to(KEPT);
    }
}
