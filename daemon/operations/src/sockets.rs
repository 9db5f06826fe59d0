//! Listening sockets that systemd has for this process: from a socket unit, or kept over a restart by FDSTORE.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// How a kept socket is called beside the socket unit's: both come after a restart.
const KEPT: &str = "-kept";

/// TCP listeners that this process was started with.
pub struct Sockets(Vec<(String, TcpListener)>);

/// What is to be listened on, as systemd has it.
#[derive(Debug, Default)]
pub struct Passed {
    /// The listener on the wanted address, if there is one, and whether a socket unit keeps it.
    pub listener: Option<(TcpListener, bool)>,
    /// A socket unit listens there instead, where nobody answers.
    pub astray: Option<SocketAddr>,
}

impl Sockets {
    /// Takes them over, all of them: one that nobody took would be every child's as well. To be called once, before
    /// anything is started.
    ///
    /// # Errors
    /// One that is no TCP listener.
    pub fn of_process() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut passed = ListenFd::from_env();
        let mut listeners = Vec::new();
        for place in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            if let Some(listener) = passed.take_tcp_listener(place)? {
                listener.set_nonblocking(true)?;
                listeners.push((name, listener));
            }
        }
        Ok(Self(listeners))
    }

    /// The listener of that name on that address. Others of the name are closed, and those that were kept are given back.
    ///
    /// # Errors
    /// Its address is not to be had.
    pub fn take(&mut self, name: &str, bind: SocketAddr) -> io::Result<Passed> {
        let kept = format!("{name}{KEPT}");
        let ours = |(known, _): &mut (String, TcpListener)| *known == name || *known == kept;
        let mut passed = Passed::default();
        for (known, listener) in self.0.extract_if(.., ours) {
            let (at, by_unit) = (listener.local_addr()?, known == name);
            if !is(at, bind) {
                match by_unit {
                    true => passed.astray = Some(at),
                    false => forget(&kept),
                }
            } else if by_unit || passed.listener.is_none() {
                passed.listener = Some((listener, by_unit));
            }
        }
        Ok(passed)
    }
}

/// Port 0 is any.
fn is(at: SocketAddr, bind: SocketAddr) -> bool {
    at.ip() == bind.ip() && (at.port() == bind.port() || bind.port() == 0)
}

/// Leaves a listening socket with systemd: after a crash the successor finds it, and who connects meanwhile waits.
///
/// # Errors
/// systemd was not reached.
pub fn keep(name: &str, socket: &impl AsFd) -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let name = format!("{name}{KEPT}");
    sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(&name)], &[socket.as_fd()])
}

/// systemd closes what was kept under that name, or is not there.
fn forget(kept: &str) {
    let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(kept)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    #[test]
    fn the_units_own_is_taken_before_the_kept_one_and_neither_stays_open() {
        let (at, unit) = listener();
        let kept = unit.try_clone().unwrap();
        let mut sockets = Sockets(vec![("gateway-kept".into(), kept), ("gateway".into(), unit)]);
        let passed = sockets.take("gateway", at).unwrap();
        assert!(matches!(passed.listener, Some((_, true))));
        assert!(passed.astray.is_none() && sockets.0.is_empty());
        drop(passed);
        TcpListener::bind(at).unwrap();
    }

    #[test]
    fn one_on_another_address_is_not_listened_on() {
        let (kept_at, kept) = listener();
        let (unit_at, unit) = listener();
        let mut sockets = Sockets(vec![("gateway".into(), unit), ("gateway-kept".into(), kept)]);
        let passed = sockets.take("gateway", "127.0.0.2:1".parse().unwrap()).unwrap();
        assert!(passed.listener.is_none());
        assert_eq!(passed.astray, Some(unit_at));
        TcpListener::bind(kept_at).unwrap();
    }

    #[test]
    fn any_port_is_any_port_and_other_names_are_left() {
        let (_, kept) = listener();
        let (_, other) = listener();
        let mut sockets = Sockets(vec![("gateway-kept".into(), kept), ("other".into(), other)]);
        let passed = sockets.take("gateway", "127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(matches!(passed.listener, Some((_, false))));
        assert_eq!(sockets.0.len(), 1);
    }
}
