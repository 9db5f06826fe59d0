use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::library::{Stamp, Verdict};

#[test]
fn a_library_becomes_a_read_only_copy_named_by_its_hash() {
    let home = Home::new();
    let file = home.put("libatlas.so", &library(b"one"));
    let admitted = home.admit("libatlas.so", &Trust::Any).unwrap();
    assert!(admitted.new);
    let copy = home.libraries.path(&admitted.hash);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&file).unwrap());
    assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o444);
    assert_eq!(copy.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(home.vault(), [format!("{}.so", admitted.hash)]);
    let text = fs::read(&file).unwrap();
    assert_eq!(crate::library::hash::of(&mut text.as_slice()).unwrap(), admitted.hash);
}

#[test]
fn what_happens_to_the_file_does_not_reach_the_copy() {
    let home = Home::new();
    let file = home.put("libatlas.so", &library(b"one"));
    let first = home.admit("libatlas.so", &Trust::Any).unwrap();
    fs::write(&file, library(b"another")).unwrap();
    let second = home.admit("libatlas.so", &Trust::Any).unwrap();
    assert!(second.new && second.hash != first.hash);
    assert_eq!(fs::read(home.libraries.path(&first.hash)).unwrap(), library(b"one"));
}

#[test]
fn the_same_file_again_is_not_read_also_after_a_restart() {
    let home = Home::new();
    let file = home.put("libatlas.so", &library(b"one"));
    let first = home.admit("libatlas.so", &Trust::Any).unwrap();
    let home = home.reopen();
    // Reading changes the access time where the file system keeps one; a copy would have another inode.
    let inode = home.libraries.path(&first.hash).metadata().unwrap().ino();
    let again = home.admit("libatlas.so", &Trust::Any).unwrap();
    assert_eq!((again.new, &again.hash), (false, &first.hash));
    assert_eq!(home.libraries.path(&first.hash).metadata().unwrap().ino(), inode);
    assert_eq!(home.libraries.seen(&atlas()), Stamp::of(&file));
    // Without its copy it is read again.
    fs::remove_file(home.libraries.path(&first.hash)).unwrap();
    assert_eq!(home.admit("libatlas.so", &Trust::Any).unwrap().hash, first.hash);
    assert!(home.libraries.path(&first.hash).is_file());
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen() {
    let home = Home::new();
    let file = home.put("libatlas.so", &library(b"one"));
    let first = home.admit("libatlas.so", &Trust::Any).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, library(b"two")).unwrap();
    fs::File::open(&file).unwrap().set_modified(time).unwrap();
    assert_ne!(home.admit("libatlas.so", &Trust::Any).unwrap().hash, first.hash);
}

#[test]
fn what_is_no_library_is_refused_with_a_sentence() {
    let home = Home::new();
    let whole = library(b"one");
    let (mut program, mut other, mut empty) = (whole.clone(), whole.clone(), whole.clone());
    program[16] = 2;
    other[18] = 8;
    // No segment is dynamic.
    empty[64 + 56] = 6;
    for (content, told) in [
        (b"".as_slice(), "it is empty"),
        (b"#!/bin/sh\nexit 1\n", "begins with `#!/bin/sh\\nexit 1`"),
        (&program, "crate-type cdylib"),
        (&other, "for this machine"),
        (&empty, "nothing in it that could be loaded"),
        (&whole[..whole.len() / 10], "no 64-bit ELF library"),
        (&whole[..whole.len() - 1], "cut short"),
    ] {
        let path = home.put("libatlas.so", content);
        let refusal = home.refused("libatlas.so", &Trust::Any);
        assert!(refusal.starts_with(path.to_str().unwrap()) && refusal.contains(told), "{refusal}");
        assert_eq!(home.libraries.seen(&atlas()), Stamp::of(&path));
    }
}

