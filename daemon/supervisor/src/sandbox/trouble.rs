//! Why a host cannot be made ready for its agent.

use nix::libc;

/// What the machine may have again later.
const SHORT: [i32; 5] = [libc::ENOMEM, libc::EAGAIN, libc::EMFILE, libc::ENFILE, libc::ENOBUFS];

/// A sentence, and whether another try could go better.
#[derive(Debug)]
pub enum Trouble {
    /// It can never work like this.
    Never(String),
    /// The machine is short of something.
    Short(String),
}

impl Trouble {
    /// By what the kernel answered.
    pub fn new(errno: Option<i32>, text: String) -> Self {
        if errno.is_some_and(|errno| SHORT.contains(&errno)) { Self::Short(text) } else { Self::Never(text) }
    }
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self::Never(text)
    }
}
