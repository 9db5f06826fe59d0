//! URLs of databases: `sqlite://FILE` and `postgres://USER@HOST:PORT/DATABASE`.

use std::path::{Path, PathBuf};

use url::Url;

use crate::mistakes::did_you_mean;
use crate::model::Database;

/// The secret beside a server's URL.
pub const PASSWORD: &str = "OPENCLAW_DATABASE_PASSWORD";

/// What may stand behind the `?` of a server's URL, after libpq.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "user", "dbname", "options"];
/// libpq's, from none to all that can be verified.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePlace {
    /// A file, absolute.
    Sqlite(PathBuf),
    /// A server, by its URL without a password.
    Postgres(String),
}

impl Database {
    /// Where it is.
    ///
    /// # Errors
    /// What is wrong with the URL, and what to do. Neither quotes it: it may hold a password.
    pub fn place(&self, home: &Path) -> Result<DatabasePlace, (String, String)> {
        place(&self.url, home)
    }
}

/// Where the database of a URL is.
///
/// # Errors
/// As [`Database::place`].
pub fn place(url: &str, home: &Path) -> Result<DatabasePlace, (String, String)> {
    if let Some(file) = url.strip_prefix("sqlite://") {
        return match file {
            "" => Err(wrong(
                "names no file",
                "write `sqlite://openclaw.db` or `sqlite:///var/lib/openclaw/openclaw.db`",
            )),
            file if file.contains(['?', '#']) => Err(wrong(
                "has a `?` or `#` in the name of its file",
                "write the path alone: `sqlite:///PATH`",
            )),
            file => Ok(DatabasePlace::Sqlite(home.join(file).components().collect())),
        };
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // A user without a host is common with sockets, and no URL to those who are strict.
        let url = url.replacen("@/", "@localhost/", 1);
        server(&url)?;
        return Ok(DatabasePlace::Postgres(url));
    }
    Err(wrong("is of no kind that is known", "write `sqlite://FILE` or `postgres://USER@HOST:PORT/DATABASE`"))
}

fn server(url: &str) -> Result<(), (String, String)> {
    let form = "write `postgres://USER@HOST:PORT/DATABASE`";
    let url = Url::parse(url).map_err(|error| wrong(&format!("cannot be read ({error})"), form))?;
    let in_query = url.query_pairs().any(|(key, _)| key == "password");
    if url.password().is_some() || in_query {
        let remedy = format!("take it out, and write {PASSWORD}=… into .env (chmod 600)");
        return Err(wrong("holds a password", &remedy));
    }
    let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
    if url.path().trim_matches('/').is_empty() && parameter("dbname").is_none() {
        return Err(wrong("names no database", form));
    }
    if let Some((key, _)) = url.query_pairs().find(|(key, _)| !PARAMETERS.contains(&key.as_ref())) {
        let what = format!("has the unknown parameter `{}`", key.escape_debug());
        return Err((what, did_you_mean(&key, PARAMETERS)));
    }
    match parameter("sslmode") {
        Some(mode) if !SSL_MODES.contains(&mode.as_ref()) => {
            let what = format!("has the unknown sslmode `{}`", mode.escape_debug());
            Err((what, did_you_mean(&mode, SSL_MODES)))
        }
        _ => Ok(()),
    }
}

fn wrong(what: &str, remedy: &str) -> (String, String) {
    (what.into(), remedy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_home(url: &str) -> Result<DatabasePlace, (String, String)> {
        place(url, Path::new("/home"))
    }

    #[test]
    fn files_and_servers() {
        let file = |path: &str| Ok(DatabasePlace::Sqlite(path.into()));
        assert_eq!(at_home("sqlite://openclaw.db"), file("/home/openclaw.db"));
        assert_eq!(at_home("sqlite:///var/lib/x.db"), file("/var/lib/x.db"));
        for url in [
            "postgres://openclaw@db.example:5433/openclaw?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql://openclaw@%2Frun%2Fpostgresql/openclaw",
            "postgres:///openclaw?host=/run/postgresql&user=openclaw",
        ] {
            assert_eq!(at_home(url), Ok(DatabasePlace::Postgres(url.into())));
        }
        let socket = DatabasePlace::Postgres("postgres://a@localhost/b?host=/run/postgresql".into());
        assert_eq!(at_home("postgres://a@/b?host=/run/postgresql"), Ok(socket));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for (url, told) in [
            ("postgres://a:hidden@h/b", "OPENCLAW_DATABASE_PASSWORD"),
            ("postgres://a@h/b?password=hidden", "OPENCLAW_DATABASE_PASSWORD"),
            ("postgres://a:hidden@h:x/b", "cannot be read"),
            ("postgres://a@h/", "names no database"),
            ("postgres://a@h/b?sslmod=require", "did you mean `sslmode`?"),
            ("postgres://a@h/b?sslmode=verify", "unknown sslmode"),
            ("mysql://a:hidden@h/b", "of no kind that is known"),
            ("sqlite://", "names no file"),
            ("sqlite://x.db?mode=ro", "the path alone"),
        ] {
            let (what, remedy) = at_home(url).unwrap_err();
            assert!(what.contains(told) || remedy.contains(told), "{what}; {remedy}");
            assert!(!what.contains("hidden") && !remedy.contains("hidden"), "{what}; {remedy}");
        }
    }
}
