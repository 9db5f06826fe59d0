//! Copies into the vault: nameless until they are whole and trusted, gone if that never comes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::{self, Hash};
use super::stamp::Stamp;
use super::trust;
use super::verify::{Opened, Refusal};

/// The ending of what has no name yet.
pub(super) const UNFINISHED: &str = "tmp";

/// Where copies are made.
#[derive(Debug)]
pub(super) struct Copies {
    vault: PathBuf,
    /// Each has a number.
    next: AtomicU64,
}

/// A whole copy that has no name yet.
pub(super) struct Copy {
    pub hash: Hash,
    pub size: u64,
    unfinished: Unfinished,
}

/// A file that goes unless it was renamed.
struct Unfinished {
    file: File,
    path: PathBuf,
}

impl Copies {
    pub fn new(vault: &Path) -> Self {
        Self { vault: vault.into(), next: AtomicU64::new(0) }
    }

    /// Copies what is open, unless it changes meanwhile.
    pub fn copy(&self, Opened { mut file, shown, .. }: Opened, stamp: &Stamp) -> Result<Copy, Refusal> {
        let failed = |error: io::Error| self.failed(&shown, &error);
        let mut to = self.unfinished().map_err(failed)?;
        file.rewind().map_err(failed)?;
        let (hash, size) = hash::copy(&mut file, &mut to.file).map_err(failed)?;
        if !stamp.is_of(&file.metadata().map_err(failed)?) {
            return Err(format!("{} is still being written: wait until it is whole", shown.display()).into());
        }
        Ok(Copy { hash, size, unfinished: to })
    }

    /// Gives the copy, and the signature beside it, the names that `path` says. One that is there already stays.
    pub fn keep(&self, copy: &Copy, signature: Option<String>, path: &Path) -> io::Result<()> {
        if let Some(text) = signature {
            let mut beside = self.unfinished()?;
            beside.file.write_all(text.as_bytes())?;
            fs::rename(&beside.path, trust::beside(path))?;
        }
        if fs::metadata(path).map_or(0, |meta| meta.len()) != copy.size {
            // Only now: what is known already need not be on the disk twice.
            copy.unfinished.file.sync_data()?;
            copy.unfinished.file.set_permissions(Permissions::from_mode(0o444))?;
            fs::rename(&copy.unfinished.path, path)?;
        }
        Ok(())
    }

    /// Why a library could not be copied.
    pub fn failed(&self, shown: &Path, error: &io::Error) -> Refusal {
        let vault = self.vault.display();
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space, then reload the agent"
            }
            _ => "mend that, then copy it again",
        };
        Refusal::Refused(format!("{} cannot be copied into {vault}: {error}; {remedy}", shown.display()))
    }

    fn unfinished(&self) -> io::Result<Unfinished> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.vault.join(format!("{number}.{UNFINISHED}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o400).open(&path)?;
        Ok(Unfinished { file, path })
    }
}

impl Copy {
    /// What was copied, for checking a signature.
    pub fn content(&mut self) -> &mut File {
        &mut self.unfinished.file
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Renamed it is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}
