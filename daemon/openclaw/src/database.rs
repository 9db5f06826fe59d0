//! Which database the configuration names.

use std::fs::File;
use std::path::Path;

use secrecy::ExposeSecret;
use settings::{DATABASE_PASSWORD, DatabasePlace, Loaded};
use store::{Database, Server};

use crate::exit::{Code, Failure};

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

/// A file is one daemon's own. One in the home is guarded by the home's lock, and one elsewhere by a lock beside it: two
/// homes may name it.
pub fn hold(database: &Database, home: &Path) -> Result<Option<File>, Failure> {
    let Database::Sqlite(path) = database else { return Ok(None) };
    if path.starts_with(home) {
        return Ok(None);
    }
    let mut name = path.clone().into_os_string();
    name.push(".lock");
    let shown = path.display();
    let lock = File::create(&name)
        .map_err(|error| Failure::new(Code::Io, format!("cannot lock the database {shown}: {error}")))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(_) => {
            let remedy = "stop it, or share a PostgreSQL server instead";
            Err(Failure::new(Code::TryAgain, format!("another daemon has the database {shown}: {remedy}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outside_the_home_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(dir.path().join("x.db"));
        assert!(hold(&database, dir.path()).unwrap().is_none());
        let held = hold(&database, Path::new("/elsewhere")).unwrap();
        assert_eq!(hold(&database, Path::new("/elsewhere")).unwrap_err().code, Code::TryAgain);
        drop(held);
        assert!(hold(&database, Path::new("/elsewhere")).unwrap().is_some());
    }
}
