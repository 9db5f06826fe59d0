//! The vault: `<sha256>.so`, read-only, never written again, and what is known of each.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;

use super::copy::{Copies, UNFINISHED};
use super::elf;
use super::hash::{self, Hash};
use super::manifest::{Entry, Last, Manifest, Verdict};
use super::stamp::Stamp;
use super::trust::{self, Trust, signatures};
use super::verify::{self, Refusal};
use crate::sentence::sentence;

/// Where libraries come from and go to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The vault: `<home>/libraries`.
    pub vault: PathBuf,
    /// The agents folder, absolute.
    pub agents: PathBuf,
    /// Good libraries kept for each agent.
    pub keep: usize,
}

/// A library that is in the vault now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What it is known by.
    pub hash: Hash,
    /// Whether this agent has had it before.
    pub new: bool,
}

/// All agents' libraries. Shared; every function blocks.
#[derive(Debug)]
pub struct Libraries {
    options: Options,
    state: Mutex<State>,
    /// Held while the manifest is written, so that an older one never follows a newer one.
    saving: Mutex<()>,
    copies: Copies,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    seen: BTreeMap<AgentName, Stamp>,
    changed: bool,
}

/// The fewest digits that name a library.
const PREFIX: usize = 4;
/// A reason for a bad verdict is as long as one line of the history.
const REASON: usize = 400;

impl Libraries {
    /// Opens or makes the vault, and clears what an earlier daemon left unfinished.
    ///
    /// # Errors
    /// The folder cannot be made, closed to others, or read.
    pub fn open(options: Options) -> io::Result<Self> {
        let vault = &options.vault;
        DirBuilder::new().recursive(true).mode(0o700).create(vault)?;
        fs::set_permissions(vault, Permissions::from_mode(0o700))?;
        for file in fs::read_dir(vault)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        let manifest = Manifest::read(&vault.join("manifest.json"))?;
        let state = State { manifest, seen: BTreeMap::new(), changed: false };
        let copies = Copies::new(vault);
        Ok(Self { options, state: Mutex::new(state), saving: Mutex::new(()), copies })
    }

    /// Verifies the library that is configured as `file`, and takes it into the vault. One that is as it was is not read
    /// again.
    ///
    /// # Errors
    /// [`Refusal`]: why not. The vault is as before.
    pub fn admit(
        &self,
        agent: &AgentName,
        file: &Path,
        trust: &Trust,
        now: DateTime<Utc>,
    ) -> Result<Admitted, Refusal> {
        let shown = self.options.agents.join(file);
        self.see(agent, Stamp::of(&shown));
        let opened = verify::open(agent, &self.options.agents, file)?;
        let stamp = Stamp::with(&opened.meta, &shown);
        self.see(agent, Some(stamp.clone()));
        if let Some(hash) = self.unchanged(agent, &stamp, trust) {
            return Ok(Admitted { hash, new: false });
        }
        elf::inspect(&opened.file, &shown)?;
        let mut copy = self.copies.copy(opened, &stamp)?;
        let signature = match trust {
            Trust::Any => None,
            Trust::Pinned(pins) => {
                trust::pinned(agent, &shown, &copy.hash, pins)?;
                None
            }
            Trust::Signed(keys) => Some(trust::signed(&shown, &signatures(&shown), keys, copy.content())?),
        };
        let mut state = self.state();
        // Under the lock: else it could be swept away before it is known.
        let kept = self.copies.keep(&copy, signature, &self.path(&copy.hash));
        kept.map_err(|error| self.copies.failed(&shown, &error))?;
        let last = Last { stamp, trust: trust.clone(), hash: copy.hash.clone() };
        let new = state.manifest.agents.entry(agent.clone()).or_default().admit(last, copy.size, now);
        state.changed = true;
        Ok(Admitted { hash: copy.hash.clone(), new })
    }

    /// Where a library is: absolute, for a host. Nobody has said that it is there.
    pub fn path(&self, hash: &Hash) -> PathBuf {
        self.options.vault.join(format!("{hash}.so"))
    }

