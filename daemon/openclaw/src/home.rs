//! The folders of a home, and the locks that keep two processes from being the same one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Gid, Uid, setegid, seteuid, setgroups};
use settings::{Paths, ProcessName, ProcessPaths};

use crate::exit::{Code, Failure};

/// Held as long as the daemon lives; the kernel lets go of it however that ends.
pub struct Home {
    _lock: File,
}

/// How long hosts of an earlier daemon may take to see that it is gone.
const ORPHANS: Duration = Duration::from_secs(2);

impl Home {
    /// Makes the folders, takes the lock, and waits until no host of an earlier daemon is left.
    pub fn enter(paths: &Paths, own: &ProcessPaths) -> Result<Self, Failure> {
        let made = [&paths.home, &paths.agents, &paths.logs, &paths.run, &paths.workspace, &paths.uploads];
        for folder in made {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|e| failed("make", folder, &e))?;
        }
        // Messages, logs and sockets are nobody else's, also where somebody else made the folder.
        for folder in [&paths.logs, &paths.run, &paths.workspace, &paths.uploads] {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o700))
                .map_err(|e| failed("close", folder, &e))?;
        }
        let running = |pid: &str| {
            let home = paths.home.display();
            format!(
                "already running, pid {pid} (home {home}): `openclaw status` shows it; another home is chosen with --home"
            )
        };
        let lock = alone(&own.lock, running)?;
        let hosts = open(&own.hosts_lock)?;
        let killed = supervisor::orphans::await_gone(&hosts, ORPHANS).map_err(|errno| {
            Failure::new(Code::TryAgain, format!("a host of an earlier daemon does not end ({errno}): look for `openclaw agent-host` in `ps`"))
        })?;
        if killed > 0 {
            eprintln!("openclaw: {killed} hosts of an earlier daemon were still there and were killed");
        }
        Ok(Self { _lock: lock })
    }
}

/// A lock file, if no other process has it; it is told who has it otherwise, by its pid.
pub fn alone(path: &Path, taken: impl FnOnce(&str) -> String) -> Result<File, Failure> {
    let mut lock = open(path)?;
    if !supervisor::orphans::own(&lock).map_err(|errno| failed("lock", path, &errno.into()))? {
        let mut pid = String::new();
        let _ = lock.read_to_string(&mut pid);
        return Err(Failure::new(Code::TryAgain, taken(pid.trim())));
    }
    let pid = std::process::id().to_string();
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| lock.write_all(pid.as_bytes()))
        // Only a hint for the next one's message: a full disk must not keep the daemon from starting.
        .unwrap_or_else(|error| eprintln!("openclaw: cannot note the pid: {error}"));
    Ok(lock)
}

/// What tells this process, in each of its lives, from others on the same database. A home that was copied is another one:
/// the file says of which folder and machine it is.
pub fn installation(paths: &Paths, process: &ProcessName) -> Result<String, Failure> {
    let path = &paths.installation;
    let place = place(&paths.home);
    let read = || {
        let text = fs::read_to_string(path)?;
        let (id, of) = text.trim().split_once(' ').unwrap_or_default();
        Ok::<_, io::Error>(if of == place { id.to_owned() } else { String::new() })
    };
    let mut id = read().or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(failed("read", path, &error)),
    })?;
    // Not there yet, emptied by a full disk, or another home's.
    if id.is_empty() {
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let made = uuid::Uuid::now_v7().to_string();
        fs::write(&new, format!("{made} {place}\n"))
            .and_then(|()| File::open(&new)?.sync_all())
            .map_err(|error| failed("write", path, &error))?;
        // Another process of this home may be quicker: there is one id.
        if path.exists() { fs::rename(&new, path) } else { fs::hard_link(&new, path) }
            .or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .map_err(|error| failed("write", path, &error))?;
        let _ = fs::remove_file(&new);
        id = read().map_err(|error| failed("read", path, &error))?;
    }
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(format!("{id}:{process}@{host}"))
}

/// From now on this process is the one whose the home's daemons are: what root leaves for them is to be theirs, and root
/// must not be led elsewhere by what they can change. Others stay who they are.
pub fn as_owner(home: &Path) -> Result<(), Failure> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    // The home itself may be root's: what runs there has a folder of its own in it.
    let run = home.join("run");
    let meta = run.symlink_metadata().or_else(|_| home.symlink_metadata());
    // Where there is no home yet, it is made by whoever comes.
    let Ok(meta) = meta else { return Ok(()) };
    let (user, group) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
    if user.is_root() {
        return Ok(());
    }
    let become_it = || {
        setgroups(&[group])?;
        setegid(group)?;
        seteuid(user)
    };
    become_it().map_err(|errno| failed("become the owner of", &run, &errno.into()))
}

/// A folder on a machine, as a copy of it is not.
fn place(home: &Path) -> String {
    let inode = fs::metadata(home).map(|folder| folder.ino()).unwrap_or_default();
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    format!("{inode}@{}", machine.trim())
}

fn open(path: &Path) -> Result<File, Failure> {
    let options =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    options.map_err(|error| failed("open", path, &error))
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
