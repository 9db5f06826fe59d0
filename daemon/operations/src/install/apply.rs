//! Carries a plan out. Everything that it replaces it keeps, so that an upgrade that does not start can be taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::plan::{Content, Plan, Step};
use crate::units::Manager;

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
    /// A program of the system.
    #[error("`{call}` failed: {why}")]
    Program {
        /// What was called.
        call: String,
        /// What it said.
        why: String,
    },
}

/// What is installed, kept in the prefix: what was shipped (to know an edited file), what was enabled (to do it once).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The SHA-256 of each configuration file as it was shipped.
    pub shipped: BTreeMap<PathBuf, String>,
    /// Units that were enabled.
    pub enabled: BTreeSet<String>,
    /// All that is ours outside the prefix.
    pub outside: BTreeSet<PathBuf>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// In words, for people: only what changed.
    pub changes: Vec<String>,
    /// What each replaced file was; none: it was not there.
    pub before: Vec<(PathBuf, Option<PathBuf>)>,
}

/// Whose everything is.
#[derive(Clone, Copy)]
struct Owner {
    user: Option<Uid>,
    group: Option<Gid>,
}

/// The record of an installation.
pub fn record(prefix: &Path) -> PathBuf {
    prefix.join("bin/.installed.json")
}

fn read(prefix: &Path) -> Record {
    fs::read(record(prefix)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Whose units run an installation; none where nothing is installed.
pub fn manager(prefix: &Path) -> Option<Manager> {
    if !record(prefix).exists() {
        return None;
    }
    let system = read(prefix).outside.iter().any(|path| path.starts_with("/etc"));
    Some(if system { Manager::System } else { Manager::User })
}

/// Carries it out. Steps that find what they want change nothing.
///
/// # Errors
/// The first that fails; what came before is done, and can be taken back with [`restore`].
pub fn apply(plan: &Plan, applied: &mut Applied) -> Result<(), Error> {
    let mut record_now = read(&plan.prefix);
    let kept = plan.prefix.join("bin/.previous");
    let mut owner = Owner { user: None, group: None };
    for step in &plan.steps {
        match step {
            Step::User { name, home } => {
                user(name, home, applied)?;
                owner = look(name);
            }
            Step::Folder { path, mode, own } => folder(path, *mode, *own, owner, applied)?,
            Step::File { path, content, mode } => {
                if !path.starts_with(&plan.prefix) {
                    record_now.outside.insert(path.clone());
                }
                let bytes = match content {
                    Content::Text(text) => text.clone(),
                    Content::Copy(from) => fs::read(from).map_err(|e| failed("read", from, e))?,
                };
                replace(path, &bytes, *mode, &kept, applied)?;
            }
            Step::Config { path, text, mode } => {
                config(path, text, *mode, owner, &mut record_now, applied)?;
            }
            Step::Link { path, to } => {
                record_now.outside.insert(path.clone());
                link(path, to, applied)?;
            }
            Step::Database { role, name } => database(role, name, applied),
            Step::Reload => {
                save(&plan.prefix, &record_now)?;
                systemctl(plan.manager, &["daemon-reload"]).unwrap_or_else(|e| noted(applied, &e));
            }
            Step::Enable(units) => {
                let new: Vec<_> =
                    units.iter().copied().filter(|unit| !record_now.enabled.contains(*unit)).collect();
                if !new.is_empty() {
                    let mut call = vec!["enable", "--quiet"];
                    call.extend(&new);
                    match systemctl(plan.manager, &call) {
                        Ok(()) => {
                            applied.changes.push(format!("enabled {}", new.join(" ")));
                            record_now.enabled.extend(new.into_iter().map(str::to_owned));
                        }
                        Err(error) => noted(applied, &error),
                    }
                }
            }
        }
    }
    save(&plan.prefix, &record_now)
}

fn noted(applied: &mut Applied, error: &Error) {
    applied.changes.push(format!("note: {error}"));
}

/// Puts every replaced file back, as it was before `applied`.
///
/// # Errors
/// The first that cannot be put back.
pub fn restore(applied: &Applied) -> Result<(), Error> {
    for (path, before) in applied.before.iter().rev() {
        match before {
            Some(kept) => {
                let bytes = fs::read(kept).map_err(|e| failed("read", kept, e))?;
                let mode =
                    kept.metadata().map_err(|e| failed("look at", kept, e))?.permissions().mode() & 0o7777;
                write(path, &bytes, mode)?;
            }
            None => fs::remove_file(path).map_err(|e| failed("remove", path, e))?,
        }
    }
    Ok(())
}

/// Takes everything away but data; `purge` takes that too.
///
/// # Errors
/// The first that cannot be removed.
pub fn uninstall(prefix: &Path, manager: Manager, purge: bool) -> Result<Vec<String>, Error> {
    let mut done = Vec::new();
    let installed = read(prefix);
    let units: Vec<&str> =
        crate::units::of(manager).map(|unit| unit.name).filter(|name| !name.contains('@')).collect();
    for verb in ["stop", "disable"] {
        let mut call = vec![verb, "--quiet"];
        // Those that are not there are no reason to stop.
        call.extend(units.iter().filter(|name| {
            installed.outside.iter().any(|path| path.file_name().is_some_and(|file| file == **name))
        }));
        if call.len() > 2
            && let Err(error) = systemctl(manager, &call)
        {
            done.push(format!("note: {error}"));
        }
    }
    for path in &installed.outside {
        remove(path, &mut done)?;
    }
    if let Err(error) = systemctl(manager, &["daemon-reload"]) {
        done.push(format!("note: {error}"));
    }
    let _ = systemctl(manager, &["reset-failed", "openclaw*"]);
    if purge {
        match fs::remove_dir_all(prefix) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", prefix, error));
            }
            _ => done.push(format!("removed {}, data and all", prefix.display())),
        }
        if manager == Manager::System && Path::new("/run/postgresql").is_dir() {
            done.push(
                "note: the database `openclaw` in PostgreSQL, if there is one, stays: dropdb openclaw".into(),
            );
        }
        if manager == Manager::System && User::from_name("milkbot").ok().flatten().is_some() {
            match call("userdel", &["milkbot"]) {
                Ok(_) => done.push("removed the user milkbot".into()),
                Err(error) => done.push(format!("note: {error}")),
            }
        }
    } else {
        for path in [prefix.join("bin/openclaw"), record(prefix)] {
            remove(&path, &mut done)?;
        }
        let _ = fs::remove_dir_all(prefix.join("bin/.previous"));
        done.push(format!(
            "left {}: data, configuration and libraries (--purge removes them)",
            prefix.display()
        ));
    }
    Ok(done)
}

