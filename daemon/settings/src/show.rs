//! The configuration as it is in effect, and what may be configured.

use std::fmt::Write;
use std::path::Path;

use schemars::schema_for;
use serde_json::Value;

use crate::database::DatabasePlace;
use crate::load::{Loaded, Origin};
use crate::model::Settings;

/// The JSON Schema of `openclaw.toml`.
pub fn schema() -> Value {
    schema_for!(Settings).to_value()
}

/// The effective settings as TOML, below a comment with the paths and the secrets' names.
pub fn show(loaded: &Loaded) -> String {
    let Loaded { settings, paths, secrets, providers, origin } = loaded;
    let config = match origin {
        Origin::File(path) => path.as_path(),
        Origin::BuiltIn => Path::new("built in"),
    };
    let places = [
        ("config", config),
        ("home", &paths.home),
        ("agents", &paths.agents),
        ("workspace", &paths.workspace),
        ("logs", &paths.logs),
        ("run", &paths.run),
        ("env_file", &paths.env_file),
    ];
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (name, path) in places {
        let _ = writeln!(text, "# {name:<10} {}", path.display().to_string().escape_debug());
    }
    let _ = match settings.database.place(&paths.home) {
        Ok(DatabasePlace::Sqlite(path)) => {
            writeln!(text, "# database   {}", path.display().to_string().escape_debug())
        }
        Ok(DatabasePlace::Postgres(url)) => writeln!(text, "# database   {}", url.escape_debug()),
        // Not where the settings have been loaded.
        Err(_) => Ok(()),
    };
    for (name, source) in secrets.names() {
        let _ = writeln!(text, "# secret     {} ({source})", name.escape_debug());
    }
    for (name, provider) in [true, false].into_iter().flat_map(|chat| providers.in_order(chat)) {
        let key = match provider.key.as_str() {
            "" => "wants no key".to_owned(),
            key if provider.is_configured(secrets) => format!("{key} is set"),
            key => format!("not used: {key} is not set"),
        };
        let _ = writeln!(text, "# provider   {name} ({key})");
    }
    let _ = match toml::to_string(settings) {
        Ok(settings) => write!(text, "\n{settings}"),
        Err(error) => write!(text, "\n# The settings cannot be written as TOML: {error}"),
    };
    text
}
