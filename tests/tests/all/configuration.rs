//! Mistakes that keep the daemon from starting: said at once, before anything is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use anyhow::Result;
use openclaw_tests::daemon::Home;
use openclaw_tests::wait_for;

use crate::support::{binary, fails, pid, quick, said, scout_answers};

const FIVE_MISTAKES: &str = r#"[daemon]
drain_timeot = "5s"

[tasks]
max_attempts = 0

[agents.scout]
restart = "allways"
grants = ["serch"]

[groups.team]
agents = ["scuot"]
"#;

#[test]
fn five_mistakes_are_told_at_once_and_nothing_is_started() -> Result<()> {
    let home = Home::new(FIVE_MISTAKES, &["scout"])?;
    for args in [&["run"][..], &["run", "scout"], &["config", "check"], &["config", "show"]] {
        let said = fails(&home, 78, args)?;
        let file = home.path().join("config/openclaw.toml");
        for (line, key, remedy) in [
            (2, "`drain_timeot`", "did you mean `drain_timeout`?"),
            (5, "`max_attempts`", "write 1 to 100"),
            (8, "`allways`", "did you mean `always`?"),
            (9, "`serch`", "did you mean `search`?"),
            (12, "`scuot`", "did you mean `scout`?"),
        ] {
            let start = format!("{}:{line}: ", file.display());
            let found = said.lines().find(|told| told.contains(&start));
            let found = found.unwrap_or_else(|| panic!("line {line} is not told: {said}"));
            assert!(found.contains(key) && found.contains(remedy), "{found}");
        }
        assert!(said.trim_end().ends_with("5 mistakes in the configuration"), "{said}");
    }
    let mut left: Vec<_> = fs::read_dir(home.path())?.flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["agents", "config"]);
    Ok(())
}

#[test]
fn a_second_daemon_is_told_who_was_first() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let first = home.start_ready(&["scout"])?;
    let host = pid(&home, "scout")?;
    let said = fails(&home, 75, &["run"])?;
    assert!(said.contains(&format!("already running, pid {}", first.pid())), "{said}");
    assert!(said.contains("openclaw status") && said.contains("--home"), "{said}");
    assert_eq!(pid(&home, "scout")?, host);
    scout_answers(&home)?;
    assert!(first.stop()?.success());
    // It is the daemon that is in the way, not the file that it leaves.
    let second = home.start_ready(&["scout"])?;
    assert!(second.stop()?.success());
    Ok(())
}

#[test]
fn a_home_that_cannot_be_made_is_told() -> Result<()> {
    let home = Home::new("", &[])?;
    let file = home.path().join("file");
    fs::write(&file, "")?;
    let below = file.join("home").display().to_string();
    let args = ["--home", &below, "run"];
    let said = said(binary(&args)?.output()?, 74, &args)?;
    assert!(said.contains(&below) && said.contains("cannot make") && said.contains("--home"), "{said}");
    Ok(())
}

#[test]
fn a_database_that_is_none_is_told_and_left_alone() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let database = home.path().join("openclaw.db");
    fs::write(&database, "This is a shopping list and no database.\n".repeat(100))?;
    let said = fails(&home, 74, &["run"])?;
    assert!(said.contains(&database.display().to_string()) && said.contains("not a database"), "{said}");
    assert!(fs::read_to_string(&database)?.starts_with("This is a shopping list"));
    assert_eq!(home.hosts()?, Vec::<i32>::new());
    Ok(())
}

#[test]
fn a_home_too_deep_for_a_socket_is_told_with_the_limit() -> Result<()> {
    let home = Home::new("", &[])?;
    let deep = home.path().join("a-long-name".repeat(10));
    let shown = deep.display().to_string();
    for (args, code) in [(["--home", &shown, "run"], 78), (["--home", &shown, "status"], 78)] {
        let said = said(binary(&args)?.output()?, code, &args)?;
        assert!(said.contains("openclaw.sock") && said.contains("107 bytes"), "{said}");
        assert!(said.contains("--home"), "{said}");
    }
    assert!(!deep.exists(), "nothing is made before everything is checked");
    Ok(())
}

#[test]
fn a_killed_daemons_socket_is_replaced() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let socket = home.path().join("run/openclaw.sock");
    let first = home.start_ready(&["scout"])?;
    assert_eq!(fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    first.kill()?;
    assert!(socket.exists());
    let said = fails(&home, 69, &["status"])?;
    assert!(said.contains("no daemon runs in") && said.contains("openclaw run"), "{said}");
    let second = home.start_ready(&["scout"])?;
    scout_answers(&home)?;
    assert!(second.stop()?.success());
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn a_component_that_there_is_not_is_told_with_the_nearest() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let said = fails(&home, 64, &["run", "scuot"])?;
    assert!(said.contains("no component `scuot`") && said.contains("did you mean `scout`?"), "{said}");
    let said = fails(&home, 69, &["run", "learning"])?;
    assert!(said.contains("`learning` is not built yet"), "{said}");
    Ok(())
}

#[test]
fn a_config_that_is_spoiled_while_it_runs_changes_nothing() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    home.configure(FIVE_MISTAKES)?;
    scout_answers(&home)?;
    home.ok(&["agents", "restart", "scout"])?;
    scout_answers(&home)?;
    assert!(daemon.stop()?.success());
    let mut command = home.command(&["run"])?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = wait_for("the spoiled start to end", || Ok(child.try_wait()?))?;
    assert_eq!(status.code(), Some(78));
    Ok(())
}
