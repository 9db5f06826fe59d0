//! Files that people send: which are taken, and where they land. What can be decided without a look at the disk is pure.

use std::fs::{DirBuilder, read_dir};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use settings::Telegram;
use tokio::io::AsyncWriteExt;

use super::api::{Api, Failure};
use super::update::Sent;

/// A file of 20 MB over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(300);
/// The longest name that is kept of it, in bytes.
const NAME: usize = 80;

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It never will be: a sentence for its sender.
    #[error("{0}")]
    Never(String),
    /// It may be later.
    #[error(transparent)]
    Later(#[from] Failure),
    /// It cannot be kept here now.
    #[error("it cannot be kept in the folder of uploads: {0}")]
    Disk(#[from] io::Error),
}

/// Where files land.
pub struct Uploads {
    folder: PathBuf,
    /// Bytes that are promised to files on their way.
    promised: Mutex<u64>,
}

impl Uploads {
    /// Nothing is on its way.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, promised: Mutex::new(0) }
    }

    fn promised(&self) -> MutexGuard<'_, u64> {
        // Each change is one addition.
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for so many bytes, where all together are no more than `most`.
    fn room(&self, bytes: u64, most: u64) -> io::Result<Option<Room<'_>>> {
        let mut promised = self.promised();
        let sum = held(&self.folder)?.saturating_add(*promised).saturating_add(bytes);
        if sum > most {
            return Ok(None);
        }
        *promised += bytes;
        Ok(Some(Room { uploads: self, bytes }))
    }
}

/// Room for a file; given back when it is dropped.
struct Room<'a> {
    uploads: &'a Uploads,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.uploads.promised() -= self.bytes;
    }
}

/// A file that is being written; it goes unless it is renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A name that leads nowhere else and hides nothing: its own last part, of plain characters.
pub fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let good = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = last.chars().map(|c| if good(c) { c } else { '_' }).collect();
    let name = name.trim_start_matches('.');
    // Its end tells its type, so that the beginning gives way.
    let from = name.char_indices().map(|(at, _)| at).find(|at| name.len() - at <= NAME).unwrap_or(0);
    let name = name[from..].trim_start_matches('.');
    if name.is_empty() { "file".into() } else { name.into() }
}

/// Whether a file may be taken, by what is said of it.
///
/// # Errors
/// Why not.
pub fn judge(name: &str, size: Option<u64>, settings: &Telegram) -> Result<(), Refused> {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_lowercase()).unwrap_or_default();
    if !settings.upload_types.iter().any(|known| known.to_lowercase() == end) {
        return Err(Refused::Never(format!(
            "files that end in `.{end}` are not taken; these are: {}",
            settings.upload_types.join(", ")
        )));
    }
    if size.is_some_and(|size| size > settings.max_upload.bytes()) {
        return Err(too_large(settings));
    }
    Ok(())
}

fn too_large(settings: &Telegram) -> Refused {
    Refused::Never(format!("it is larger than {}, which is the most that is taken", settings.max_upload))
}

/// Fetches a file, under a name that begins with the update's number: the same at a second try.
///
/// # Errors
/// Why not, and whether it may be tried again.
pub async fn fetch(
    api: &Api,
    file: &Sent,
    update: i64,
    uploads: &Uploads,
    settings: &Telegram,
) -> Result<PathBuf, Refused> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        file_path: Option<String>,
        #[serde(default)]
        file_size: Option<u64>,
    }
    let name = plain_name(&file.name);
    judge(&name, file.size, settings)?;
    let found: Result<File, Failure> =
        api.call("getFile", &json!({"file_id": file.id}), Duration::from_secs(30)).await;
    let found = found.map_err(gone)?;
    judge(&name, found.file_size, settings)?;
    // What it says that it has; else the most that is taken.
    let size = found.file_size.or(file.size).unwrap_or(settings.max_upload.bytes());
    let Some(room) = uploads.room(size, settings.max_uploads.bytes())? else {
        return Err(Refused::Never(format!(
            "the folder of uploads holds {} with it, and what is on its way: the operator must make room",
            settings.max_uploads
        )));
    };
    let folder = &uploads.folder;
    // A path that could mean another address is none.
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    let path = found.file_path.filter(|path| path.chars().all(good) && !path.contains(".."));
    let path = path.ok_or_else(|| Refused::Never("Telegram does not hand it out".into()))?;
    let mut response = api.file(&path, DOWNLOAD).await.map_err(gone)?;
    let target = folder.join(format!("{update}-{name}"));
    let part = Part(folder.join(format!(".{update}.part")));
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(&part.0).await?;
    let mut written = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| api.unreachable(error))? {
        written += chunk.len() as u64;
        if written > room.bytes {
            return Err(Refused::Never("it is larger than Telegram said".into()));
        }
        out.write_all(&chunk).await?;
    }
    out.sync_all().await?;
    tokio::fs::rename(&part.0, &target).await?;
    // Its name is to outlive the machine as well.
    tokio::fs::File::open(folder).await?.sync_all().await?;
    Ok(target)
}

/// What Telegram refuses to hand out it will refuse again.
fn gone(failure: Failure) -> Refused {
    match failure {
        Failure::Refused { why, .. } => Refused::Never(format!("Telegram does not hand it out: {why}")),
        failure => Refused::Later(failure),
    }
}

/// How much lies there, but for what is being written; the folder is made.
fn held(folder: &Path) -> io::Result<u64> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut sum = 0;
    for entry in read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for (name, plain) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\evil.txt", "evil.txt"),
            (".bashrc", "bashrc"),
            ("a b\u{202e}txt.exe", "a_b_txt.exe"),
            ("", "file"),
            ("..", "file"),
            ("/", "file"),
            ("größe.csv", "größe.csv"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
    }

    #[test]
    fn types_and_sizes_are_limited() {
        let settings = Telegram::default();
        assert!(judge("a.PDF", Some(5), &settings).is_ok() && judge("a.pdf", None, &settings).is_ok());
        for (name, size) in
            [("a.exe", Some(1)), ("pdf", Some(1)), ("a.pdf.sh", None), ("a.pdf", Some(21 << 20))]
        {
            assert!(judge(name, size, &settings).is_err(), "{name}");
        }
    }

    #[test]
    fn room_is_promised_once_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(folder.path().to_owned());
        std::fs::write(folder.path().join("1-a"), [0; 40]).unwrap();
        std::fs::write(folder.path().join(".2.part"), [0; 40]).unwrap();
        let room = uploads.room(40, 100).unwrap().unwrap();
        assert!(uploads.room(21, 100).unwrap().is_none() && uploads.room(20, 100).unwrap().is_some());
        drop(room);
        assert!(uploads.room(60, 100).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn any_name_is_one_part_of_a_path(name in "\\PC{0,120}|[./\\\\a]{0,20}") {
            let plain = plain_name(&name);
            prop_assert!(!plain.is_empty() && plain.len() <= NAME);
            prop_assert!(!plain.starts_with('.') && !plain.contains(['/', '\\', '\0']));
        }
    }
}
