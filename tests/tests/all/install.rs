//! `openclaw install` and `uninstall` through the shipped binary, for one person, beside a systemctl that only writes down
//! what it is told. Under a real systemd: `systemd_boot`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use openclaw_tests::built;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

struct Person {
    home: tempfile::TempDir,
}

impl Person {
    fn new() -> Result<Self> {
        let person = Self { home: tempfile::tempdir()? };
        // Once told to (`breaks`), it does to the database what a version does that migrates and then does not start.
        person.script(
            "systemctl",
            "#!/bin/sh\necho \"$*\" >> \"$HOME/told\"\n\
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

    fn told(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("told"))?)
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

/// The last migration is as if it had not been.
async fn unmigrate(file: &Path) -> Result<()> {
    let mut db = SqliteConnectOptions::new().filename(file).connect().await?;
    let last = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    ensure!(sqlx::query(last).execute(&mut db).await?.rows_affected() == 1);
    Ok(db.close().await?)
}

#[tokio::test]
async fn a_version_that_migrates_and_does_not_start_is_taken_back_with_its_database() -> Result<()> {
    let person = Person::new()?;
    let prefix = person.prefix();
    let (code, said) = person.installs("install", &[], &prefix)?;
    ensure!(code == Some(0), "{said}");
    let place = prefix.to_str().context("UTF-8")?;
    let made = person.call(&["--home", place, "db", "migrate"])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (file, record) = (prefix.join("openclaw.db"), prefix.join("bin/.installed.json"));
    unmigrate(&file).await?;
    let (before, recorded) = (fs::read(&file)?, fs::read(&record)?);
    // An upgrade that was cut off after its unit had been found running, and a program that is not this one.
    let text = String::from_utf8(recorded.clone())?;
    let journal = format!(r#"{{"ran":["openclaw.service"],"record":{text},"before":[],"enabled":[]}}"#);
    let kept = prefix.join("bin/.previous");
    fs::create_dir(&kept)?;
    fs::write(kept.join("journal.json"), journal)?;
    fs::write(person.path("breaks"), "")?;
    fs::remove_file(person.path("told"))?;
    let (code, said) = person.installs("install", &[], &prefix)?;
    ensure!(code == Some(1) && said.contains("taken back"), "{code:?} {said}");
    ensure!(fs::read(&file)? == before, "the database is as it was");
    ensure!(fs::read(&record)? == recorded && !kept.exists());
    let told = person.told()?;
    let units: Vec<_> = told.lines().filter(|line| line.contains("openclaw.service")).collect();
    let call = |verb: &str| format!("--user {verb} openclaw.service");
    let wanted = ["stop", "restart", "stop", "reset-failed", "restart"].map(call);
    ensure!(units == wanted, "{told}");
    Ok(())
}
