//! Whom the operator trusts: anybody who can write into the agents folder, listed hashes, or the holders of keys.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use minisign::SignatureBox;
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
pub use settings::PublicKey;

use super::hash::Hash;
use crate::sentence::sentence;

/// What a library must show before anything of it is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Nothing but a good owner and mode.
    Any,
    /// One of these hashes.
    Pinned(Vec<Hash>),
    /// A minisign signature by one of these keys, in `FILE.minisig` beside it.
    Signed(Vec<PublicKey>),
}

impl Trust {
    /// What is configured for an agent: `trust`, its `pins`, and the `keys` of all.
    pub fn of(trust: settings::Trust, pins: &[Hash], keys: &[PublicKey]) -> Self {
        match trust {
            settings::Trust::Any => Self::Any,
            settings::Trust::Pinned => Self::Pinned(pins.into()),
            settings::Trust::Signed => Self::Signed(keys.into()),
        }
    }
}

/// The ending of a signature's file.
pub const SUFFIX: &str = ".minisig";
/// A signature with long comments is far shorter.
const LONGEST: u64 = 16 * 1024;
/// The last line of a signature: 64 bytes in base64.
const GLOBAL: usize = 88;

/// Where the signature of a library can be: beside it, and where it is a link, beside what it leads to.
pub(super) fn signatures(library: &Path) -> Vec<PathBuf> {
    let mut found = vec![beside(library)];
    if let Ok(target) = fs::canonicalize(library) {
        let other = beside(&target);
        if fs::canonicalize(&found[0]).ok() != Some(other.clone()) {
            found.push(other);
        }
    }
    found
}

/// `FILE.minisig`
pub fn beside(library: &Path) -> PathBuf {
    let mut name = OsString::from(library);
    name.push(SUFFIX);
    name.into()
}

/// The refusal of a library that is on no list.
pub(super) fn pinned(agent: &AgentName, shown: &Path, hash: &Hash, pins: &[Hash]) -> Result<(), String> {
    if pins.contains(hash) {
        return Ok(());
    }
    let shown = shown.display();
    Err(format!(
        "{shown} has the SHA-256 {hash}, which is none of its pins: add it to agents.{agent}.pins if you trust it"
    ))
}

/// The text of the signature in one of `files` by one of `keys` for `content`, or why there is none.
pub(super) fn signed(
    shown: &Path,
    files: &[PathBuf],
    keys: &[PublicKey],
    content: &mut File,
) -> Result<String, String> {
    let missing = || {
        let (library, signature) = (shown.display(), beside(shown));
        format!(
            "{library} is not signed, there is no {}: make it with `openclaw agents sign`",
            signature.display()
        )
    };
    let mut refusal = None;
    for file in files {
        match read(file) {
            Ok(None) => {}
            Ok(Some(text)) => match check(file, &text, keys, content) {
                Ok(()) => return Ok(text),
                Err(why) => refusal = Some(why),
            },
            Err(why) => refusal = Some(why),
        }
    }
    Err(refusal.unwrap_or_else(missing))
}

/// None when there is no such file.
fn read(path: &Path) -> Result<Option<String>, String> {
    let failed = |error: std::io::Error| format!("the signature {} cannot be read: {error}", path.display());
    let options = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let file = match options {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut text = String::new();
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(unreadable(path, "it is no file"));
    }
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| unreadable(path, &error.to_string()))?;
    Ok(Some(text))
}

fn unreadable(path: &Path, why: &str) -> String {
    let why = sentence(why, 120);
    format!(
        "{} cannot be read as a signature of minisign ({why}): make it again with `openclaw agents sign`",
        path.display()
    )
}

fn check(path: &Path, text: &str, keys: &[PublicKey], content: &mut File) -> Result<(), String> {
    let shown = path.display();
    let signature = SignatureBox::from_string(text).map_err(|error| unreadable(path, &error.to_string()))?;
    // minisign 0.10 panics at a shorter one.
    if text.lines().nth(3).is_none_or(|line| line.trim().len() != GLOBAL) {
        return Err(unreadable(path, "its last line has another length"));
    }
    if !signature.is_prehashed() {
        return Err(format!(
            "{shown} has the old form of signatures: make it again with `openclaw agents sign`"
        ));
    }
    let keys = keys.iter().filter_map(|key| minisign::PublicKey::from_base64(key.as_str()).ok());
    let mut keys = keys.filter(|key| key.keynum() == signature.keynum()).peekable();
    if keys.peek().is_none() {
        return Err(format!(
            "{shown} is by the key {}, which is none of libraries.keys: sign with one of those, or add it",
            id(signature.keynum())
        ));
    }
    for key in keys {
        content.rewind().map_err(|error| format!("the signed copy cannot be read: {error}"))?;
        if minisign::verify(&key, &signature, &mut *content, true, false, false).is_ok() {
            return Ok(());
        }
    }
    Err(format!("{shown} is the signature of another file: make it again with `openclaw agents sign`"))
}

/// A key's id as minisign shows it.
fn id(keynum: &[u8]) -> String {
    keynum.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}
