//! Real servers of a test's own. Where one is not installed the test is skipped, and with `CI=true` it fails.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Result, ensure};

/// What a test says of a server that it does without.
fn skipped(what: &str, package: &str, why: &str) -> Result<()> {
    let ci = std::env::var("CI").as_deref() == Ok("true");
    ensure!(!ci, "there is no {what}: {why}");
    eprintln!("skipped: there is no {what} (apt-get install {package})");
    Ok(())
}

/// The URL of a PostgreSQL whose files are in `folder`. It ends by itself, after this process.
pub fn postgres(folder: &Path) -> Result<Option<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
    let output = Command::new(script).arg(std::process::id().to_string()).arg(folder).output()?;
    if output.status.success() {
        return Ok(Some(format!("{}&dbname=postgres", String::from_utf8(output.stdout)?.trim())));
    }
    skipped("PostgreSQL", "postgresql", &String::from_utf8_lossy(&output.stderr))?;
    Ok(None)
}

/// A Redis; ended when dropped.
pub struct Redis(Child);

impl Redis {
    /// One on that port of the loopback.
    pub fn start(port: u16) -> Result<Option<Self>> {
        let port = port.to_string();
        let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"];
        let child =
            Command::new("redis-server").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        match child {
            Ok(child) => Ok(Some(Self(child))),
            Err(error) => {
                skipped("Redis", "redis-server", &error.to_string())?;
                Ok(None)
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
