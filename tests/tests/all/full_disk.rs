//! A disk without room: nothing is acknowledged, status says so, and service resumes by itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};
use openclaw_tests::daemon::Home;
use openclaw_tests::socket::{Socket, message};
use openclaw_tests::{built, wait_for};
use serde_json::{Value, json};

use crate::support::quick;

/// A daemon whose home is a file system of 64 MiB that nobody else sees.
struct Small {
    /// Outside of it: the daemon's log, the fifo.
    outside: Home,
    daemon: Child,
}

impl Small {
    fn start() -> Result<Self> {
        let outside = Home::new("", &[])?;
        fs::create_dir(outside.path().join("disk"))?;
        for name in ["config", "agents"] {
            fs::create_dir(outside.path().join(format!("disk-{name}")))?;
        }
        let own = "[agents.misbehaving]\nsandbox = \"off\"\n";
        fs::write(outside.path().join("disk-config/openclaw.toml"), quick(own))?;
        let script = r#"
            mount -t tmpfs -o size=64m openclaw-test disk && cp -r disk-config disk/config &&
            mkdir disk/agents && cp "$2"/libscout.so "$2"/libmisbehaving.so disk/agents/ &&
            exec "$2"/openclaw --home "$1"/disk run"#;
        let log = File::create(outside.path().join("daemon.log"))?;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).arg(outside.path()).arg(built()?);
        command.current_dir(outside.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let daemon = command.spawn().context("unshare, of the package util-linux")?;
        let mut small = Self { outside, daemon };
        wait_for("the daemon on the small disk", || {
            if let Some(status) = small.daemon.try_wait()? {
                bail!("it ended with {status}: {}", small.outside.log());
            }
            Ok(small.socket().ok())
        })?;
        for agent in ["scout", "misbehaving"] {
            wait_for(agent, || Ok((small.component(agent)?["state"] == "ready").then_some(())))?;
        }
        Ok(small)
    }

    /// Its home as seen from here: through the daemon's own root.
    fn home(&self) -> PathBuf {
        let disk = self.outside.path().join("disk");
        let within = disk.strip_prefix("/").unwrap_or(&disk);
        Path::new("/proc").join(self.daemon.id().to_string()).join("root").join(within)
    }

    fn socket(&self) -> Result<Socket> {
        Socket::connect(&self.home().join("run/openclaw.sock"))
    }

    fn cli(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(built()?.join("openclaw"));
        command.arg("--home").arg(self.home()).args(args).stdin(Stdio::null());
        Ok(command.output()?)
    }

    fn component(&self, name: &str) -> Result<Value> {
        let status = self.socket()?.call(json!("status"))?.map_err(|error| anyhow::anyhow!("{error}"))?;
        let all = status["components"].as_array().context("components")?;
        all.iter().find(|component| component["name"] == name).cloned().context(name.to_owned())
    }

    fn task(&self, id: &str) -> Result<Value> {
        let task = self.socket()?.call(json!({"task": {"id": id}}))?;
        task.map_err(|error| anyhow::anyhow!("task {id}: {error}"))
    }

    fn count(&self) -> Result<usize> {
        let filter = json!({"tasks": {"queue": null, "state": null, "session": null, "limit": 1000}});
        let tasks = self.socket()?.call(filter)?.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(tasks.as_array().context("tasks")?.len())
    }

    /// Writes until not one byte more fits.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.home().join("ballast");
        let mut file = File::create(&path)?;
        for size in [1 << 20, 1 << 12, 1] {
            let chunk = vec![0xaa; size];
            loop {
                match file.write(&chunk) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn a_full_disk_acknowledges_nothing_and_service_resumes_by_itself() -> Result<()> {
    if !Uid::effective().is_root() {
        ensure!(std::env::var_os("CI").is_none(), "CI must run this as root");
        println!("skipped: a disk of one's own takes root");
        return Ok(());
    }
    let small = Small::start()?;

    // In work while the disk fills: its handler waits until somebody reads the fifo.
    let fifo = small.outside.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    let text = format!("append {} effect", fifo.display());
    let sent = small.socket()?.call(message("misbehaving", &text, Some("s"), None))?;
    let in_work = sent.map_err(|error| anyhow::anyhow!("{error}"))?;
    let in_work = in_work["task_id"].as_str().context("an id")?.to_owned();
    wait_for("the task to run", || Ok((small.component("misbehaving")?["running"] == 1).then_some(())))?;

    let ballast = small.fill()?;
    // The log of the database may have some room left that it owns already.
    let mut accepted = 1;
    let refused = wait_for("a refusal", || {
        let output = small.cli(&["send", "scout", &"x".repeat(100_000), "--no-wait"])?;
        if output.status.success() {
            accepted += 1;
            return Ok(None);
        }
        Ok(Some(output))
    })?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(75), "{said}");
    assert!(said.contains("full") && said.contains("nothing was stored"), "{said}");
    assert!(said.contains("free some space"), "{said}");

    // Its work is done now; what came of it cannot be stored.
    assert_eq!(fs::read_to_string(&fifo)?, "effect\n");
    let store = wait_for("status to say so", || {
        let store = small.component("store")?;
        let held = store["reason"].as_str().is_some_and(|reason| reason.contains("1 results wait"));
        Ok((store["health"] == "failed" && held).then_some(store))
    })?;
    assert!(store["reason"].as_str().is_some_and(|reason| reason.contains("full")), "{store}");
    let output = small.cli(&["status"])?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && shown.contains("full"), "{shown}");
    // What reads only goes on, and nothing that was refused is there.
    assert_eq!(small.count()?, accepted);
    assert_eq!(small.task(&in_work)?["state"], "leased");
    assert_eq!(small.component("misbehaving")?["restarts"], 0);

    fs::remove_file(&ballast)?;
    wait_for("the store to be well by itself", || {
        Ok((small.component("store")?["health"] == "ok").then_some(()))
    })?;
    let done = wait_for("the task that was in work", || {
        let task = small.task(&in_work)?;
        Ok((task["state"] != "leased").then_some(task))
    })?;
    assert_eq!((&done["state"], &done["attempts"]), (&"done".into(), &1.into()), "{done}");
    let sent = small.socket()?.call(message("misbehaving", "echo room again", Some("s"), Some(30_000)))?;
    let sent = sent.map_err(|error| anyhow::anyhow!("{error}"))?;
    assert_eq!(sent["result"]["text"], "room again", "{sent}");
    let output = small.cli(&["send", "misbehaving", "echo by hand"])?;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "by hand");
    for agent in ["scout", "misbehaving"] {
        assert_eq!(small.component(agent)?["restarts"], 0, "{agent}");
    }
    Ok(())
}
