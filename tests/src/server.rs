//! Servers of a test's own: killed, stopped in their tracks, started again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::wait_for;

/// Says that a test is skipped; fails it in CI, where nothing may be missing.
fn skipped(what: &str, why: &str) -> Result<()> {
    ensure!(std::env::var("CI").as_deref() != Ok("true"), "there is no {what}: {why}");
    eprintln!("skipped: there is no {what}: {}", why.trim());
    Ok(())
}

/// Processes with a parent: that one and its children.
fn family(parent: i32) -> Result<Vec<i32>> {
    let mut found = vec![parent];
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        if rest.split_whitespace().nth(1).and_then(|text| text.parse().ok()) == Some(parent) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A PostgreSQL. It ends by itself with this process.
pub struct Postgres {
    folder: TempDir,
    /// Up to the database's name.
    url: String,
}

impl Postgres {
    /// One more, or none where there is no PostgreSQL: then the test is skipped.
    pub fn start() -> Result<Option<Self>> {
        Self::by(script(), None, folder()?)
    }

    /// One whose clock can be set.
    pub fn with_clock() -> Result<Option<Self>> {
        let folder = folder()?;
        step(&folder, 0)?;
        Self::by(script(), None, folder)
    }

    /// Its clock is ahead of the machine's by so many seconds from now on.
    pub fn set_clock(&self, ahead: i64) -> Result<()> {
        step(&self.folder, ahead)
    }

    /// One that other machines reach at `address`; `machine` has a program run where it is.
    pub fn start_on(mut machine: Command, address: &str) -> Result<Option<Self>> {
        machine.arg(script().get_program()).env("LISTEN", address);
        Self::by(machine, Some(format!("postgres://postgres@{address}/?dbname=")), folder()?)
    }

    fn by(start: Command, url: Option<String>, folder: TempDir) -> Result<Option<Self>> {
        match up(start, folder.path())? {
            Ok(own) => Ok(Some(Self { folder, url: url.unwrap_or_else(|| format!("{own}&dbname=")) })),
            Err(why) => skipped("PostgreSQL (apt-get install postgresql libfaketime)", &why).map(|()| None),
        }
    }

    /// A database of it.
    pub fn url(&self, database: &str) -> String {
        format!("{}{database}", self.url)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// Makes a database, and answers its URL.
    pub fn database(&self, name: &str) -> Result<String> {
        self.execute("postgres", &format!("create database {name}"))?;
        Ok(self.url(name))
    }

    /// Statements without rows.
    pub fn execute(&self, database: &str, sql: &str) -> Result<()> {
        with(&self.url(database), async |db| {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(db).await?;
            Ok(())
        })
    }

    /// One number.
    pub fn number(&self, database: &str, sql: &str) -> Result<i64> {
        with(&self.url(database), async |db| {
            Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(db).await?)
        })
    }

    /// Lets `user` in with that password alone, and answers a URL without it.
    pub fn guarded(&self, user: &str, password: &str) -> Result<String> {
        let rules = self.folder.path().join("data/pg_hba.conf");
        let open = fs::read_to_string(&rules)?;
        fs::write(&rules, format!("local all {user} scram-sha-256\n{open}"))?;
        let password = password.replace('\'', "''");
        self.execute("postgres", &format!("create role {user} superuser login password '{password}'"))?;
        self.execute("postgres", "select pg_reload_conf()")?;
        Ok(self.url("postgres").replace("postgres@", &format!("{user}@")))
    }

    /// Keeps everybody from a table, until the answer is dropped.
    pub fn hold(&self, database: &str, table: &str) -> Result<Holding> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(async {
            let mut db = PgConnection::connect(&self.url(database)).await?;
            let sql = format!("begin; lock table {table} in access exclusive mode");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut db).await?;
            Ok::<_, anyhow::Error>(db)
        })?;
        Ok(Holding { _connection: connection, _runtime: runtime })
    }

    /// All that it holds, as text.
    pub fn dump(&self, database: &str) -> Result<String> {
        with(&self.url(database), async |db| {
            let sql = "select database_to_xml(true, false, '')::text";
            Ok(sqlx::query_scalar(sql).fetch_one(db).await?)
        })
    }

    fn processes(&self) -> Result<Vec<i32>> {
        let pid = fs::read_to_string(self.folder.path().join("data/postmaster.pid"))?;
        family(pid.lines().next().context("a pid")?.trim().parse()?)
    }

    /// All of its processes; one that is gone already is no fault.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        for pid in self.processes()? {
            let _ = kill(Pid::from_raw(pid), signal);
        }
        Ok(())
    }

    /// No process of it says goodbye.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        // What it left is no sign that it runs.
        Ok(fs::remove_file(self.folder.path().join("data/postmaster.pid"))?)
    }

    /// Once what is left of its earlier life is gone.
    pub fn start_again(&self) -> Result<()> {
        wait_for("PostgreSQL to start again", || Ok(up(script(), self.folder.path())?.ok().map(drop)))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // One that was stopped in its tracks would not end by itself.
        let _ = self.signal(Signal::SIGCONT);
        let _ = self.kill();
    }
}

/// Short, since a socket lies in it; the server's user must get in.
fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?)
}

/// Replaced whole, as the server reads it all the time.
fn step(folder: &TempDir, ahead: i64) -> Result<()> {
    let (new, file) = (folder.path().join("new"), folder.path().join("step"));
    fs::write(&new, format!("{ahead:+}"))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    Ok(fs::rename(new, file)?)
}

/// A lock on a table.
pub struct Holding {
    _connection: PgConnection,
    _runtime: tokio::runtime::Runtime,
}

/// A connection of its own, for one question.
fn with<T>(url: &str, ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut db = PgConnection::connect(url).await?;
        let answer = ask(&mut db).await?;
        db.close().await?;
        Ok(answer)
    })
}

/// Its URL, or why it has not come up.
fn up(mut start: Command, folder: &Path) -> Result<Result<String, String>> {
    let output = start.arg(std::process::id().to_string()).arg(folder).output()?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(Ok(String::from_utf8(output.stdout)?.trim().to_owned()))
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres"))
}

/// A Redis on a socket, and on a port of the loopback if it has one; killed when dropped.
pub struct Redis {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Redis {
    /// A place for one, which does not run yet; none where it is not installed: then the test is skipped.
    pub fn new() -> Result<Option<Self>> {
        if let Err(error) = Command::new("redis-server").arg("--version").output() {
            return skipped("redis-server (apt-get install redis-server)", &error.to_string()).map(|()| None);
        }
        let folder = tempfile::Builder::new().prefix("redis").tempdir_in("/tmp")?;
        Ok(Some(Self { folder, port: 0, child: None }))
    }

    /// One that runs on that port as well.
    pub fn start_on(port: u16) -> Result<Option<Self>> {
        let Some(mut redis) = Self::new()? else { return Ok(None) };
        redis.port = port;
        redis.start()?;
        Ok(Some(redis))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        let (socket, folder) =
            (self.socket().display().to_string(), self.folder.path().display().to_string());
        let port = self.port.to_string();
        let args =
            ["--port", &port, "--bind", "127.0.0.1", "--unixsocket", &socket, "--save", "", "--dir", &folder];
        let mut command = Command::new("redis-server");
        let child = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(child.spawn()?);
        wait_for("Redis to answer", || Ok((self.ask(&["PING"])? == "PONG").then_some(())))
    }

    /// What it answers.
    pub fn ask(&self, args: &[&str]) -> Result<String> {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(args).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { bail!("Redis does not run") };
        Ok(kill(Pid::from_raw(child.id() as i32), signal)?)
    }

    /// Ends it; what it held is lost.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
