//! What an agent's process cannot do, whatever its library tries.
//!
//! ```text
//!  host, before the library is opened                       daemon, a thread per host
//!  no_new_privs, no capabilities
//!  → Landlock → seccomp ──────────────── listener ───────▶ watch: every call that is noticed
//!                                     (SCM_RIGHTS, and          refused call     → EPERM, a line, a count
//!                                      closed in the host)      file operation   → goes on; a line where Landlock
//!                                                                                  will have refused it
//! ```
//!
//! The kernel enforces: a call that is refused is held until the daemon answers, and the daemon never answers that it
//! may go on; files are Landlock's. The listener must not stay in the host: whoever holds it could answer for the
//! daemon, and code of the same process could find it. Where it is closed, calls that would be noticed fail.
//!
//! Not covered:
//!
//! - Threads: `clone` of one is let through, and nothing counts them but the memory that their stacks take.
//! - Disk: a file ends at 1 GiB, but an agent may fill the file system of its workspace with many.
//! - Memory in files that nobody maps (`memfd_create` and `write`), and what was swapped out: neither is the limit's.
//! - The daemon's death: a host ends when its socket closes, which its agent could keep its I/O thread from seeing. There
//!   is no `PR_SET_PDEATHSIG`, since it follows the thread that spawned; the next daemon ends such a host
//!   (`orphans.rs`).
//! - The processor: an agent may use all of it.

mod calls;
mod files;
mod filter;
mod judge;
mod listener;
mod privileges;
mod reach;
mod seat;
mod tally;
mod threads;
mod trouble;
mod watch;

use std::os::fd::OwnedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};
use settings::Sandbox;

pub(crate) use seat::{Seat, hand_over};
pub(crate) use trouble::Trouble;

/// What holds an agent's process, and what this kernel has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// As configured.
    pub mode: Sandbox,
    /// What is in force: `no_new_privs`, `no capabilities`, `landlock abi 7`, `seccomp`, `violations logged`.
    pub in_force: Vec<String>,
    /// What the mode asks for and the kernel has not.
    pub lacking: Vec<String>,
}

/// In force, with the kernel's version of it.
const LANDLOCK: &str = "landlock abi ";
/// In force: the daemon has the filter's listener.
const WATCHED: &str = "violations logged";

impl InForce {
    /// Whether the host cannot work unless the daemon watches it.
    pub fn is_watched(&self) -> bool {
        self.in_force.iter().any(|what| what == WATCHED)
    }

    /// The version of Landlock that judges the host's files; none where nobody does.
    fn landlock(&self) -> Option<i32> {
        self.in_force.iter().find_map(|what| what.strip_prefix(LANDLOCK)?.parse().ok())
    }
}

/// Shuts this process in, for good: of the tree of files it reads `read` and writes `workspace`. What it holds open stays open.
///
/// There must be one thread only: Landlock holds the thread that asks for it, and those made after. Answers the
/// listener, which belongs to the daemon.
pub(crate) fn enter(
    mode: Sandbox,
    read: [&Path; 2],
    workspace: &Path,
) -> Result<(InForce, Option<OwnedFd>), Trouble> {
    let mut sandbox = InForce { mode, ..InForce::default() };
    if mode == Sandbox::Off {
        return Ok((sandbox, None));
    }
    privileges::drop_all(&mut sandbox)?;
    if mode == Sandbox::Strict {
        files::restrict(read, workspace, &mut sandbox)?;
    }
    let listener = filter::install(mode, &mut sandbox)?;
    Ok((sandbox, listener))
}
