//! What it tries with the kernel itself.

use std::ffi::CString;
use std::io::{Error, Result, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::Builder;

use nix::libc;

/// The kernel's answer.
fn answered(answer: libc::c_long) -> Result<()> {
    if answer < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

pub fn execve(program: &str) -> Result<()> {
    let program = CString::new(program)?;
    let args = [program.as_ptr(), std::ptr::null()];
    // SAFETY: the strings live until the call fails, or are gone with everything else.
    answered(unsafe { libc::syscall(libc::SYS_execve, program.as_ptr(), args.as_ptr(), args[1..].as_ptr()) })
}

/// The child does nothing but end.
pub fn fork() -> Result<()> {
    // SAFETY: the child makes one call, which ends it.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            child if child < 0 => Err(Error::last_os_error()),
            child => {
                libc::waitpid(child, std::ptr::null_mut(), 0);
                Ok(())
            }
        }
    }
}

/// As `fork`, so many times: an error when all failed.
pub fn bomb(tries: u32) -> Result<()> {
    let failed: Vec<_> = (0..tries).filter_map(|_| fork().err()).collect();
    match failed.into_iter().enumerate().last() {
        Some((last, error)) if last + 1 == tries as usize => Err(error),
        _ => Ok(()),
    }
}

/// At once, each with a stack of the usual size.
pub fn threads(many: usize) -> Result<String> {
    let over = Arc::new((Mutex::new(false), Condvar::new()));
    let wait = |over: Arc<(Mutex<bool>, Condvar)>| {
        move || {
            drop(over.1.wait_while(over.0.lock().unwrap(), |over| !*over));
        }
    };
    let mut made = Vec::new();
    let mut error = None;
    for _ in 0..many {
        match Builder::new().spawn(wait(over.clone())) {
            Ok(thread) => made.push(thread),
            Err(why) => {
                error = Some(why);
                break;
            }
        }
    }
    *over.0.lock().unwrap() = true;
    over.1.notify_all();
    let count = made.len();
    made.into_iter().for_each(|thread| drop(thread.join()));
    match error {
        Some(error) => Err(error),
        None => Ok(count.to_string()),
    }
}

pub fn mknod(path: &str) -> Result<()> {
    let path = CString::new(path)?;
    // SAFETY: the string lives until the call ends.
    answered(unsafe { libc::mknod(path.as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(254, 0)) }.into())
}

pub fn ptrace(pid: i32) -> Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: no memory is touched. Were it allowed, the other would go on.
    unsafe {
        answered(libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing))?;
        answered(libc::ptrace(libc::PTRACE_DETACH, pid, nothing, nothing))
    }
}

/// Reads a byte of another's memory.
pub fn peek(pid: i32) -> Result<()> {
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: 0x1000 as *mut _, iov_len: 1 };
    // SAFETY: the kernel writes one byte, into `byte`.
    answered(unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } as _)
}

pub fn signal(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no memory is touched.
    answered(unsafe { libc::kill(pid, signal) }.into())
}

pub fn leave_group() -> Result<()> {
    // SAFETY: no memory is touched.
    answered(unsafe { libc::setpgid(0, libc::getpgid(libc::getppid())) }.into())
}

pub fn raise_limit() -> Result<()> {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: the kernel reads `limit`.
    answered(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }.into())
}

/// `getpid`, by the second table: the process ends where a filter judges by the table.
pub fn x32() -> Result<()> {
    // SAFETY: no memory is touched.
    answered(unsafe { libc::syscall(0x4000_0000 + libc::SYS_getpid) })
}

/// Answers whether any descriptor of this process is a filter's listener.
pub fn steal_listener() -> Result<String> {
    let asks = |descriptor: &i32| {
        let id = 0_u64;
        // SAFETY: the kernel reads `id`. A listener says ENOENT, anything else ENOTTY or EBADF.
        let answer = unsafe { libc::ioctl(*descriptor, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
        answer < 0 && Error::last_os_error().raw_os_error() == Some(libc::ENOENT)
    };
    Ok(format!("{} found", (0..1024).filter(asks).count()))
}

/// One that lets everything through, with a listener.
pub fn filter() -> Result<()> {
    let mut allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog { len: 1, filter: &raw mut allow };
    let (set, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the kernel copies the program. It changes nothing.
    answered(unsafe { libc::syscall(libc::SYS_seccomp, set, flags, &raw const program) })
}

/// What arrives at a socket kills that process.
pub fn owner(pid: i32) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let socket = ours.as_raw_fd();
    // SAFETY: no memory is touched.
    unsafe {
        answered(libc::fcntl(socket, libc::F_SETOWN, pid).into())?;
        // F_SETSIG
        answered(libc::fcntl(socket, 10, libc::SIGKILL).into())?;
        answered(libc::fcntl(socket, libc::F_SETFL, libc::O_ASYNC).into())?;
    }
    (&theirs).write_all(b"x")
}

pub fn shmget() -> Result<()> {
    // SAFETY: no memory is touched.
    answered(unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600) }.into())
}

pub fn inotify() -> Result<()> {
    // SAFETY: no memory is touched.
    answered(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) }.into())
}

/// Touches so many MiB that RLIMIT_DATA does not count, and keeps them.
pub fn share(mebibytes: usize) -> Result<()> {
    let (length, protection) = (mebibytes << 20, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, of which every byte is this function's own.
    unsafe {
        let memory = libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0);
        if memory == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        std::ptr::write_bytes(memory.cast::<u8>(), 1, length);
    }
    loop {
        std::thread::park();
    }
}
