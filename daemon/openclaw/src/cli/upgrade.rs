//! What was installed has to prove itself: what ran before runs again with it, or everything is taken back.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::OFlag;
use operations::install::{self, Applied, Copies, Journal, systemctl};
use operations::units::Manager;
use serde::Deserialize;
use settings::{DatabasePlace, Inputs};

use super::print;
use crate::exit::{Code, Failure};

/// Who waits on it would start the daemon while its database is copied.
const SOCKET: &str = "openclaw.socket";

/// Restarts what ran.
pub fn prove(prefix: &Path, manager: Manager, applied: &Applied) -> Result<(), Failure> {
    let units: Vec<String> = applied.restart.iter().cloned().collect();
    if !units.is_empty() {
        let (names, mut copies) = (units.join(" "), Copies::default());
        if let Err(why) = restart(prefix, manager, &units, &mut copies) {
            return Err(taken_back(prefix, manager, &units, &copies, why.message));
        }
        print(&format!("restarted {names}"))?;
    }
    Journal::end(prefix).map_err(|error| Failure::of(Code::Io, &error))
}

/// A file's tables may be changed by the new version, and no older one reads them then: it is copied first, while nobody
/// has it. Otherwise nothing is stopped: who waits on the socket goes on waiting.
fn restart(prefix: &Path, manager: Manager, units: &[String], copies: &mut Copies) -> Result<(), Failure> {
    let mut units: Vec<&str> = units.iter().map(String::as_str).collect();
    if let Some(file) = file(prefix).filter(|file| file.exists() && behind(prefix)) {
        if file.is_symlink() {
            let what = format!(
                "the database {} is a link, which an upgrade does not follow: write into database.url where it leads",
                file.display()
            );
            return Err(Failure::new(Code::Config, what));
        }
        stop(manager, &mut units)?;
        let _held = hold(&file)?;
        for path in files(&file) {
            copies.keep(prefix, &path).map_err(|error| Failure::of(Code::Io, &error))?;
        }
    }
    told(manager, "restart", &units)
}

/// Stops them, and whoever would start them again: that is to be started with them.
fn stop(manager: Manager, units: &mut Vec<&str>) -> Result<(), Failure> {
    if !units.contains(&SOCKET) && !install::active(manager, &[SOCKET]).is_empty() {
        units.insert(0, SOCKET);
    }
    told(manager, "stop", units)
}

fn told(manager: Manager, verb: &str, units: &[&str]) -> Result<(), Failure> {
    // A unit whose file somebody removed meanwhile would fail the others.
    let unknown = install::unknown(manager, units);
    let known: Vec<&str> = units.iter().copied().filter(|unit| !unknown.contains(*unit)).collect();
    if known.is_empty() {
        return Ok(());
    }
    let call: Vec<_> = [verb].into_iter().chain(known).collect();
    systemctl(manager, &call).map(drop).map_err(|error| Failure::of(Code::Failed, &error))
}

/// The database that the installation is configured for; none where its configuration does not load: then none is touched.
fn database(prefix: &Path) -> Option<DatabasePlace> {
    let home = Some(prefix.to_path_buf());
    let inputs = Inputs { home, config: None, cwd: prefix.into(), env: Default::default() };
    let loaded = settings::load(&inputs).ok()?;
    settings::database_place(&loaded.settings.database.url, &loaded.paths.home).ok()
}

fn file(prefix: &Path) -> Option<PathBuf> {
    match database(prefix)? {
        DatabasePlace::Sqlite(file) => Some(file),
        DatabasePlace::Postgres(_) => None,
    }
}

