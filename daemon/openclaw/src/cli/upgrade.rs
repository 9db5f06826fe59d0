//! What was installed has to prove itself: what ran before runs again with it, or everything is taken back.

use std::path::{Path, PathBuf};
use std::process::Command;

use operations::install::{self, Applied, Journal, systemctl};
use operations::units::Manager;
use serde::Deserialize;
use settings::{DatabasePlace, Inputs};

use super::print;
use crate::exit::{Code, Failure};

/// Restarts what ran.
pub fn prove(prefix: &Path, manager: Manager, applied: &mut Applied) -> Result<(), Failure> {
    let units: Vec<String> = applied.restart.iter().cloned().collect();
    if !units.is_empty() {
        let names = units.join(" ");
        if let Err(why) = restart(prefix, manager, &units, &mut applied.journal) {
            return Err(taken_back(prefix, manager, &units, why.to_string()));
        }
        print(&format!("restarted {names}"))?;
    }
    Journal::end(prefix).map_err(|error| Failure::of(Code::Io, &error))
}

/// A file's tables may be changed by the new version, and no older one reads them then: it is copied first, while nobody
/// has it.
fn restart(
    prefix: &Path,
    manager: Manager,
    units: &[String],
    journal: &mut Journal,
) -> Result<(), install::Error> {
    if let Some(DatabasePlace::Sqlite(file)) = database(prefix)
        && file.exists()
    {
        systemctl(manager, &call("stop", units))?;
        if behind(prefix) {
            for end in ["", "-wal", "-shm"] {
                let mut name = file.clone().into_os_string();
                name.push(end);
                journal.keep(prefix, &PathBuf::from(name))?;
            }
        }
    }
    systemctl(manager, &call("restart", units)).map(drop)
}

fn call<'u>(verb: &'u str, units: &'u [String]) -> Vec<&'u str> {
    std::iter::once(verb).chain(units.iter().map(String::as_str)).collect()
}

/// The database that the installation is configured for; none where its configuration does not load: then none is touched.
fn database(prefix: &Path) -> Option<DatabasePlace> {
    let home = Some(prefix.to_path_buf());
    let inputs = Inputs { home, config: None, cwd: prefix.into(), env: Default::default() };
    let loaded = settings::load(&inputs).ok()?;
    settings::database_place(&loaded.settings.database.url, &loaded.paths.home).ok()
}

/// Whether the installed version will change the tables: asked of a process of its own, whose end closes the file.
fn behind(prefix: &Path) -> bool {
    #[derive(Deserialize)]
    struct Status {
        migration: Option<i64>,
        newest: i64,
    }
    let mut asked = Command::new(prefix.join("bin/openclaw"));
    asked.args(["db", "status", "--json", "--home"]).arg(prefix).current_dir(prefix);
    let said = asked.output().ok().filter(|output| output.status.success());
    let status = said.and_then(|output| serde_json::from_slice::<Status>(&output.stdout).ok());
    // Where it does not say, a copy too many is the lesser evil.
    status.is_none_or(|status| status.migration < Some(status.newest))
}

/// What ran goes on, as it was.
pub fn taken_back(prefix: &Path, manager: Manager, restart: &[String], why: String) -> Failure {
    let back = || {
        if !restart.is_empty() {
            let _ = systemctl(manager, &call("stop", restart));
        }
        install::restore(prefix, manager)?;
        // Without systemd there is nothing to read anew.
        let _ = systemctl(manager, &["daemon-reload"]);
        if !restart.is_empty() {
            let _ = systemctl(manager, &call("reset-failed", restart));
            systemctl(manager, &call("restart", restart))?;
        }
        Journal::end(prefix)
    };
    let mut said = match back() {
        Ok(()) => format!("{why}\nwhat was installed has been taken back; what ran before runs"),
        Err(error) => format!(
            "{why}\nand it could not be taken back whole: {error}; `openclaw install` of either version goes on"
        ),
    };
    if !restart.is_empty() && matches!(database(prefix), Some(DatabasePlace::Postgres(_))) {
        said.push_str(
            "\nthe database in PostgreSQL is as the new version left it: where the old one ends with 78 and says that the \
             database is of a newer OpenClaw, mend what failed and install the new one again, or restore a dump from before",
        );
    }
    Failure::new(Code::Failed, said)
}
