use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::files::{self, Owner};
use super::plan::DAEMONS;
use super::systemctl::{elsewhere, runners, those};
use super::{
    Applied, Copies, Error, Journal, LAYOUT, Record, Request, Step, apply, claim, plan, restore, uninstall,
};
use crate::units::Manager;

fn request(root: &Path) -> Request {
    let program = root.join("program");
    fs::write(&program, "one").unwrap();
    Request {
        prefix: root.join("the claw"),
        home: Some(root.into()),
        manager: Manager::User,
        units: root.join("units"),
        systemd: 252,
        program,
        agents: Vec::new(),
        config: "[daemon]\n".into(),
        beside: vec![("providers/one.toml".into(), "one"), ("failover.json".into(), "{}")],
        built: vec!["gateway".into(), "milkbot".into()],
        generated: vec![(root.join("man/openclaw.1"), b"man".to_vec())],
        command: Some(root.join("commands/openclaw")),
        polkit: None,
        database: false,
    }
}

/// Without what asks systemd, which is somebody else's here.
fn try_out(request: &Request, ran: &[&str]) -> (Applied, Result<(), Error>) {
    let mut plan = plan(request).unwrap();
    plan.steps.retain(|step| !matches!(step, Step::Reload | Step::Enable(_)));
    let mut applied = Applied::default();
    let ran = ran.iter().map(|unit| (*unit).to_owned()).collect();
    let done = apply(&plan, ran, &mut applied);
    (applied, done)
}

/// ... and what is new has proved itself.
fn carry_out(request: &Request) -> Applied {
    let (applied, done) = try_out(request, &[]);
    done.unwrap();
    Journal::end(&request.prefix).unwrap();
    applied
}

/// Every path below a folder, with what it is.
fn whole(root: &Path) -> BTreeSet<(PathBuf, String)> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let what = if meta.is_symlink() {
            format!("link {}", fs::read_link(&path).unwrap().display())
        } else if meta.is_dir() {
            all.extend(whole(&path));
            "folder".into()
        } else {
            format!("{:o} {}", meta.mode(), String::from_utf8_lossy(&fs::read(&path).unwrap()))
        };
        all.insert((path, what));
    }
    all
}

#[test]
fn twice_is_once_and_an_edited_config_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(dir.path());
    assert!(!carry_out(&request).changes.is_empty());
    assert_eq!(carry_out(&request).changes, Vec::<String>::new());
    let config = request.prefix.join("config/openclaw.toml");
    let new = request.prefix.join("config/openclaw.toml.new");
    // What nobody edited follows the version.
    request.config = "[daemon]\n# second\n".into();
    carry_out(&request);
    assert_eq!(fs::read_to_string(&config).unwrap(), request.config);
    fs::write(&config, "[daemon]\nlog = \"debug\"\n").unwrap();
    assert_eq!(carry_out(&request).changes, Vec::<String>::new());
    assert!(!new.exists());
    request.config = "[daemon]\n# third\n".into();
    assert_eq!(carry_out(&request).changes.len(), 1);
    assert_eq!(fs::read_to_string(&config).unwrap(), "[daemon]\nlog = \"debug\"\n");
    assert_eq!(fs::read_to_string(&new).unwrap(), request.config);
    assert_eq!(carry_out(&request).changes, Vec::<String>::new());
}

#[test]
fn a_file_of_another_mode_or_kind_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    carry_out(&request);
    let program = request.prefix.join("bin/openclaw");
    fs::set_permissions(&program, PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(carry_out(&request).changes, [format!("replaced {}", program.display())]);
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    // The same content through a link is not the program.
    fs::remove_file(&program).unwrap();
    symlink(&request.program, &program).unwrap();
    carry_out(&request);
    assert!(program.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_to_string(&request.program).unwrap(), "one");
}

