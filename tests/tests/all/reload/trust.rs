//! Whose libraries are taken: by mode, by place, by hash, by signature.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::variant::{NAME, Variant};
use openclaw_tests::wait_for;

use super::{FIRST, SECOND, canaries, config, library, refused, serves, stage, until_now};
use crate::support::{fails, pid};

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

#[test]
fn a_file_that_anybody_may_write() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    let beside = home.path().join("beside");
    fs::write(&beside, SECOND.bytes()?)?;
    mode(&beside, 0o666)?;
    fs::rename(beside, home.library(NAME))?;
    refused(&home, before, &FIRST, &["libchameleon.so", "anybody may write", "chmod o-w"])?;
    assert_eq!(canaries(&home)?, 0);
    mode(&home.library(NAME), 0o644)?;
    until_now(&home, NAME, &SECOND)
}

#[test]
fn a_folder_that_anybody_may_write() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    let agents = home.path().join("agents");
    mode(&agents, 0o777)?;
    home.put(&SECOND, NAME)?;
    refused(&home, before, &FIRST, &["agents", "anybody may write", "chmod o-w"])?;
    assert_eq!(canaries(&home)?, 0);
    mode(&agents, 0o755)?;
    home.ok(&["agents", "reload", NAME])?;
    serves(&home, &SECOND)
}

#[test]
fn a_link_that_leads_out_of_the_folder() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    let outside = home.path().join("outside.so");
    fs::write(&outside, SECOND.bytes()?)?;
    let beside = home.path().join("link");
    symlink(&outside, &beside)?;
    fs::rename(beside, home.library(NAME))?;
    refused(&home, before, &FIRST, &["libchameleon.so", "outside.so", "copy the library there"])?;
    assert_eq!(canaries(&home)?, 0);
    home.put(&SECOND, NAME)?;
    until_now(&home, NAME, &SECOND)
}

#[test]
fn what_is_not_pinned() -> Result<()> {
    let third = Variant::good(3);
    let own = format!("trust = \"pinned\"\npins = [\"{}\", \"{}\"]", FIRST.hash()?, third.hash()?);
    let (home, _daemon) = stage(&own, &FIRST)?;
    let before = pid(&home, NAME)?;
    home.put(&SECOND, NAME)?;
    refused(&home, before, &FIRST, &[&SECOND.hash()?, "agents.chameleon.pins"])?;
    assert_eq!(canaries(&home)?, 0);
    home.put(&third, NAME)?;
    until_now(&home, NAME, &third)?;
    assert!(library(&home)?["note"].is_null());
    Ok(())
}

/// Keys in a folder outside of the agents', made as an operator makes them.
struct Signer {
    folder: PathBuf,
    public: String,
    _place: tempfile::TempDir,
}

impl Signer {
    fn new(home: &Home, name: &str) -> Result<Self> {
        // Where agents run is no place for a secret key.
        let within = home.path().join(name).display().to_string();
        fails(home, 64, &["agents", "keygen", "--out", &within])?;
        let place = tempfile::tempdir()?;
        let folder = place.path().join(name);
        home.ok(&["agents", "keygen", "--out", &folder.display().to_string()])?;
        let public = fs::read_to_string(folder.join("openclaw.pub"))?;
        let public = public.lines().last().context("the key in a public key's file")?.to_owned();
        Ok(Self { folder, public, _place: place })
    }

    /// A signed version outside of the agents folder: the library and its signature.
    fn sign(&self, home: &Home, variant: &Variant) -> Result<(PathBuf, PathBuf)> {
        let folder = self.folder.join(variant.version().to_string());
        fs::create_dir_all(&folder)?;
        let file = folder.join("libchameleon.so");
        fs::write(&file, variant.bytes()?)?;
        let key = self.folder.join("openclaw.key").display().to_string();
        home.ok(&["agents", "sign", &file.display().to_string(), "--key", &key])?;
        Ok((file, folder.join("libchameleon.so.minisig")))
    }

    /// Puts a signed version into the agents folder, the signature first.
    fn put(&self, home: &Home, variant: &Variant) -> Result<()> {
        let (_, signature) = self.sign(home, variant)?;
        fs::rename(signature, signature_of(home))?;
        home.put(variant, NAME).map(drop)
    }
}

fn signature_of(home: &Home) -> PathBuf {
    home.path().join("agents/libchameleon.so.minisig")
}

/// A daemon that takes what this signer has signed, and runs the first version.
fn signed() -> Result<(Home, Daemon, Signer)> {
    let home = Home::new("", &["scout"])?;
    let signer = Signer::new(&home, "keys")?;
    let keys = format!("[libraries]\nkeys = [\"{}\"]", signer.public);
    home.configure(&config("trust = \"signed\"").replace("[libraries]", &keys))?;
    signer.put(&home, &FIRST)?;
    let daemon = home.start_ready(&["scout", NAME])?;
    serves(&home, &FIRST)?;
    Ok((home, daemon, signer))
}

