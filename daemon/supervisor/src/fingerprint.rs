//! The SHA-256 of a library, computed once per file as it stands: a restart must not read it all again.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

/// Hashes by path. Shared by all instances, each of which reads its own library.
#[derive(Default)]
pub struct Fingerprints {
    known: Mutex<HashMap<PathBuf, (Stamp, String)>>,
}

/// What changes when a file's content does.
#[derive(PartialEq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Fingerprints {
    /// The library's hash in hex; none when it cannot be read, which the host will say better. Reads the file the
    /// first time, so not for a thread that others wait for.
    pub fn of(&self, library: &Path) -> Option<String> {
        let meta = fs::metadata(library).ok()?;
        let stamp =
            Stamp { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) };
        if let Some((known, hash)) = self.lock().get(library)
            && *known == stamp
        {
            return Some(hash.clone());
        }
        let digest = digest(library).ok()?;
        let hex = digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.lock().insert(library.into(), (stamp, hex.clone()));
        Some(hex)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, (Stamp, String)>> {
        // Each change is one insert, so a poisoned lock is still good.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Read in parts: a library as a whole would stay in the allocator's hands as megabytes.
fn digest(library: &Path) -> io::Result<impl AsRef<[u8]>> {
    let (mut file, mut chunk, mut hash) = (File::open(library)?, vec![0; 32 * 1024], Sha256::new());
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize()),
            read => hash.update(&chunk[..read]),
        }
    }
}
