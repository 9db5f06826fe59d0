//! Why there is no gateway.

use std::io;
use std::net::SocketAddr;

/// What keeps it from being opened. Nothing else has been started then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A token that cannot be one.
    #[error(
        "{name} is no token: {why}; make one with `openssl rand -hex 32`, and write it into .env as {name}=…"
    )]
    Token {
        /// The secret's name.
        name: &'static str,
        /// What is wrong with it, which does not tell it.
        why: &'static str,
    },
    /// A token that somebody meant to give.
    #[error(
        "{name} is empty ({at}): make a token with `openssl rand -hex 32` and write it there as {name}=…, or take the \
         variable out: without a token the API stays closed"
    )]
    Empty {
        /// The secret's name.
        name: &'static str,
        /// Where it stands.
        at: settings::SecretSource,
    },
    /// Anybody could reach it, and nobody would need to show anything.
    #[error(
        "[gateway] bind = \"{bind}\" can be reached from other machines, and {} is empty or missing: make a token \
         with `openssl rand -hex 32` and write it into .env, or bind 127.0.0.1",
        crate::tokens::OPERATOR
    )]
    Open {
        /// Where it was to listen.
        bind: SocketAddr,
    },
    /// Somebody listens there already.
    #[error(
        "{bind} is taken by {holder}: stop that, or let this daemon listen elsewhere, with `bind` in [gateway] or \
         OPENCLAW_GATEWAY__BIND=127.0.0.1:PORT; nothing was started"
    )]
    Taken {
        /// Where it was to listen.
        bind: SocketAddr,
        /// Who does.
        holder: String,
    },
    /// This machine does not have the address, or not yet: an interface may come up later than this daemon.
    #[error(
        "cannot listen on {bind}: this machine has no such address (now); correct `bind` in [gateway], or try again"
    )]
    NotHere {
        /// Where it was to listen.
        bind: SocketAddr,
    },
    /// This user may not have the port.
    #[error("cannot listen on {bind} ({source}): correct `bind` in [gateway]")]
    NotOurs {
        /// Where it was to listen.
        bind: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The system does not give the socket.
    #[error("cannot listen on {bind}: {source}")]
    Listen {
        /// Where it was to listen.
        bind: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// What was handed over is no listening TCP socket.
    #[error("the socket that was handed over cannot be listened on: {0}")]
    HandedOver(#[source] io::Error),
}
