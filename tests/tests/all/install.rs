//! `openclaw install` and `uninstall` through the shipped binary, for one person, beside a systemctl that only writes down
//! what it is told. Under a real systemd: `systemd_boot`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use openclaw_tests::{built, wait_for};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

struct Person {
    home: tempfile::TempDir,
}

impl Person {
    fn new() -> Result<Self> {
        let person = Self { home: tempfile::tempdir()? };
        // Once told to (`breaks`), it does to the database what a version does that migrates and then does not start;
        // or its caller is killed at a verb (`kills`).
        person.script(
            "systemctl",
            "#!/bin/sh\necho \"$*\" >> \"$HOME/told\"\n\
             if [ -e \"$HOME/kills\" ]; then case \"$*\" in *\"$(cat \"$HOME/kills\")\"*)\n\
             rm \"$HOME/kills\"; kill -9 $PPID; exit 1;; esac; fi\n\
             case \"$*\" in *restart*) if [ -e \"$HOME/breaks\" ]; then rm \"$HOME/breaks\"\n\
             echo migrated >> \"$HOME/claw/openclaw.db\"; exit 1; fi;; esac\n",
        )?;
        Ok(person)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn prefix(&self) -> PathBuf {
        self.path("claw")
    }

    fn script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path("bin").join(name);
        fs::create_dir_all(self.path("bin"))?;
        fs::write(&path, text)?;
        Ok(fs::set_permissions(path, PermissionsExt::from_mode(0o755))?)
    }

    fn call(&self, args: &[&str]) -> Result<Output> {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let mut call = Command::new(built()?.join("openclaw"));
        call.env_clear().env("HOME", self.home.path()).env("PATH", path).current_dir(self.home.path());
        Ok(call.args(args).output()?)
    }

    fn installs(&self, verb: &str, more: &[&str], prefix: &Path) -> Result<(Option<i32>, String)> {
        let prefix = prefix.to_str().context("UTF-8")?;
        let mut args = vec![verb, "--user", "--prefix", prefix];
        args.extend(more);
        let output = self.call(&args)?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(said)?))
    }

    /// What systemctl was told since this was asked last.
    fn told(&self) -> Result<String> {
        let told = fs::read_to_string(self.path("told"))?;
        fs::remove_file(self.path("told"))?;
        Ok(told)
    }

    /// Installed, with a database, and an upgrade was cut off after its unit had been found running: as if the program
    /// were another.
    fn upgrading(&self) -> Result<PathBuf> {
        let prefix = self.prefix();
        let (code, said) = self.installs("install", &[], &prefix)?;
        ensure!(code == Some(0), "{said}");
        let made = self.call(&["--home", prefix.to_str().context("UTF-8")?, "db", "migrate"])?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let record = fs::read_to_string(prefix.join("bin/.installed.json"))?;
        let journal = format!(r#"{{"ran":["openclaw.service"],"record":{record},"before":[],"enabled":[]}}"#);
        fs::create_dir(prefix.join("bin/.previous"))?;
        fs::write(prefix.join("bin/.previous/journal.json"), journal)?;
        self.told()?;
        Ok(prefix.join("openclaw.db"))
    }
}

#[test]
fn a_home_is_neither_taken_nor_purged() -> Result<()> {
    let person = Person::new()?;
    fs::write(person.path("mine"), "mine")?;
    let home = person.home.path().to_path_buf();
    for (verb, more, prefix) in [
        ("install", vec![], home.clone()),
        ("install", vec!["--dry-run"], home.clone()),
        ("install", vec![], home.join("claw/..")),
        ("install", vec![], person.path("bin")),
        ("uninstall", vec!["--purge"], home.clone()),
        ("uninstall", vec![], home.join("nothing")),
    ] {
        let (code, said) = person.installs(verb, &more, &prefix)?;
        ensure!(code == Some(64), "{verb} {}: {code:?} {said}", prefix.display());
    }
    ensure!(fs::read_to_string(person.path("mine"))? == "mine");
    // A link on the way does not hide where it leads.
    std::os::unix::fs::symlink("/usr", person.path("link"))?;
    let (code, said) = person.installs("install", &[], &person.path("link/claw"))?;
    ensure!(code == Some(64) && said.contains("is the system's"), "{said}");
    Ok(())
}

