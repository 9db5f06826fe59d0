//! Alerts that no daemon could take when they were raised, and those about units that failed: files first, so that they are
//! recorded whatever else is away. A running daemon takes them up into its database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Alerts that wait to be taken up; the oldest give way.
const WAITING: usize = 1000;

/// An alert that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting<A> {
    /// What is reported.
    #[serde(flatten)]
    pub alert: A,
    /// When it happened.
    pub at: DateTime<Utc>,
}

/// Where they wait, below a home.
pub fn folder(home: &Path) -> PathBuf {
    home.join("run/alerts")
}

/// Records an alert: on the disk when this returns.
///
/// # Errors
/// The file cannot be written.
pub fn put<A: Serialize>(folder: &Path, alert: &Waiting<A>) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let waiting = names(folder)?;
    for old in waiting.iter().take(waiting.len().saturating_sub(WAITING - 1)) {
        let _ = fs::remove_file(old);
    }
    // v7: names are in the order of time.
    let path = folder.join(format!("{}.json", uuid::Uuid::now_v7()));
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(alert)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(path)
}

/// Those that wait, oldest first. What does not read is left out.
pub fn waiting<A: DeserializeOwned>(folder: &Path) -> Vec<(PathBuf, Waiting<A>)> {
    let read = |path: PathBuf| Some((path.clone(), serde_json::from_slice(&fs::read(&path).ok()?).ok()?));
    names(folder).unwrap_or_default().into_iter().filter_map(read).collect()
}

/// Takes one up for a process: where it is then; none: another one has it. It is kept until [`done`].
pub fn take(path: &Path, process: &str) -> Option<PathBuf> {
    let taken = path.with_extension(format!("json.{process}"));
    fs::rename(path, &taken).ok().map(|()| taken)
}

/// What was taken up is in the database.
pub fn done(taken: &Path) {
    // One that stays is reported again after the next start, and counted.
    let _ = fs::remove_file(taken);
}

/// What an earlier life of a process had taken up and not stored waits again.
pub fn put_back(folder: &Path, process: &str) {
    let end = format!(".json.{process}");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(&end) {
            let _ = fs::rename(entry.path(), folder.join(format!("{stem}.json")));
        }
    }
}

fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let files = entries.iter().map(fs::DirEntry::path);
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_waits_until_one_process_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Alert {
            unit: String,
        }
        assert_eq!(waiting::<Alert>(&folder), []);
        let alert = |unit: &str| Waiting { alert: Alert { unit: unit.into() }, at: Utc::now() };
        for unit in ["openclaw.service", "openclaw-atlas.service"] {
            put(&folder, &alert(unit)).unwrap();
        }
        fs::write(folder.join("half.json"), "{").unwrap();
        let found = waiting::<Alert>(&folder);
        assert_eq!(
            found.iter().map(|(_, waiting)| waiting.alert.unit.as_str()).collect::<Vec<_>>(),
            ["openclaw.service", "openclaw-atlas.service"]
        );
        let taken = take(&found[0].0, "openclaw").unwrap();
        assert!(take(&found[0].0, "openclaw-atlas").is_none());
        assert_eq!(waiting::<Alert>(&folder).len(), 1);
        // It died before it was stored; only its own next life has it again.
        put_back(&folder, "atlas");
        assert_eq!(waiting::<Alert>(&folder).len(), 1);
        put_back(&folder, "openclaw");
        assert_eq!(waiting::<Alert>(&folder), found);
        done(&take(&found[0].0, "openclaw").unwrap());
        put_back(&folder, "openclaw");
        assert_eq!((waiting::<Alert>(&folder).len(), taken.exists()), (1, false));
    }
}
