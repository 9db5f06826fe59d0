//! What an installation consists of. Pure: the same request gives the same steps.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::units::{self, Manager};

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where everything goes: absolute.
    pub prefix: PathBuf,
    /// Whose units.
    pub manager: Manager,
    /// Where that looks for units.
    pub units: PathBuf,
    /// Its version.
    pub systemd: u32,
    /// This program.
    pub program: PathBuf,
    /// The agents' libraries to bring along.
    pub agents: Vec<PathBuf>,
    /// The configuration where there is none yet.
    pub config: String,
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
    /// A file that is ours: replaced whenever it differs.
    File {
        /// Where.
        path: PathBuf,
        /// What.
        content: Content,
        /// Its mode.
        mode: u32,
    },
    /// A file that is the operator's once it has been edited: then what we would write goes beside it, as `.new`.
    Config {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
        /// Its mode.
        mode: u32,
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
            Self::File { path, mode, .. } => write!(f, "file     {mode:04o} {}", path.display()),
            Self::Config { path, mode, .. } => {
                write!(f, "config   {mode:04o} {} (never over an edited one)", path.display())
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
    /// Each.
    pub steps: Vec<Step>,
}

/// Makes the plan, or says why the prefix cannot be one.
///
/// # Errors
/// The prefix is relative, is not UTF-8, or has a character that unit files cannot name.
pub fn plan(request: &Request) -> Result<Plan, String> {
    let prefix = &request.prefix;
    let text = prefix.to_str().ok_or("the prefix is not UTF-8: choose another")?;
    if !prefix.is_absolute() || text.len() < 2 {
        return Err(format!("the prefix `{text}` is not an absolute path below the root: choose another"));
    }
    if let Some(bad) =
        text.chars().find(|c| c.is_control() || matches!(c, '"' | '\'' | '\\' | '$' | '`' | ':'))
    {
        return Err(format!("unit files cannot name a prefix with {bad:?}: choose another"));
    }
    let system = request.manager == Manager::System;
    let mut steps = Vec::new();
    if system {
        steps.push(Step::User { name: "milkbot", home: prefix.clone() });
    }
    steps.extend(folders(prefix));
    let program = prefix.join("bin/openclaw");
    steps.push(Step::File {
        path: program.clone(),
        content: Content::Copy(request.program.clone()),
        mode: 0o755,
    });
    for library in &request.agents {
        if let Some(name) = library.file_name() {
            let path = prefix.join("agents").join(name);
            steps.push(Step::File { path, content: Content::Copy(library.clone()), mode: 0o644 });
        }
    }
    let (path, script) = (prefix.join("scripts/alert-telegram.sh"), units::ALERT_SCRIPT.as_bytes().to_vec());
    steps.push(Step::File { path, content: Content::Text(script), mode: 0o755 });
    let config = prefix.join("config/openclaw.toml");
    steps.push(Step::Config { path: config, text: request.config.clone(), mode: 0o640 });
    for unit in units::of(request.manager) {
        let text = units::render(unit.text, prefix, request.manager, request.systemd);
        let content = Content::Text(text.into_bytes());
        steps.push(Step::File { path: request.units.join(unit.name), content, mode: 0o644 });
    }
    if let (true, Some(folder)) = (system, &request.polkit) {
        let content = Content::Text(units::POLKIT.as_bytes().to_vec());
        steps.push(Step::File { path: folder.join("50-openclaw.rules"), content, mode: 0o644 });
    }
    for (path, bytes) in &request.generated {
        steps.push(Step::File { path: path.clone(), content: Content::Text(bytes.clone()), mode: 0o644 });
    }
    if let Some(path) = &request.command {
        steps.push(Step::Link { path: path.clone(), to: program });
    }
    if request.database {
        steps.push(Step::Database { role: "milkbot", name: "openclaw" });
    }
    steps.push(Step::Reload);
    steps.push(Step::Enable(enabled(request)));
    Ok(Plan { prefix: prefix.clone(), manager: request.manager, steps })
}

/// The documented layout. What the daemon may not change is root's.
fn folders(prefix: &Path) -> Vec<Step> {
    let own = [".openclaw", "agents", "backups", "dashboard", "logs", "run", "uploads", "workspace"];
    let folder = |name: &str, mode, own| Step::Folder { path: prefix.join(name), mode, own };
    let mut folders = vec![folder("", 0o755, true)];
    folders.extend(["bin", "scripts"].map(|name| folder(name, 0o755, false)));
    folders.push(folder("config", 0o750, false));
    folders.extend(own.map(|name| folder(name, 0o700, true)));
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