#[test]
fn an_upgrade_is_taken_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(dir.path());
    carry_out(&request);
    let before = whole(&request.prefix);
    fs::write(&request.program, "two").unwrap();
    request.config = "[daemon]\n# of the second version\n".into();
    request.generated.push((dir.path().join("man/openclaw-run.1"), b"new".to_vec()));
    request.command = Some(dir.path().join("commands/claw"));
    let (applied, done) = try_out(&request, &["openclaw.service"]);
    done.unwrap();
    assert_eq!(applied.restart.into_iter().collect::<Vec<_>>(), ["openclaw.service"]);
    assert_eq!(fs::read_to_string(request.prefix.join("bin/openclaw")).unwrap(), "two");
    restore(&request.prefix, Manager::User).unwrap();
    Journal::end(&request.prefix).unwrap();
    assert_eq!(whole(&request.prefix), before, "program, configuration, record, modes");
    assert!(!dir.path().join("man/openclaw-run.1").exists());
    assert!(dir.path().join("commands/claw").symlink_metadata().is_err());
}

#[test]
fn a_database_that_was_copied_comes_back_and_only_to_who_copied_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(dir.path());
    carry_out(&request);
    let (file, log) = (request.prefix.join("openclaw.db"), request.prefix.join("openclaw.db-wal"));
    fs::write(&file, "of migration 1").unwrap();
    fs::write(&request.program, "two").unwrap();
    request.config.push('#');
    try_out(&request, &[]).1.unwrap();
    let mut copies = Copies::default();
    for path in [&file, &log] {
        copies.keep(&request.prefix, path).unwrap();
    }
    let migrated = || {
        fs::write(&file, "of migration 2").unwrap();
        fs::write(&log, "more").unwrap();
    };
    migrated();
    copies.put_back().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "of migration 1");
    assert!(!log.exists());
    // Whoever comes later, after an interruption, leaves the database as it is, and the copy beside.
    migrated();
    let (applied, done) = try_out(&request, &[]);
    done.unwrap();
    restore(&request.prefix, Manager::User).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "of migration 2");
    let kept = request.prefix.join("bin/.interrupted-1");
    assert!(applied.changes[0].contains(&kept.display().to_string()), "{:?}", applied.changes);
    assert_eq!(fs::read_to_string(kept.join("database-0")).unwrap(), "of migration 1");
}

#[test]
fn another_version_goes_on_with_an_interrupted_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(dir.path());
    carry_out(&request);
    let first = (request.config.clone(), whole(&request.prefix));
    // Killed before its record was saved.
    let record = fs::read(request.prefix.join("bin/.installed.json")).unwrap();
    fs::write(&request.program, "two").unwrap();
    request.config.push_str("# second\n");
    try_out(&request, &["openclaw.service"]).1.unwrap();
    fs::write(request.prefix.join("bin/.installed.json"), record).unwrap();
    // The first version again: the second's files are ours to replace.
    fs::write(&request.program, "one").unwrap();
    request.config = first.0;
    let (applied, done) = try_out(&request, &[]);
    done.unwrap();
    assert!(applied.restart.contains("openclaw.service"));
    Journal::end(&request.prefix).unwrap();
    assert_eq!(whole(&request.prefix), first.1, "nothing stays beside as .new");
}

#[test]
fn what_was_edited_since_an_interrupted_upgrade_is_not_undone() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(dir.path());
    carry_out(&request);
    let first = request.config.clone();
    request.config.push_str("# second\n");
    try_out(&request, &["openclaw.service"]).1.unwrap();
    let config = request.prefix.join("config/openclaw.toml");
    fs::write(&config, "# edited days later\n").unwrap();
    try_out(&request, &[]).1.unwrap();
    let left = restore(&request.prefix, Manager::User).unwrap();
    assert!(left.iter().eq([&config]), "{left:?}");
    assert_eq!(fs::read_to_string(&config).unwrap(), "# edited days later\n");
    assert_eq!(fs::read_to_string(config.with_extension("toml.old")).unwrap(), first);
}

