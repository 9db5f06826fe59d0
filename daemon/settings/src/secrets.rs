//! Keys and tokens: from `.env`, systemd's credentials and the environment. None is ever shown.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::dotenv;
use crate::mistakes::{Mistake, Place};
use crate::redaction::Redactor;

/// Variables that end so are secrets.
const SUFFIXES: [&str; 3] = ["_API_KEY", "_TOKEN", "_PASSWORD"];
/// systemd's own limit for all credentials of a unit.
const LARGEST: u64 = 1 << 20;

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The `.env` file.
    EnvFile,
    /// A file in `$CREDENTIALS_DIRECTORY`.
    Credential,
    /// A variable of the environment.
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EnvFile => ".env",
            Self::Credential => "credential",
            Self::Environment => "environment",
        })
    }
}

/// Whether a secret can be called so: `OPENROUTER_API_KEY`.
pub(crate) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() <= 64 && text.chars().all(good) && SUFFIXES.iter().any(|end| text.ends_with(end))
}

/// The secrets by name. An empty one is none, and told apart from one that nobody meant to give.
#[derive(Clone, Default)]
pub struct Secrets {
    found: BTreeMap<String, (SecretString, Source)>,
    empty: BTreeMap<String, Source>,
}

impl Secrets {
    /// The secret of that name.
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.found.get(name).map(|(secret, _)| secret)
    }

    /// Where a secret of that name stands with nothing in it, and nowhere with something.
    pub fn empty(&self, name: &str) -> Option<&Source> {
        self.empty.get(name).filter(|_| !self.found.contains_key(name))
    }

    /// Their names, and where each was found.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.found.iter().map(|(name, (_, source))| (name.as_str(), source))
    }

    /// Takes all of them out of texts.
    pub fn redactor(&self) -> Redactor {
        Redactor::of(self.found.values().map(|(secret, _)| secret))
    }

    /// Reads all sources, the later over the earlier: `.env`, credentials, the environment.
    pub(crate) fn load(env_file: &Path, env: &BTreeMap<String, String>) -> (Self, Vec<Mistake>) {
        let (mut secrets, mut mistakes) = (Self::default(), Vec::new());
        secrets.env_file(env_file, &mut mistakes);
        if let Some(folder) = env.get("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) {
            secrets.credentials(Path::new(folder), &mut mistakes);
        }
        for (name, value) in env.iter().filter(|(name, _)| SUFFIXES.iter().any(|end| name.ends_with(end))) {
            secrets.add(name, value, Source::Environment);
        }
        (secrets, mistakes)
    }

    fn add(&mut self, name: &str, value: &str, source: Source) {
        if value.is_empty() {
            self.empty.insert(name.into(), source);
        } else {
            self.found.insert(name.into(), (value.into(), source));
        }
    }

    fn env_file(&mut self, path: &Path, mistakes: &mut Vec<Mistake>) {
        let place = Place::File(path.into());
        let text = match private(path) {
            Ok(Ok(text)) => text,
            Ok(Err(mode)) => {
                let what = format!("others may read the secrets in it (mode {mode:04o})");
                return mistakes.push(Mistake::of(place, what, format!("chmod 600 {}", path.display())));
            }
            // A home that lies below a file is told when it is made.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return;
            }
            Err(error) => return mistakes.push(unreadable(path.into(), &error)),
        };
        let (pairs, faults) = dotenv::parse(&text);
        for (name, value) in pairs {
            self.add(name, &Zeroizing::new(value), Source::EnvFile);
        }
        for (line, fault) in faults {
            let mistake = Mistake::of(place.clone(), fault, "write NAME=VALUE or NAME=\"VALUE\"");
            mistakes.push(Mistake { line: Some(line), ..mistake });
        }
    }

    fn credentials(&mut self, folder: &Path, mistakes: &mut Vec<Mistake>) {
        let entries = match fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
            Ok(entries) => entries,
            Err(error) => return mistakes.push(unreadable(folder.into(), &error)),
        };
        for path in entries.iter().map(fs::DirEntry::path).filter(|path| path.is_file()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            match File::open(&path).and_then(text) {
                Ok(value) => self.add(name, value.trim_end_matches(['\r', '\n']), Source::Credential),
                Err(error) => mistakes.push(unreadable(path, &error)),
            }
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names()).finish()
    }
}

/// The text of a file that is its owner's alone, else its mode.
fn private(path: &Path) -> io::Result<Result<Zeroizing<String>, u32>> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { text(file).map(Ok) } else { Ok(Err(mode)) }
}

fn text(file: File) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = file.take(LARGEST).read_to_string(&mut text)?;
    if read as u64 == LARGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

fn unreadable(path: PathBuf, error: &io::Error) -> Mistake {
    Mistake::of(
        Place::File(path),
        format!("cannot be read: {error}"),
        "make it a text that the daemon's user may read",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_environment_beats_credentials_beat_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join(".env"), dir.path().join("credentials"));
        fs::create_dir(&folder).unwrap();
        write(&file, "A_TOKEN=file\nB_TOKEN=file\nC_TOKEN=file\nEMPTY_TOKEN=\n", 0o600);
        write(&folder.join("B_TOKEN"), "credential\n", 0o400);
        write(&folder.join("C_TOKEN"), "credential", 0o400);
        let folder = folder.to_str().unwrap();
        let env = [("CREDENTIALS_DIRECTORY", folder), ("C_TOKEN", "environment"), ("HOME", "/")];
        let env = env.map(|(name, value)| (name.into(), value.into())).into();
        let (secrets, mistakes) = Secrets::load(&file, &env);
        assert_eq!(mistakes, []);
        let names: Vec<_> = secrets.names().collect();
        let expected = [
            ("A_TOKEN", &Source::EnvFile),
            ("B_TOKEN", &Source::Credential),
            ("C_TOKEN", &Source::Environment),
        ];
        assert_eq!(names, expected);
        assert_eq!((secrets.empty("EMPTY_TOKEN"), secrets.empty("A_TOKEN")), (Some(&Source::EnvFile), None));
        assert_eq!(secrets.get("B_TOKEN").unwrap().expose_secret(), "credential");
        let debug = format!("{secrets:?}");
        assert!(
            debug.contains("A_TOKEN") && !debug.contains("file") && !debug.contains("\"credential\""),
            "{debug}"
        );
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        for mode in [0o644, 0o640, 0o604, 0o622] {
            write(&file, "A_TOKEN=hidden", mode);
            let (secrets, mistakes) = Secrets::load(&file, &BTreeMap::new());
            assert_eq!(secrets.names().count(), 0);
            assert_eq!(mistakes[0].remedy, format!("chmod 600 {}", file.display()));
        }
    }

    #[test]
    fn a_malformed_line_is_numbered_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        write(&file, "A_TOKEN=1\nhidden\n", 0o600);
        let (_, mistakes) = Secrets::load(&file, &BTreeMap::new());
        assert_eq!((mistakes.len(), mistakes[0].line), (1, Some(2)));
        assert!(!format!("{mistakes:?}").contains("hidden"));
    }
}
