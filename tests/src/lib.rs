//! What the tests and benchmarks that cross crates share: a daemon of their own, spoken to as a user would.

pub mod arrival;
pub mod daemon;
pub mod http;
pub mod ledger;
pub mod network;
pub mod provider;
pub mod proxy;
pub mod server;
pub mod socket;
pub mod steady;
pub mod telegram;
pub mod variant;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The folder with the built binary and libraries: `scripts/test` and `scripts/bench` build them first.
pub fn built() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("this program's own path")?;
    // target/PROFILE/deps/NAME for a test, target/PROFILE/NAME for the benchmark.
    let folder = exe.parent().context("a folder of this program")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let folder = folder.to_path_buf();
    if !folder.join("openclaw").exists() {
        bail!("{} is not built: run `cargo build --workspace` first", folder.join("openclaw").display());
    }
    Ok(folder)
}

/// How long a test waits for what takes milliseconds on a machine that is not busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().with_context(|| format!("while waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what} has not come within {PATIENCE:?}");
        }
        #[allow(clippy::disallowed_methods, reason = "the pace of looking, not the wait itself")]
        std::thread::sleep(Duration::from_millis(5));
    }
}
