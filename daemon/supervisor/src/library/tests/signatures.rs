use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::library::sign::{self, Keys};
use crate::library::trust::beside;

fn keys(home: &Home) -> Keys {
    sign::keygen(home.dir.path()).unwrap()
}

fn other(home: &Home) -> Keys {
    let folder = home.dir.path().join("other");
    fs::create_dir(&folder).unwrap();
    sign::keygen(&folder).unwrap()
}

#[test]
fn a_signature_by_a_known_key_is_enough_and_is_kept_with_the_copy() {
    let home = Home::new();
    let (keys, other) = (keys(&home), other(&home));
    let file = home.put("libatlas.so", &library(b"one"));
    let signature = sign::sign(&file, &keys.secret).unwrap();
    assert_eq!(signature, home.agents().join("libatlas.so.minisig"));
    let trust = Trust::Signed(vec![other.key.clone(), keys.key]);
    let hash = home.admit("libatlas.so", &trust).unwrap().hash;
    assert_eq!(home.vault(), [format!("{hash}.so"), format!("{hash}.so.minisig")]);
    let home = home.reopen();
    fs::remove_file(signature).unwrap();
    assert_eq!(home.libraries.recheck(&atlas(), &hash, &trust), Ok(()));
    let refusal = home.libraries.recheck(&atlas(), &hash, &Trust::Signed(vec![other.key])).unwrap_err();
    assert!(refusal.contains("none of libraries.keys"), "{refusal}");
    // The order of keys is another trust, so this one is read.
    let read = Trust::Signed(vec![
        fs::read_to_string(keys.public).unwrap().lines().nth(1).unwrap().parse().unwrap(),
    ]);
    assert_eq!(home.libraries.recheck(&atlas(), &hash, &read), Ok(()));
}

#[test]
fn every_bad_signature_has_its_sentence() {
    let home = Home::new();
    let (keys, other) = (keys(&home), other(&home));
    let trust = Trust::Signed(vec![keys.key.clone()]);
    let file = home.put("libatlas.so", &library(b"one"));
    let told = |what: &str| {
        let refusal = home.refused("libatlas.so", &trust);
        assert!(refusal.contains(what), "{refusal}");
    };
    told("is not signed, there is no ");
    sign::sign(&file, &other.secret).unwrap();
    told("which is none of libraries.keys");
    sign::sign(&home.put("another.so", &library(b"two")), &keys.secret).unwrap();
    fs::rename(home.agents().join("another.so.minisig"), beside(&file)).unwrap();
    told("is the signature of another file");
    fs::write(beside(&file), "untrusted comment: x\nRW\n").unwrap();
    told("cannot be read as a signature");
    fs::write(beside(&file), [0xff]).unwrap();
    told("cannot be read as a signature");
    fs::remove_file(beside(&file)).unwrap();
    fs::create_dir(beside(&file)).unwrap();
    told("it is no file");
    fs::remove_dir(beside(&file)).unwrap();
    // A short last line is a panic inside minisign.
    let text = fs::read_to_string(sign::sign(&file, &keys.secret).unwrap()).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines[3] = "AAAA";
    fs::write(beside(&file), lines.join("\n")).unwrap();
    told("its last line has another length");
    // A comment is signed as well.
    fs::write(beside(&file), text.replace("timestamp:", "timestamp:9")).unwrap();
    told("is the signature of another file");
    fs::write(beside(&file), text).unwrap();
    assert!(home.admit("libatlas.so", &trust).is_ok());
}

#[test]
fn a_link_may_have_its_signature_beside_either_end() {
    let home = Home::new();
    let keys = keys(&home);
    let trust = Trust::Signed(vec![keys.key.clone()]);
    fs::create_dir(home.agents().join("release")).unwrap();
    let file = home.put("release/libatlas.so", &library(b"one"));
    symlink("release/libatlas.so", home.agents().join("libatlas.so")).unwrap();
    home.put("libatlas.so.minisig", b"stale");
    home.refused("libatlas.so", &trust);
    sign::sign(&file, &keys.secret).unwrap();
    assert!(home.admit("libatlas.so", &trust).is_ok());
    sign::sign(&home.agents().join("libatlas.so"), &keys.secret).unwrap();
    fs::remove_file(beside(&file)).unwrap();
    assert!(home.admit("libatlas.so", &trust).is_ok());
}

#[test]
fn trust_that_is_withdrawn_counts_for_a_file_that_is_the_same() {
    let home = Home::new();
    let keys = keys(&home);
    home.put("libatlas.so", &library(b"one"));
    let hash = home.admit("libatlas.so", &Trust::Any).unwrap().hash;
    assert!(home.admit("libatlas.so", &Trust::Pinned(vec![hash])).is_ok());
    let refusal = home.refused("libatlas.so", &Trust::Pinned(Vec::new()));
    assert!(refusal.contains("none of its pins"), "{refusal}");
    home.refused("libatlas.so", &Trust::Signed(vec![keys.key]));
}

#[test]
fn keys_are_closed_and_never_overwritten() {
    let home = Home::new();
    let keys = keys(&home);
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(&keys.secret), 0o600);
    let (secret, public) = (fs::read(&keys.secret).unwrap(), fs::read_to_string(&keys.public).unwrap());
    assert_eq!(public.lines().nth(1), Some(keys.key.as_str()));
    let again = sign::keygen(home.dir.path()).unwrap_err().to_string();
    assert!(again.contains("openclaw.key is there already"), "{again}");
    assert_eq!(fs::read(&keys.secret).unwrap(), secret);
    assert!(!format!("{keys:?}").contains(String::from_utf8(secret).unwrap().lines().nth(1).unwrap()));
}

#[test]
fn what_is_no_key_is_told_without_showing_it() {
    let home = Home::new();
    let file = home.put("libatlas.so", &library(b"one"));
    let path = home.dir.path().join("openclaw.key");
    assert!(sign::sign(&file, &path).unwrap_err().to_string().contains("`openclaw agents keygen`"));
    for bad in ["", "x", "x\ny", "x\nUldRc2VjcmV0"] {
        fs::write(&path, bad).unwrap();
        let error = sign::sign(&file, &path).unwrap_err().to_string();
        assert!(error.contains("is no unencrypted secret key") && !error.contains("UldRc2VjcmV0"), "{error}");
    }
    keys(&Home::new());
}

proptest! {
    #[test]
    fn any_signature_is_refused_with_a_sentence(text in any::<Vec<u8>>(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let home = Home::new();
        let keys = keys(&home);
        let trust = Trust::Signed(vec![keys.key]);
        let file = home.put("libatlas.so", &library(b"one"));
        let whole = fs::read(sign::sign(&file, &keys.secret).unwrap()).unwrap();
        // The last character but one of base64 and the untrusted comment say nothing.
        let part = &whole[..cut.index(whole.len() - 2)];
        let mut edited = whole.clone();
        edited[at.index(whole.len())] = byte;
        for text in [&text[..], part] {
            fs::write(beside(&file), text).unwrap();
            home.refused("libatlas.so", &trust);
        }
        fs::write(beside(&file), edited).unwrap();
        let _ = home.admit("libatlas.so", &trust);
    }
}
