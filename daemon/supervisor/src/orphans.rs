//! Hosts of an earlier daemon. Each host holds a read lock on one file for its life; a new daemon waits until all
//! are gone, and kills the one that does not go: two hosts of one agent never work side by side.

use std::collections::HashSet;
use std::fs::File;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Takes the lock that a host holds for its life. The kernel lets go of it when the process ends.
///
/// # Errors
/// That of `fcntl`.
pub fn hold(file: &File) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_SETLK(&lock(libc::F_RDLCK))).map(drop)
}

/// Takes a lock that one process at a time has; false when another one has it.
///
/// A lock of this kind is the process's. `flock`'s is the descriptor's, which a child has too until its exec: a daemon
/// killed while it starts a host would leave its lock behind.
///
/// # Errors
/// That of `fcntl`.
pub fn own(file: &File) -> Result<bool, Errno> {
    match fcntl(file, FcntlArg::F_SETLK(&lock(libc::F_WRLCK))) {
        Ok(_) => Ok(true),
        Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Waits until no host of an earlier daemon lives. Those see their socket close and end by themselves within
/// moments; those that have not after `grace` (they may be stopped) are killed. Answers how many were.
///
/// # Errors
/// That of `fcntl`; `ETIMEDOUT` when a killed one does not go within another `grace`.
pub fn await_gone(file: &File, grace: Duration) -> Result<u32, Errno> {
    let (mut killed, begin) = (HashSet::new(), Instant::now());
    while let Some(pid) = holder(file)? {
        let waited = begin.elapsed();
        if waited >= 2 * grace {
            return Err(Errno::ETIMEDOUT);
        }
        if waited >= grace && !killed.contains(&pid) && kill(file, pid)? {
            killed.insert(pid);
        }
        wait_for(pid, Duration::from_millis(5));
    }
    Ok(u32::try_from(killed.len()).unwrap_or(u32::MAX))
}

fn holder(file: &File) -> Result<Option<Pid>, Errno> {
    let mut asked = lock(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_GETLK(&mut asked))?;
    Ok(if i32::from(asked.l_type) == libc::F_UNLCK { None } else { Pid::from_raw(asked.l_pid) })
}

/// Kills the holder: the pidfd is opened first, and only used if that pid still holds the lock, so it cannot be
/// another process that got the number since.
fn kill(file: &File, pid: Pid) -> Result<bool, Errno> {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
    if holder(file)? != Some(pid) {
        return Ok(false);
    }
    Ok(pidfd_send_signal(&handle, Signal::KILL).is_ok())
}

fn wait_for(pid: Pid, most: Duration) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let millis = PollTimeout::try_from(most).unwrap_or(PollTimeout::ZERO);
    // Without a handle it only waits.
    let _ = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], millis),
        Err(_) => poll(&mut [], millis),
    };
}

fn lock(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}
