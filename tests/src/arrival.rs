//! The ways in which a library comes into the agents folder.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;

use crate::daemon::Home;
use crate::variant::Variant;

/// One of them. What the folder's watch is shown differs with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `cp`, over the old file in place where there is one.
    Copied,
    /// `mv` from another folder.
    Moved,
    /// `rsync`: a hidden file beside it, then moved over.
    Rsynced,
    /// cargo: the old file removed, then a hard link to what it built.
    HardLinked,
    /// A linker: moved over while it is still being written.
    Linked,
    /// `ln -sfn release-2/libx.so libx.so`.
    SymlinkToFile,
    /// `ln -sfn release-2 current`, with libx.so a link to current/libx.so.
    SymlinkToRelease,
    /// `ln -sfn ../releases/2 agents`: the agents folder itself is a link.
    SymlinkedFolder,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Copied,
        Self::Moved,
        Self::Rsynced,
        Self::HardLinked,
        Self::Linked,
        Self::SymlinkToFile,
        Self::SymlinkToRelease,
        Self::SymlinkedFolder,
    ];

    /// Brings a version there as agent `name`'s.
    pub fn bring(self, home: &Home, variant: &Variant, name: &str) -> Result<()> {
        let (to, bytes) = (home.library(name), variant.bytes()?);
        let agents = home.path().join("agents");
        let file = format!("lib{}.so", name.replace('-', "_"));
        let release = format!("release-{}", variant.version());
        match self {
            Self::Copied => fs::write(to, bytes)?,
            Self::Moved => fs::rename(elsewhere(home, &file, &bytes)?, to)?,
            Self::Rsynced => {
                let beside = agents.join(format!(".{file}.Xw2aQ9"));
                fs::write(&beside, bytes)?;
                fs::rename(beside, to)?;
            }
            Self::HardLinked => {
                let built = elsewhere(home, &format!("{release}-{file}"), &bytes)?;
                if to.exists() {
                    fs::remove_file(&to)?;
                }
                fs::hard_link(built, to)?;
            }
            Self::Linked => {
                let beside = agents.join(format!("{file}.rcgu"));
                let mut open = File::create(&beside)?;
                let (before, after) = bytes.split_at(bytes.len() / 2);
                open.write_all(before)?;
                fs::rename(beside, to)?;
                open.write_all(after)?;
            }
            Self::SymlinkToFile => {
                released(&agents.join(&release), &file, &bytes)?;
                point(&to, &Path::new(&release).join(file))?;
            }
            Self::SymlinkToRelease => {
                released(&agents.join(&release), &file, &bytes)?;
                point(&agents.join("current"), Path::new(&release))?;
                let link = Path::new("current").join(file);
                if fs::read_link(&to).ok().as_ref() != Some(&link) {
                    point(&to, &link)?;
                }
            }
            Self::SymlinkedFolder => {
                let folder = home.path().join("releases").join(&release);
                released(&folder, &file, &bytes)?;
                if !agents.is_symlink() {
                    fs::remove_dir_all(&agents)?;
                }
                point(&agents, &folder)?;
            }
        }
        Ok(())
    }
}

/// A library that is being written: the first `percent` of it.
pub struct Growing {
    file: File,
    rest: Vec<u8>,
}

impl Growing {
    /// Begins to write it in place, over the old file where there is one.
    pub fn begin(home: &Home, variant: &Variant, name: &str, percent: usize) -> Result<Self> {
        let mut bytes = variant.bytes()?;
        let rest = bytes.split_off(bytes.len() * percent / 100);
        let mut file = File::create(home.library(name))?;
        file.write_all(&bytes)?;
        Ok(Self { file, rest })
    }

    /// Writes so many bytes more; answers whether that was all.
    pub fn grow(&mut self, bytes: usize) -> Result<bool> {
        let more: Vec<u8> = self.rest.drain(..bytes.min(self.rest.len())).collect();
        self.file.write_all(&more)?;
        Ok(self.rest.is_empty())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        self.grow(usize::MAX).map(drop)
    }
}

/// A file outside the agents folder, on the same file system.
fn elsewhere(home: &Home, file: &str, bytes: &[u8]) -> Result<std::path::PathBuf> {
    released(&home.path().join("built"), file, bytes)
}

fn released(folder: &Path, file: &str, bytes: &[u8]) -> Result<std::path::PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(file);
    fs::write(&path, bytes)?;
    Ok(path)
}

/// `ln -sfn TARGET LINK`, as coreutils does it: a link beside, moved over.
fn point(link: &Path, target: &Path) -> Result<()> {
    let beside = link.with_extension("ln");
    symlink(target, &beside)?;
    Ok(fs::rename(beside, link)?)
}