#[test]
fn a_refused_one_leaves_what_was_admitted() {
    let home = Home::new();
    home.put("libatlas.so", &library(b"one"));
    let first = home.admit("libatlas.so", &Trust::Any).unwrap();
    home.put("libatlas.so", &library(b"two")[..100]);
    home.refused("libatlas.so", &Trust::Any);
    assert_eq!(home.libraries.entries(&atlas())[0].hash, first.hash);
    assert!(home.libraries.recheck(&atlas(), &first.hash, &Trust::Any).is_ok());
}

#[test]
fn a_vault_that_takes_nothing_is_told() {
    let home = Home::new();
    home.put("libatlas.so", &library(b"one"));
    fs::remove_dir(home.dir.path().join("libraries")).unwrap();
    let refusal = home.admit("libatlas.so", &Trust::Any).unwrap_err().to_string();
    assert!(refusal.contains("cannot be copied into"), "{refusal}");
}

/// A file system with room for next to nothing; root's alone to make.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_of_the_copy_stays() {
    let home = Home::new();
    let vault = home.dir.path().join("libraries");
    let mount = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "openclaw-test"];
    let mounted = std::process::Command::new("mount").args(mount).arg(&vault).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        return eprintln!("skipped: no file system can be mounted here");
    }
    let _small = Small(vault);
    home.put("libatlas.so", &library(&[7; 100_000]));
    let refusal = home.refused("libatlas.so", &Trust::Any);
    assert!(refusal.contains("No space left on device") && refusal.contains("free some space"), "{refusal}");
    home.put("libatlas.so", &library(b"small"));
    assert!(home.admit("libatlas.so", &Trust::Any).is_ok());
}

#[test]
fn agents_may_share_a_library() {
    let home = Home::new();
    home.put("libatlas.so", &library(b"one"));
    let other: AgentName = "scout".parse().unwrap();
    let first = home.admit("libatlas.so", &Trust::Any).unwrap();
    let second = home.libraries.admit(&other, Path::new("libatlas.so"), &Trust::Any, now()).unwrap();
    assert_eq!(second, first);
    assert_eq!(home.vault().len(), 1);
    home.libraries.judge(&atlas(), &first.hash, Verdict::Bad { reason: "x".into() }, now());
    home.put("libatlas.so", &library(b"two"));
    home.admit("libatlas.so", &Trust::Any).unwrap();
    home.libraries.prune(&atlas(), &[]);
    assert!(home.libraries.path(&first.hash).is_file());
}

#[test]
fn what_was_left_unfinished_goes() {
    let home = Home::new();
    for name in ["7.tmp", "manifest.json.tmp"] {
        fs::write(home.dir.path().join("libraries").join(name), "x").unwrap();
    }
    assert!(home.reopen().vault().is_empty());
}

#[test]
fn a_vault_that_is_open_to_others_is_closed() {
    let home = Home::new();
    let vault = home.dir.path().join("libraries");
    fs::set_permissions(&vault, PermissionsExt::from_mode(0o777)).unwrap();
    let _home = home.reopen();
    assert_eq!(vault.metadata().unwrap().mode() & 0o777, 0o700);
}

proptest! {
    #[test]
    fn a_part_of_a_library_is_never_admitted(content in prop::collection::vec(any::<u8>(), 1..4000), cut in any::<prop::sample::Index>()) {
        let home = Home::new();
        let whole = library(&content);
        home.put("libatlas.so", &whole[..cut.index(whole.len())]);
        home.refused("libatlas.so", &Trust::Any);
        home.put("libatlas.so", &whole);
        prop_assert!(home.admit("libatlas.so", &Trust::Any).is_ok());
    }

    #[test]
    fn no_bytes_bring_the_inspection_down(content in prop::collection::vec(any::<u8>(), 0..300), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        let home = Home::new();
        let mut edited = library(&content);
        for (at, byte) in edits {
            let at = at.index(edited.len());
            edited[at] = byte;
        }
        for content in [&content, &edited] {
            home.put("libatlas.so", content);
            let _ = home.admit("libatlas.so", &Trust::Any);
        }
    }
}
