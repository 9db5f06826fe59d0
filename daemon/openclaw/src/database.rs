//! Which database the configuration names.

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
