//! A daemon in a home of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, bail};
use chrono::TimeDelta;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::socket::Socket;
use crate::{built, wait_for};

/// Where HTTP is served.
pub const BIND: &str = "OPENCLAW_GATEWAY__BIND";

/// A home with a configuration and libraries; removed when dropped, unless `OPENCLAW_TESTS_KEEP` is set.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// A home with this `openclaw.toml` and these libraries, by crate name.
    pub fn new(config: &str, libraries: &[&str]) -> Result<Self> {
        let keep = std::env::var_os("OPENCLAW_TESTS_KEEP").is_some();
        let folder = tempfile::Builder::new().prefix("openclaw-").disable_cleanup(keep).tempdir()?;
        if keep {
            eprintln!("the home {} is kept", folder.path().display());
        }
        let home = Self { folder };
        fs::create_dir_all(home.path().join("config"))?;
        fs::create_dir_all(home.path().join("agents"))?;
        home.configure(config)?;
        for library in libraries {
            home.install(library, library)?;
        }
        Ok(home)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration.
    pub fn configure(&self, config: &str) -> Result<()> {
        Ok(fs::write(self.path().join("config/openclaw.toml"), config)?)
    }

    /// Puts the library of crate `library` into the agents folder as agent `name`'s.
    pub fn install(&self, library: &str, name: &str) -> Result<PathBuf> {
        let to = self.path().join(format!("agents/lib{}.so", name.replace('-', "_")));
        fs::copy(built()?.join(format!("lib{}.so", library.replace('-', "_"))), &to)?;
        Ok(to)
    }

    /// The command line, for this home.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(built()?.join("openclaw"));
        command.arg("--home").arg(self.path()).args(args).current_dir(self.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OPENCLAW_")) {
            command.env_remove(name);
        }
        // Each daemon has a port of its own.
        command.env(BIND, "127.0.0.1:0");
        Ok(command)
    }

    /// Runs the command line to its end.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        Ok(self.command(args)?.stdin(Stdio::null()).output()?)
    }

    /// Runs the command line, which must succeed, and answers what it printed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.cli(args)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("`openclaw {}` ended with {}: {out}{err}", args.join(" "), output.status);
        }
        Ok(out.into_owned())
    }

    /// As [`ok`](Self::ok), and reads the JSON that was printed.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.ok(args)?;
        serde_json::from_str(&text).with_context(|| format!("`openclaw {}` printed {text}", args.join(" ")))
    }

    /// `openclaw status --json`, whatever its exit code.
    pub fn status(&self) -> Result<Value> {
        let output = self.cli(&["status", "--json"])?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).with_context(said)
    }

    /// One component of the status.
    pub fn component(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let components = status["components"].as_array().context("components")?;
        let found = components.iter().find(|component| component["name"] == name);
        found.cloned().with_context(|| format!("no component {name}"))
    }

    /// Waits until a component is in `state`.
    pub fn until(&self, name: &str, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        wait_for(&format!("`{name}` to be {state}"), || {
            last = self.component(name)?;
            Ok((last["state"] == state).then(|| last.clone()))
        })
        .with_context(|| format!("last seen: {last}"))
    }

    /// Starts a daemon here, and waits for nothing; its log goes to `daemon.log`.
    pub fn spawn(&self) -> Result<Daemon> {
        self.spawn_by(self.command(&["run"])?)
    }

    /// As [`spawn`](Self::spawn), with a fail point armed: see `store::failpoint`.
    pub fn spawn_armed(&self, failpoint: &str) -> Result<Daemon> {
        let mut command = self.command(&["run"])?;
        command.env("OPENCLAW_FAILPOINT", failpoint);
        self.spawn_by(command)
    }

    /// As [`spawn`](Self::spawn), by a command that runs one in some other way.
    pub fn spawn_by(&self, mut command: Command) -> Result<Daemon> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path().join("daemon.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Daemon { child: command.spawn()? })
    }

    /// Starts a daemon here and waits until it answers: it, and not one that was killed a moment ago.
    pub fn start(&self) -> Result<Daemon> {
        self.start_as(self.command(&["run"])?)
    }

    /// As [`start`](Self::start), called in this way.
    pub fn start_as(&self, command: Command) -> Result<Daemon> {
        let mut daemon = self.spawn_by(command)?;
        wait_for("the daemon to answer", || {
            if let Some(status) = daemon.ended()? {
                bail!("the daemon ended with {status}: {}", self.log());
            }
            let answer = self.socket().and_then(|mut socket| socket.call(json!("status")));
            let Ok(Ok(status)) = answer else { return Ok(None) };
            Ok((status["daemon"]["pid"] == daemon.pid()).then_some(()))
        })?;
        Ok(daemon)
    }

    /// Starts a daemon and waits until these agents are ready.
    pub fn start_ready(&self, agents: &[&str]) -> Result<Daemon> {
        let daemon = self.start()?;
        for agent in agents {
            self.until(agent, "ready").with_context(|| self.log())?;
        }
        Ok(daemon)
    }

    /// What runs a daemon here whose wall clock [`step`](Self::step) sets: a debug build, since the machine's must not be set.
    pub fn stepped(&self) -> Result<Command> {
        let mut command = self.command(&["run"])?;
        command.env("OPENCLAW_CLOCK_STEP", self.path().join("step"));
        Ok(command)
    }

    /// Sets the wall clock of such a daemon: it is ahead of the machine's by so much from now on.
    pub fn step(&self, step: TimeDelta) -> Result<()> {
        let file = self.path().join("step");
        let new = file.with_extension("new");
        // Replaced whole, as the daemon reads it all the time.
        fs::write(&new, step.num_seconds().to_string())?;
        Ok(fs::rename(new, file)?)
    }

    /// A connection to the daemon.
    pub fn socket(&self) -> Result<Socket> {
        Socket::connect(&self.path().join("run/openclaw.sock"))
    }

    /// What the daemon said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("daemon.log")).unwrap_or_default()
    }

    /// The numbers of all processes whose working folder lies in this home: the daemon, every host, however young,
    /// and what hosts left behind.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let numbers = fs::read_dir("/proc")?.flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
        let lives_here = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(self.path()))
        };
        Ok(numbers.filter(lives_here).collect())
    }

    /// The numbers of all host processes that live in this home, by the lock that each holds.
    pub fn hosts(&self) -> Result<Vec<i32>> {
        let lock = self.path().join("run/openclaw.hosts.lock");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            let is_host = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                line.split(|byte| *byte == 0).nth(1).is_some_and(|arg| arg == b"agent-host")
            });
            let holds = |path: PathBuf| fs::read_link(path).is_ok_and(|target| target == lock);
            if is_host && files.flatten().any(|file| holds(file.path())) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid()), signal)?)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, at most [`PATIENCE`](crate::PATIENCE).
    pub fn wait(mut self) -> Result<ExitStatus> {
        wait_for("the daemon to end", || Ok(self.child.try_wait()?))
    }

    /// SIGTERM, and waits.
    pub fn stop(self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// SIGKILL, and waits.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
