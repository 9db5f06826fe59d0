//! The ways for a process to end or to get stuck.

use std::hint::{black_box, spin_loop};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

#[expect(clippy::disallowed_methods, reason = "to be stuck for a time is what the daemon's tests ask for")]
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[expect(
    clippy::disallowed_methods,
    reason = "an agent that ends its host is what the daemon's tests ask for"
)]
pub fn exit(status: i32) -> ! {
    std::process::exit(status)
}

/// With the words of a panic, this is what a library built with `panic = "abort"` does.
pub fn abort(words: &str) -> ! {
    eprintln!("{words}");
    std::process::abort()
}

pub fn spin() -> ! {
    loop {
        spin_loop();
    }
}

/// Ends the process by SIGSEGV.
pub fn segfault() {
    // A debug build checks for null itself and aborts; the first page is as unmapped at 8 as at 0.
    let nowhere: *mut u64 = std::ptr::without_provenance_mut(8);
    // SAFETY: none. It is the point of this function; the page is never mapped, so the kernel ends the process.
    unsafe { nowhere.write_volatile(1) }
}

/// Allocates until it cannot; Rust then says so on stderr and aborts, unless the kernel is first.
pub fn eat() -> ! {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        // Not zeroes: those pages would not be touched.
        eaten.push(black_box(vec![0xaa; 1 << 20]));
    }
}

/// Closes the socket to the supervisor under the host's feet.
pub fn close_stdin() {
    // SAFETY: fd 0 is open in every process that the daemon or a test starts; that others go on using it is the point.
    drop(unsafe { OwnedFd::from_raw_fd(0) });
}
