//! A database of its own for each test: a file, or a database of a server that all tests share.

use std::process::Command;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::*;
use crate::Server;
use crate::postgres::{Deciding, Postgres};

/// Which backend a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Sqlite,
    Postgres,
}

/// Makes of each test one for each backend: `sqlite::name` and `postgres::name`.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::On::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                if crate::tests::database::there_is_postgres() {
                    super::$name(super::On::Postgres).await;
                }
            })*
        }
    };
}
pub(super) use on_both;

/// Whether there is a server; says so when there is none, and where `CI=true` fails.
pub fn there_is_postgres() -> bool {
    if server_url().is_some() {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "scripts/postgres starts no server");
    println!("skipped: there is no PostgreSQL 15 (apt-get install postgresql)");
    false
}

/// The URL of a server for tests: of the one that is named, or of one that `scripts/postgres` keeps running as long as
/// somebody holds its lock.
fn server_url() -> Option<&'static str> {
    static URL: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let find = || {
        if let Ok(url) = std::env::var("OPENCLAW_TEST_POSTGRES") {
            return Some(url);
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres");
        let output = Command::new(script).arg(std::process::id().to_string()).output().ok()?;
        let url = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| url.trim().to_owned())
    };
    URL.get_or_init(find).as_deref()
}

/// Where a test's rows are. It goes with the test.
pub enum Database {
    Sqlite(TempDir),
    Postgres { name: String, server: String },
}

impl Database {
    pub async fn new(on: On) -> Self {
        match on {
            On::Sqlite => Self::Sqlite(tempfile::tempdir().expect("a folder")),
            On::Postgres => Self::on_server(server_url().expect("a server")).await,
        }
    }

    /// A new database of this server.
    pub async fn on_server(url: &str) -> Self {
        let name = format!("t{}", Uuid::now_v7().simple());
        let (server, create) = (url.to_owned(), format!("create database {name}"));
        let database = Self::Postgres { name, server };
        let main = Server::new(&format!("{url}&dbname=postgres"), None).expect("a server");
        let mut db = main.connect().await.expect("it connects");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut db).await.expect("it is created");
        database
    }

    pub fn path(&self) -> std::path::PathBuf {
        match self {
            Self::Sqlite(dir) => dir.path().join("store.db"),
            Self::Postgres { .. } => panic!("a server's database is no file"),
        }
    }

    pub fn server(&self) -> Server {
        match self {
            Self::Sqlite(_) => panic!("a file has no server"),
            Self::Postgres { name, server } => {
                Server::new(&format!("{server}&dbname={name}"), None).expect("a server")
            }
        }
    }

    /// Another database of the same server.
    pub fn named(&self, other: &str) -> Server {
        let Self::Postgres { server, .. } = self else { panic!("a file has no server") };
        Server::new(&format!("{server}&dbname={other}"), None).expect("a server")
    }

    /// The same for somebody else.
    pub fn of_user(&self, user: &str) -> Server {
        let Self::Postgres { name, server } = self else { panic!("a file has no server") };
        Server::new(&format!("{server}&dbname={name}&user={user}"), None).expect("a server")
    }

    /// The socket of its server.
    pub fn socket(&self) -> String {
        let Self::Postgres { server, .. } = self else { panic!("a file has no server") };
        let folder = server.split("host=").nth(1).expect("a folder");
        format!("{}/.s.PGSQL.5432", folder.split('&').next().expect("a folder"))
    }

    /// As the command line has it.
    pub fn place(&self) -> crate::Database {
        match self {
            Self::Sqlite(_) => crate::Database::Sqlite(self.path()),
            Self::Postgres { .. } => crate::Database::Postgres(self.server()),
        }
    }

    /// As a daemon opens it.
    pub async fn open(&self) -> Result<Arc<dyn Backend>, Error> {
        self.open_by(Deciding::Database).await
    }

    /// With the caller's clock to judge by.
    pub async fn open_turned(&self) -> Arc<dyn Backend> {
        self.open_by(Deciding::Caller).await.expect("it opens")
    }

    async fn open_by(&self, deciding: Deciding) -> Result<Arc<dyn Backend>, Error> {
        Ok(match self {
            Self::Sqlite(_) => Arc::new(Sqlite::open(&self.path()).await?),
            Self::Postgres { .. } => Arc::new(Postgres::open(self.server(), deciding).await?),
        })
    }

    /// What somebody else does to it.
    pub async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(_) => {
                sqlx::raw_sql(sql).execute(&mut self.outside().await).await.expect("it goes");
            }
            Self::Postgres { .. } => {
                let mut db = self.server().connect().await.expect("it connects");
                sqlx::raw_sql(sql).execute(&mut db).await.expect("it goes");
            }
        }
    }

    /// What a query for one number says.
    pub async fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Sqlite(_) => {
                let sql = AssertSqlSafe(sql.to_owned());
                sqlx::query_scalar(sql).fetch_one(&mut self.outside().await).await.expect("a number")
            }
            Self::Postgres { .. } => {
                let sql = AssertSqlSafe(format!("select ({sql})::bigint"));
                let mut db = self.server().connect().await.expect("it connects");
                sqlx::query_scalar(sql).fetch_one(&mut db).await.expect("a number")
            }
        }
    }

    /// The outcomes, oldest first: agent, task, success, milliseconds, tries, detail.
    pub async fn outcomes(&self) -> Vec<(String, String, bool, i64, i64, Option<String>)> {
        let sql =
            "select agent, cast(task_id as text), success, duration_ms, cast(attempts as bigint), detail
                   from ops_outcomes order by id";
        match self {
            Self::Sqlite(_) => sqlx::query_as(sql).fetch_all(&mut self.outside().await).await.expect("rows"),
            Self::Postgres { .. } => {
                let mut db = self.server().connect().await.expect("it connects");
                sqlx::query_as(sql).fetch_all(&mut db).await.expect("rows")
            }
        }
    }

    pub async fn outside(&self) -> sqlx::SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path());
        options.connect().await.expect("it opens")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Self::Postgres { name, server } = self else { return };
        let main = Server::new(&format!("{server}&dbname=postgres"), None).expect("a server");
        let sql = format!("drop database if exists {name} with (force)");
        let drop = async move {
            // A server that is gone has no databases.
            if let Ok(mut db) = main.connect().await {
                let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await;
            }
        };
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // On a thread of its own, since a test's runtime cannot wait here.
        let _ = std::thread::spawn(move || runtime().block_on(drop)).join();
    }
}
