//! What the benchmarks look at: processes, the machine, and a team of three.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::statfs::statfs;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use openclaw_tests::socket::Socket;
use serde_json::{Value, json};

/// The shipped agents.
pub const TEAM: [&str; 3] = ["milkbot", "atlas", "scout"];

/// The shipped configuration, as an operator starts with it.
pub const SHIPPED: &str = include_str!("../../../../config/openclaw.toml");

/// Lets the machine come to rest before something is measured.
pub fn pause(time: Duration) {
    #[allow(clippy::disallowed_methods, reason = "rest before a measurement; nothing is waited for")]
    std::thread::sleep(time);
}

/// The status document.
pub fn status(socket: &mut Socket) -> Result<Value> {
    let answer = socket.call(json!("status"))?;
    answer.map_err(|error| anyhow::anyhow!("the status was refused: {error}"))
}

/// The agents of a status document that are ready, with their hosts' numbers.
pub fn ready(status: &Value) -> Vec<(&str, i32)> {
    let components = status["components"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = components.iter().filter(|part| part["kind"] == "agent" && part["state"] == "ready");
    ready.filter_map(|part| Some((part["name"].as_str()?, part["pid"].as_i64()? as i32))).collect()
}

/// The processor time that a living process has used, of all its threads, to the nanosecond.
pub fn processor_time(pid: i32) -> Result<Duration> {
    let clock: ClockId = clock_getcpuclockid(Pid::from_raw(pid))?;
    Ok(clock_gettime(clock)?.into())
}

/// The sum of these fields of a file of `/proc/PID`, in MB of a million bytes.
pub fn megabytes(pid: i32, file: &str, fields: &[&str]) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let field = |name: &&str| {
        let line = text.lines().find(|line| line.split(':').next() == Some(*name));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kibibytes.with_context(|| format!("{name} of process {pid}"))
    };
    let sum: f64 = fields.iter().map(field).sum::<Result<f64>>()?;
    Ok(sum * 1024.0 / 1e6)
}

/// One line about where the numbers come from.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = load.split_whitespace().take(1).collect();
    let temp = std::env::temp_dir();
    format!(
        "{cores} cores, Linux {}, load {}, homes in {} ({})",
        kernel.trim(),
        load.concat(),
        temp.display(),
        file_system(&temp)
    )
}

/// On a tmpfs nothing is ever synced, and messages are faster than they will be.
fn file_system(path: &Path) -> String {
    use nix::sys::statfs::{
        BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC,
    };
    match statfs(path).map(|found| found.filesystem_type()) {
        Ok(TMPFS_MAGIC) => "tmpfs: NOTHING IS SYNCED HERE, set TMPDIR to a disk".into(),
        Ok(EXT4_SUPER_MAGIC) => "ext4".into(),
        Ok(XFS_SUPER_MAGIC) => "xfs".into(),
        Ok(BTRFS_SUPER_MAGIC) => "btrfs".into(),
        Ok(OVERLAYFS_SUPER_MAGIC) => "overlay".into(),
        Ok(other) => format!("file system {other:?}"),
        Err(error) => error.to_string(),
    }
}
