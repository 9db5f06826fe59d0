//! What it tries with files.

use std::fs::{File, Permissions, set_permissions};
use std::io::{BufRead, BufReader, Result};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::SystemTime;

/// A folder's first name, or a file's first line.
pub fn read(path: &str) -> Result<String> {
    if std::fs::metadata(path)?.is_dir() {
        let first = std::fs::read_dir(path)?.next().transpose()?;
        return Ok(first.map(|entry| entry.file_name().to_string_lossy().into_owned()).unwrap_or_default());
    }
    let mut line = Vec::new();
    BufReader::new(File::open(path)?).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().into())
}

/// By its path, where it cannot be opened; else by its descriptor.
pub fn chmod(path: &str) -> Result<()> {
    let all = Permissions::from_mode(0o777);
    match File::open(path) {
        Ok(file) => file.set_permissions(all),
        Err(_) => set_permissions(path, all),
    }
}

/// As `touch` does: no right to open it is needed.
pub fn touch(path: &str) -> Result<()> {
    let file = File::open(path)?;
    file.set_modified(SystemTime::UNIX_EPOCH)
}

/// Each open goes through thousands of places, and ends nowhere.
pub fn round() -> Result<()> {
    std::fs::create_dir("there")?;
    symlink("there/../".repeat(400) + ".", "round")?;
    let path = "round/".repeat(39) + "nothing";
    while !std::fs::exists("over")? {
        drop(File::open(&path));
    }
    Ok(())
}
