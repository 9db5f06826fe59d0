//! Listening sockets that systemd has for this process: from a socket unit, or kept over a restart by FDSTORE.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Those that this process was started with, each taken once.
pub struct Sockets {
    passed: ListenFd,
    names: Vec<String>,
}

impl Sockets {
    /// Takes them over. To be called once, before anything is started: it forgets the variables' meaning for nobody else,
    /// since hosts get an environment of their own.
    pub fn of_process() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { passed: ListenFd::from_env(), names: names.split(':').map(str::to_owned).collect() }
    }

    /// The TCP listener of that name, if there is one; not blocking, as tokio wants it.
    ///
    /// # Errors
    /// What has the name is no TCP listener.
    pub fn tcp(&mut self, name: &str) -> io::Result<Option<TcpListener>> {
        for place in 0..self.passed.len() {
            if self.names.get(place).is_some_and(|known| known == name)
                && let Some(listener) = self.passed.take_tcp_listener(place)?
            {
                listener.set_nonblocking(true)?;
                return Ok(Some(listener));
            }
        }
        Ok(None)
    }
}

/// Leaves a listening socket with systemd: after a crash the successor finds it, and who connects meanwhile waits.
///
/// # Errors
/// systemd was not reached.
pub fn keep(name: &str, socket: &impl AsFd) -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(name)], &[socket.as_fd()])
}
