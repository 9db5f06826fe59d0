//! Something between a daemon and its PostgreSQL, which refuses when it is told to while the server is well.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Result;

use crate::server::Postgres;

/// A port that leads to a server's socket.
pub struct Proxy {
    port: u16,
    to: PathBuf,
    open: Option<Open>,
}

/// While it serves.
struct Open {
    /// The lines through it; none any more once it is to refuse.
    lines: Arc<Mutex<Option<Vec<TcpStream>>>>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// One that serves.
    pub fn to(server: &Postgres) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (port, to) = (listener.local_addr()?.port(), server.socket());
        let open = Some(Open::new(listener, to.clone()));
        Ok(Self { port, to, open })
    }

    /// A database of the server, through this.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends all lines, and refuses others.
    pub fn refuse(&mut self) {
        let Some(Open { lines, listening }) = self.open.take() else { return };
        let ended = lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        ended.into_iter().flatten().for_each(|line| drop(line.shutdown(Shutdown::Both)));
        // It sees the end with the next line.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = listening.join();
    }

    /// Serves again.
    pub fn serve(&mut self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        self.open = Some(Open::new(listener, self.to.clone()));
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse();
    }
}

impl Open {
    fn new(listener: TcpListener, to: PathBuf) -> Self {
        let lines = Arc::new(Mutex::new(Some(Vec::new())));
        let kept = lines.clone();
        let listening = thread::spawn(move || {
            let mut carrying = Vec::new();
            for line in listener.incoming().flatten() {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(lines) = kept.as_mut() else { break };
                if let (Ok(end), Ok(server)) = (line.try_clone(), UnixStream::connect(&to)) {
                    lines.push(end);
                    carrying.push(thread::spawn(move || carry(line, server)));
                }
            }
            drop(listener);
            carrying.into_iter().for_each(|line| drop(line.join()));
        });
        Self { lines, listening }
    }
}

/// Both ways, until either end is gone.
fn carry(line: TcpStream, server: UnixStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = pass(&line, &server);
            let _ = server.shutdown(Shutdown::Both);
        });
        let _ = pass(&server, &line);
        let _ = line.shutdown(Shutdown::Both);
    });
}

fn pass(mut from: impl Read, mut to: impl Write) -> io::Result<u64> {
    io::copy(&mut from, &mut to)
}