#[test]
fn what_an_interrupted_upgrade_wrote_is_removed_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(dir.path());
    carry_out(&request);
    let record = fs::read(request.prefix.join("bin/.installed.json")).unwrap();
    fs::write(&request.program, "two").unwrap();
    request.generated[0].1 = b"another".to_vec();
    request.generated.push((dir.path().join("man/openclaw-run.1"), b"new".to_vec()));
    try_out(&request, &["openclaw.service"]).1.unwrap();
    let copy = request.prefix.join("bin/.previous/database-0");
    fs::write(&copy, "as it was").unwrap();
    fs::write(request.prefix.join("bin/.installed.json"), record).unwrap();
    let said = uninstall(&request.prefix, Manager::User, &request.units, false).unwrap().join("\n");
    assert!(!said.contains("it is not as it was made"), "{said}");
    for gone in [dir.path().join("man/openclaw-run.1"), dir.path().join("man/openclaw.1")] {
        assert!(!gone.exists(), "{}", gone.display());
    }
    assert!(!request.prefix.join("bin/openclaw").exists());
    // What the old version alone may read stays, and is named.
    let kept = request.prefix.join("bin/.interrupted-1/database-0");
    assert!(said.contains(".interrupted-1") && fs::read_to_string(kept).unwrap() == "as it was", "{said}");
}

#[test]
fn an_installation_goes_on_after_a_removal_that_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    carry_out(&request);
    let ran = ["openclaw.service".to_owned()].into();
    let journal = Journal { removal: true, ran, ..Journal::default() };
    fs::create_dir(request.prefix.join("bin/.previous")).unwrap();
    let text = serde_json::to_vec(&journal).unwrap();
    fs::write(request.prefix.join("bin/.previous/journal.json"), text).unwrap();
    fs::remove_file(request.units.join("openclaw.service")).unwrap();
    let (applied, done) = try_out(&request, &[]);
    done.unwrap();
    assert!(applied.journal.removal && applied.restart.contains("openclaw.service"));
    assert!(request.units.join("openclaw.service").exists());
    Journal::end(&request.prefix).unwrap();
    assert_eq!(carry_out(&request).changes, Vec::<String>::new());
}

#[test]
fn what_was_cut_off_at_its_begin_or_end_can_be_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    let begun = |name: &str| {
        let bin = request.prefix.join("bin");
        fs::create_dir_all(&bin).unwrap();
        match name {
            ".previous" => fs::create_dir(bin.join(name)).unwrap(),
            name => fs::write(bin.join(name), "").unwrap(),
        }
    };
    for name in [".previous", ".openclaw.installing"] {
        begun(name);
        carry_out(&request);
        uninstall(&request.prefix, Manager::User, &request.units, true).unwrap();
        assert!(!request.prefix.exists());
        begun(name);
        uninstall(&request.prefix, Manager::User, &request.units, true).unwrap();
        assert!(!request.prefix.exists());
    }
    begun("mine");
    let foreign = uninstall(&request.prefix, Manager::User, &request.units, true);
    assert!(matches!(foreign, Err(Error::Nothing { .. })), "{foreign:?}");
    assert!(request.prefix.join("bin/mine").exists());
}

#[test]
fn an_interrupted_upgrade_is_finished_or_taken_back_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    carry_out(&request);
    let before = whole(&request.prefix);
    fs::write(&request.program, "two").unwrap();
    // Killed before its restart, and nothing runs any more that could be found.
    try_out(&request, &["openclaw.service"]).1.unwrap();
    let (applied, done) = try_out(&request, &[]);
    done.unwrap();
    assert_eq!(applied.changes, Vec::<String>::new());
    assert_eq!(applied.restart.into_iter().collect::<Vec<_>>(), ["openclaw.service"]);
    restore(&request.prefix, Manager::User).unwrap();
    Journal::end(&request.prefix).unwrap();
    assert_eq!(whole(&request.prefix), before);
    assert!(try_out(&request, &["openclaw.service"]).0.restart.len() == 1, "two is there again");
    Journal::end(&request.prefix).unwrap();
    assert!(try_out(&request, &["openclaw.service"]).0.restart.is_empty(), "nothing changed");
}

