//! What is known of an installation from run to run: what was made (the record), and what was there before a change that
//! is not proven yet (the journal). Both lie in `bin`, which is root's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use super::files::{self, Owner, There, failed};
use crate::units::Manager;

/// What was made, by which only that is changed or removed again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose units run it; none: it is not installed (any more), and what is left of it lies here.
    pub manager: Option<Manager>,
    /// Each file that was made and its SHA-256, each link and where it leads.
    pub made: BTreeMap<PathBuf, String>,
    /// Units that were enabled, each once: who was disabled since stays so.
    pub enabled: BTreeSet<String>,
}

/// Where the record of an installation is.
fn place(prefix: &Path) -> PathBuf {
    prefix.join("bin/.installed.json")
}

impl Record {
    /// The one of a prefix; none where nothing of OpenClaw is.
    ///
    /// # Errors
    /// It is somebody else's, or does not read.
    pub fn read(prefix: &Path) -> Result<Option<Self>, Error> {
        read(&place(prefix))
    }

    pub(super) fn save(&self, prefix: &Path) -> Result<(), Error> {
        write(&place(prefix), self, 0o644)
    }
}

/// Whose units run an installation; none where nothing is installed, or it is not to be seen.
#[must_use]
pub fn manager(prefix: &Path) -> Option<Manager> {
    Record::read(prefix).ok().flatten()?.manager
}

/// What ran before an installation or its removal: all that it takes to have it again. It is there from before the first
/// change until what is new has proved itself, so that whatever interrupts it, the next run finishes it or takes it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The units that ran, and are to run afterwards.
    pub ran: BTreeSet<String>,
    /// The record as it was.
    pub record: Record,
    /// What each changed path was, in the order of the changes.
    pub before: Vec<(PathBuf, Was)>,
    /// Units that were enabled meanwhile.
    pub enabled: BTreeSet<String>,
    /// What this change writes: a file of that mark is ours, also for another version that goes on.
    #[serde(default)]
    pub made: BTreeMap<PathBuf, String>,
    /// A removal has begun: nothing whole was there that could be gone back to.
    #[serde(default)]
    pub removal: bool,
}

/// What a path was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Was {
    /// Nothing.
    Nothing,
    /// A file: its copy, mode, user and group.
    File(PathBuf, u32, u32, u32),
    /// A link.
    Link(PathBuf),
}

/// The folder of the journal and of the copies it names.
fn kept(prefix: &Path) -> PathBuf {
    prefix.join("bin/.previous")
}

impl Journal {
    /// The one of a run that was interrupted; none: there was none.
    ///
    /// # Errors
    /// It is somebody else's, or does not read.
    pub fn read(prefix: &Path) -> Result<Option<Self>, Error> {
        read(&kept(prefix).join("journal.json"))
    }

    /// The one that this run goes on with, and whether there was one: of whoever was interrupted.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn begin(prefix: &Path, record: &Record, removal: bool) -> Result<(Self, bool), Error> {
        let there = Self::read(prefix)?;
        let goes_on = there.is_some();
        let mut journal = there.unwrap_or_else(|| Self { record: record.clone(), ..Self::default() });
        if removal || journal.removal {
            let Self { ran, made, .. } = journal;
            journal = Self { ran, made, record: record.clone(), removal: true, ..Self::default() };
        }
        Ok((journal, goes_on))
    }

    pub(super) fn save(&self, prefix: &Path) -> Result<(), Error> {
        files::folder(&kept(prefix), 0o700, Owner { user: root(), group: None })?;
        write(&kept(prefix).join("journal.json"), self, 0o600)
    }

    /// Keeps what is at a path, before it is changed: on the disk when this returns. What was kept before stays kept.
    ///
    /// # Errors
    /// It cannot be copied, or is neither file nor link.
    pub fn keep(&mut self, prefix: &Path, path: &Path) -> Result<(), Error> {
        if self.before.iter().any(|(known, _)| known == path) {
            return Ok(());
        }
        let was = Was::of(prefix, path, &self.before.len().to_string())?;
        self.before.push((path.into(), was));
        self.save(prefix)
    }

    /// As [`keep`](Self::keep), before a file of this mark is written there.
    ///
    /// # Errors
    /// As there.
    pub(super) fn keep_for(&mut self, prefix: &Path, path: &Path, mark: &str) -> Result<(), Error> {
        self.made.insert(path.into(), mark.into());
        if self.before.iter().any(|(known, _)| known == path) {
            return self.save(prefix);
        }
        self.keep(prefix, path)
    }

    /// What is new has proved itself, or what was is there again.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn end(prefix: &Path) -> Result<(), Error> {
        let folder = kept(prefix);
        // First: without it the copies mean nothing.
        files::remove(&folder.join("journal.json"))?;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &folder, error))
            }
            _ => Ok(()),
        }
    }
}

