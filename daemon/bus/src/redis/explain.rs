//! The errors of the client's library in the words of an operator.

use std::time::Duration;

use ::redis::{ErrorKind, RedisError};

use super::Options;
use crate::Error;

impl Options {
    /// What `error` means.
    pub(crate) fn explain(&self, error: &RedisError) -> Error {
        let server = self.server();
        let why = self.clean(&error.to_string());
        match error.kind() {
            ErrorKind::Io => return Error::Away { server, why },
            ErrorKind::AuthenticationFailed => return Error::LogIn { server, why },
            ErrorKind::RESP3NotSupported => return Error::TooOld { server },
            _ => {}
        }
        // A transaction that was given up tells why in the answers to its commands.
        let answers = error.clone().into_server_errors();
        let told = answers.iter().flat_map(|answers| answers.iter()).map(|(_, told)| told);
        let told = told.map(|told| (told.code(), self.clean(told.details().unwrap_or_default())));
        for (code, details) in told.clone() {
            return match code {
                "WRONGPASS" | "NOAUTH" => Error::LogIn { server, why: details },
                "NOPERM" => Error::Forbidden { why: details },
                "READONLY" | "MASTERDOWN" => Error::Replica { server },
                "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" | "TRYAGAIN" => Error::Cluster { server },
                "OOM" => Error::Full { why: details },
                "LOADING" => Error::Loading { server },
                "NOPROTO" => Error::TooOld { server },
                _ => continue,
            };
        }
        let text = told.map(|(code, details)| format!("{code} {details}")).next();
        Error::Strange { text: text.unwrap_or(why) }
    }

    /// It was asked, and did not answer.
    pub(crate) fn silent(&self, within: Duration) -> Error {
        Error::Silent { server: self.server(), within }
    }

    /// There is no connection, because of `why`.
    pub(crate) fn away(&self, why: impl std::fmt::Display) -> Error {
        Error::Away { server: self.server(), why: self.clean(&why.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    fn told(answer: &str) -> Error {
        let mut options = Options::at(Address::Tcp { host: "h".into(), port: 1, tls: false });
        options.password = Some("hidden".to_owned().into());
        let answer = ::redis::parse_redis_value(format!("-{answer}\r\n").as_bytes()).unwrap();
        options.explain(&answer.extract_error().unwrap_err())
    }

    #[test]
    fn each_refusal_is_what_it_is_and_never_holds_the_password() {
        let server = || "Redis at redis://h:1".to_owned();
        assert_eq!(told("MOVED 3999 127.0.0.1:6381"), Error::Cluster { server: server() });
        assert_eq!(told("CLUSTERDOWN Hash slot not served"), Error::Cluster { server: server() });
        assert_eq!(
            told("LOADING Redis is loading the dataset in memory"),
            Error::Loading { server: server() }
        );
        assert_eq!(
            told("READONLY You can't write against a read only replica."),
            Error::Replica { server: server() }
        );
        let why = "command not allowed when used memory > 'maxmemory'.".to_owned();
        assert_eq!(told(&format!("OOM {why}")), Error::Full { why });
        assert!(matches!(told("NOPERM this user has no permissions"), Error::Forbidden { .. }));
        assert!(matches!(told("NOAUTH Authentication required."), Error::LogIn { .. }));
        assert_eq!(
            told("MISCONF no hidden snapshots"),
            Error::Strange { text: "MISCONF no … snapshots".into() }
        );
    }
}
