//! Carries a plan out. Everything that it changes goes into the journal first, so that an upgrade that does not start can
//! be taken back, and one that is interrupted goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, Uid, User};

use super::Error;
use super::files::{self, Owner, There, failed};
use super::plan::{Content, Edited, LAYOUT, Plan, Step};
use super::record::{Copies, Journal, Record, Was, root};
use super::systemctl::{call, shadowed, systemctl};
use crate::units::{self, Manager};

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// In words, for people: only what changed.
    pub changes: Vec<String>,
    /// Units that ran before and are to be restarted: none where nothing changed.
    pub restart: BTreeSet<String>,
    /// What it takes to have what was.
    pub journal: Journal,
}

/// Whether a plan's prefix and units are there to be had: the record of what is there, an empty one for a new folder.
/// Changes nothing.
///
/// # Errors
/// The prefix has other people's things in it, could be swapped by somebody else, or the units are of another prefix.
pub fn claim(plan: &Plan) -> Result<Record, Error> {
    let prefix = &plan.prefix;
    if plan.manager == Manager::System && Uid::effective().is_root() {
        for folder in prefix.ancestors().skip(1) {
            if let Ok(meta) = folder.symlink_metadata()
                && (meta.uid() != 0 || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0))
            {
                return Err(Error::Foreign { path: folder.into() });
            }
        }
    }
    let record = recorded(plan)?;
    let service = plan.units.join("openclaw.service");
    if let Ok(text) = fs::read_to_string(&service)
        && let Some(other) = units::home(&text).filter(|other| other != prefix)
    {
        return Err(Error::Elsewhere { other, units: plan.units.clone() });
    }
    Ok(record)
}

fn recorded(plan: &Plan) -> Result<Record, Error> {
    let prefix = &plan.prefix;
    let entries = match prefix.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Record::default()),
        Ok(meta) if !meta.is_dir() => return Err(Error::NotAFolder { path: prefix.clone() }),
        _ => fs::read_dir(prefix).map_err(|e| failed("look into", prefix, e))?,
    };
    if let Some(record) = Record::read(prefix)? {
        return match record.manager {
            Some(manager) if manager != plan.manager => {
                Err(Error::Manager { path: prefix.clone(), there: flag(manager) })
            }
            _ => Ok(record),
        };
    }
    if Journal::read(prefix)?.is_some() {
        return Ok(Record::default());
    }
    if entries.into_iter().all(|entry| entry.is_ok_and(|entry| bare(&entry))) {
        Ok(Record::default())
    } else {
        Err(Error::NotOurs { path: prefix.clone() })
    }
}

/// A folder of ours with nothing in it, or what was written first: that of a run that ended there.
pub(super) fn bare(entry: &fs::DirEntry) -> bool {
    let begun = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name == ".previous" || (name.starts_with('.') && name.ends_with(".installing"))
        })
    };
    LAYOUT.iter().any(|name| entry.file_name() == *name)
        && fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.all(begun))
}

pub(super) const fn flag(manager: Manager) -> &'static str {
    match manager {
        Manager::System => "for the machine, without --user",
        Manager::User => "for one person, with --user",
    }
}

/// Carries it out, while these units run. Steps that find what they want change nothing.
///
/// # Errors
/// The first that fails; what came before is done, and can be taken back with [`restore`].
pub fn apply(plan: &Plan, running: BTreeSet<String>, applied: &mut Applied) -> Result<(), Error> {
    let record = claim(plan)?;
    let (mut journal, goes_on) = Journal::begin(&plan.prefix, &record, false)?;
    if let Some(folder) = Copies::set_aside(&plan.prefix)? {
        let folder = folder.display();
        applied.changes.push(format!(
            "note: {folder} has the database as it was before an upgrade that was interrupted: remove it once all is well"
        ));
    }
    journal.ran.extend(running);
    if goes_on {
        applied.restart.clone_from(&journal.ran);
    }
    applied.journal = journal;
    let mut run = Run { plan, record, group: None, user: None, applied };
    run.record.manager = Some(plan.manager);
    for step in &plan.steps {
        run.step(step)?;
    }
    run.save()?;
    if !applied.journal.before.is_empty() {
        applied.restart.clone_from(&applied.journal.ran);
    }
    Ok(())
}

