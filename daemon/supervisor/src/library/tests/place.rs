use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn links_within_the_agents_folder_are_followed() {
    let home = Home::new();
    fs::create_dir(home.agents().join("release-1")).unwrap();
    home.put("release-1/libatlas.so", &library(b"one"));
    symlink("release-1", home.agents().join("current")).unwrap();
    symlink("current/libatlas.so", home.agents().join("libatlas.so")).unwrap();
    assert!(home.admit("libatlas.so", &Trust::Any).unwrap().new);
    assert!(!home.admit("current/libatlas.so", &Trust::Any).unwrap().new);
}

#[test]
fn the_agents_folder_may_be_a_link_itself() {
    let home = Home::new();
    let release = home.dir.path().join("release");
    fs::rename(home.agents(), &release).unwrap();
    symlink(&release, home.agents()).unwrap();
    home.put("libatlas.so", &library(b"one"));
    assert!(home.admit("libatlas.so", &Trust::Any).is_ok());
}

#[test]
fn what_leads_out_of_the_agents_folder_is_refused() {
    let home = Home::new();
    let outside = home.dir.path().join("outside.so");
    fs::write(&outside, library(b"one")).unwrap();
    symlink(&outside, home.agents().join("link.so")).unwrap();
    symlink("..", home.agents().join("up")).unwrap();
    for file in ["link.so", "../outside.so", "up/outside.so"] {
        let refusal = home.refused(file, &Trust::Any);
        assert!(refusal.contains(" leads to ") && refusal.contains("outside.so, out of "), "{refusal}");
    }
    // The operator named it.
    assert!(home.admit(&outside, &Trust::Any).is_ok());
    let refusal = home.refused(home.agents().join("link.so"), &Trust::Any);
    assert!(refusal.contains(" leads to "), "{refusal}");
}

#[test]
fn a_missing_file_is_gone_and_anything_else_is_no_library() {
    let home = Home::new();
    symlink("nowhere", home.agents().join("dangling.so")).unwrap();
    for file in ["libatlas.so", "dangling.so", "folder/libatlas.so"] {
        let gone = Refusal::Gone { library: home.agents().join(file) };
        assert_eq!(home.admit(file, &Trust::Any), Err(gone), "{file}");
    }
    assert_eq!(home.libraries.seen(&atlas()), None);
    symlink("loop.so", home.agents().join("loop.so")).unwrap();
    fs::create_dir(home.agents().join("folder.so")).unwrap();
    nix::unistd::mkfifo(&home.agents().join("fifo.so"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for (file, told) in
        [("loop.so", "cannot be read"), ("folder.so", "no regular file"), ("fifo.so", "no regular file")]
    {
        let refusal = home.refused(file, &Trust::Any);
        assert!(refusal.contains(told), "{refusal}");
    }
}

#[test]
fn what_others_may_write_is_refused() {
    let home = Home::new();
    let file = home.put("libatlas.so", &library(b"one"));
    for (path, good, bad) in [(&file, 0o644, 0o646), (&home.agents(), 0o700, 0o1777)] {
        chmod(path, bad);
        let refusal = home.refused("libatlas.so", &Trust::Any);
        assert_eq!(
            refusal,
            format!("anybody may write {}: `chmod o-w` it, then reload the agent", path.display())
        );
        chmod(path, good);
    }
    // A group of one's own is nobody else.
    chmod(&file, 0o664);
    assert!(home.admit("libatlas.so", &Trust::Any).is_ok());
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can give a file away");
    }
    let home = Home::new();
    let file = home.put("libatlas.so", &library(b"one"));
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    let refusal = home.refused("libatlas.so", &Trust::Any);
    assert!(refusal.contains("belongs to the user 65534"), "{refusal}");
}
