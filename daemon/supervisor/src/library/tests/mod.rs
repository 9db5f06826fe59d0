//! Files as operators, builds and enemies leave them.

mod admit;
mod place;
mod records;
mod signatures;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use tempfile::TempDir;

use super::{Admitted, Libraries, Options, Refusal, Trust};

/// A home with an agents folder and a vault.
struct Home {
    dir: TempDir,
    libraries: Libraries,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("agents")).unwrap();
        let libraries = open(dir.path());
        Self { dir, libraries }
    }

    /// As after a restart of the daemon.
    fn reopen(self) -> Self {
        self.libraries.save().unwrap();
        Self { libraries: open(self.dir.path()), dir: self.dir }
    }

    fn agents(&self) -> PathBuf {
        self.dir.path().join("agents")
    }

    fn put(&self, file: &str, content: &[u8]) -> PathBuf {
        let path = self.agents().join(file);
        fs::write(&path, content).unwrap();
        path
    }

    fn admit(&self, file: impl AsRef<Path>, trust: &Trust) -> Result<Admitted, Refusal> {
        self.libraries.admit(&atlas(), file.as_ref(), trust, now())
    }

    /// Why it is refused; nothing of it must stay.
    fn refused(&self, file: impl AsRef<Path>, trust: &Trust) -> String {
        let before = self.vault();
        let refusal = self.admit(file, trust).unwrap_err().to_string();
        assert_eq!(self.vault(), before);
        assert!(!refusal.contains('\n'), "{refusal}");
        refusal
    }

    fn vault(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir.path().join("libraries")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn open(home: &Path) -> Libraries {
    let (vault, agents) = (home.join("libraries"), home.join("agents"));
    Libraries::open(Options { vault, agents, keep: 2 }).unwrap()
}

fn atlas() -> AgentName {
    "atlas".parse().unwrap()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// The smallest whole library: a header, a segment to load, a dynamic one, and `content` in them, then two sections.
fn library(content: &[u8]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    const SECTION: u64 = 64;
    let (offset, length) = (HEADER + 2 * SEGMENT, content.len() as u64);
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let word = |file: &mut Vec<u8>, words: &[u64]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
    file.extend(3_u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    word(&mut file, &[0, HEADER, offset + length]);
    file.extend(0_u32.to_le_bytes());
    [HEADER as u16, SEGMENT as u16, 2, SECTION as u16, 2, 0]
        .iter()
        .for_each(|h| file.extend(h.to_le_bytes()));
    for kind in [1_u32, 2] {
        file.extend(kind.to_le_bytes());
        file.extend(4_u32.to_le_bytes());
        word(&mut file, &[offset, offset, offset, length, length, 4096]);
    }
    file.extend(content);
    file.extend([0; SECTION as usize]);
    file.extend(0_u32.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    word(&mut file, &[0, offset, offset, length, 0, 1, 0]);
    file
}