struct Run<'a> {
    plan: &'a Plan,
    record: Record,
    user: Option<u32>,
    group: Option<u32>,
    applied: &'a mut Applied,
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::User { name, home } => {
                user(name, home, &mut self.applied.changes)?;
                self.user = User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
                self.group = Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
                Ok(())
            }
            Step::Folder { path, mode, own } => self.folder(path, *mode, *own),
            Step::File { path, content: Content::Text(text), mode, edited } => {
                self.file(path, &mut Cursor::new(text), *mode, *edited)
            }
            Step::File { path, content: Content::Copy(from), mode, edited } => {
                let mut from = File::open(from).map_err(|e| failed("read", from, e))?;
                self.file(path, &mut from, *mode, *edited)
            }
            Step::Link { path, to } => self.link(path, to),
            Step::Database { role, name } => {
                database(role, name, &mut self.applied.changes);
                Ok(())
            }
            Step::Reload => {
                self.save()?;
                if let Err(error) = systemctl(self.plan.manager, &["daemon-reload"]) {
                    self.noted(&error);
                }
                Ok(())
            }
            Step::Enable(units) => self.enable(units),
        }
    }

    fn changed(&mut self, what: String) {
        self.applied.changes.push(what);
    }

    fn noted(&mut self, error: &Error) {
        self.changed(format!("note: {error}"));
    }

    fn keep(&mut self, path: &Path) -> Result<(), Error> {
        self.applied.journal.keep(&self.plan.prefix, path)
    }

    /// Root's, and readable to the daemon's group where it is of the installation.
    fn owner(&self, path: &Path) -> Owner {
        let group = if path.starts_with(&self.plan.prefix) { self.group } else { root() };
        Owner { user: root(), group }
    }

    fn folder(&mut self, path: &Path, mode: u32, own: bool) -> Result<(), Error> {
        let mut owner = self.owner(path);
        if own {
            owner.user = self.user;
        }
        if *path == self.plan.prefix
            && let Some(above) = path.parent()
        {
            fs::create_dir_all(above).map_err(|e| failed("make", above, e))?;
        }
        if files::folder(path, mode, owner)? {
            self.changed(format!("made {}", path.display()));
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        content: &mut (impl Read + std::io::Seek),
        mode: u32,
        edited: Edited,
    ) -> Result<(), Error> {
        let wanted = files::mark_of(content).map_err(|e| failed("read what belongs into", path, e))?;
        let owner = self.owner(path);
        let mut there = files::look(path)?;
        let mark = there.mark(path)?;
        let shipped = self.record.made.get(path).cloned();
        let as_wanted = mark.as_ref() == Some(&wanted);
        // An interrupted run's, of whichever version, is ours as well.
        let begun = mark.is_some() && mark.as_ref() == self.applied.journal.made.get(path);
        if as_wanted && matches!(&there, There::File(_, meta) if files::is_as(meta, mode, owner)) {
            self.record.made.insert(path.into(), wanted);
            return Ok(());
        }
        let free = matches!(there, There::Nothing);
        if edited == Edited::Stays && !free && !as_wanted && !begun && mark != shipped {
            // What is shipped now is what was shipped then: there is nothing new to say.
            if shipped.as_ref() == Some(&wanted) {
                return Ok(());
            }
            let new = with(path, ".new");
            if files::look(&new)?.mark(&new)?.as_ref() != Some(&wanted) {
                self.keep(&new)?;
                files::put(&new, content, mode, owner)?;
                let whose = if shipped.is_some() { "was edited" } else { "is not ours" };
                self.changed(format!(
                    "{} {whose} and stays: the new one is {}",
                    path.display(),
                    new.display()
                ));
            }
            self.record.made.insert(new, wanted);
            return Ok(());
        }
        self.applied.journal.keep_for(&self.plan.prefix, path, &wanted)?;
        files::put(path, content, mode, owner)?;
        self.changed(format!("{} {}", if free { "wrote" } else { "replaced" }, path.display()));
        self.record.made.insert(path.into(), wanted);
        Ok(())
    }

    fn link(&mut self, path: &Path, to: &Path) -> Result<(), Error> {
        let wanted = files::link_mark(to);
        let mark = files::look(path)?.mark(path)?;
        if mark.as_ref() != Some(&wanted) {
            // Something else of that name is somebody else's.
            if path.symlink_metadata().is_ok()
                && (mark.is_none() || mark.as_ref() != self.record.made.get(path))
            {
                self.changed(format!("note: {} is something else and stays", path.display()));
                return Ok(());
            }
            self.keep(path)?;
            files::link(path, to)?;
            self.changed(format!("linked {}", path.display()));
        }
        self.record.made.insert(path.into(), wanted);
        Ok(())
    }

    fn enable(&mut self, units: &[&'static str]) -> Result<(), Error> {
        let new: Vec<_> = units.iter().copied().filter(|unit| !self.record.enabled.contains(*unit)).collect();
        let foreign = shadowed(self.plan.manager, &self.plan.units, &new);
        for unit in &foreign {
            self.changed(format!(
                "note: {unit} is there already, not ours: it stays as it is, and is not enabled"
            ));
        }
        let new: Vec<_> = new.into_iter().filter(|unit| !foreign.contains(*unit)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let names = new.iter().map(|unit| (*unit).to_owned());
        self.applied.journal.enabled.extend(names.clone());
        self.applied.journal.save(&self.plan.prefix)?;
        let mut call = vec!["enable", "--quiet"];
        call.extend(&new);
        match systemctl(self.plan.manager, &call) {
            Ok(_) => {
                self.changed(format!("enabled {}", new.join(" ")));
                self.record.enabled.extend(names);
            }
            Err(error) => self.noted(&error),
        }
        Ok(())
    }

    fn save(&self) -> Result<(), Error> {
        if Record::read(&self.plan.prefix)?.as_ref() == Some(&self.record) {
            return Ok(());
        }
        self.record.save(&self.plan.prefix)
    }
}

/// Has again what the journal says was there: files, links, the record, what was enabled. The folders that were made
/// stay, empty. Answers what it left, since somebody has edited it: what was there is beside it, as `.old`.
///
/// # Errors
/// The first that cannot be put back; the journal stays, and it may be tried again.
pub fn restore(prefix: &Path, manager: Manager) -> Result<Vec<PathBuf>, Error> {
    let Some(journal) = Journal::read(prefix)? else { return Ok(Vec::new()) };
    if !journal.enabled.is_empty() {
        let mut call = vec!["disable", "--quiet"];
        call.extend(journal.enabled.iter().map(String::as_str));
        // Where there is no systemd, none was enabled.
        let _ = systemctl(manager, &call);
    }
    let mut left = Vec::new();
    for (path, was) in journal.before.iter().rev() {
        if edited(&journal, path, was)? {
            was.put_back(&with(path, ".old"))?;
            left.push(path.clone());
        } else {
            was.put_back(path)?;
        }
    }
    journal.record.save(prefix)?;
    Ok(left)
}

/// Whether a file is neither what was there nor what was written.
fn edited(journal: &Journal, path: &Path, was: &Was) -> Result<bool, Error> {
    let Some(made) = journal.made.get(path) else { return Ok(false) };
    let Some(mark) = files::look(path)?.mark(path)? else { return Ok(false) };
    Ok(mark != *made && Some(mark) != was.mark()?)
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn user(name: &str, home: &Path, changes: &mut Vec<String>) -> Result<(), Error> {
    if User::from_name(name).ok().flatten().is_some() {
        return Ok(());
    }
    let home = home.display().to_string();
    let wanted =
        ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "--home-dir"];
    let mut args = wanted.to_vec();
    args.extend([home.as_str(), name]);
    call("useradd", &args)?;
    changes.push(format!("made the user {name}"));
    Ok(())
}

/// The daemon says at its start what is missing, so none of this stops an installation.
fn database(role: &str, name: &str, changes: &mut Vec<String>) {
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
        Ok(true) => changes.push(format!("made the database {name} of the role {role}")),
        Ok(false) => {}
        Err(error) => changes.push(format!(
            "note: {error}\nnote: make the role and the database by hand, or put another [database] url into the config: \
             createuser {role}; createdb -O {role} {name}"
        )),
    }
}
