//! A PostgreSQL of a test's own.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait_for;

/// A server and its folder. It ends by itself, soon after the test.
pub struct Postgres {
    /// Where it is, for `[database] url`.
    pub url: String,
    folder: TempDir,
}

impl Postgres {
    /// Starts one; none where there is no PostgreSQL, which is said.
    pub fn start() -> Result<Option<Self>> {
        Self::by(script(), |url| url)
    }

    /// One that other machines reach at `address`; `machine` is what has a program run where it is.
    pub fn start_on(mut machine: Command, address: &str) -> Result<Option<Self>> {
        machine.arg(script().get_program()).env("LISTEN", address);
        let address = address.to_owned();
        Self::by(machine, |_| format!("postgres://postgres@{address}/postgres"))
    }

    /// The server's own process.
    pub fn pid(&self) -> Result<Pid> {
        let note = fs::read_to_string(self.folder.path().join("data/postmaster.pid"))?;
        Ok(Pid::from_raw(note.lines().next().context("a pid")?.parse()?))
    }

    /// Ends it at once, and waits until nobody is left of it; what was committed is there when it is [back](Self::back).
    pub fn crash(&self) -> Result<()> {
        let pid = self.pid()?;
        kill(pid, Signal::SIGQUIT)?;
        wait_for("the server to be gone", || Ok((kill(pid, None) == Err(Errno::ESRCH)).then_some(())))
    }

    /// Starts it again.
    pub fn back(&self) -> Result<()> {
        let output = script().arg(std::process::id().to_string()).arg(self.folder.path()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "scripts/postgres does not start it again: {said}");
        Ok(())
    }

    fn by(mut script: Command, url: impl FnOnce(String) -> String) -> Result<Option<Self>> {
        // Short, since a socket lies in it; the server's user must get in.
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?;
        let output = script.arg(std::process::id().to_string()).arg(folder.path()).output()?;
        if output.status.success() {
            let own = format!("{}&dbname=postgres", String::from_utf8(output.stdout)?.trim());
            return Ok(Some(Self { url: url(own), folder }));
        }
        let ci = std::env::var("CI").as_deref() == Ok("true");
        ensure!(!ci, "scripts/postgres starts no server: {}", String::from_utf8_lossy(&output.stderr));
        eprintln!("skipped: there is no PostgreSQL (apt-get install postgresql)");
        Ok(None)
    }
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres"))
}
