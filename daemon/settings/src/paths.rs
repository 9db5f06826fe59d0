//! Where everything is. The one place that decides.

use std::io;
use std::path::{Path, PathBuf};

use crate::load::Inputs;
use crate::mistakes::LoadError;
use crate::process::ProcessName;

/// The longest path of a socket: `sockaddr_un` has room for 108 bytes, the last of them zero.
const SOCKET: usize = 107;

/// Absolute paths; none but `config` need exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `--home`, else `OPENCLAW_HOME`, else `.openclaw` in the working folder.
    pub home: PathBuf,
    /// The configuration file; none when the built-in one applies.
    pub config: Option<PathBuf>,
    /// The agents' libraries, as they arrive.
    pub agents: PathBuf,
    /// Log files.
    pub logs: PathBuf,
    /// Sockets and locks.
    pub run: PathBuf,
    /// The agents' own folders.
    pub workspace: PathBuf,
    /// What people sent.
    pub uploads: PathBuf,
    /// What tells this installation from others on the same database.
    pub installation: PathBuf,
    /// The secrets, beside the configuration file.
    pub env_file: PathBuf,
}

/// What each process of a home has for its own: several may share it, each with agents of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessPaths {
    /// The operator's socket.
    pub socket: PathBuf,
    /// Held by the process for its life.
    pub lock: PathBuf,
    /// Held by each of its hosts.
    pub hosts_lock: PathBuf,
    /// The private store of the libraries that run or ran.
    pub libraries: PathBuf,
}

impl Paths {
    /// Finds the home and the configuration file, and derives the rest. Reads no file.
    ///
    /// # Errors
    /// A configuration file that was asked for by flag or `OPENCLAW_CONFIG` is missing, a folder is closed to us, or the
    /// home is too deep for a socket.
    pub fn resolve(inputs: &Inputs) -> Result<Self, LoadError> {
        let home = inputs.home.clone().or_else(|| variable(inputs, "OPENCLAW_HOME"));
        let home = absolute(&inputs.cwd, &home.unwrap_or_else(|| ".openclaw".into()));
        let config = config(inputs, &home)?;
        let folder =
            config.as_deref().and_then(Path::parent).map_or_else(|| home.join("config"), Path::to_path_buf);
        let paths = Self {
            config,
            agents: home.join("agents"),
            logs: home.join("logs"),
            workspace: home.join("workspace"),
            uploads: home.join("uploads"),
            installation: home.join("installation"),
            env_file: folder.join(".env"),
            run: home.join("run"),
            home,
        };
        paths.of(&ProcessName::whole())?;
        Ok(paths)
    }

    /// What one process of this home has for its own.
    ///
    /// # Errors
    /// The home is too deep for its socket.
    pub fn of(&self, process: &ProcessName) -> Result<ProcessPaths, LoadError> {
        let file = |end: &str| self.run.join(format!("{process}.{end}"));
        let libraries = self.home.join("libraries");
        let socket = file("sock");
        if socket.as_os_str().len() > SOCKET {
            return Err(LoadError::TooDeep { path: socket, most: SOCKET });
        }
        Ok(ProcessPaths {
            socket,
            lock: file("lock"),
            hosts_lock: file("hosts.lock"),
            libraries: if process.is_whole() { libraries } else { libraries.join(process.as_str()) },
        })
    }

    /// Where the configuration is, or would be: what belongs beside it goes there.
    pub fn config_folder(&self) -> &Path {
        self.env_file.parent().unwrap_or(&self.home)
    }
}

fn config(inputs: &Inputs, home: &Path) -> Result<Option<PathBuf>, LoadError> {
    if let Some(asked) = inputs.config.clone().or_else(|| variable(inputs, "OPENCLAW_CONFIG")) {
        let path = absolute(&inputs.cwd, &asked);
        return if exists(&path)? {
            Ok(Some(path))
        } else {
            Err(LoadError::Read { path, source: io::ErrorKind::NotFound.into() })
        };
    }
    for folder in [home, &inputs.cwd] {
        let path = folder.join("config/openclaw.toml");
        if exists(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A file that is there but closed to us is an error, lest another one is used in its stead.
fn exists(path: &Path) -> Result<bool, LoadError> {
    match path.metadata() {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(source) => Err(LoadError::Read { path: path.into(), source }),
    }
}

fn variable(inputs: &Inputs, name: &str) -> Option<PathBuf> {
    inputs.env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Without `.` parts, and with symbolic links as they are.
fn absolute(cwd: &Path, path: &Path) -> PathBuf {
    cwd.join(path).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(cwd: &Path, env: &[(&str, &str)]) -> Inputs {
        let env = env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        Inputs { cwd: cwd.into(), env, ..Inputs::default() }
    }

    #[test]
    fn the_flag_beats_the_variable_beats_the_working_folder() {
        let mut inputs = inputs(Path::new("/none"), &[]);
        let paths = Paths::resolve(&inputs).unwrap();
        let whole = paths.of(&ProcessName::whole()).unwrap();
        assert_eq!(whole.socket, Path::new("/none/.openclaw/run/openclaw.sock"));
        assert_eq!(whole.libraries, Path::new("/none/.openclaw/libraries"));
        let atlas = paths.of(&ProcessName::of(["atlas"])).unwrap();
        assert_eq!(atlas.hosts_lock, Path::new("/none/.openclaw/run/atlas.hosts.lock"));
        assert_eq!(atlas.libraries, Path::new("/none/.openclaw/libraries/atlas"));
        assert_eq!(paths.env_file, Path::new("/none/.openclaw/config/.env"));
        inputs.env.insert("OPENCLAW_HOME".into(), "./there".into());
        assert_eq!(Paths::resolve(&inputs).unwrap().home, Path::new("/none/there"));
        inputs.home = Some("/flag".into());
        assert_eq!(Paths::resolve(&inputs).unwrap().logs, Path::new("/flag/logs"));
    }

    #[test]
    fn the_home_beats_the_working_folder_and_what_is_asked_for_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let (own, homes) = (dir.path().join("config"), dir.path().join(".openclaw/config"));
        let mut inputs = inputs(dir.path(), &[]);
        assert_eq!(Paths::resolve(&inputs).unwrap().config, None);
        for folder in [&own, &homes] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("openclaw.toml"), "").unwrap();
            let paths = Paths::resolve(&inputs).unwrap();
            assert_eq!(paths.config, Some(folder.join("openclaw.toml")));
            assert_eq!(paths.env_file, folder.join(".env"));
        }
        inputs.env.insert("OPENCLAW_CONFIG".into(), "missing.toml".into());
        assert!(
            matches!(Paths::resolve(&inputs), Err(LoadError::Read { path, .. }) if path.ends_with("missing.toml"))
        );
    }
}
