//! A PostgreSQL of a test's own.

use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

/// A server and its folder. It ends by itself, soon after the test.
pub struct Postgres {
    /// Where it is, for `[database] url`.
    pub url: String,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one; none where there is no PostgreSQL, which is said.
    pub fn start() -> Result<Option<Self>> {
        let script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres"));
        Self::by(script, |url| url)
    }

    /// One that other machines reach at `address`; `machine` is what has a program run where it is.
    pub fn start_on(mut machine: Command, address: &str) -> Result<Option<Self>> {
        machine.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres")).env("LISTEN", address);
        let address = address.to_owned();
        Self::by(machine, |_| format!("postgres://postgres@{address}/postgres"))
    }

    fn by(mut script: Command, url: impl FnOnce(String) -> String) -> Result<Option<Self>> {
        // Short, since a socket lies in it; the server's user must get in.
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?;
        let output = script.arg(std::process::id().to_string()).arg(folder.path()).output()?;
        if output.status.success() {
            let own = format!("{}&dbname=postgres", String::from_utf8(output.stdout)?.trim());
            return Ok(Some(Self { url: url(own), _folder: folder }));
        }
        let ci = std::env::var("CI").as_deref() == Ok("true");
        ensure!(!ci, "scripts/postgres starts no server: {}", String::from_utf8_lossy(&output.stderr));
        eprintln!("skipped: there is no PostgreSQL (apt-get install postgresql)");
        Ok(None)
    }
}
