//! A Redis of a test's own, in a folder of its own, on a free port.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::PATIENCE;

/// The server, ended with the test.
pub struct Server {
    child: Child,
    pub port: u16,
    pub folder: TempDir,
    args: Vec<String>,
}

impl Server {
    /// Starts one with these further arguments. None where there is no Redis: the test is skipped.
    pub fn start(args: &[&str]) -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), args)
    }

    /// As [`Self::start`], in that folder; `{dir}` in an argument is the folder, `{port}` the port.
    pub fn start_in(folder: TempDir, args: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "redis-server is not installed");
            eprintln!("skipped: redis-server is not installed (apt-get install redis-server)");
            return None;
        }
        // Another test may take the port before the server does.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let dir = folder.path().display().to_string();
            let named = |arg: &&str| arg.replace("{dir}", &dir).replace("{port}", &port.to_string());
            let mut all: Vec<String> =
                ["--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--dir", "{dir}"]
                    .iter()
                    .chain(args)
                    .map(named)
                    .collect();
            all.extend(["--enable-debug-command", "yes"].map(String::from));
            let mut child = spawn(&all);
            if answers(&mut child, port) {
                return Some(Self { child, port, folder, args: all });
            }
            // One that runs and says nothing must not outlive the test.
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Again, on the same port.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.args);
        assert!(answers(&mut self.child, self.port), "it does not start again");
    }

    /// Stops or continues its process.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Says this to it, and does not wait for an answer.
    pub fn say(&self, command: &[&str]) -> TcpStream {
        say(self.port, command)
    }

    /// What it answers, as it travels.
    pub fn tell(&self, command: &[&str]) -> String {
        let mut stream = self.say(command);
        stream.write_all(b"QUIT\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.strip_suffix("+OK\r\n").unwrap_or(&answer).trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(args: &[String]) -> Child {
    Command::new("redis-server").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn say(port: u16, command: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("*{}\r\n", command.len());
    for part in command {
        request += &format!("${}\r\n{part}\r\n", part.len());
    }
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Whether it comes up: it accepts, and says anything at all (with TLS: that this is none).
fn answers(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(b"GET nothing at all\r\n");
            let mut byte = [0];
            let reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
            if stream.read(&mut byte).map_or_else(|error| reset(&error), |_| true) {
                return child.try_wait().unwrap().is_none();
            }
        }
        #[allow(clippy::disallowed_methods, reason = "the pace of looking, not the wait itself")]
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
