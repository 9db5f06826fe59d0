//! Where Redis is, as people write it: `redis://[user@]host[:port][/db]`, `rediss://…`,
//! `redis+unix://[user@]/path[?db=N]`. Never with a password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Redis's own port.
const PORT: u16 = 6379;

/// How Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAt {
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

/// A place of Redis without a password, which is `OPENCLAW_REDIS_PASSWORD` among the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// How it is reached.
    pub at: RedisAt,
    /// The ACL user; `default` when there is none.
    pub user: Option<String>,
    /// The database's number.
    pub database: u32,
}

impl RedisUrl {
    /// Whether it is reached within TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.at, RedisAt::Tcp { tls: true, .. })
    }
}

/// What is wrong with a text, and how to write it. The text is not quoted: a password may be in it.
type Wrong = &'static str;

const FORM: Wrong = "no place of Redis; write redis://[user@]host[:port][/db], rediss://… for TLS, or \
                     redis+unix:///path/of/the.sock";
const PASSWORD: Wrong = "there is a password in it; write it into .env as OPENCLAW_REDIS_PASSWORD=… and only \
                         redis://[user@]host[:port][/db] here";

impl FromStr for RedisUrl {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        // A password may hold anything, so nothing else is looked at before.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(PASSWORD),
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if ["pass", "password"].iter().any(|key| rest.contains(&format!("{key}="))) {
            return Err(PASSWORD);
        }
        let plain = |user: &str| user.bytes().all(|b| b.is_ascii_graphic() && !b"%/?#".contains(&b));
        if user.is_some_and(|user| user.is_empty() || !plain(user)) {
            return Err("its user is none; write letters and digits, without `%`");
        }
        let (at, database) = match scheme {
            "redis" | "rediss" => tcp(rest, scheme == "rediss")?,
            "redis+unix" => unix(rest)?,
            _ => return Err(FORM),
        };
        Ok(Self { at, user: user.map(str::to_owned), database })
    }
}

fn tcp(rest: &str, tls: bool) -> Result<(RedisAt, u32), Wrong> {
    let (place, database) = match rest.split_once('/') {
        None | Some((_, "")) => (rest.trim_end_matches('/'), 0),
        Some((place, number)) => (place, database(number)?),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let part_of_a_host = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    if host.is_empty() || !host.bytes().all(part_of_a_host) {
        return Err(FORM);
    }
    let port = port.map_or(Ok(PORT), str::parse).ok().filter(|port| *port != 0);
    let port = port.ok_or("its port is none; write a number from 1 to 65535 behind the host")?;
    Ok((RedisAt::Tcp { host: host.into(), port, tls }, database))
}

fn unix(rest: &str) -> Result<(RedisAt, u32), Wrong> {
    let (path, number) = rest.split_once("?db=").map_or((rest, "0"), |(path, number)| (path, number));
    if !path.starts_with('/') || path.contains(['?', '#', '\0']) {
        return Err("its socket is no absolute path; write redis+unix:///path/of/the.sock or …sock?db=1");
    }
    Ok((RedisAt::Unix(path.into()), database(number)?))
}

fn database(number: &str) -> Result<u32, Wrong> {
    number.parse().map_err(|_| "its database is no number; write 0 to 15")
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        match &self.at {
            RedisAt::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "{scheme}://{user}{host}:{port}/{}", self.database)
            }
            RedisAt::Unix(path) => {
                write!(f, "redis+unix://{user}{}?db={}", path.display(), self.database)
            }
        }
    }
}

/// `""` for none.
pub(crate) mod blank {
    use super::*;

    pub fn serialize<S: Serializer>(url: &Option<RedisUrl>, out: S) -> Result<S::Ok, S::Error> {
        url.as_ref().map(ToString::to_string).unwrap_or_default().serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<RedisUrl>, D::Error> {
        let text = String::deserialize(input)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(de::Error::custom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written() {
        for (text, whole) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://10.0.0.7:7000/", "redis://10.0.0.7:7000/0"),
            ("redis://claw@redis.internal:6380/3", "redis://claw@redis.internal:6380/3"),
            ("rediss://[::1]:6380", "rediss://[::1]:6380/0"),
            ("redis+unix:///run/redis/redis.sock", "redis+unix:///run/redis/redis.sock?db=0"),
            ("redis+unix://claw@/run/r.sock?db=2", "redis+unix://claw@/run/r.sock?db=2"),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), whole);
            assert_eq!(whole.parse(), Ok(url));
        }
    }

    #[test]
    fn a_password_in_it_is_told_where_to_go_and_never_quoted() {
        for text in [
            "redis://:hidden@localhost",
            "redis://claw:hid/den@localhost:6379/0",
            "rediss://claw:@localhost",
            "redis+unix:///run/r.sock?pass=hidden",
            "http://a:hidden@b",
        ] {
            assert_eq!(text.parse::<RedisUrl>(), Err(PASSWORD), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "localhost",
            "redis://",
            "redis://@localhost",
            "redis://local host",
            "redis://localhost:0",
            "redis://localhost:99999",
            "redis://localhost/one",
            "redis://localhost/0?protocol=3",
            "redis+unix://run/r.sock",
            "redis+unix:///run/r.sock?db=x",
            "http://localhost",
            "redis-cluster://localhost",
        ] {
            let wrong = text.parse::<RedisUrl>().unwrap_err();
            assert!(wrong.contains("; write "), "{text}: {wrong}");
        }
    }
}