/// The file itself, and what SQLite has beside it.
fn files(file: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| beside(file, end))
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Its lock, as a daemon has it. It is not made here, nor is a link followed: the folder is the daemon's. Where there is
/// none, nobody has ever run.
fn hold(file: &Path) -> Result<Option<File>, Failure> {
    let path = beside(file, ".lock");
    let failed = |what: String| {
        Failure::new(Code::TryAgain, format!("the database {} {what}: it is left as it is", file.display()))
    };
    let opened = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path);
    let lock = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| failed(format!("cannot be locked ({error})")))?,
    };
    match supervisor::orphans::own(&lock) {
        Ok(true) => Ok(Some(lock)),
        Ok(false) => Err(failed("is in use by a process that was not stopped".into())),
        Err(errno) => Err(failed(format!("cannot be locked ({errno})"))),
    }
}

/// Whether the installed version will change the tables: asked of a process of its own, whose end closes the file.
fn behind(prefix: &Path) -> bool {
    // Where it does not say, a copy too many is the lesser evil.
    migration(prefix).is_none_or(|(migration, newest)| migration < Some(newest))
}

/// The database's last migration, and the installed version's; none: it does not read it, or does not say.
fn migration(prefix: &Path) -> Option<(Option<i64>, i64)> {
    #[derive(Deserialize)]
    struct Status {
        migration: Option<i64>,
        newest: i64,
    }
    let mut asked = Command::new(prefix.join("bin/openclaw"));
    asked.args(["db", "status", "--json", "--home"]).arg(prefix).current_dir(prefix);
    // As `database` looks: a variable of whoever installs is none of the daemon's.
    asked.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
    let said = asked.output().ok().filter(|output| output.status.success())?;
    let status: Status = serde_json::from_slice(&said.stdout).ok()?;
    Some((status.migration, status.newest))
}

/// What ran goes on, as it was.
pub fn taken_back(
    prefix: &Path,
    manager: Manager,
    restart: &[String],
    copies: &Copies,
    why: String,
) -> Failure {
    if matches!(Journal::read(prefix), Ok(Some(Journal { removal: true, .. }))) {
        let what = "what was there before was removed in part, so that there is nothing to go back to: mend what failed, and \
                    `openclaw install` goes on";
        return Failure::new(Code::Failed, format!("{why}\n{what}"));
    }
    let mut units: Vec<&str> = restart.iter().map(String::as_str).collect();
    let mut left = Vec::new();
    let mut back = || {
        // What does not run need not be stopped.
        let _ = if copies.is_empty() { told(manager, "stop", &units) } else { stop(manager, &mut units) };
        let held = match file(prefix).filter(|_| !copies.is_empty()) {
            Some(file) => hold(&file)?,
            None => None,
        };
        let failed = |error: install::Error| Failure::of(Code::Io, &error);
        copies.put_back().map_err(failed)?;
        drop(held);
        left = install::restore(prefix, manager).map_err(failed)?;
        // Without systemd there is nothing to read anew.
        let _ = systemctl(manager, &["daemon-reload"]);
        let _ = told(manager, "reset-failed", &units);
        told(manager, "restart", &units)?;
        Journal::end(prefix).map_err(failed)
    };
    let mut said = match back() {
        Ok(()) => format!("{why}\nwhat was installed has been taken back; what ran before runs"),
        Err(error) => format!(
            "{why}\nand it could not be taken back whole: {error}; `openclaw install` of either version goes on"
        ),
    };
    for path in left {
        let path = path.display();
        said.push_str(&format!(
            "\n{path} was edited meanwhile and stays: what was there before is {path}.old"
        ));
    }
    let newer = match database(prefix) {
        Some(DatabasePlace::Sqlite(file)) => {
            file.exists() && migration(prefix).is_none_or(|(migration, newest)| migration > Some(newest))
        }
        Some(DatabasePlace::Postgres(_)) => !restart.is_empty(),
        None => false,
    };
    if newer {
        said.push_str(
            "\nthe database is as the new version left it: where the old one ends with 78 and says that the database is of a \
             newer OpenClaw, mend what failed and install the new one again, or restore a dump from before",
        );
    }
    Failure::new(Code::Failed, said)
}