#[test]
fn what_is_signed_is_taken() -> Result<()> {
    let (home, daemon, signer) = signed()?;
    signer.put(&home, &SECOND)?;
    until_now(&home, NAME, &SECOND)?;
    // By `load` too, which takes the signature along.
    let third = Variant::good(3);
    let (file, _) = signer.sign(&home, &third)?;
    home.ok(&["agents", "load", &file.display().to_string()])?;
    serves(&home, &third)?;
    home.ok(&["agents", "rollback", NAME])?;
    serves(&home, &SECOND)?;
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["scout", NAME])?;
    serves(&home, &SECOND)
}

#[test]
fn what_is_not_signed() -> Result<()> {
    let (home, _daemon, _) = signed()?;
    let before = pid(&home, NAME)?;
    fs::remove_file(signature_of(&home))?;
    home.put(&SECOND, NAME)?;
    refused(&home, before, &FIRST, &["libchameleon.so", "is not signed", "openclaw agents sign"])?;
    assert_eq!(canaries(&home)?, 0);
    // A load without a signature does not pass under that of the file before.
    let folder = home.path().join("unsigned");
    fs::create_dir(&folder)?;
    let file = folder.join("libchameleon.so");
    fs::write(&file, Variant::good(3).bytes()?)?;
    let said = fails(&home, 1, &["agents", "load", &file.display().to_string()])?;
    ensure!(said.contains("is not signed"), "{said}");
    refused(&home, before, &FIRST, &["is not signed"])
}

#[test]
fn a_signature_that_comes_later_is_enough() -> Result<()> {
    let (home, _daemon, signer) = signed()?;
    let before = pid(&home, NAME)?;
    let (_, signature) = signer.sign(&home, &SECOND)?;
    home.put(&SECOND, NAME)?;
    refused(&home, before, &FIRST, &["signature of another file"])?;
    fs::rename(signature, signature_of(&home))?;
    until_now(&home, NAME, &SECOND)
}

#[test]
fn the_signature_of_another_file() -> Result<()> {
    let (home, _daemon, signer) = signed()?;
    let before = pid(&home, NAME)?;
    let (_, signature) = signer.sign(&home, &Variant::good(3))?;
    fs::rename(signature, signature_of(&home))?;
    home.put(&SECOND, NAME)?;
    refused(&home, before, &FIRST, &["libchameleon.so.minisig", "signature of another file"])?;
    assert_eq!(canaries(&home)?, 0);
    Ok(())
}

#[test]
fn a_signature_by_a_key_that_nobody_trusts() -> Result<()> {
    let (home, _daemon, _) = signed()?;
    let before = pid(&home, NAME)?;
    let stranger = Signer::new(&home, "stranger")?;
    stranger.put(&home, &SECOND)?;
    refused(&home, before, &FIRST, &["libchameleon.so.minisig", "libraries.keys"])?;
    assert_eq!(canaries(&home)?, 0);
    Ok(())
}

#[test]
fn what_is_no_signature() -> Result<()> {
    let (home, _daemon, _) = signed()?;
    let before = pid(&home, NAME)?;
    for text in ["", "untrusted comment: x\nnonsense\ntrusted comment: y\nmore\n", "\u{0}\u{1}\n\n\n\n"] {
        fs::write(signature_of(&home), text)?;
        home.put(&SECOND, NAME)?;
        let said = fails(&home, 1, &["agents", "reload", NAME])?;
        ensure!(said.contains("libchameleon.so.minisig"), "{text:?}: {said}");
    }
    refused(&home, before, &FIRST, &["libchameleon.so.minisig", "openclaw agents sign"])
}

#[test]
fn what_was_trusted_once_is_not_run_when_that_has_changed() -> Result<()> {
    let (home, daemon) = stage("", &FIRST)?;
    assert!(daemon.stop()?.success());
    home.configure(&config(&format!("trust = \"pinned\"\npins = [\"{}\"]", SECOND.hash()?)))?;
    let _daemon = home.start_ready(&["scout"])?;
    home.until(NAME, "refused")?;
    home.put(&SECOND, NAME)?;
    wait_for("the second version", || Ok((home.component(NAME)?["sha256"] == SECOND.hash()?).then_some(())))?;
    home.until(NAME, "ready")?;
    serves(&home, &SECOND)
}

#[test]
fn a_secret_key_is_nobody_elses() -> Result<()> {
    let home = Home::new("", &[])?;
    let signer = Signer::new(&home, "keys")?;
    let key = signer.folder.join("openclaw.key");
    assert_eq!(fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    // A second pair does not take the place of the first.
    let before = fs::read(&key)?;
    let output = home.cli(&["agents", "keygen", "--out", &signer.folder.display().to_string()])?;
    assert!(!output.status.success());
    assert_eq!(fs::read(&key)?, before);
    Ok(())
}