#[test]
fn what_is_not_ours_is_neither_replaced_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    let (unit, page, command) = (
        request.units.join("openclaw-health.timer"),
        dir.path().join("man/openclaw.1"),
        dir.path().join("commands/openclaw"),
    );
    for path in [&unit, &page, &command] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    carry_out(&request);
    let new = request.units.join("openclaw-health.timer.new");
    assert!(new.exists());
    // Ours, until it was edited.
    let edited = request.units.join("openclaw.target");
    fs::write(&edited, "edited").unwrap();
    let said = uninstall(&request.prefix, Manager::User, &request.units, false).unwrap().join("\n");
    for path in [&unit, &page, &command] {
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }
    assert!(edited.exists() && said.contains(&format!("left {}", edited.display())), "{said}");
    assert!(!new.exists() && !request.units.join("openclaw.service").exists());
    assert!(!request.prefix.join("bin/openclaw").exists());
}

#[test]
fn removed_is_removed_once_and_comes_back_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    let gone = |purge| uninstall(&request.prefix, Manager::User, &request.units, purge);
    assert!(matches!(gone(false), Err(Error::Nothing { .. })));
    carry_out(&request);
    let other = uninstall(&request.prefix, Manager::System, &request.units, false);
    assert!(matches!(other, Err(Error::Manager { .. })), "{other:?}");
    fs::write(request.prefix.join("workspace/work"), "done").unwrap();
    gone(false).unwrap();
    assert!(matches!(gone(false), Err(Error::Nothing { .. })));
    carry_out(&request);
    assert!(request.prefix.join("workspace/work").exists());
    let link = dir.path().join("link");
    symlink(&request.prefix, &link).unwrap();
    let linked = uninstall(&link, Manager::User, &request.units, true);
    assert!(matches!(linked, Err(Error::NotAFolder { .. })), "{linked:?}");
    gone(false).unwrap();
    // Afterwards too, as dpkg does.
    gone(true).unwrap();
    assert!(!request.prefix.exists());
}

#[test]
fn a_purge_takes_only_what_the_layout_has() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    carry_out(&request);
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    for made in ["installation", "openclaw.db", "mine.txt"] {
        fs::write(request.prefix.join(made), "").unwrap();
    }
    fs::remove_dir(request.prefix.join("logs")).unwrap();
    symlink(&outside, request.prefix.join("logs")).unwrap();
    uninstall(&request.prefix, Manager::User, &request.units, true).unwrap();
    let left: Vec<_> =
        fs::read_dir(&request.prefix).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine.txt"]);
    assert!(outside.join("kept").exists());
}

#[test]
fn the_package_purges_the_same() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/package");
    let text = fs::read_to_string(script).unwrap().replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("rm -rf .openclaw")).unwrap();
    let named: BTreeSet<_> = [".openclaw"].into_iter().chain(line.split_whitespace()).collect();
    assert_eq!(named, LAYOUT.iter().chain(DAEMONS).copied().collect());
    assert!(line.ends_with(" bin"), "the record goes last");
}

#[test]
fn a_folder_with_other_things_is_no_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    let claim = || claim(&plan(&request).unwrap());
    fs::create_dir_all(request.prefix.join("bin")).unwrap();
    assert!(claim().is_ok(), "a run that ended early");
    fs::write(request.prefix.join("bin/ls"), "").unwrap();
    assert!(matches!(claim(), Err(Error::NotOurs { .. })));
    let (applied, done) = try_out(&request, &[]);
    assert!(matches!(done, Err(Error::NotOurs { .. })) && applied.changes.is_empty());
    fs::remove_dir_all(&request.prefix).unwrap();
    symlink(dir.path(), &request.prefix).unwrap();
    assert!(matches!(claim(), Err(Error::NotAFolder { .. })));
}

