use std::fs;

use proptest::prelude::*;

use super::*;
use crate::library::{Hash, Verdict};

/// Admits another content as the agent's library.
fn release(home: &Home, content: u8) -> Hash {
    home.put("libatlas.so", &library(&[content]));
    home.admit("libatlas.so", &Trust::Any).unwrap().hash
}

fn judged(home: &Home, content: u8, verdict: Verdict) -> Hash {
    let hash = release(home, content);
    home.libraries.judge(&atlas(), &hash, verdict, now());
    hash
}

fn bad() -> Verdict {
    Verdict::Bad { reason: "it panicked".into() }
}

#[test]
fn what_is_known_survives_a_restart() {
    let home = Home::new();
    let (good, worse) = (judged(&home, 1, Verdict::Good), judged(&home, 2, bad()));
    home.libraries.set_version(&atlas(), &good, "1.2.3");
    let entries = home.libraries.entries(&atlas());
    let home = home.reopen();
    assert_eq!(home.libraries.entries(&atlas()), entries);
    assert_eq!(entries.iter().map(|entry| &entry.hash).collect::<Vec<_>>(), [&worse, &good]);
    assert_eq!((entries[1].version.as_deref(), entries[1].first_seen), (Some("1.2.3"), now()));
    assert_eq!(home.libraries.verdict(&atlas(), &good), Some(Verdict::Good));
    assert_eq!(home.libraries.verdict(&atlas(), &worse), Some(bad()));
    assert_eq!(home.libraries.verdict(&"scout".parse().unwrap(), &worse), None);
}

#[test]
fn the_last_good_one_is_the_newest_that_is_there() {
    let home = Home::new();
    let [first, second, third] = [1, 2, 3].map(|content| judged(&home, content, Verdict::Good));
    let fourth = judged(&home, 4, bad());
    let last_good = |but| home.libraries.last_good(&atlas(), but);
    assert_eq!(last_good(&fourth), Some(third.clone()));
    assert_eq!(last_good(&third), Some(second.clone()));
    fs::remove_file(home.libraries.path(&second)).unwrap();
    assert_eq!(last_good(&third), Some(first.clone()));
    // What is admitted again is the newest.
    release(&home, 1);
    assert_eq!(last_good(&fourth), Some(first));
}

#[test]
fn a_hash_is_found_by_what_it_alone_begins_with() {
    let home = Home::new();
    assert!(home.libraries.find(&atlas(), "0123").unwrap_err().ends_with("it has none yet"));
    let one = release(&home, 1);
    assert_eq!(home.libraries.find(&atlas(), one.short()), Ok(one.clone()));
    release(&home, 2);
    assert!(home.libraries.find(&atlas(), "").unwrap_err().contains("at least 4 digits"));
    assert!(home.libraries.find(&atlas(), "wxyz").unwrap_err().contains(one.short()));
}

#[test]
fn the_last_good_ones_and_those_in_use_are_kept() {
    let home = Home::new();
    let good: Vec<_> = (0..6).map(|content| judged(&home, content, Verdict::Good)).collect();
    let worse: Vec<_> = (100..125).map(|content| judged(&home, content, bad())).collect();
    let untried = release(&home, 200);
    let newest = release(&home, 201);
    home.libraries.prune(&atlas(), &[good[0].clone(), worse[0].clone()]);
    let kept: Vec<_> = home.libraries.entries(&atlas()).into_iter().map(|entry| entry.hash).collect();
    let mut files: Vec<_> =
        [&good[0], &good[4], &good[5], &worse[0], &newest].map(|hash| format!("{hash}.so")).into();
    files.sort();
    assert_eq!(home.vault(), files);
    assert_eq!(kept.len(), 3 + 21 + 1);
    assert!(!kept.contains(&untried) && kept.contains(&worse[24]) && !kept.contains(&worse[1]));
    assert_eq!(home.libraries.verdict(&atlas(), &worse[24]), Some(bad()));
}

#[test]
fn a_library_is_rechecked_before_it_is_started_again() {
    let home = Home::new();
    let (one, two) = (release(&home, 1), release(&home, 2));
    let check = |hash: &Hash, trust: Trust| home.libraries.recheck(&atlas(), hash, &trust);
    assert_eq!(check(&one, Trust::Any), Ok(()));
    assert_eq!(check(&one, Trust::Pinned(vec![two.clone(), one.clone()])), Ok(()));
    let refusal = check(&one, Trust::Pinned(vec![two.clone()])).unwrap_err();
    assert!(refusal.contains("add it to agents.atlas.pins"), "{refusal}");
    let refusal = check(&one, Trust::Signed(Vec::new())).unwrap_err();
    assert!(refusal.contains("is not signed"), "{refusal}");
    fs::remove_file(home.libraries.path(&one)).unwrap();
    assert!(check(&one, Trust::Any).unwrap_err().contains("is not in the vault any more"));
    fs::write(home.libraries.path(&one), "short").unwrap();
    assert!(check(&one, Trust::Any).unwrap_err().contains("is not what it was"));
}

#[test]
fn what_does_not_read_is_set_aside_and_libraries_in_use_are_still_good() {
    let home = Home::new();
    let hash = judged(&home, 1, Verdict::Good);
    home.libraries.save().unwrap();
    let manifest = home.dir.path().join("libraries/manifest.json");
    fs::write(&manifest, "{").unwrap();
    let home = home.reopen();
    assert!(home.libraries.entries(&atlas()).is_empty());
    assert_eq!(fs::read_to_string(manifest.with_extension("json.bad")).unwrap(), "{");
    assert_eq!(home.libraries.recheck(&atlas(), &hash, &Trust::Any), Ok(()));
    fs::remove_file(home.libraries.path(&hash)).unwrap();
    fs::write(home.libraries.path(&hash), "other").unwrap();
    assert!(home.libraries.recheck(&atlas(), &hash, &Trust::Any).is_err());
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let home = Home::new();
    home.libraries.save().unwrap();
    assert!(home.vault().is_empty());
    release(&home, 1);
    home.libraries.save().unwrap();
    assert_eq!(home.vault().len(), 2);
}

proptest! {
    #[test]
    fn any_manifest_opens(content in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        r#"\{"agents":\{"[a-z]{0,3}":\{("entries":\[\]|"admitted":null|"x":1|"entries":\[\{"hash":"[0-9a-f]{0,64}"\}\])\}\}\}"#.prop_map(String::into_bytes),
    ]) {
        let home = Home::new();
        fs::write(home.dir.path().join("libraries/manifest.json"), content).unwrap();
        let home = home.reopen();
        release(&home, 1);
        home.libraries.prune(&atlas(), &[]);
        home.libraries.save().unwrap();
    }
}
