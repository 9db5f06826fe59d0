//! The units: as systemd reads them, and under a real systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use openclaw_tests::built;

/// A missing tool is a failure where everything is meant to be tried.
fn missing(what: &str) -> Result<()> {
    ensure!(std::env::var("CI").as_deref() != Ok("true"), "{what} is missing");
    eprintln!("skipped: {what} is missing");
    Ok(())
}

fn has(program: &str) -> bool {
    std::env::var("PATH")
        .is_ok_and(|path| path.split(':').any(|folder| Path::new(folder).join(program).exists()))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The unit files for a prefix where the program is.
fn rendered() -> Result<(tempfile::TempDir, Vec<PathBuf>)> {
    let place = tempfile::tempdir()?;
    let prefix = place.path().join("the claw");
    fs::create_dir_all(prefix.join("bin"))?;
    std::os::unix::fs::symlink(built()?.join("openclaw"), prefix.join("bin/openclaw"))?;
    let said = Command::new("systemd-analyze").arg("--version").output()?.stdout;
    let said = String::from_utf8(said)?;
    let version = said.split_whitespace().nth(1).context("a version")?;
    let systemd: u32 = version.split(|c: char| !c.is_ascii_digit()).next().context("a number")?.parse()?;
    let mut files = Vec::new();
    for entry in fs::read_dir(repository().join("units"))? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_owned();
        if path.extension().is_none_or(|end| end == "rules") {
            continue;
        }
        let text = fs::read_to_string(&path)?.replace("/opt/openclaw", &prefix.display().to_string());
        // As the installer does: `#247: ProtectProc=…` is for systemd 247 and later.
        let line = |line: &str| match line.strip_prefix('#').and_then(|line| line.split_once(": ")) {
            Some((since, later)) if since.parse::<u32>().is_ok_and(|since| since <= systemd) => {
                later.to_owned()
            }
            _ => line.to_owned(),
        };
        let text = text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n";
        let to = place.path().join(name);
        fs::write(&to, text)?;
        files.push(to);
    }
    ensure!(files.len() > 10, "{files:?}");
    Ok((place, files))
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() -> Result<()> {
    if !has("systemd-analyze") {
        return missing("systemd-analyze");
    }
    let (_place, files) = rendered()?;
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&files).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}

#[test]
fn every_service_is_exposed_by_two_at_the_most() -> Result<()> {
    if !has("systemd-analyze") {
        return missing("systemd-analyze");
    }
    let (_place, files) = rendered()?;
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "service")) {
        let mut call = Command::new("systemd-analyze");
        call.args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(file);
        let output = call.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(said.contains("Overall exposure level"), "{}: {said}", file.display());
        ensure!(output.status.success(), "{}: {said}", file.display());
    }
    Ok(())
}

/// One container for all: `scripts/systemd-boot` prints each check.
#[test]
fn systemd_boot() -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: a real systemd needs root");
        return Ok(());
    }
    for program in ["systemd-nspawn", "redis-server", "nsenter", "pgrep"] {
        if !has(program) {
            return missing(program);
        }
    }
    let mut versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    if !versions.any(|version| version.path().join("bin/postgres").exists()) {
        return missing("postgresql");
    }
    let output = Command::new(repository().join("scripts/systemd-boot")).arg(built()?).output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{out}{err}");
    Ok(())
}