#[test]
fn what_is_removed_is_what_was_made() -> Result<()> {
    let person = Person::new()?;
    let command = person.path(".local/bin/openclaw");
    fs::create_dir_all(person.path(".local/bin"))?;
    fs::write(&command, "mine")?;
    let (code, said) = person.installs("install", &[], &person.prefix())?;
    ensure!(code == Some(0) && said.contains("openclaw is something else and stays"), "{said}");
    let unit = person.path(".local/share/systemd/user/openclaw.service");
    ensure!(unit.exists() && !person.path(".config/systemd").exists());
    let (code, said) = person.installs("uninstall", &["--purge"], &person.prefix())?;
    ensure!(code == Some(0), "{said}");
    ensure!(!unit.exists() && !person.prefix().exists() && fs::read_to_string(&command)? == "mine");
    let (code, said) = person.installs("uninstall", &[], &person.prefix())?;
    ensure!(code == Some(64) && said.contains("nothing is installed"), "{said}");
    Ok(())
}

/// The last migration is as if it had not been; `undone` says what it was.
async fn unmigrate(file: &Path) -> Result<()> {
    let mut db = SqliteConnectOptions::new().filename(file).connect().await?;
    let last = "from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(AssertSqlSafe(format!("create table undone as select * {last}"))).execute(&mut db).await?;
    let deleted = sqlx::query(AssertSqlSafe(format!("delete {last}"))).execute(&mut db).await?;
    ensure!(deleted.rows_affected() == 1);
    Ok(db.close().await?)
}

#[tokio::test]
async fn a_version_that_migrates_and_does_not_start_is_taken_back_with_its_database() -> Result<()> {
    let person = Person::new()?;
    let (prefix, file) = (person.prefix(), person.upgrading()?);
    unmigrate(&file).await?;
    let (before, recorded) = (fs::read(&file)?, fs::read(prefix.join("bin/.installed.json"))?);
    fs::write(person.path("breaks"), "")?;
    let (code, said) = person.installs("install", &[], &prefix)?;
    ensure!(code == Some(1) && said.contains("taken back"), "{code:?} {said}");
    ensure!(fs::read(&file)? == before, "the database is as it was");
    ensure!(fs::read(prefix.join("bin/.installed.json"))? == recorded);
    ensure!(!prefix.join("bin/.previous").exists());
    let told = person.told()?;
    let units: Vec<_> = told.lines().filter(|line| line.contains("openclaw.service")).collect();
    let call = |verb: &str| format!("--user {verb} openclaw.service");
    let wanted = ["stop", "restart", "stop", "reset-failed", "restart"].map(call);
    ensure!(units == wanted, "{told}");
    Ok(())
}

#[tokio::test]
async fn what_was_done_since_an_interrupted_upgrade_is_not_undone_by_the_next() -> Result<()> {
    let person = Person::new()?;
    let (prefix, file) = (person.prefix(), person.upgrading()?);
    unmigrate(&file).await?;
    fs::write(person.path("kills"), " restart ")?;
    let (code, said) = person.installs("install", &[], &prefix)?;
    ensure!(code.is_none() && person.told()?.contains(" restart "), "it was killed: {said}");
    // It was started all the same, and worked for days.
    let mut db = SqliteConnectOptions::new().filename(&file).connect().await?;
    sqlx::query("insert into _sqlx_migrations select * from undone").execute(&mut db).await?;
    sqlx::query("create table days_of_work (one)").execute(&mut db).await?;
    db.close().await?;
    fs::write(person.path("breaks"), "")?;
    let (code, said) = person.installs("install", &[], &prefix)?;
    ensure!(code == Some(1) && said.contains("taken back"), "{code:?} {said}");
    let mut db = SqliteConnectOptions::new().filename(&file).connect().await?;
    sqlx::query("select * from days_of_work").execute(&mut db).await?;
    Ok(db.close().await?)
}

