//! What an installation consists of. Pure: the same request gives the same steps.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::units::{self, Manager};

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where everything goes: absolute.
    pub prefix: PathBuf,
    /// Whose units.
    pub manager: Manager,
    /// Where that looks for units of what is installed: an operator's own, elsewhere, come first.
    pub units: PathBuf,
    /// The home of whoever it is for, with a person's manager.
    pub home: Option<PathBuf>,
    /// Its version.
    pub systemd: u32,
    /// This program.
    pub program: PathBuf,
    /// The agents' libraries to bring along.
    pub agents: Vec<PathBuf>,
    /// The configuration where there is none yet.
    pub config: String,
    /// What belongs beside that, by its place there: who the providers are.
    pub beside: Vec<(String, &'static str)>,
    /// Components that this build has, agents included.
    pub built: Vec<String>,
    /// Texts that were generated: shell completions and man pages, by the place where they belong.
    pub generated: Vec<(PathBuf, Vec<u8>)>,
    /// Where the command is to be found.
    pub command: Option<PathBuf>,
    /// Where polkit looks for rules.
    pub polkit: Option<PathBuf>,
    /// A PostgreSQL of this machine is to have a role and a database.
    pub database: bool,
}

/// What a file is made of.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A copy of this file.
    Copy(PathBuf),
    /// This text.
    Text(Vec<u8>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy(from) => write!(f, "Copy({})", from.display()),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// What becomes of a file that is there and is not as we made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// It is somebody else's, or the operator's: what we would write goes beside it, as `.new`.
    Stays,
    /// It is the version's: replaced.
    Replaced,
}

/// One step; each may be done any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The user and group that the units run as.
    User {
        /// Both names.
        name: &'static str,
        /// Its home.
        home: PathBuf,
    },
    /// A folder.
    Folder {
        /// Where.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Whether it is the daemon's; else it is root's, and the daemon's group may look.
        own: bool,
    },
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// What.
        content: Content,
        /// Its mode.
        mode: u32,
        /// What becomes of another one that is there.
        edited: Edited,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: PathBuf,
        /// To what.
        to: PathBuf,
    },
    /// A role and a database in this machine's PostgreSQL, where they are missing.
    Database {
        /// Both names, in this order.
        role: &'static str,
        /// The database.
        name: &'static str,
    },
    /// systemd reads its units anew.
    Reload,
    /// Units are enabled, each once: who was disabled since stays so.
    Enable(Vec<&'static str>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name, home } => write!(f, "user     {name}, home {}", home.display()),
            Self::Folder { path, mode, own } => {
                write!(
                    f,
                    "folder   {:04o} {} {}",
                    mode,
                    if *own { "milkbot" } else { "root   " },
                    path.display()
                )
            }
            Self::File { path, mode, edited, .. } => {
                let stays = if *edited == Edited::Stays { " (never over another one)" } else { "" };
                write!(f, "file     {mode:04o} {}{stays}", path.display())
            }
            Self::Link { path, to } => write!(f, "link     {} -> {}", path.display(), to.display()),
            Self::Database { role, name } => write!(f, "database {name}, of the role {role}, where missing"),
            Self::Reload => write!(f, "systemd  daemon-reload"),
            Self::Enable(units) => write!(f, "enable   {}", units.join(" ")),
        }
    }
}

/// The steps, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where.
    pub prefix: PathBuf,
    /// Whose units.
    pub manager: Manager,
    /// Where they go.
    pub units: PathBuf,
    /// Each.
    pub steps: Vec<Step>,
}

