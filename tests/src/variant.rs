//! Versions of the chameleon, a test agent, each made in a copy of the one library that was compiled.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::built;
use crate::daemon::Home;

/// The agent.
pub const NAME: &str = "chameleon";

/// Under an agent whose effects are files outside of its working folder: what is tried is not the sandbox.
pub const UNBOXED: &str = "sandbox = \"off\"\n";

/// Where the chameleon says what it is: see `tests/agents/chameleon`.
const BEGINNING: &[u8] = b"CHAMELEON-MARKER:";
/// Of the whole, which also begins at a multiple of it.
const LENGTH: usize = 128;

/// A version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    version: u32,
    behaviour: &'static str,
    library: &'static str,
}

impl Variant {
    /// One that is well.
    pub const fn good(version: u32) -> Self {
        Self::new(version, "good")
    }

    /// One with a behaviour of the chameleon's, such as `create-hangs`.
    pub const fn new(version: u32, behaviour: &'static str) -> Self {
        Self { version, behaviour, library: NAME }
    }

    /// The same as a library built with `panic = "abort"`.
    pub const fn aborting(self) -> Self {
        Self { library: "aborting", ..self }
    }

    /// Of it.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// As its replies begin.
    pub fn says(&self, text: &str) -> String {
        format!("v{} {text}", self.version)
    }

    /// The library.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let (mut bytes, at) = self.compiled()?;
        let text = format!("{};{}", self.version, self.behaviour);
        let room = LENGTH - BEGINNING.len();
        ensure!(text.len() < room, "`{text}` is longer than {room} bytes");
        let place = &mut bytes[at + BEGINNING.len()..at + LENGTH];
        place.fill(0);
        place[..text.len()].copy_from_slice(text.as_bytes());
        Ok(bytes)
    }

    /// The SHA-256 of the library, as hexadecimal digits.
    pub fn hash(&self) -> Result<String> {
        Ok(hash(&self.bytes()?))
    }

    /// As much of the hash as people are shown.
    pub fn short(&self) -> Result<String> {
        Ok(self.hash()?[..12].into())
    }

    fn compiled(&self) -> Result<(Vec<u8>, usize)> {
        static PLACES: [OnceLock<usize>; 2] = [OnceLock::new(), OnceLock::new()];
        let path = built()?.join(format!("lib{}.so", self.library));
        let bytes = fs::read(&path)
            .with_context(|| format!("{}: `cargo build -p {}` makes it", path.display(), self.library))?;
        let place = &PLACES[usize::from(self.library != NAME)];
        if let Some(at) = place.get() {
            return Ok((bytes, *at));
        }
        let blocks = bytes.chunks_exact(LENGTH).enumerate();
        let marked = blocks.filter(|(_, block)| block.starts_with(BEGINNING));
        match marked.map(|(number, _)| number * LENGTH).collect::<Vec<_>>()[..] {
            [at] => Ok((bytes, *place.get_or_init(|| at))),
            ref found => bail!("{} is marked {} times, not once", path.display(), found.len()),
        }
    }
}

/// The SHA-256 of these bytes, as hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Home {
    /// Where an agent's library belongs.
    pub fn library(&self, name: &str) -> PathBuf {
        self.path().join(format!("agents/lib{}.so", name.replace('-', "_")))
    }

    /// Puts a version into the agents folder as agent `name`'s: written beside, then moved over.
    pub fn put(&self, variant: &Variant, name: &str) -> Result<PathBuf> {
        let to = self.library(name);
        let beside = to.with_extension("so.new");
        fs::write(&beside, variant.bytes()?)?;
        fs::rename(beside, &to)?;
        Ok(to)
    }

    /// Where the daemon keeps a library of its own.
    pub fn kept(&self, hash: &str) -> PathBuf {
        self.path().join(format!("libraries/{hash}.so"))
    }

    /// The libraries that the daemon keeps, by their hashes.
    pub fn all_kept(&self) -> Result<Vec<String>> {
        let names = fs::read_dir(self.path().join("libraries"))?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<Result<Vec<_>>>()?;
        let hashes = names.iter().filter_map(|name| name.to_str()?.strip_suffix(".so"));
        Ok(hashes.map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_differs_from_what_was_compiled_in_its_marker_only() {
        let (compiled, at) = Variant::good(0).compiled().unwrap();
        assert_eq!(Variant::good(0).bytes().unwrap(), compiled);
        let other = Variant::new(31, "create-hangs").bytes().unwrap();
        assert_eq!((&other[..at], &other[at + LENGTH..]), (&compiled[..at], &compiled[at + LENGTH..]));
        assert!(other[at..].starts_with(b"CHAMELEON-MARKER:31;create-hangs\0"));
        assert_ne!(Variant::good(1).hash().unwrap(), Variant::good(2).hash().unwrap());
    }

    #[test]
    fn a_hash_is_known() {
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