#[test]
fn a_second_prefix_does_not_take_the_units_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = request(dir.path());
    carry_out(&first);
    let second = Request { prefix: dir.path().join("second"), ..request(dir.path()) };
    let (_, done) = try_out(&second, &[]);
    assert!(matches!(&done, Err(Error::Elsewhere { other, .. }) if *other == first.prefix), "{done:?}");
    uninstall(&first.prefix, Manager::User, &first.units, false).unwrap();
    carry_out(&second);
}

#[test]
fn no_link_is_followed_and_nobody_elses_folder_becomes_roots() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::set_permissions(&victim, PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().join("logs");
    symlink(&victim, &path).unwrap();
    let owner = Owner { user: Some(4242), group: None };
    assert!(matches!(files::folder(&path, 0o700, owner), Err(Error::NotAFolder { .. })));
    assert_eq!(victim.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    let root = dir.path().metadata().unwrap().uid() == 0;
    if root {
        assert_eq!(victim.metadata().unwrap().uid(), 0);
        // As when the daemon's user made `bin` before us.
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::chown(&bin, Some(4242), None).unwrap();
        let owner = Owner { user: Some(0), group: None };
        assert!(matches!(files::folder(&bin, 0o755, owner), Err(Error::Foreign { .. })));
        // A record of somebody else's says nothing to root.
        let request = request(dir.path());
        carry_out(&request);
        let record = request.prefix.join("bin/.installed.json");
        std::os::unix::fs::chown(&record, Some(4242), None).unwrap();
        assert!(matches!(Record::read(&request.prefix), Err(Error::Foreign { .. })));
    }
    // A pipe in a file's place is looked at, and not waited for.
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(files::look(&pipe).unwrap(), files::There::Other));
}

#[test]
fn the_machines_prefix_is_roots() {
    let dir = tempfile::tempdir().unwrap();
    let request = Request { manager: Manager::System, prefix: "/opt/x".into(), ..request(dir.path()) };
    let steps = plan(&request).unwrap().steps;
    let folders = steps.iter().filter_map(|step| match step {
        Step::Folder { path, mode, own } => {
            Some((path.strip_prefix("/opt/x").unwrap().to_str().unwrap(), *mode, *own))
        }
        _ => None,
    });
    for (name, mode, own) in folders {
        match name {
            "" => assert_eq!((mode, own), (0o1775, false)),
            "bin" | "scripts" => assert_eq!((mode, own), (0o755, false)),
            "config" | "config/providers" => assert_eq!((mode, own), (0o750, false)),
            _ => assert!(own && LAYOUT.contains(&name), "{name}"),
        }
    }
}

#[test]
fn secrets_have_a_closed_folder_and_units_name_the_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    carry_out(&request);
    let mode = |path: &str| request.prefix.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run"), mode("config"), mode("bin")), (0o700, 0o750, 0o755));
    let unit = fs::read_to_string(request.units.join("openclaw.service")).unwrap();
    let program = request.prefix.join("bin/openclaw");
    assert!(unit.contains(&format!("ExecStart=\"{}\" run\n", program.display())), "{unit}");
    assert!(!unit.contains("User=") && !unit.contains("/opt/openclaw"), "{unit}");
    assert_eq!(crate::units::home(&unit), Some(request.prefix));
}

#[test]
fn a_prefix_that_cannot_be_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let planned = |manager, prefix: &str| {
        let home = Some(PathBuf::from("/home/me"));
        plan(&Request { prefix: prefix.into(), manager, home, ..request(dir.path()) })
    };
    let never = [
        "relative",
        "/",
        "/a\nb",
        "/a\"b",
        "/a$b",
        "/a:b",
        "/opt/../etc",
        "/opt/x/..",
        "/usr",
        "/usr/local",
        "/etc/openclaw",
        "/run/user/1000/x",
        "/opt",
        "/var",
        "/var/lib",
        "/var/openclaw",
        "/home",
        "/home/me",
        "/home/me/",
        "/tmp",
    ];
    for bad in never {
        for manager in [Manager::System, Manager::User] {
            assert!(planned(manager, bad).is_err(), "{bad:?}");
        }
    }
    for unseen in ["/home/claw", "/home/me/claw", "/root/claw", "/tmp/claw", "/var/tmp/claw"] {
        let why = planned(Manager::System, unseen).unwrap_err();
        assert!(why.contains("ProtectHome") || why.contains("its own"), "{why}");
        assert!(planned(Manager::User, unseen).is_ok(), "{unseen}");
    }
    for good in ["/opt/openclaw", "/srv/the claw", "/var/lib/openclaw", "/data"] {
        assert!(planned(Manager::System, good).is_ok(), "{good}");
    }
}

