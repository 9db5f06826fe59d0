//! What this host says. Whoever speaks while another writes leaves its frame to that one: no frame waits for a
//! timer, and under load many go out in one write.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::{self, FromHost};

pub struct Outbox {
    state: Mutex<State>,
    socket: UnixStream,
}

struct State {
    frames: Vec<u8>,
    writing: bool,
}

impl Outbox {
    pub fn new(socket: UnixStream) -> Self {
        Self { state: Mutex::new(State { frames: Vec::new(), writing: false }), socket }
    }

    /// Sends a frame; it is written when this returns, or another thread is about to. False: it is too long.
    pub fn try_send(&self, message: &FromHost) -> bool {
        let mut state = self.lock();
        if wire::encode(message, &mut state.frames).is_err() {
            return false;
        }
        if !state.writing {
            state.writing = true;
            self.write_out(state);
        }
        true
    }

    /// Sends a frame that is known to be short enough.
    pub fn send(&self, message: &FromHost) {
        let _ = self.try_send(message);
    }

    fn write_out<'s>(&'s self, mut state: MutexGuard<'s, State>) {
        while !state.frames.is_empty() {
            let frames = std::mem::take(&mut state.frames);
            drop(state);
            // A supervisor that is gone is noticed by the I/O thread.
            let _ = (&self.socket).write_all(&frames);
            state = self.lock();
        }
        state.writing = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
