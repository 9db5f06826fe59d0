//! Where Redis is and who we are there.

use std::fmt;
use std::path::PathBuf;

use ::redis::{ProtocolVersion, RedisConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

/// How Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// Within TLS.
        tls: bool,
    },
    /// Over a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "{scheme}://{host}:{port}")
            }
            Self::Unix(path) => write!(f, "redis+unix://{}", path.display()),
        }
    }
}

/// What a bus on Redis needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it is reached.
    pub address: Address,
    /// The ACL user; `default` when there is none.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// The database's number.
    pub database: u32,
    /// PEM certificates of who vouches for it; none for the public authorities. Read at every connecting.
    pub ca: Option<PathBuf>,
}

impl Options {
    /// Redis at `address`, without a user.
    pub fn at(address: Address) -> Self {
        Self { address, user: None, password: None, database: 0, ca: None }
    }

    /// Its name in messages: never with a password.
    pub(crate) fn server(&self) -> String {
        format!("Redis at {}", self.address)
    }

    /// What the client's library logs in with.
    pub(crate) fn log_in(&self) -> RedisConnectionInfo {
        let info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.database.into())
            .set_skip_set_lib_name();
        let info = match &self.user {
            Some(user) => info.set_username(user),
            None => info,
        };
        match &self.password {
            Some(password) => info.set_password(password.expose_secret()),
            None => info,
        }
    }

    /// A server's text, on one bearable line, without the password should the server echo it.
    pub(crate) fn clean(&self, text: &str) -> String {
        const MOST: usize = 300;
        let password = self.password.as_ref().map(|password| password.expose_secret());
        let text = match password.filter(|password| !password.is_empty()) {
            Some(password) => text.replace(password, "…"),
            None => text.to_owned(),
        };
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST).collect()
    }
}
