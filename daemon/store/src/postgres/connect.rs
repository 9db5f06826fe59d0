//! Connections: how they are made, what they are told, and how long anybody waits for one.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};

use super::{Writer, locks};
use crate::Error;

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// Nobody waits longer for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Readers at the most: people and agents that look something up.
pub(super) const READERS: u32 = 4;
/// Nobody waits longer for one that is free.
const FREE: Duration = Duration::from_secs(3);
/// The oldest server that numbers transactions for ever: see `commit.rs`.
const OLDEST: i32 = 13;
/// How often it is told that the migrations are still under way.
const LONG: Duration = Duration::from_secs(5);

/// Said to every connection: nothing hangs, and whoever is cut off lets go of its locks.
const ALL: [(&str, &str); 7] = [
    ("statement_timeout", "10s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("jit", "off"),
];
/// Said to the one that writes: all that it does goes by an index, and is planned once and not each time.
const WRITER: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("plan_cache_mode", "force_generic_plan")];

/// Where the database is, and how to get in. Not `Debug`: it may hold a password.
#[derive(Clone)]
pub struct Server {
    options: Box<PgConnectOptions>,
}

impl Server {
    /// Of a URL as libpq has it, and the password beside it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is none.
    pub fn new(url: &str, password: Option<&str>) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| {
            Error::Refused(format!("the database's URL cannot be read ({error})"))
        })?;
        let options = match password {
            Some(password) => options.password(password),
            None => options,
        };
        let options = options.application_name("openclaw").disable_statement_logging();
        Ok(Self { options: Box::new(options) })
    }

    /// As people are told of it: never with a password.
    pub fn shown(&self) -> String {
        let (user, database) =
            (self.options.get_username(), self.options.get_database().unwrap_or("its default"));
        let place = match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        };
        format!("PostgreSQL at {place}, database {database}, as {user}")
    }

    /// A connection that writes.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Error> {
        let mut db = self.dial(self.options.as_ref().clone().options(ALL).options(WRITER)).await?;
        // Stronger than "on" is the administrator's choice; weaker is nobody's.
        let durable = "select set_config('synchronous_commit', 'on', false)
                       where current_setting('synchronous_commit') = 'off'";
        super::bounded(async {
            sqlx::query(durable).execute(&mut db).await?;
            self.take_part(&mut db).await
        })
        .await?;
        Ok(db)
    }

    /// Not beside a copy: what is stored meanwhile would be missing in it.
    async fn take_part(&self, db: &mut PgConnection) -> Result<(), Error> {
        if locks::take_part(db).await? { Ok(()) } else { Err(Error::Copying(self.shown())) }
    }

    /// A connection without the bounds of the others: to change or copy a large table takes its time.
    pub(crate) async fn dial_unbounded(&self) -> Result<PgConnection, Error> {
        self.dial(self.options.as_ref().clone()).await
    }

    async fn dial(&self, options: PgConnectOptions) -> Result<PgConnection, Error> {
        match tokio::time::timeout(CONNECT, options.connect()).await {
            Ok(connected) => connected.map_err(|error| self.concluded(error)),
            Err(_) => Err(Error::Away(format!("{}: no answer within {} s", self.shown(), CONNECT.as_secs()))),
        }
    }

    /// What a failure to connect means. That another machine refuses may be a firewall's word, or the address of a former
    /// primary's: others may still reach the server.
    fn concluded(&self, error: sqlx::Error) -> Error {
        let refused =
            matches!(&error, sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused);
        match Error::from(error) {
            Error::Down(why) if refused && !self.is_near() => Error::Away(format!("{}: {why}", self.shown())),
            Error::Down(why) => Error::Down(format!("{}: {why}", self.shown())),
            Error::Away(why) => Error::Away(format!("{}: {why}", self.shown())),
            Error::Refused(why) => Error::Refused(format!("{}: {why}", self.shown())),
            other => other,
        }
    }

    /// Whether it is on this machine.
    fn is_near(&self) -> bool {
        let host = self.options.get_host();
        let loopback = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.options.get_socket().is_some() || host.starts_with('/') || host == "localhost" || loopback
    }

    /// The connection that writes, or a new one. Until it is put back there is none.
    pub(super) async fn take(&self, writer: &mut Writer) -> Result<PgConnection, Error> {
        match writer.connection.take() {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        }
    }

    /// Connections that read, made when they are wanted.
    pub(super) fn readers(&self) -> PgPool {
        let read_only = ("default_transaction_read_only", "on");
        let options = self.options.as_ref().clone().options(ALL).options([read_only]);
        let pool = PgPoolOptions::new().max_connections(READERS).min_connections(0);
        pool.acquire_timeout(FREE).idle_timeout(Duration::from_secs(60)).connect_lazy_with(options)
    }

    /// Brings the database to this binary's form; one daemon at a time does so, and the others wait for it.
    pub(crate) async fn migrate(&self) -> Result<(), Error> {
        let mut db = self.dial_unbounded().await?;
        self.suits(&mut db).await?;
        self.take_part(&mut db).await?;
        let mut running = std::pin::pin!(MIGRATIONS.run_direct(None, &mut db, false));
        let began = tokio::time::Instant::now();
        let done = loop {
            tokio::select! {
                done = &mut running => break done,
                () = tokio::time::sleep(LONG) => tracing::info!(
                    "the database's tables are brought to this version, here or by another daemon: {} s so far",
                    began.elapsed().as_secs()
                ),
            }
        };
        done.map_err(|error| match error {
            MigrateError::VersionMissing(version) => Error::Newer { path: self.shown(), version },
            MigrateError::Execute(error) => Error::from(error),
            other => Error::Open { path: self.shown(), reason: other.to_string() },
        })?;
        // The connection ends here, and with it the lock that a failed one would keep.
        Ok(())
    }
}

impl Server {
    /// Whether this server and database can hold what is to be stored.
    async fn suits(&self, db: &mut PgConnection) -> Result<(), Error> {
        let sql = "select current_setting('server_version_num')::integer, current_setting('server_encoding')";
        let (version, encoding): (i32, String) = sqlx::query_as(sql).fetch_one(db).await?;
        if version < OLDEST * 10_000 {
            let what = format!("{} is of version {}, and {OLDEST} is needed", self.shown(), version / 10_000);
            return Err(Error::Refused(what));
        }
        if encoding != "UTF8" {
            let what = format!(
                "{} has the encoding {encoding}: make one with `createdb -E UTF8 -T template0`",
                self.shown()
            );
            return Err(Error::Refused(what));
        }
        Ok(())
    }
}

/// A statement without parameters or rows.
pub(super) async fn run(db: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(sql).execute(db).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_proves_that_the_server_is_down_on_this_machine_alone() {
        let refused = |url: &str| {
            let server = Server::new(url, None).unwrap();
            server.concluded(sqlx::Error::Io(ErrorKind::ConnectionRefused.into()))
        };
        for near in ["127.0.0.1", "localhost", "[::1]", "db.example?host=/run/postgresql"] {
            let (host, rest) = near.split_once('?').map_or((near, ""), |(host, rest)| (host, rest));
            let error = refused(&format!("postgres://openclaw@{host}/openclaw?{rest}"));
            assert!(matches!(error, Error::Down(_)), "{near}: {error}");
        }
        for far in ["db.example", "10.77.0.1:5432", "[2001:db8::1]"] {
            let error = refused(&format!("postgres://openclaw@{far}/openclaw"));
            assert!(matches!(error, Error::Away(_)), "{far}: {error}");
        }
    }
}
