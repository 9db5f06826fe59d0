//! Takes an installation away: only what is as it was made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::Error;
use super::apply::{bare, flag};
use super::files::{self, failed};
use super::plan::{DAEMONS, LAYOUT};
use super::record::{Copies, Journal, Record};
use super::systemctl::{active, booted, call, enabled, running, shadowed, systemctl, unknown};
use crate::units::Manager;

/// Takes everything away but data; `purge` takes that too. `units` is where its units are.
///
/// # Errors
/// Nothing is installed there, it is a link, a unit does not stop (then nothing was removed), or the first that cannot be removed.
pub fn uninstall(prefix: &Path, manager: Manager, units: &Path, purge: bool) -> Result<Vec<String>, Error> {
    // Its record names where that leads: nothing there would be of this prefix.
    if prefix.is_symlink() {
        return Err(Error::NotAFolder { path: prefix.into() });
    }
    let nothing = || Error::Nothing { path: prefix.into() };
    let mut done = Vec::new();
    let Some(mut record) = Record::read(prefix)? else {
        // The record goes with the last of a purge: one that was cut off there is finished.
        let mut left = fs::read_dir(prefix).into_iter().flatten().peekable();
        if purge && left.peek().is_some() && left.all(|entry| entry.is_ok_and(|entry| bare(&entry))) {
            return purged(prefix, manager, &mut done).map(|()| done);
        }
        return Err(nothing());
    };
    match record.manager {
        None if !purge => return Err(nothing()),
        Some(there) if there != manager => {
            return Err(Error::Manager { path: prefix.into(), there: flag(there) });
        }
        Some(_) => taken_away(prefix, manager, units, &mut record, &mut done)?,
        None => {}
    }
    if purge {
        purged(prefix, manager, &mut done)?;
    } else {
        let left = prefix.display();
        done.push(format!("left {left}: data, configuration and libraries (--purge removes them)"));
    }
    Ok(done)
}

fn taken_away(
    prefix: &Path,
    manager: Manager,
    units: &Path,
    record: &mut Record,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    let program = prefix.join("bin/openclaw");
    let (mut journal, _) = Journal::begin(prefix, record, true)?;
    if let Some(folder) = Copies::set_aside(prefix)? {
        done.push(format!("left {}: a database as it was before an upgrade", folder.display()));
    }
    // What an interrupted upgrade wrote is ours as well.
    let made: BTreeSet<PathBuf> = record.made.keys().chain(journal.made.keys()).cloned().collect();
    let (ours, foreign) = ours(manager, units, &made);
    journal.ran.extend(running(manager, &program));
    journal.ran.extend(active(manager, &ours));
    journal.ran.retain(|unit| !foreign.contains(unit));
    journal.save(prefix)?;
    // Whoever goes on with an installation from here enables anew what is about to be disabled.
    let disabled = enabled(manager, &ours);
    record.enabled.retain(|unit| !disabled.contains(unit));
    record.save(prefix)?;
    stop(manager, &ours, &journal.ran, done)?;
    let mut left = Vec::new();
    let mut paths: Vec<_> =
        made.iter().filter(|path| !path.starts_with(prefix) || **path == program).collect();
    // Units first; the program and what leads to it last, since without them nobody can go on.
    let is_command = |path: &Path| path.file_name() == program.file_name();
    paths.sort_by_key(|path| (**path == program, is_command(path), path.parent() != Some(units)));
    for path in paths {
        let known = |mark: &String| [&record.made, &journal.made].iter().any(|of| of.get(path) == Some(mark));
        match files::look(path)?.mark(path)? {
            Some(mark) if known(&mark) => {
                files::remove(path)?;
                done.push(format!("removed {}", path.display()));
            }
            None if path.symlink_metadata().is_err() => {}
            _ => left.push(format!("left {}: it is not as it was made", path.display())),
        }
    }
    done.append(&mut left);
    if let Err(error) = systemctl(manager, &["daemon-reload"]) {
        done.push(format!("note: {error}"));
    }
    let _ = systemctl(manager, &["reset-failed", "openclaw*"]);
    record.made.retain(|path, _| path.starts_with(prefix) && *path != program);
    record.manager = None;
    record.save(prefix)?;
    Journal::end(prefix)
}

/// The unit that a file of ours is; none for what cannot be started by itself.
fn name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    (!name.contains('@') && !name.ends_with(".new")).then_some(name)
}

/// The units that are there and ours, and those that the operator has put before ours.
fn ours<'m>(
    manager: Manager,
    folder: &Path,
    made: &'m BTreeSet<PathBuf>,
) -> (Vec<&'m str>, BTreeSet<String>) {
    let there = made.iter().filter(|path| path.parent() == Some(folder) && path.is_file());
    let mut units: Vec<&str> = there.filter_map(|path| name(path)).collect();
    let foreign = shadowed(manager, folder, &units);
    units.retain(|unit| !foreign.contains(*unit));
    (units, foreign)
}

/// Whoever runs the program is stopped, also what the operator made; enabled are only units of ours.
fn stop(
    manager: Manager,
    ours: &[&str],
    ran: &BTreeSet<String>,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    let runs = ran.iter().map(String::as_str).filter(|unit| !ours.contains(unit));
    let mut stopped: Vec<&str> = ours.iter().copied().chain(runs).collect();
    // An earlier try may have removed some: those that are gone do not run.
    let gone = unknown(manager, &stopped);
    stopped.retain(|unit| !gone.contains(*unit));
    for (verb, units) in [("stop", stopped.as_slice()), ("disable", ours)] {
        let mut call = vec![verb, "--quiet"];
        call.extend(units);
        if call.len() > 2
            && let Err(error) = systemctl(manager, &call)
        {
            if manager == Manager::System && booted() {
                return Err(error);
            }
            done.push(format!("note: {error}"));
        }
    }
    for unit in stopped.iter().filter(|unit| !ours.contains(unit)) {
        done.push(format!("note: {unit} is your own: it is stopped, and its file stays"));
    }
    Ok(())
}

/// Only what the layout has and what the daemon makes; the record's folder last, so that this may be done again.
fn purged(prefix: &Path, manager: Manager, done: &mut Vec<String>) -> Result<(), Error> {
    let last = "bin";
    for name in LAYOUT.iter().chain(DAEMONS).filter(|name| **name != last).chain(&[last]) {
        let path = prefix.join(name);
        let removed = match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(_) => continue,
        };
        removed.map_err(|e| failed("remove", &path, e))?;
    }
    match fs::remove_dir(prefix) {
        Ok(()) => done.push(format!("removed {}, data and all", prefix.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            done.push(format!("left {}: what is in it now is not OpenClaw's", prefix.display()));
        }
        Err(error) => return Err(failed("remove", prefix, error)),
    }
    if manager == Manager::User {
        return Ok(());
    }
    if Path::new("/run/postgresql").is_dir() {
        done.push(
            "note: the database `openclaw` in PostgreSQL, if there is one, stays: dropdb openclaw".into(),
        );
    }
    if User::from_name("milkbot").ok().flatten().is_some() {
        match call("userdel", &["milkbot"]) {
            Ok(_) => done.push("removed the user milkbot".into()),
            Err(error) => done.push(format!("note: {error}: end what it still runs, then `userdel milkbot`")),
        }
    }
    Ok(())
}
