//! Takes an installation away: only what is as it was made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::User;

use super::Error;
use super::apply::{bare, flag};
use super::files::{self, failed};
use super::plan::{DAEMONS, LAYOUT};
use super::record::{Journal, Record};
use super::systemctl::{active, booted, call, running, shadowed, systemctl};
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
    let mut journal =
        Journal::read(prefix)?.unwrap_or_else(|| Journal { record: record.clone(), ..Journal::default() });
    journal.ran.extend(running(manager, &program));
    let made: Vec<&str> = record
        .made
        .keys()
        .filter(|path| path.parent() == Some(units))
        .filter_map(|path| name(path))
        .collect();
    journal.ran.extend(active(manager, &made));
    journal.save(prefix)?;
    // Whoever goes on with an installation from here enables anew what is about to be disabled.
    record.enabled.clear();
    record.save(prefix)?;
    stop(manager, units, record, &journal.ran, done)?;
    let mut left = Vec::new();
    for (path, made) in &record.made {
        if path.starts_with(prefix) && *path != program {
            continue;
        }
        match files::look(path)?.mark(path)? {
            Some(mark) if mark == *made => {
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

/// Whoever runs the program is stopped, also what the operator made; enabled are only units of ours.
fn stop(
    manager: Manager,
    folder: &Path,
    record: &Record,
    ran: &BTreeSet<String>,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    let there = record.made.keys().filter(|path| path.parent() == Some(folder) && path.is_file());
    let units: Vec<&str> = there.filter_map(|path| name(path)).collect();
    let foreign = shadowed(manager, folder, &units);
    let ours: Vec<&str> = units.into_iter().filter(|unit| !foreign.contains(*unit)).collect();
    let runs = ran.iter().map(String::as_str).filter(|unit| !ours.contains(unit));
    let stopped: Vec<&str> = ours.iter().copied().chain(runs).collect();
    for (verb, units) in [("stop", &stopped), ("disable", &ours)] {
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
    for unit in ran.iter().filter(|unit| !ours.contains(&unit.as_str())) {
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