impl Was {
    /// What is at a path, copied under a name.
    fn of(prefix: &Path, path: &Path, name: &str) -> Result<Self, Error> {
        Ok(match files::look(path)? {
            There::Nothing => Self::Nothing,
            There::Link(to) => Self::Link(to),
            There::Other => return Err(Error::NotAFile { path: path.into() }),
            There::File(mut file, meta) => {
                files::folder(&kept(prefix), 0o700, Owner { user: root(), group: None })?;
                let copy = kept(prefix).join(name);
                files::put(&copy, &mut file, 0o600, Owner { user: root(), group: None })?;
                Self::File(copy, meta.permissions().mode() & 0o7777, meta.uid(), meta.gid())
            }
        })
    }

    /// As [`files::There::mark`] had it.
    pub(super) fn mark(&self) -> Result<Option<String>, Error> {
        match self {
            Self::Nothing => Ok(None),
            Self::Link(to) => Ok(Some(files::link_mark(to))),
            Self::File(copy, ..) => {
                let mark = fs::File::open(copy).and_then(|mut file| files::mark_of(&mut file));
                mark.map(Some).map_err(|e| failed("read", copy, e))
            }
        }
    }

    /// Has it there again.
    pub(super) fn put_back(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Nothing => files::remove(path).map(drop),
            Self::Link(to) => files::link(path, to),
            Self::File(copy, mode, user, group) => {
                let mut file = fs::File::open(copy).map_err(|e| failed("read", copy, e))?;
                files::put(path, &mut file, *mode, Owner { user: Some(*user), group: Some(*group) })
            }
        }
    }
}

/// What the names of copies of a database begin with.
const COPY: &str = "database-";

/// A database's files as they were before a new version had them. For the run that copied them alone: once it was
/// interrupted, the database has been worked with, and an old copy of it would undo that.
#[derive(Debug, Default)]
pub struct Copies(Vec<(PathBuf, Was)>);

impl Copies {
    /// Takes those of an interrupted run out of the journal's folder: the database as it was may be read by the old version
    /// alone. The folder where they are now.
    ///
    /// # Errors
    /// They cannot be moved.
    pub(super) fn set_aside(prefix: &Path) -> Result<Option<PathBuf>, Error> {
        let entries = fs::read_dir(kept(prefix)).into_iter().flatten().flatten();
        let copies: Vec<_> = entries.filter(|e| e.file_name().to_string_lossy().starts_with(COPY)).collect();
        if copies.is_empty() {
            return Ok(None);
        }
        let folders = (1u32..).map(|n| prefix.join(format!("bin/.interrupted-{n}")));
        let folder =
            folders.into_iter().find(|folder| folder.symlink_metadata().is_err()).unwrap_or_default();
        files::folder(&folder, 0o700, Owner { user: root(), group: None })?;
        for copy in copies {
            let to = folder.join(copy.file_name());
            fs::rename(copy.path(), &to).map_err(|e| failed("move", &copy.path(), e))?;
        }
        Ok(Some(folder))
    }

    /// Copies a file, while nobody has the database.
    ///
    /// # Errors
    /// It cannot be copied, or is neither file nor link.
    pub fn keep(&mut self, prefix: &Path, path: &Path) -> Result<(), Error> {
        let was = Was::of(prefix, path, &format!("{COPY}{}", self.0.len()))?;
        self.0.push((path.into(), was));
        Ok(())
    }

    /// Has them again, while nobody has the database.
    ///
    /// # Errors
    /// The first that cannot be put back.
    pub fn put_back(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(|(path, was)| was.put_back(path))
    }

    /// Whether nothing was copied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn root() -> Option<u32> {
    Uid::effective().is_root().then_some(0)
}

/// Only what we wrote: by a record of somebody else's, root would remove whatever that names.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let (mut file, meta) = match files::look(path)? {
        There::Nothing => return Ok(None),
        There::File(file, meta) => (file, meta),
        There::Link(_) | There::Other => return Err(Error::Foreign { path: path.into() }),
    };
    if Uid::effective().is_root() && meta.uid() != 0 {
        return Err(Error::Foreign { path: path.into() });
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).map_err(|e| failed("read", path, e))?;
    serde_json::from_str(&text).map(Some).map_err(|e| failed("read", path, e.into()))
}

fn write(path: &Path, value: &impl Serialize, mode: u32) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| failed("write", path, e.into()))?;
    files::put(path, &mut text.as_slice(), mode, Owner { user: root(), group: root() })
}