/// A daemon that systemd does not know, or has not stopped.
#[tokio::test]
async fn a_database_in_use_is_neither_copied_nor_put_back() -> Result<()> {
    let person = Person::new()?;
    let (prefix, file) = (person.prefix(), person.upgrading()?);
    let place = prefix.to_str().context("UTF-8")?;
    let mut daemon = Command::new(prefix.join("bin/openclaw"));
    daemon.args(["--home", place, "run"]).env("OPENCLAW_GATEWAY__BIND", "127.0.0.1:0");
    daemon.env("OPENCLAW_GATEWAY_TOKEN", "token-of-a-test-0123456789").stderr(Stdio::null());
    let mut daemon = daemon.current_dir(person.home.path()).spawn()?;
    wait_for("the daemon to answer", || {
        Ok(person.call(&["--home", place, "status"])?.status.success().then_some(()))
    })?;
    unmigrate(&file).await?;
    let inode = fs::metadata(&file)?.ino();
    let installed = person.installs("install", &[], &prefix);
    let alive = daemon.try_wait()?.is_none();
    daemon.kill()?;
    daemon.wait()?;
    let (code, said) = installed?;
    ensure!(
        code == Some(1) && said.contains("openclaw.db is in use by a process that was not stopped"),
        "{said}"
    );
    ensure!(alive && fs::metadata(&file)?.ino() == inode && said.contains("what ran before runs"), "{said}");
    let told = person.told()?;
    ensure!(told.contains("--user restart openclaw.service"), "{told}");
    Ok(())
}

#[test]
fn a_removal_that_was_cut_off_does_not_leave_units_disabled() -> Result<()> {
    let person = Person::new()?;
    let (code, said) = person.installs("install", &[], &person.prefix())?;
    ensure!(code == Some(0) && person.told()?.contains("enable"), "{said}");
    ensure!(person.installs("install", &[], &person.prefix())?.0 == Some(0));
    ensure!(!person.told()?.contains("enable"), "once is enough");
    fs::write(person.path("kills"), " disable ")?;
    ensure!(person.installs("uninstall", &[], &person.prefix())?.0.is_none(), "it was killed");
    person.told()?;
    let (code, said) = person.installs("install", &[], &person.prefix())?;
    let told = person.told()?;
    ensure!(code == Some(0) && told.contains("enable"), "{said} {told}");
    Ok(())
}

/// As in a service's home: its folders are the service's user's, and root raises an alert while no daemon runs.
#[test]
fn an_alert_that_root_leaves_is_its_daemons_and_no_link_leads_root_elsewhere() -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can leave what is another user's");
        return Ok(());
    }
    let (person, nobody) = (Person::new()?, 65534);
    let (home, run) = (person.path("claw"), person.path("claw/run"));
    fs::set_permissions(person.home.path(), PermissionsExt::from_mode(0o755))?;
    fs::create_dir_all(&run)?;
    std::os::unix::fs::chown(&run, Some(nobody), Some(nobody))?;
    let place = home.to_str().context("UTF-8")?;
    let raise = || person.call(&["--home", place, "alert", "raise", "CRITICAL", "the house burns"]);
    let raised = raise()?;
    ensure!(raised.status.success(), "{}", String::from_utf8_lossy(&raised.stderr));
    for path in [run.join("alerts"), fs::read_dir(run.join("alerts"))?.next().context("an alert")??.path()] {
        let meta = fs::metadata(&path)?;
        ensure!((meta.uid(), meta.gid()) == (nobody, nobody), "{} is {}'s", path.display(), meta.uid());
    }
    let roots = person.path("roots");
    fs::create_dir(&roots)?;
    fs::remove_dir_all(run.join("alerts"))?;
    std::os::unix::fs::symlink(&roots, run.join("alerts"))?;
    ensure!(raise()?.status.code() == Some(74));
    ensure!(fs::read_dir(&roots)?.next().is_none());
    Ok(())
}
