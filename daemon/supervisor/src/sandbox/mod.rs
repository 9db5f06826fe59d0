//! What an agent's process cannot do, whatever its library tries.
//!
//! ```text
//!  host, before the library is opened                       daemon, a thread per host
//!  no_new_privs → Landlock → seccomp ──── listener ───────▶ watch: every call that is noticed
//!                                     (SCM_RIGHTS, and          refused call     → EPERM, a line, a count
//!                                      closed in the host)      file operation   → goes on; a line where Landlock
//!                                                                                  will have refused it
//! ```
//!
//! The kernel enforces: a call that is refused is held until the daemon answers, and the daemon never answers that it
//! may go on; files are Landlock's. The listener must not stay in the host: whoever holds it could answer for the
//! daemon, and code of the same process could find it. Where it is closed, calls that would be noticed fail.

mod calls;
mod files;
mod filter;
mod judge;
mod listener;
mod reach;
mod seat;
mod tally;
mod threads;
mod watch;

use std::os::fd::OwnedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};
use settings::Sandbox;

pub(crate) use seat::{Seat, hand_over};

/// What holds an agent's process, and what this kernel has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// As configured.
    pub mode: Sandbox,
    /// What is in force: `no_new_privs`, `landlock abi 7`, `seccomp`, `violations logged`.
    pub in_force: Vec<String>,
    /// What the mode asks for and the kernel has not.
    pub lacking: Vec<String>,
}

/// In force: the daemon has the filter's listener.
const WATCHED: &str = "violations logged";

impl InForce {
    /// Whether the host cannot work unless the daemon watches it.
    pub fn is_watched(&self) -> bool {
        self.in_force.iter().any(|what| what == WATCHED)
    }
}

/// Shuts this process in, for good. What it holds open stays open.
///
/// There must be one thread only: Landlock holds the thread that asks for it, and those made after. Answers the
/// listener, which belongs to the daemon.
pub(crate) fn enter(
    mode: Sandbox,
    library: &Path,
    workspace: &Path,
) -> Result<(InForce, Option<OwnedFd>), String> {
    let mut sandbox = InForce { mode, ..InForce::default() };
    if mode == Sandbox::Off {
        return Ok((sandbox, None));
    }
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| format!("no_new_privs cannot be set ({error}): `sandbox = \"off\"` does without"))?;
    sandbox.in_force.push("no_new_privs".into());
    if mode == Sandbox::Strict {
        files::restrict(library, workspace, &mut sandbox)?;
    }
    let listener = filter::install(mode, &mut sandbox)?;
    Ok((sandbox, listener))
}