/// Makes the plan, or says why the prefix cannot be one.
///
/// # Errors
/// The prefix is relative, is not UTF-8, has a character that unit files cannot name, is the system's or a person's own
/// folder, or one that units may not see.
pub fn plan(request: &Request) -> Result<Plan, String> {
    let prefix = &request.prefix;
    let text = prefix.to_str().ok_or("the prefix is not UTF-8: choose another")?;
    if !prefix.is_absolute() || text.len() < 2 || prefix.components().any(|part| part == Component::ParentDir)
    {
        return Err(format!(
            "the prefix `{text}` is not an absolute path below the root, without `..`: choose another"
        ));
    }
    if let Some(bad) =
        text.chars().find(|c| c.is_control() || matches!(c, '"' | '\'' | '\\' | '$' | '`' | ':'))
    {
        return Err(format!("unit files cannot name a prefix with {bad:?}: choose another"));
    }
    if let Some(why) = unfit(prefix, request.manager, request.home.as_deref()) {
        return Err(format!("the prefix `{text}` {why}"));
    }
    let system = request.manager == Manager::System;
    let mut steps = Vec::new();
    if system {
        steps.push(Step::User { name: "milkbot", home: prefix.clone() });
    }
    steps.extend(folders(prefix, request.manager));
    if !request.beside.is_empty() {
        steps.push(Step::Folder { path: prefix.join("config/providers"), mode: 0o750, own: false });
    }
    let program = prefix.join("bin/openclaw");
    let file = |path, content, mode, edited| Step::File { path, content, mode, edited };
    let copy = |from: &Path| Content::Copy(from.into());
    steps.push(file(program.clone(), copy(&request.program), 0o755, Edited::Replaced));
    for library in &request.agents {
        if let Some(name) = library.file_name() {
            let path = prefix.join("agents").join(name);
            steps.push(file(path, copy(library), 0o644, Edited::Replaced));
        }
    }
    let config = prefix.join("config/openclaw.toml");
    let text = |text: &[u8]| Content::Text(text.into());
    let script = prefix.join("scripts/alert-telegram.sh");
    steps.push(file(script, text(units::ALERT_SCRIPT.as_bytes()), 0o755, Edited::Stays));
    steps.push(file(config, text(request.config.as_bytes()), 0o640, Edited::Stays));
    for (name, content) in &request.beside {
        steps.push(file(prefix.join("config").join(name), text(content.as_bytes()), 0o640, Edited::Stays));
    }
    for unit in units::of(request.manager) {
        let rendered = units::render(unit.text, prefix, request.manager, request.systemd);
        let path = request.units.join(unit.name);
        steps.push(file(path, text(rendered.as_bytes()), 0o644, Edited::Stays));
    }
    if let (true, Some(folder)) = (system, &request.polkit) {
        let path = folder.join("50-openclaw.rules");
        steps.push(file(path, text(units::POLKIT.as_bytes()), 0o644, Edited::Stays));
    }
    for (path, bytes) in &request.generated {
        steps.push(file(path.clone(), text(bytes), 0o644, Edited::Stays));
    }
    if let Some(path) = &request.command {
        steps.push(Step::Link { path: path.clone(), to: program });
    }
    if request.database {
        steps.push(Step::Database { role: "milkbot", name: "openclaw" });
    }
    steps.push(Step::Reload);
    steps.push(Step::Enable(enabled(request)));
    Ok(Plan { prefix: prefix.clone(), manager: request.manager, units: request.units.clone(), steps })
}

/// Why a folder cannot be all OpenClaw's; none: it can.
fn unfit(prefix: &Path, manager: Manager, home: Option<&Path>) -> Option<&'static str> {
    const SYSTEMS: [&str; 12] = [
        "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
    ];
    // Folders that have others' folders in them, and are nobody's.
    const SHARED: [&str; 10] =
        ["/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp"];
    // ProtectHome= and PrivateTmp= of the units.
    const UNSEEN: [&str; 4] = ["/home", "/root", "/tmp", "/var/tmp"];
    let var = Path::new("/var");
    if SYSTEMS.iter().any(|folder| prefix.starts_with(folder)) {
        return Some("is the system's: choose one below /opt or /srv");
    }
    if SHARED.iter().any(|folder| prefix == Path::new(folder)) || prefix.parent() == Some(var) {
        return Some("is not one program's: choose a folder of its own below it");
    }
    if home.is_some_and(|home| home.starts_with(prefix)) {
        return Some("is your home: choose a folder of its own below it");
    }
    if manager == Manager::System && UNSEEN.iter().any(|folder| prefix.starts_with(folder)) {
        return Some("is not to be seen by units (ProtectHome=, PrivateTmp=): choose one below /opt or /srv");
    }
    None
}

/// The folders of an installation.
pub const LAYOUT: &[&str] = &[
    ".openclaw",
    "agents",
    "backups",
    "bin",
    "config",
    "dashboard",
    "logs",
    "run",
    "scripts",
    "uploads",
    "workspace",
];

/// What the daemon makes beside them.
pub(super) const DAEMONS: &[&str] =
    &["installation", "libraries", "openclaw.db", "openclaw.db-shm", "openclaw.db-wal", "openclaw.db.lock"];

/// The documented layout. What the daemon may not change is root's.
/// The prefix is root's: the daemon may make files of its own in it, and can replace none of root's (the sticky bit).
fn folders(prefix: &Path, manager: Manager) -> Vec<Step> {
    let all = if manager == Manager::System { 0o1775 } else { 0o755 };
    let mut folders = vec![Step::Folder { path: prefix.into(), mode: all, own: false }];
    folders.extend(LAYOUT.iter().map(|name| {
        let (mode, own) = match *name {
            "bin" | "scripts" => (0o755, false),
            "config" => (0o750, false),
            _ => (0o700, true),
        };
        Step::Folder { path: prefix.join(name), mode, own }
    }));
    folders
}

/// Units of what is built; the others are in place, and say so when they are started.
fn enabled(request: &Request) -> Vec<&'static str> {
    let built = |component: &str| request.built.iter().any(|built| built == component);
    let installable = |text: &str| text.contains("[Install]");
    units::of(request.manager)
        .filter(|unit| installable(unit.text) && unit.component.is_none_or(built))
        .map(|unit| unit.name)
        .collect()
}