    /// The stamp of what was last offered for admission, successfully or not.
    pub fn seen(&self, agent: &AgentName) -> Option<Stamp> {
        self.state().seen.get(agent).cloned()
    }

    /// Notes what the library's own manifest says.
    pub fn set_version(&self, agent: &AgentName, hash: &Hash, version: &str) {
        let (mut state, version) = (self.state(), sentence(version, 64));
        let entry = state.manifest.agents.get_mut(agent).and_then(|shelf| shelf.get_mut(hash));
        if let Some(entry) = entry
            && entry.version.as_ref() != Some(&version)
        {
            entry.version = Some(version);
            state.changed = true;
        }
    }

    /// Notes what became of a library.
    pub fn judge(&self, agent: &AgentName, hash: &Hash, verdict: Verdict, now: DateTime<Utc>) {
        let verdict = match verdict {
            Verdict::Bad { reason } => Verdict::Bad { reason: sentence(&reason, REASON) },
            Verdict::Left { reason } => Verdict::Left { reason: sentence(&reason, REASON) },
            other => other,
        };
        let size = fs::metadata(self.path(hash)).map_or(0, |meta| meta.len());
        let mut state = self.state();
        let shelf = state.manifest.agents.entry(agent.clone()).or_default();
        if shelf.get(hash).is_none() {
            shelf.entries.insert(0, Entry::untried(hash.clone(), size, now));
        }
        if let Some(entry) = shelf.get_mut(hash)
            && entry.verdict != verdict
        {
            (entry.verdict, entry.judged_at) = (verdict, Some(now));
            state.changed = true;
        }
    }

    /// What became of a library, if the agent has had it.
    pub fn verdict(&self, agent: &AgentName, hash: &Hash) -> Option<Verdict> {
        Some(self.state().manifest.agents.get(agent)?.get(hash)?.verdict.clone())
    }

    /// The agent's libraries; that which was admitted last comes first.
    pub fn entries(&self, agent: &AgentName) -> Vec<Entry> {
        self.state().manifest.agents.get(agent).map(|shelf| shelf.entries.clone()).unwrap_or_default()
    }

    /// The one library of the agent whose hash begins so.
    ///
    /// # Errors
    /// A sentence: there is none, or more than one.
    pub fn find(&self, agent: &AgentName, prefix: &str) -> Result<Hash, String> {
        if prefix.len() < PREFIX {
            return Err(format!(
                "`{}` is too short: write at least {PREFIX} digits of the hash",
                sentence(prefix, 64)
            ));
        }
        let entries = self.entries(agent);
        let mut fits = entries.iter().filter(|entry| entry.hash.as_str().starts_with(prefix));
        let shown = sentence(prefix, 64);
        let known = || {
            let known: Vec<_> = entries.iter().map(|entry| entry.hash.short()).collect();
            if known.is_empty() {
                "it has none yet".into()
            } else {
                format!("known are {}", known.join(", "))
            }
        };
        match (fits.next(), fits.next()) {
            (Some(entry), None) => Ok(entry.hash.clone()),
            (None, _) => {
                Err(format!("`{agent}` has no library whose hash begins with `{shown}`: {}", known()))
            }
            _ => Err(format!(
                "more than one library of `{agent}` begins with `{shown}`: write more of the hash"
            )),
        }
    }

    /// The newest good library of the agent, other than `but`, that is there.
    pub fn last_good(&self, agent: &AgentName, but: &Hash) -> Option<Hash> {
        let entries = self.entries(agent).into_iter().filter(|entry| entry.is_good() && entry.hash != *but);
        entries.map(|entry| entry.hash).find(|hash| self.path(hash).is_file())
    }

