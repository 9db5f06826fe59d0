//! Why the bus did not do what it was told. None of these ends anything: signals may be lost, and projections are
//! written again.

use std::time::Duration;

/// One sentence each: what, why, what to do. No text in it holds the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error("{server} is away: {why}; start it or mend [bus] `url`: until then work is found by polling")]
    Away {
        /// Where it should be.
        server: String,
        /// What the system says.
        why: String,
    },
    /// It was asked and has not answered.
    #[error("{server} has not answered within {within:?}; see whether it is overloaded or stopped")]
    Silent {
        /// Who was asked.
        server: String,
        /// So long.
        within: Duration,
    },
    /// TLS was not agreed upon.
    #[error("{server} is not trusted: {why}; mend its certificate or [bus] `ca`")]
    Tls {
        /// Who was asked.
        server: String,
        /// What TLS says.
        why: String,
    },
    /// The password or the user is wrong, or one is missing.
    #[error(
        "{server} refuses the log-in: {why}; put its password into .env as OPENCLAW_REDIS_PASSWORD, and its user, if \
         it is not `default`, into [bus] `url`"
    )]
    LogIn {
        /// Who was asked.
        server: String,
        /// What it says.
        why: String,
    },
    /// The user may not do that.
    #[error("the user of Redis may not do this: {why}; grant it with ACL SETUSER")]
    Forbidden {
        /// What the server says.
        why: String,
    },
    /// A replica, which nothing can be written to.
    #[error("{server} is a replica, which only reads; name the primary in [bus] `url`")]
    Replica {
        /// Who was asked.
        server: String,
    },
    /// A node of a cluster.
    #[error(
        "{server} is part of a Redis Cluster, which this version does not speak to; name a single server"
    )]
    Cluster {
        /// Who was asked.
        server: String,
    },
    /// There is no room.
    #[error(
        "there is no room for projections: {why}; raise `maxmemory`, or set `maxmemory-policy allkeys-lru`"
    )]
    Full {
        /// What the server says.
        why: String,
    },
    /// The server is starting.
    #[error("{server} is still reading its data from disk; nothing is to do, it is tried again")]
    Loading {
        /// Who was asked.
        server: String,
    },
    /// The server is too old.
    #[error("{server} does not speak RESP3; install Redis 6 or later")]
    TooOld {
        /// Who was asked.
        server: String,
    },
    /// More than is carried.
    #[error("{what} has {bytes} bytes, and at most {most} are carried; leave the bulk in the store")]
    TooLarge {
        /// The signal or the projection.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// Somebody else's value.
    #[error(
        "`{key}` holds no hash of texts, so that not OpenClaw wrote it; delete it, or use another database"
    )]
    Foreign {
        /// The key.
        key: String,
    },
    /// Any other refusal.
    #[error("Redis refused: {text}; see its log")]
    Strange {
        /// What the server says.
        text: String,
    },
    /// The bus is no more: the daemon ends.
    #[error("the bus is closed: the daemon is stopping")]
    Closed,
}
