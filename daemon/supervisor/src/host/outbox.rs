//! What this host says. A frame that finds nobody writing is written by the one who says it, at once; others are left
//! to a thread of their own, many in one write. Agents wait while too much is on its way; the I/O thread does not.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{abandoned, end};
use crate::sandbox;
use crate::wire::{self, FromHost};

/// Bytes on their way; beyond it agents wait.
const ROOM: usize = 1 << 20;

pub struct Outbox {
    state: Mutex<State>,
    /// There is something for the thread.
    more: Condvar,
    /// There is room again.
    room: Condvar,
    socket: UnixStream,
}

struct State {
    frames: Vec<u8>,
    writing: bool,
    /// Somebody waits in `flush`.
    flushing: bool,
}

impl Outbox {
    /// Without its thread, which one speaker alone does not need.
    pub fn new(socket: UnixStream) -> Arc<Self> {
        let state = Mutex::new(State { frames: Vec::new(), writing: false, flushing: false });
        Arc::new(Self { state, more: Condvar::new(), room: Condvar::new(), socket })
    }

    /// Starts the thread, which lives as long as the process: before there is any other.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let writer = self.clone();
        let thread = thread::Builder::new().name("outbox".into()).stack_size(64 * 1024);
        thread.spawn(move || writer.run()).map(drop)
    }

    /// Says it, and hands a descriptor over with it: while there is only this thread.
    pub fn hand_over(&self, message: &FromHost, descriptor: BorrowedFd<'_>) -> std::io::Result<()> {
        let mut frame = Vec::new();
        wire::encode(message, &mut frame).map_err(std::io::Error::other)?;
        sandbox::hand_over(&self.socket, &frame, descriptor)
    }

    /// Says it, without waiting for room: for the I/O thread. False: it is too long.
    pub fn send(&self, message: &FromHost) -> bool {
        self.push(self.lock(), message)
    }

    /// Says it once there is room: for agents' threads. False: it is too long.
    pub fn send_when_room(&self, message: &FromHost) -> bool {
        let full = |state: &mut State| state.frames.len() > ROOM;
        let state = self.room.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        self.push(state, message)
    }

    /// Waits until all that was said is written: before the process ends.
    pub fn flush(&self) {
        let mut state = self.lock();
        loop {
            if state.writing {
                state.flushing = true;
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if state.frames.is_empty() {
                return;
            } else {
                state = self.write(state);
            }
        }
    }

    fn push(&self, mut state: MutexGuard<'_, State>, message: &FromHost) -> bool {
        if wire::encode(message, &mut state.frames).is_err() {
            return false;
        }
        if !state.writing {
            let state = self.write(state);
            if !state.frames.is_empty() {
                self.more.notify_one();
            }
        }
        true
    }

    /// One write of all that is there.
    fn write<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        state.writing = true;
        let frames = std::mem::take(&mut state.frames);
        drop(state);
        if (&self.socket).write_all(&frames).is_err() {
            end(abandoned());
        }
        let mut state = self.lock();
        state.writing = false;
        // Only then does anybody wait; waking nobody costs a system call as well.
        if frames.len() > ROOM || state.flushing {
            self.room.notify_all();
        }
        state
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let idle = |state: &mut State| state.writing || state.frames.is_empty();
            state = self.more.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
            state = self.write(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