fn remove(path: &Path, done: &mut Vec<String>) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => done.push(format!("removed {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", path, error)),
    }
    Ok(())
}

fn user(name: &str, home: &Path, applied: &mut Applied) -> Result<(), Error> {
    if User::from_name(name).ok().flatten().is_some() {
        return Ok(());
    }
    let home = home.display().to_string();
    call(
        "useradd",
        &[
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            &home,
            "--shell",
            "/usr/sbin/nologin",
            name,
        ],
    )?;
    applied.changes.push(format!("made the user {name}"));
    Ok(())
}

fn look(name: &str) -> Owner {
    let user = User::from_name(name).ok().flatten().map(|user| user.uid);
    Owner { user, group: Group::from_name(name).ok().flatten().map(|group| group.gid) }
}

fn folder(path: &Path, mode: u32, own: bool, owner: Owner, applied: &mut Applied) -> Result<(), Error> {
    if !path.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(|e| failed("make", path, e))?;
        applied.changes.push(format!("made {}", path.display()));
    }
    let meta = path.metadata().map_err(|e| failed("look at", path, e))?;
    if meta.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| failed("change", path, e))?;
    }
    if Uid::effective().is_root() {
        let root = Uid::from_raw(0);
        let user = if own { owner.user } else { Some(root) };
        let wrong = user.is_some_and(|user| meta.uid() != user.as_raw())
            || owner.group.is_some_and(|group| meta.gid() != group.as_raw());
        if wrong {
            nix::unistd::chown(path, user, owner.group).map_err(|e| failed("give away", path, e.into()))?;
        }
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8], mode: u32, kept: &Path, applied: &mut Applied) -> Result<(), Error> {
    let before = fs::read(path).ok();
    if before.as_deref() == Some(bytes) {
        return Ok(());
    }
    let old = match before {
        None => None,
        Some(before) => {
            let name = path.strip_prefix("/").unwrap_or(path).display().to_string().replace('/', "-");
            let old = kept.join(name);
            let old_mode = path.metadata().map_or(mode, |meta| meta.permissions().mode() & 0o7777);
            write(&old, &before, old_mode)?;
            Some(old)
        }
    };
    write(path, bytes, mode)?;
    let verb = if old.is_some() { "replaced" } else { "wrote" };
    applied.changes.push(format!("{verb} {}", path.display()));
    applied.before.push((path.into(), old));
    Ok(())
}

