//! Whether a file may become an agent's library, as far as its place, its owner and its mode tell.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;
use openclaw_agent_api::AgentName;

/// Why a file does not become an agent's library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Gone {
        /// Where it should be.
        library: PathBuf,
    },
    /// A sentence: what, why, what to do.
    Refused(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { library } => write!(
                f,
                "there is no library {}: build the agent, copy it there, then `openclaw agents start` it",
                library.display()
            ),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

/// A library that may be read: all that follows is done with this one descriptor, so that what was checked is what is
/// used.
#[derive(Debug)]
pub(super) struct Opened {
    pub file: File,
    pub meta: Metadata,
    /// As configured, absolute.
    pub shown: PathBuf,
}

/// Debug information makes libraries long, but not that long.
const LARGEST: u64 = 1 << 30;

/// Opens `file` as it is configured: relative to `agents`, where it must then lie, or an absolute path, whose folder it
/// must not leave through a link.
pub(super) fn open(agent: &AgentName, agents: &Path, file: &Path) -> Result<Opened, Refusal> {
    let shown = agents.join(file);
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::Gone { library: shown.clone() },
        _ => Refusal::Refused(format!(
            "{} cannot be read: {error}; mend it, or name another file as agents.{agent}.library",
            shown.display()
        )),
    };
    let canonical = fs::canonicalize(&shown).map_err(unreadable)?;
    let home = if file.is_absolute() { file.parent().unwrap_or(file) } else { agents };
    let home = fs::canonicalize(home).map_err(unreadable)?;
    if !canonical.starts_with(&home) {
        return Err(format!(
            "{} leads to {}, out of {}: copy the library there, or name its path as agents.{agent}.library",
            shown.display(),
            canonical.display(),
            home.display()
        )
        .into());
    }
    for folder in canonical.ancestors().skip(1).take_while(|folder| folder.starts_with(&home)) {
        owner_and_mode(folder, &fs::metadata(folder).map_err(unreadable)?)?;
    }
    let opened = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(&canonical);
    let opened = opened.map_err(unreadable)?;
    let meta = opened.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(format!("{} is no regular file: copy the library there", shown.display()).into());
    }
    owner_and_mode(&shown, &meta)?;
    if meta.len() > LARGEST {
        let size = settings::units::ByteSize(meta.len());
        return Err(format!("{} has {size}, and a library 1 GiB at most: strip it", shown.display()).into());
    }
    Ok(Opened { file: opened, meta, shown })
}

/// Whoever can write a library decides what the daemon's user executes.
fn owner_and_mode(path: &Path, meta: &Metadata) -> Result<(), Refusal> {
    const GROUP: u32 = 0o020;
    const WORLD: u32 = 0o002;
    let (shown, owner, us) = (path.display(), meta.uid(), geteuid().as_raw());
    if owner != us && owner != 0 {
        return Err(format!(
            "{shown} belongs to the user {owner}, who is neither the daemon's nor root: `chown {us}` it if you trust it, then reload the agent"
        )
        .into());
    }
    if meta.mode() & WORLD != 0 {
        return Err(format!("anybody may write {shown}: `chmod o-w` it, then reload the agent").into());
    }
    // Many users have a group of their own and write for it; what root lets a group write, others do.
    if meta.mode() & GROUP != 0 && owner != us {
        return Err(
            format!("a group of others may write {shown}: `chmod g-w` it, then reload the agent").into()
        );
    }
    Ok(())
}
