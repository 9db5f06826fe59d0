//! What systemd is told and passes on, without a systemd: the test listens on `NOTIFY_SOCKET` and passes sockets itself.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use openclaw_tests::daemon::{BIND, Home};
use openclaw_tests::http::Http;
use openclaw_tests::socket::message;
use openclaw_tests::wait_for;

const CONFIG: &str = "[agents.misbehaving]\nsandbox = \"off\"\n";
const AGENT: &[&str] = &["misbehaving"];

/// What a daemon tells systemd.
struct Heard {
    socket: UnixDatagram,
    /// Each message in order: `KEY=VALUE` lines.
    told: Vec<String>,
}

impl Heard {
    /// Listens for a daemon of that home.
    fn of(home: &Home, command: &mut Command) -> Result<Self> {
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        command.env("NOTIFY_SOCKET", path);
        Ok(Self { socket, told: Vec::new() })
    }

    fn hear(&mut self) -> Result<()> {
        let mut text = [0; 4096];
        loop {
            match self.socket.recv(&mut text) {
                Ok(length) => self.told.push(String::from_utf8_lossy(&text[..length]).into_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a message that has `what`, after the first `from` ones; its place.
    fn until(&mut self, from: usize, what: &str) -> Result<usize> {
        wait_for(&format!("systemd to be told `{what}`"), || {
            self.hear()?;
            Ok(self.told.iter().skip(from).position(|told| told.contains(what)).map(|place| from + place))
        })
        .with_context(|| format!("{:#?}", self.told))
    }

    fn has(&self, from: usize, what: &str) -> bool {
        self.told.iter().skip(from).any(|told| told.lines().any(|line| line.starts_with(what)))
    }
}

/// Passes listeners on as systemd does, from a number that nothing else has.
fn pass(command: &mut Command, sockets: &[(&str, &TcpListener)]) -> Result<Vec<OwnedFd>> {
    const FIRST: i32 = 700;
    let mut passed = Vec::new();
    for (place, (_, listener)) in (FIRST..).zip(sockets) {
        let number = fcntl(*listener, FcntlArg::F_DUPFD(place))?;
        assert_eq!(number, place);
        // SAFETY: just made, and nobody else's.
        passed.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDS_FIRST_FD", FIRST.to_string());
    command.env("LISTEN_FDNAMES", names.join(":"));
    Ok(passed)
}

fn listener() -> Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok((listener.local_addr()?, listener))
}

#[test]
fn passed_sockets_are_served_and_no_host_has_one() -> Result<()> {
    let home = Home::new(CONFIG, AGENT)?;
    let (at, unit) = listener()?;
    let inode = fs::metadata(format!("/proc/self/fd/{}", unit.as_raw_fd()))?.st_ino();
    let mut command = home.command(&["run"])?;
    command.env(BIND, at.to_string());
    let mut heard = Heard::of(&home, &mut command)?;
    let passed = pass(&mut command, &[("gateway", &unit), ("gateway-kept", &unit)])?;
    let daemon = home.start_as(command)?;
    drop((passed, unit));
    home.until("misbehaving", "ready")?;
    assert_eq!(Http::at(at, None).get("/healthz")?.status, 200);
    let hosts = home.hosts()?;
    assert!(!hosts.is_empty());
    for host in hosts {
        for file in fs::read_dir(format!("/proc/{host}/fd"))?.flatten() {
            let is = fs::read_link(file.path())?;
            assert!(
                !is.to_string_lossy().contains(&format!("socket:[{inode}]")),
                "{}",
                file.path().display()
            );
        }
    }
    heard.until(0, "READY=1")?;
    assert!(!heard.has(0, "FDSTORE=1"), "a socket unit keeps it already");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_passed_socket_on_another_address_gives_way_to_the_configuration() -> Result<()> {
    let home = Home::new(CONFIG, AGENT)?;
    let ((unit_at, unit), (_, kept)) = (listener()?, listener()?);
    let mut command = home.command(&["run"])?;
    command.env(BIND, "127.0.0.2:0");
    let mut heard = Heard::of(&home, &mut command)?;
    let _passed = pass(&mut command, &[("gateway", &unit), ("gateway-kept", &kept)])?;
    let daemon = home.start_as(command)?;
    home.until("misbehaving", "ready")?;
    let http = Http::of(&home, None)?;
    assert!(http.address.ip().to_string() == "127.0.0.2" && http.get("/healthz")?.status == 200);
    let gateway = home.component("gateway")?;
    let reason = gateway["reason"].as_str().context("a reason")?;
    assert!(
        reason.contains(&unit_at.to_string()) && reason.contains("systemctl edit openclaw.socket"),
        "{reason}"
    );
    assert_eq!(gateway["health"], "degraded");
    heard.until(0, "READY=1")?;
    assert!(heard.has(0, "FDSTOREREMOVE=1") && heard.has(0, "FDSTORE=1"), "{:#?}", heard.told);
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_stop_is_obeyed_while_the_database_is_awaited() -> Result<()> {
    let (at, closed) = listener()?;
    drop(closed);
    let home = Home::new(&format!("[database]\nurl = \"postgres://nobody@{at}/none\"\n{CONFIG}"), AGENT)?;
    let mut command = home.command(&["run"])?;
    let mut heard = Heard::of(&home, &mut command)?;
    let daemon = home.spawn_by(command)?;
    heard.until(0, "waiting for the database")?;
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    let stopping = heard.until(0, "STOPPING=1")?;
    assert!(!heard.has(stopping, "EXTEND_TIMEOUT_USEC"), "{:#?}", heard.told);
    Ok(())
}

#[test]
fn a_drain_asks_for_the_time_that_it_takes() -> Result<()> {
    let home = Home::new(CONFIG, AGENT)?;
    let mut command = home.command(&["run"])?;
    let mut heard = Heard::of(&home, &mut command)?;
    let daemon = home.start_as(command)?;
    home.until("misbehaving", "ready")?;
    let ready = heard.until(0, "READY=1")?;
    let sent = home.socket()?.call(message("misbehaving", "sleep 500 late", None, None))?;
    assert!(sent.is_ok(), "{sent:?}");
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    let stopping = heard.until(ready, "STOPPING=1")?;
    assert!(heard.has(stopping, "EXTEND_TIMEOUT_USEC="), "{:#?}", heard.told);
    assert!(!heard.has(stopping, "READY=1"), "{:#?}", heard.told);
    Ok(())
}

#[test]
fn nothing_is_ready_before_it_is_nor_after() -> Result<()> {
    let home = Home::new(&format!("{CONFIG}settings = {{ start = \"hang\" }}\n"), AGENT)?;
    let mut command = home.command(&["run"])?;
    let mut heard = Heard::of(&home, &mut command)?;
    let daemon = home.start_as(command)?;
    heard.until(0, "starting: agents are on their way")?;
    daemon.signal(Signal::SIGHUP)?;
    wait_for("the reload", || Ok(home.log().contains("SIGHUP: looking at all libraries").then_some(())))?;
    assert!(daemon.stop()?.success());
    heard.until(0, "STOPPING=1")?;
    assert!(!heard.has(0, "READY=1") && !heard.has(0, "RELOADING=1"), "{:#?}", heard.told);
    Ok(())
}

#[test]
fn a_refused_configuration_stays_in_the_status_until_it_is_mended() -> Result<()> {
    let home = Home::new(CONFIG, AGENT)?;
    let mut command = home.command(&["run"])?;
    let mut heard = Heard::of(&home, &mut command)?;
    let daemon = home.start_as(command)?;
    let ready = heard.until(0, "READY=1")?;
    home.configure("[agents.misbehaving]\nsandbox = 7\n")?;
    daemon.signal(Signal::SIGHUP)?;
    let refused = heard.until(ready + 1, "READY=1")?;
    assert!(heard.told[refused].contains("the configuration is wrong"), "{:#?}", heard.told);
    // Whatever else is said, it is said too.
    home.ok(&["agents", "stop", "misbehaving"])?;
    let after = heard.until(refused + 1, "STATUS=")?;
    assert!(heard.told[after].contains("the configuration is wrong"), "{:#?}", heard.told);
    home.configure(CONFIG)?;
    daemon.signal(Signal::SIGHUP)?;
    let mended = heard.until(after + 1, "STATUS=reloaded")?;
    home.ok(&["agents", "start", "misbehaving"])?;
    let after = heard.until(mended + 1, "STATUS=")?;
    assert!(!heard.told[after].contains("wrong"), "{:#?}", heard.told);
    assert!(daemon.stop()?.success());
    Ok(())
}
