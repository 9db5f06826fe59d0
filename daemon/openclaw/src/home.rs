//! The folders of one daemon, and the lock that makes it the only one there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use settings::Paths;

use crate::exit::{Code, Failure};

/// Held as long as the daemon lives; the kernel lets go of it however that ends.
pub struct Home {
    _lock: File,
}

/// How long hosts of an earlier daemon may take to see that it is gone.
const ORPHANS: Duration = Duration::from_secs(2);

impl Home {
    /// Makes the folders, takes the lock, and waits until no host of an earlier daemon is left.
    pub fn enter(paths: &Paths) -> Result<Self, Failure> {
        for folder in [&paths.home, &paths.agents, &paths.logs, &paths.run, &paths.workspace] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|e| failed("make", folder, &e))?;
        }
        // Messages, logs and sockets are nobody else's, also where somebody else made the folder.
        for folder in [&paths.logs, &paths.run, &paths.workspace] {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o700))
                .map_err(|e| failed("close", folder, &e))?;
        }
        let mut lock = own(paths)?;
        let pid = std::process::id().to_string();
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(pid.as_bytes()))
            // Only a hint for the next one's message: a full disk must not keep the daemon from starting.
            .unwrap_or_else(|error| eprintln!("openclaw: cannot note the pid: {error}"));
        let hosts = open(&hosts_lock(paths))?;
        let killed = supervisor::orphans::await_gone(&hosts, ORPHANS).map_err(|errno| {
            Failure::new(Code::TryAgain, format!("a host of an earlier daemon does not end ({errno}): look for `openclaw agent-host` in `ps`"))
        })?;
        if killed > 0 {
            eprintln!("openclaw: {killed} hosts of an earlier daemon were still there and were killed");
        }
        Ok(Self { _lock: lock })
    }

    /// Takes the lock of a home that is there, so that no daemon starts there meanwhile. Nothing is made.
    pub fn hold(paths: &Paths) -> Result<Option<Self>, Failure> {
        if !paths.run.is_dir() {
            return Ok(None);
        }
        Ok(Some(Self { _lock: own(paths)? }))
    }
}

/// The lock, if nobody else has it.
fn own(paths: &Paths) -> Result<File, Failure> {
    let mut lock = open(&paths.lock)?;
    if !supervisor::orphans::own(&lock).map_err(|errno| failed("lock", &paths.lock, &errno.into()))? {
        return Err(taken(&mut lock, &paths.home));
    }
    Ok(lock)
}

/// What tells this installation from others on the same database. A home that was copied to another machine is another
/// one, by that machine's name.
pub fn installation(paths: &Paths) -> Result<String, Failure> {
    let path = &paths.installation;
    let id = match fs::read_to_string(path) {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("read", path, &error)),
        // Not there yet, or emptied by a full disk.
        _ => {
            let id = uuid::Uuid::now_v7().to_string();
            let new = path.with_extension("new");
            fs::write(&new, format!("{id}\n"))
                .and_then(|()| File::open(&new)?.sync_all())
                .and_then(|()| fs::rename(&new, path))
                .map_err(|error| failed("write", path, &error))?;
            id
        }
    };
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(format!("{id}@{host}"))
}

/// The lock that every host holds.
pub fn hosts_lock(paths: &Paths) -> std::path::PathBuf {
    paths.run.join("hosts.lock")
}

fn open(path: &Path) -> Result<File, Failure> {
    let options =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    options.map_err(|error| failed("open", path, &error))
}

fn taken(lock: &mut File, home: &Path) -> Failure {
    let mut pid = String::new();
    let _ = lock.read_to_string(&mut pid);
    let message = format!(
        "already running, pid {} (home {}): `openclaw status` shows it; another home is chosen with --home",
        pid.trim(),
        home.display()
    );
    Failure::new(Code::TryAgain, message)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => ": run as the user who owns it, or choose another with --home",
        io::ErrorKind::NotADirectory | io::ErrorKind::ReadOnlyFilesystem => ": choose another with --home",
        io::ErrorKind::StorageFull => ": free some space, or choose another with --home",
        _ => "",
    };
    Failure::new(Code::Io, format!("cannot {what} {}: {error}{remedy}", path.display()))
}

/// Removes what an earlier daemon left, so that the socket's name is free.
pub fn clear_socket(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}