    /// Whether a library that the agent had may be started again: it is there as it was, and trusted as is configured now.
    ///
    /// # Errors
    /// A sentence: why not.
    pub fn recheck(&self, agent: &AgentName, hash: &Hash, trust: &Trust) -> Result<(), String> {
        let path = self.path(hash);
        let gone = |error: io::Error| {
            format!(
                "{} is not in the vault any more ({error}): copy the library to the agents folder again",
                hash.short()
            )
        };
        let mut file = File::open(&path).map_err(gone)?;
        let size = file.metadata().map_err(gone)?.len();
        let (known, last) = {
            let state = self.state();
            let shelf = state.manifest.agents.get(agent);
            let last = shelf.and_then(|shelf| shelf.admitted.as_ref());
            (
                shelf.and_then(|shelf| shelf.get(hash)).map(|entry| entry.size),
                last.is_some_and(|last| last.hash == *hash && last.trust == *trust),
            )
        };
        // Whoever asks for a pin or a signature asks for it of what is run, not of what was copied once.
        let same = match known {
            Some(known) if *trust == Trust::Any => known == size,
            _ => hash::of(&mut file).map_err(gone)? == *hash,
        };
        if !same {
            let shown = path.display();
            return Err(format!(
                "{shown} is not what it was: remove it, and copy the library to the agents folder again"
            ));
        }
        match trust {
            _ if last => Ok(()),
            Trust::Any => Ok(()),
            Trust::Pinned(pins) => trust::pinned(agent, &path, hash, pins),
            Trust::Signed(keys) => trust::signed(&path, &[trust::beside(&path)], keys, &mut file).map(drop),
        }
    }

    /// Forgets what nobody needs: beyond the good ones that are kept, what is `in_use` by any agent, and the records of
    /// bad ones.
    pub fn prune(&self, agent: &AgentName, in_use: &[Hash]) {
        let mut state = self.state();
        if let Some(shelf) = state.manifest.agents.get_mut(agent) {
            let before = shelf.entries.len();
            shelf.prune(self.options.keep, in_use);
            state.changed |=
                state.manifest.agents.get(agent).is_some_and(|shelf| shelf.entries.len() != before);
        }
        let shelves = state.manifest.agents.values();
        let last = shelves.clone().filter_map(|shelf| shelf.admitted.as_ref()).map(|last| &last.hash);
        let kept = shelves.flat_map(|shelf| &shelf.entries).filter(|entry| entry.has_file());
        let kept: Vec<&Hash> = kept.map(|entry| &entry.hash).chain(last).chain(in_use).collect();
        // Under the lock: else a library that is admitted meanwhile would be taken for a stranger.
        if let Err(error) = self.sweep(&kept) {
            tracing::warn!(vault = %self.options.vault.display(), %error, "old libraries cannot be removed");
        }
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// Those of the file system; it is then tried again the next time.
    pub fn save(&self) -> io::Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let manifest = {
            let mut state = self.state();
            if !std::mem::take(&mut state.changed) {
                return Ok(());
            }
            state.manifest.clone()
        };
        let saved = manifest.write(&self.options.vault.join("manifest.json"));
        if saved.is_err() {
            self.state().changed = true;
        }
        saved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change leaves it half done, so a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, agent: &AgentName, stamp: Option<Stamp>) {
        let seen = &mut self.state().seen;
        match stamp {
            Some(stamp) => seen.insert(agent.clone(), stamp),
            None => seen.remove(agent),
        };
    }

    fn unchanged(&self, agent: &AgentName, stamp: &Stamp, trust: &Trust) -> Option<Hash> {
        let state = self.state();
        let shelf = state.manifest.agents.get(agent)?;
        let last = shelf.admitted.as_ref().filter(|last| last.stamp == *stamp && last.trust == *trust)?;
        let size = shelf.get(&last.hash)?.size;
        let there = fs::metadata(self.path(&last.hash)).is_ok_and(|meta| meta.len() == size);
        there.then(|| last.hash.clone())
    }

    fn sweep(&self, kept: &[&Hash]) -> io::Result<()> {
        for file in fs::read_dir(&self.options.vault)? {
            let file = file?;
            let name = file.file_name();
            let hash =
                name.to_str().and_then(|name| name.split_once(".so")).and_then(|(hash, _)| hash.parse().ok());
            if hash.is_some_and(|hash: Hash| !kept.contains(&&hash)) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }
}
