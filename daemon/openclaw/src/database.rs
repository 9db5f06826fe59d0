//! Which database the configuration names.

use std::fs::File;
use std::path::Path;

use secrecy::ExposeSecret;
use settings::{DATABASE_PASSWORD, DatabasePlace, Loaded};
use store::{Database, Server};

use crate::exit::{Code, Failure};
use crate::home;

/// The one of `[database]`.
pub fn configured(loaded: &Loaded) -> Result<Database, Failure> {
    named(loaded, &loaded.settings.database.url)
}

/// The one of this URL, with the configured password.
pub fn named(loaded: &Loaded, url: &str) -> Result<Database, Failure> {
    let place = settings::database_place(url, &loaded.paths.home).map_err(|(what, remedy)| {
        Failure::new(Code::Usage, format!("the database's URL {what}: {remedy}"))
    })?;
    Ok(match place {
        DatabasePlace::Sqlite(path) => Database::Sqlite(path),
        DatabasePlace::Postgres(url) => {
            let password = loaded.secrets.get(DATABASE_PASSWORD).map(ExposeSecret::expose_secret);
            Database::Postgres(Server::new(&url, password)?)
        }
    })
}

/// A file is one process's own, whichever homes name it: it is guarded by a lock beside it.
pub fn hold(database: &Database) -> Result<Option<File>, Failure> {
    let Database::Sqlite(path) = database else { return Ok(None) };
    let mut name = path.clone().into_os_string();
    name.push(".lock");
    let taken = |pid: &str| {
        format!(
            "already running: pid {pid} has the database {}, and a file is one process's own: wait for the end of an \
             `openclaw db copy`; else run all components in one `openclaw run`, or share a PostgreSQL server",
            path.display()
        )
    };
    home::alone(Path::new(&name), taken).map(Some)
}
