use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Applied, Request, Step, apply, plan, restore};
use crate::units::Manager;

fn request(root: &Path) -> Request {
    let program = root.join("program");
    fs::write(&program, "one").unwrap();
    Request {
        prefix: root.join("the claw"),
        manager: Manager::User,
        units: root.join("units"),
        systemd: 252,
        program,
        agents: Vec::new(),
        config: "[daemon]\n".into(),
        built: vec!["gateway".into(), "milkbot".into()],
        generated: vec![(root.join("man/openclaw.1"), b"man".to_vec())],
        command: Some(root.join("commands/openclaw")),
        polkit: None,
        database: false,
    }
}

/// Without what asks systemd, which is somebody else's here.
fn carry_out(request: &Request) -> Applied {
    let mut plan = plan(request).unwrap();
    plan.steps.retain(|step| !matches!(step, Step::Reload | Step::Enable(_)));
    let mut applied = Applied::default();
    apply(&plan, &mut applied).unwrap();
    applied
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
fn an_upgrade_is_taken_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(dir.path());
    carry_out(&request);
    let program = request.prefix.join("bin/openclaw");
    fs::write(&request.program, "two").unwrap();
    request.generated.push((dir.path().join("man/openclaw-run.1"), b"new".to_vec()));
    let applied = carry_out(&request);
    assert_eq!(fs::read_to_string(&program).unwrap(), "two");
    restore(&applied).unwrap();
    assert_eq!(fs::read_to_string(&program).unwrap(), "one");
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!dir.path().join("man/openclaw-run.1").exists());
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
}

#[test]
fn a_prefix_that_units_cannot_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["relative", "/", "/a\nb", "/a\"b", "/a$b", "/a:b"] {
        let request = Request { prefix: PathBuf::from(bad), ..request(dir.path()) };
        assert!(plan(&request).is_err(), "{bad:?}");
    }
}

#[test]
fn only_what_is_built_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = Request { manager: Manager::System, ..request(dir.path()) };
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
