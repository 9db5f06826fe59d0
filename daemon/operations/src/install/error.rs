//! What may go wrong, and with what.

use std::io;
use std::path::PathBuf;

/// What went wrong, and with what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else has a folder's place: links are not followed.
    #[error("{} is not a folder: move it away, and run it again", path.display())]
    NotAFolder {
        /// Where.
        path: PathBuf,
    },
    /// Something else has a file's place.
    #[error("{} is not a file: move it away, and run it again", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else could have put anything there.
    #[error(
        "{} is not root's, and ought to be: whoever owns it may have changed it. Look at what is there; then move it away, \
         or `chown root` it, and run it again",
        path.display()
    )]
    Foreign {
        /// What.
        path: PathBuf,
    },
    /// A prefix that has other people's things in it.
    #[error(
        "{} is not empty, and nothing there says that it is OpenClaw's: choose a folder that is not there yet, or an empty \
         one (--prefix)",
        path.display()
    )]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// Units have one name for all: there is one installation for each manager.
    #[error(
        "OpenClaw is installed in {} already, and its units have the same names: remove that first, `openclaw uninstall --prefix \
         '{}'` leaves its data; where that is gone, remove its units from {}",
        other.display(), other.display(), units.display()
    )]
    Elsewhere {
        /// Where.
        other: PathBuf,
        /// Where its units are.
        units: PathBuf,
    },
    /// There is nothing to remove.
    #[error("nothing is installed in {}: nothing is removed", path.display())]
    Nothing {
        /// Where.
        path: PathBuf,
    },
    /// The other manager's.
    #[error("{} is installed {there}: call it so", path.display())]
    Manager {
        /// Where.
        path: PathBuf,
        /// How.
        there: &'static str,
    },
    /// A program of the system.
    #[error("`{call}` failed: {why}")]
    Program {
        /// What was called.
        call: String,
        /// What it said.
        why: String,
    },
}
