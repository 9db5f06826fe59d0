//! Files and folders, touched so that who owns a folder on the way cannot lead root elsewhere: no link is followed, and
//! mode and owner are set through the descriptor of what was looked at.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::Error;

/// Whose a file is to be; who is not root cannot give anything away, and has what it makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its user.
    pub user: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
}

impl Owner {
    const fn has(self, user: u32, group: u32) -> bool {
        let user = match self.user {
            Some(wanted) => wanted == user,
            None => true,
        };
        user && match self.group {
            Some(wanted) => wanted == group,
            None => true,
        }
    }
}

/// What is at a path.
#[derive(Debug)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A regular file, open.
    File(File, fs::Metadata),
    /// A symbolic link.
    Link(PathBuf),
    /// A folder, a socket, a device.
    Other,
}

impl There {
    /// By what it is known again: its SHA-256, or where it leads.
    pub fn mark(&mut self, path: &Path) -> Result<Option<String>, Error> {
        Ok(match self {
            Self::File(file, _) => Some(mark_of(file).map_err(|e| failed("read", path, e))?),
            Self::Link(to) => Some(link_mark(to)),
            Self::Nothing | Self::Other => None,
        })
    }
}

/// The mark of a file of this content, which is read from its beginning, and is there again afterwards.
pub fn mark_of(content: &mut (impl Read + Seek)) -> io::Result<String> {
    let mut hash = Sha256::new();
    content.rewind()?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match content.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => hash.update(&bytes[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.rewind()?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The mark of a link there.
pub fn link_mark(to: &Path) -> String {
    format!("link to {}", to.display())
}

/// Looks, without following a link or waiting for a pipe.
pub fn look(path: &Path) -> Result<There, Error> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let failed = |e| failed("look at", path, e);
    match opened {
        Ok(file) => {
            let meta = file.metadata().map_err(failed)?;
            Ok(if meta.is_file() { There::File(file, meta) } else { There::Other })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(There::Nothing),
        Err(error) => match path.symlink_metadata() {
            Ok(meta) if meta.is_symlink() => Ok(There::Link(fs::read_link(path).map_err(failed)?)),
            // A socket cannot be opened.
            Ok(meta) if !meta.is_file() => Ok(There::Other),
            _ => Err(failed(error)),
        },
    }
}

/// Whether a file is of this mode and owner.
pub fn is_as(meta: &fs::Metadata, mode: u32, owner: Owner) -> bool {
    meta.permissions().mode() & 0o7777 == mode && owner.has(meta.uid(), meta.gid())
}

/// Beside, then moved over: nobody ever sees half a file, and what runs goes on running.
pub fn put(path: &Path, content: &mut impl Read, mode: u32, owner: Owner) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| failed("make", folder, e))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".installing");
    let new = folder.join(name);
    let _ = fs::remove_file(&new);
    let mut written = || {
        // Nobody else's, until it is whose it should be.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        io::copy(content, &mut file)?;
        if Uid::effective().is_root() {
            fchown(&file, owner.user, owner.group)?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|e| failed("write", path, e))
}

/// A link, moved over what is there.
pub fn link(path: &Path, to: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| failed("make", folder, e))?;
    let new = folder.join(".openclaw.installing");
    let _ = fs::remove_file(&new);
    let made = std::os::unix::fs::symlink(to, &new).and_then(|()| fs::rename(&new, path));
    made.map_err(|e| failed("link", path, e))
}

/// Takes a file or a link away: whether there was one.
pub fn remove(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", path, error)),
    }
}

/// A folder of this mode and owner: whether it was made. What is not a folder is refused, and so is one that ought to be
/// root's and is not: whoever had it may have left something in it.
pub fn folder(path: &Path, mode: u32, owner: Owner) -> Result<bool, Error> {
    let made = match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed("make", path, error)),
    };
    let flags = OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY;
    let there = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(there) => there,
        Err(_) if path.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) => {
            return Err(Error::NotAFolder { path: path.into() });
        }
        Err(error) => return Err(failed("open", path, error)),
    };
    let meta = there.metadata().map_err(|e| failed("look at", path, e))?;
    if owner.user == Some(0) && meta.uid() != 0 {
        return Err(Error::Foreign { path: path.into() });
    }
    if !is_as(&meta, mode, owner) {
        if Uid::effective().is_root() {
            fchown(&there, owner.user, owner.group).map_err(|e| failed("give away", path, e))?;
        }
        there
            .set_permissions(Permissions::from_mode(mode))
            .map_err(|e| failed("change the mode of", path, e))?;
    }
    Ok(made)
}

pub(super) fn failed(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { what, path: path.into(), source }
}
