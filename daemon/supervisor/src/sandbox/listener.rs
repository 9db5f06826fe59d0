//! The daemon's end of a filter: calls that wait for an answer. See seccomp_unotify(2).

use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Memory is mapped in pieces of so much at least: a string may end before the next one begins.
const PAGE: usize = 4096;
/// The longest path that the kernel takes.
const PATH: usize = 4096;

/// A listener.
pub struct Listener(OwnedFd);

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    id: u64,
    /// The thread that made it.
    pub thread: u32,
    /// Its number.
    pub call: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// What waiting at a listener came to.
pub enum Look {
    /// A call that waits.
    Notice(Notice),
    /// None came in time.
    Nothing,
    /// Nobody is left to make any.
    Over,
}

/// What a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel goes on with it: only ever for what Landlock decides.
    GoOn,
    /// It was done in its place.
    Done,
    /// It failed.
    Fail(Errno),
}

/// The kernel copies as much as it knows of, which may be more than this program does.
#[repr(C)]
struct Roomy<T> {
    known: T,
    room: [u64; 16],
}

impl From<OwnedFd> for Listener {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Waits for a call, for ever or for so long, and takes it.
    pub fn wait(&self, patience: Option<Duration>) -> io::Result<Look> {
        let until = patience.map(|patience| Instant::now() + patience);
        loop {
            let found = self.poll(PollFlags::POLLIN, until)?;
            if found.is_empty() {
                return Ok(Look::Nothing);
            } else if !found.contains(PollFlags::POLLIN) {
                return Ok(Look::Over);
            } else if let Some(notice) = self.take()? {
                return Ok(Look::Notice(notice));
            }
        }
    }

    /// Takes no call until then, unless nobody is left to make any.
    pub fn rest(&self, until: Instant) -> io::Result<()> {
        self.poll(PollFlags::empty(), Some(until)).map(drop)
    }

    fn poll(&self, what: PollFlags, until: Option<Instant>) -> io::Result<PollFlags> {
        loop {
            let timeout = match until {
                None => PollTimeout::NONE,
                // A part of a millisecond is one: rounded down, the end of the wait would be spent in circles.
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
                    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
                }
            };
            let mut asked = [PollFd::new(self.as_fd(), what)];
            match poll(&mut asked, timeout) {
                Ok(_) => return Ok(asked[0].revents().unwrap_or(PollFlags::empty())),
                // A signal to the daemon, which this thread happened to take.
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The call that waits, if it still does.
    fn take(&self) -> io::Result<Option<Notice>> {
        let nothing = libc::seccomp_notif {
            id: 0,
            pid: 0,
            flags: 0,
            data: libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] },
        };
        let mut notice = Roomy { known: nothing, room: [0; 16] };
        match self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, &mut notice) {
            Ok(()) => {}
            // A signal took the thread out of its call between the look and this.
            Err(Errno::ENOENT | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let libc::seccomp_notif { id, pid, data, .. } = notice.known;
        Ok(Some(Notice { id, thread: pid, call: data.nr.into(), args: data.args }))
    }

    /// Answers a call, if it still waits.
    pub fn answer(&self, notice: &Notice, answer: Answer) {
        let (error, flags) = match answer {
            Answer::GoOn => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Done => (0, 0),
            Answer::Fail(errno) => (-(errno as i32), 0),
        };
        let known = libc::seccomp_notif_resp { id: notice.id, val: 0, error, flags };
        // An error says that the thread is gone, or that a signal took it out of its call.
        let _ = self.control(libc::SECCOMP_IOCTL_NOTIF_SEND, &mut Roomy { known, room: [0; 16] });
    }

    /// Whether a call still waits: its thread's number is then still its own.
    pub fn waits(&self, notice: &Notice) -> bool {
        let mut id = Roomy { known: notice.id, room: [0; 16] };
        self.control(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut id).is_ok()
    }

    fn control<T>(&self, request: libc::Ioctl, what: &mut Roomy<T>) -> Result<(), Errno> {
        // SAFETY: each request reads or writes the one struct that it is called with here, for which `Roomy` leaves
        // more space than the kernel's is long.
        let answer = unsafe { libc::ioctl(self.as_raw_fd(), request, std::ptr::from_mut(what)) };
        Errno::result(answer).map(drop)
    }
}

impl Notice {
    /// The path that an argument points to, as it is now.
    pub fn path(&self, arg: usize) -> Option<PathBuf> {
        let thread = Pid::from_raw(i32::try_from(self.thread).ok()?);
        let mut at = usize::try_from(*self.args.get(arg)?).ok()?;
        let mut path = Vec::new();
        while path.len() < PATH {
            // What is read is read as a whole or not at all: no further than to the end of a page.
            let mut page = [0; PAGE];
            let rest = &mut page[..PAGE - at % PAGE];
            let from = [RemoteIoVec { base: at, len: rest.len() }];
            let read = process_vm_readv(thread, &mut [IoSliceMut::new(rest)], &from).ok()?;
            let rest = rest.get(..read).filter(|rest| !rest.is_empty())?;
            let end = rest.iter().position(|byte| *byte == 0);
            path.extend_from_slice(&rest[..end.unwrap_or(read)]);
            if end.is_some() {
                return Some(OsString::from_vec(path).into());
            }
            at = at.checked_add(read)?;
        }
        None
    }
}
