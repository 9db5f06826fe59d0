//! What changes when a library does: cheap to take, so it decides whether a file is read again.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::trust::signatures;

/// A library and its signatures as they stand. Equal stamps mean the same content; the change time, which nobody can
/// set, tells of a file that was rewritten in place and dated back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    library: FileStamp,
    signatures: Vec<FileStamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileStamp {
    dev: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the library at `path`, through links; none when there is no file.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self::with(&meta, path))
    }

    /// The same, of a library that is open.
    pub(super) fn with(library: &Metadata, path: &Path) -> Self {
        let signatures = signatures(path).into_iter().filter_map(|path| fs::metadata(path).ok());
        Self {
            library: FileStamp::of(library),
            signatures: signatures.map(|meta| FileStamp::of(&meta)).collect(),
        }
    }

    /// Whether the open library is still what it was.
    pub(super) fn is_of(&self, library: &Metadata) -> bool {
        self.library == FileStamp::of(library)
    }
}

impl FileStamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}
