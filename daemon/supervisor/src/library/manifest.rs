//! What the vault knows of each library, kept as `manifest.json` in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::stamp::Stamp;
use super::trust::Trust;

/// What became of a library when it was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Not yet known.
    Untried,
    /// It survived its probation.
    Good,
    /// Somebody went back from it; not tried again by itself.
    Left {
        /// Who, and why.
        reason: String,
    },
    /// It failed; not tried again by itself.
    Bad {
        /// Why.
        reason: String,
    },
}

/// A library that an agent has, or had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is known by.
    pub hash: Hash,
    /// What its manifest says, once it was started.
    pub version: Option<String>,
    /// In bytes.
    pub size: u64,
    /// When it first came.
    pub first_seen: DateTime<Utc>,
    /// When the verdict was given.
    pub judged_at: Option<DateTime<Utc>>,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// One agent's libraries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Shelf {
    /// The file that was admitted last.
    pub admitted: Option<Last>,
    /// That which was admitted last comes first.
    pub entries: Vec<Entry>,
}

/// What was admitted last: the same again need not be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Last {
    pub stamp: Stamp,
    pub trust: Trust,
    pub hash: Hash,
}

impl Shelf {
    pub fn get(&self, hash: &Hash) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.hash == *hash)
    }

    pub fn get_mut(&mut self, hash: &Hash) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.hash == *hash)
    }

    /// Whether it is new.
    pub fn admit(&mut self, last: Last, size: u64, now: DateTime<Utc>) -> bool {
        let known = self.entries.iter().position(|entry| entry.hash == last.hash);
        let entry = match known {
            Some(at) => Entry { size, ..self.entries.remove(at) },
            None => Entry::untried(last.hash.clone(), size, now),
        };
        self.entries.insert(0, entry);
        self.admitted = Some(last);
        known.is_none()
    }

    /// Keeps the `keep` newest good ones, what is in use, what was admitted last, and of the bad ones the record.
    pub fn prune(&mut self, keep: usize, in_use: &[Hash]) {
        /// Records of bad libraries that are kept.
        const BAD: usize = 20;
        let last = self.admitted.as_ref().map(|last| &last.hash);
        let (mut good, mut left, mut bad) = (0, 0, 0);
        self.entries.retain(|entry| {
            let counted = match entry.verdict {
                Verdict::Good => {
                    good += 1;
                    good <= keep
                }
                Verdict::Left { .. } => {
                    left += 1;
                    left <= keep
                }
                Verdict::Bad { .. } => {
                    bad += 1;
                    bad <= BAD
                }
                Verdict::Untried => false,
            };
            counted || last == Some(&entry.hash) || in_use.contains(&entry.hash)
        });
    }
}

impl Entry {
    pub(super) fn untried(hash: Hash, size: u64, first_seen: DateTime<Utc>) -> Self {
        Self { hash, version: None, size, first_seen, judged_at: None, verdict: Verdict::Untried }
    }

    pub(super) fn is_good(&self) -> bool {
        self.verdict == Verdict::Good
    }

    /// Whether its file is wanted, whoever uses it.
    pub(super) fn has_file(&self) -> bool {
        !matches!(self.verdict, Verdict::Bad { .. })
    }
}

/// All agents' libraries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub agents: BTreeMap<AgentName, Shelf>,
}

impl Manifest {
    /// Far more than a full one has.
    const LONGEST: u64 = 16 << 20;

    /// Empty where there is none. One that does not read is set aside.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(Self::LONGEST).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&text) {
            Ok(manifest) => Ok(manifest),
            Err(error) => {
                let aside = path.with_extension("json.bad");
                tracing::error!(file = %path.display(), aside = %aside.display(), %error,
                    "what was known of the libraries does not read, is set aside and begun anew");
                fs::rename(path, aside)?;
                Ok(Self::default())
            }
        }
    }

    /// All of it or nothing.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("json.tmp");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_data()?;
        fs::rename(new, path)
    }
}