proptest! {
    // Each writes some thirty files, down to the disk.
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever is there before, and wherever it ends: taken back, all is as it was but for empty folders and the record.
    #[test]
    fn whatever_was_there_is_there_again(
        present in proptest::collection::btree_set(0usize..12, 0..6),
        until in 0usize..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let request = request(dir.path());
        let files: Vec<PathBuf> = plan(&request).unwrap().steps.iter().filter_map(|step| match step {
            Step::File { path, .. } if !path.starts_with(&request.prefix) => Some(path.clone()),
            _ => None,
        }).collect();
        for path in present.iter().filter_map(|n| files.get(*n)) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "theirs").unwrap();
        }
        let files_of = || whole(dir.path()).into_iter()
            .filter(|(path, what)| what != "folder" && !path.ends_with("bin/.installed.json")).collect::<BTreeSet<_>>();
        let before = files_of();
        let mut plan = plan(&request).unwrap();
        plan.steps.retain(|step| !matches!(step, Step::Reload | Step::Enable(_)));
        plan.steps.truncate(until);
        apply(&plan, BTreeSet::new(), &mut Applied::default()).ok();
        restore(&request.prefix, Manager::User).unwrap();
        if request.prefix.join("bin").exists() {
            Journal::end(&request.prefix).unwrap();
        }
        prop_assert_eq!(files_of(), before);
        prop_assert!(claim(&plan).is_ok());
    }
}

#[test]
fn only_what_is_built_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = Request { manager: Manager::System, prefix: "/opt/x".into(), ..request(dir.path()) };
    let enabled = |request: &Request| match plan(request).unwrap().steps.pop() {
        Some(Step::Enable(units)) => units,
        other => panic!("{other:?}"),
    };
    let before = enabled(&request);
    assert!(before.contains(&"openclaw.service") && before.contains(&"openclaw-health.timer"));
    assert!(!before.contains(&"openclaw-learning.service") && !before.contains(&"openclaw-alert@.service"));
    request.built.push("learning".into());
    assert!(enabled(&request).contains(&"openclaw-learning.service"));
}

#[test]
fn whoever_runs_the_program_is_found_whatever_it_is_called() {
    let block = |id: &str, state: &str, kind: &str, path: &str| {
        format!(
            "Type={kind}\nId={id}\nActiveState={state}\nExecStart={{ path={path} ; argv[]={path} run ; pid=1 }}"
        )
    };
    let ours = "/srv/the claw/bin/openclaw";
    let said = [
        block("openclaw-atlas.service", "active", "notify", ours),
        block("copied.service", "activating", "notify", ours),
        block("stopped.service", "inactive", "notify", ours),
        block("openclaw-health.service", "activating", "oneshot", ours),
        block("other.service", "active", "notify", "/srv/the claw/bin/openclaw2"),
        "Id=bare.service\nActiveState=active\nType=simple".into(),
    ]
    .join("\n\n");
    let found = runners(&said, Path::new(ours));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["copied.service", "openclaw-atlas.service"]);
}

#[test]
fn an_operators_own_unit_is_told_from_ours() {
    let said = "Id=a.service\nFragmentPath=/usr/local/lib/systemd/system/a.service\n\nId=b.service\nFragmentPath=/etc/systemd/system/b.service\n\nId=c.service\nFragmentPath=";
    let folder = Path::new("/usr/local/lib/systemd/system");
    let found = those(said, "FragmentPath", |path| elsewhere(path, folder));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["b.service"]);
}