fn config(
    path: &Path,
    text: &str,
    mode: u32,
    owner: Owner,
    record: &mut Record,
    applied: &mut Applied,
) -> Result<(), Error> {
    let there = fs::read(path).ok();
    let hash =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let shipped = record.shipped.get(path);
    let edited = there.as_deref().is_some_and(|there| shipped.is_none_or(|shipped| *shipped != hash(there)));
    if there.as_deref() == Some(text.as_bytes()) {
        record.shipped.insert(path.into(), hash(text.as_bytes()));
        return Ok(());
    }
    if !edited {
        write(path, text.as_bytes(), mode)?;
        give(path, owner)?;
        applied.changes.push(format!("wrote {}", path.display()));
        record.shipped.insert(path.into(), hash(text.as_bytes()));
        return Ok(());
    }
    // What is shipped now is what was shipped then: there is nothing new to say.
    if shipped.is_some_and(|shipped| *shipped == hash(text.as_bytes())) {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    if fs::read(&new).ok().as_deref() != Some(text.as_bytes()) {
        write(&new, text.as_bytes(), mode)?;
        give(&new, owner)?;
        applied.changes.push(format!(
            "{} was edited and stays: the new one is {}",
            path.display(),
            new.display()
        ));
    }
    Ok(())
}

/// Root's, and readable to the daemon's group.
fn give(path: &Path, owner: Owner) -> Result<(), Error> {
    if !Uid::effective().is_root() || owner.group.is_none() {
        return Ok(());
    }
    nix::unistd::chown(path, None, owner.group).map_err(|e| failed("give away", path, e.into()))
}

fn link(path: &Path, to: &Path, applied: &mut Applied) -> Result<(), Error> {
    if fs::read_link(path).is_ok_and(|there| there == to) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| failed("make", folder, e))?;
    }
    // Something else of that name is somebody else's.
    match std::os::unix::fs::symlink(to, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            applied.changes.push(format!("note: {} is something else and stays", path.display()));
        }
        Err(error) => return Err(failed("link", path, error)),
        Ok(()) => applied.changes.push(format!("linked {}", path.display())),
    }
    Ok(())
}

/// The daemon says at its start what is missing, so none of this stops an installation.
fn database(role: &str, name: &str, applied: &mut Applied) {
    let sql = |text: &str| call("runuser", &["-u", "postgres", "--", "psql", "-XAtqc", text]);
    let made = || -> Result<bool, Error> {
        let mut made = false;
        if sql(&format!("select 1 from pg_roles where rolname = '{role}'"))?.is_empty() {
            sql(&format!("create role {role} login"))?;
            made = true;
        }
        if sql(&format!("select 1 from pg_database where datname = '{name}'"))?.is_empty() {
            sql(&format!("create database {name} owner {role}"))?;
            made = true;
        }
        Ok(made)
    };
    match made() {
        Ok(true) => applied.changes.push(format!("made the database {name} of the role {role}")),
        Ok(false) => {}
        Err(error) => applied.changes.push(format!(
            "note: {error}\nnote: make the role and the database by hand, or put another [database] url into the config: \
             createuser {role}; createdb -O {role} {name}"
        )),
    }
}

fn save(prefix: &Path, now: &Record) -> Result<(), Error> {
    let path = record(prefix);
    let text = serde_json::to_vec_pretty(now).map_err(|e| failed("write", &path, e.into()))?;
    if fs::read(&path).ok().as_deref() == Some(&text) {
        return Ok(());
    }
    write(&path, &text, 0o644)
}

/// Beside, then moved over: nobody ever sees half a file, and what runs goes on running.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| failed("make", folder, e))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".installing");
    let new = folder.join(name);
    let _ = fs::remove_file(&new);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            // The umask may have taken something.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()
        });
    written
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|e| failed("write", path, e))
}

/// systemctl, for whichever manager.
///
/// # Errors
/// There is none, or it failed.
pub fn systemctl(manager: Manager, args: &[&str]) -> Result<(), Error> {
    let mut all: Vec<&str> = if manager == Manager::User { vec!["--user"] } else { Vec::new() };
    all.extend(args);
    call("systemctl", &all).map(drop)
}

/// Runs a program to its end; answers what it printed.
fn call(program: &str, args: &[&str]) -> Result<String, Error> {
    let call = || format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).current_dir("/").stdin(Stdio::null()).output();
    let output = output.map_err(|error| Error::Program { call: call(), why: error.to_string() })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Program {
            call: call(),
            why: if why.is_empty() { output.status.to_string() } else { why },
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { what, path: path.into(), source }
}
