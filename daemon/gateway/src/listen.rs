//! The port, taken before any work starts.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use nix::sys::socket::{Backlog, listen};
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, all_processes};

use crate::{Error, Tokens};

/// Who may wait to be taken: std's 128 are soon full, and whoever comes then waits for a second.
const BACKLOG: i32 = 1024;

/// Takes the port.
///
/// # Errors
/// [`Error::Open`] without a token where others could reach it; who has the port already; why it cannot be had.
pub fn bind(bind: SocketAddr, tokens: &Tokens) -> Result<TcpListener, Error> {
    guarded(bind, tokens)?;
    bind_guarded(bind)
}

/// Takes a port behind which whoever comes is asked for a secret in any case.
///
/// # Errors
/// Who has the port already; why it cannot be had.
pub fn bind_guarded(bind: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(bind).map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => Error::Taken { bind, holder: holder(bind.port()) },
        ErrorKind::AddrNotAvailable => Error::NotHere { bind },
        ErrorKind::PermissionDenied => Error::NotOurs { bind, source },
        _ => Error::Listen { bind, source },
    })?;
    listener
        .set_nonblocking(true)
        .and_then(|()| {
            Backlog::new(BACKLOG).and_then(|backlog| listen(&listener, backlog)).map_err(Into::into)
        })
        .map_err(|source| Error::Listen { bind, source })?;
    Ok(listener)
}

/// Takes over a port that somebody else has opened, such as systemd.
///
/// # Errors
/// As [`bind`]; [`Error::HandedOver`].
pub fn adopt(listener: TcpListener, tokens: &Tokens) -> Result<TcpListener, Error> {
    guarded(listener.local_addr().map_err(Error::HandedOver)?, tokens)?;
    listener.set_nonblocking(true).map_err(Error::HandedOver)?;
    Ok(listener)
}

fn guarded(bind: SocketAddr, tokens: &Tokens) -> Result<(), Error> {
    if bind.ip().to_canonical().is_loopback() || tokens.has_operator() {
        Ok(())
    } else {
        Err(Error::Open { bind })
    }
}

/// Who listens on a port, as far as this user may see.
fn holder(port: u16) -> String {
    let told = |pid: i32, name: String| format!("`{name}` (pid {pid})");
    found(port).ok().flatten().map_or_else(|| "another program".into(), |(pid, name)| told(pid, name))
}

fn found(port: u16) -> procfs::ProcResult<Option<(i32, String)>> {
    let listens = |entry: &TcpNetEntry| entry.state == TcpState::Listen && entry.local_address.port() == port;
    let entries = procfs::net::tcp()?.into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let sockets: Vec<u64> = entries.filter(listens).map(|entry| entry.inode).collect();
    for process in all_processes()?.flatten() {
        // Those of others are closed to us.
        let Ok(mut files) = process.fd() else { continue };
        let ours = files.any(|file| {
            file.is_ok_and(|file| matches!(file.target, FDTarget::Socket(inode) if sockets.contains(&inode)))
        });
        if ours {
            let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
            return Ok(Some((process.pid, name.escape_debug().to_string())));
        }
    }
    Ok(None)
}

/// Gives up on a peer that takes nothing of what it is sent.
pub(crate) fn unread_limit(stream: &tokio::net::TcpStream, milliseconds: u32) -> io::Result<()> {
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::TcpUserTimeout, &milliseconds)
        .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_its_holder() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), &Tokens::default()).unwrap();
        let told = bind(first.local_addr().unwrap(), &Tokens::default()).unwrap_err().to_string();
        assert!(told.contains(&format!("pid {}", std::process::id())), "{told}");
    }

    #[test]
    fn what_others_can_reach_needs_a_token() {
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let told = bind(open.parse().unwrap(), &Tokens::default()).unwrap_err();
            assert!(matches!(told, Error::Open { .. }), "{told}");
        }
        for loopback in ["127.0.0.1:0", "127.1.2.3:0", "[::ffff:127.0.0.1]:0"] {
            bind(loopback.parse().unwrap(), &Tokens::default()).unwrap();
        }
        let open = TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(matches!(adopt(open, &Tokens::default()), Err(Error::Open { .. })));
    }
}
