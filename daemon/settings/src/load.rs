//! From files and variables to settings, or to everything that is wrong with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::document::Document;
use crate::mistakes::{LoadError, Mistakes};
use crate::model::Settings;
use crate::paths::Paths;
use crate::providers::Providers;
use crate::secrets::Secrets;
use crate::validate::validate;

/// The configuration that is in effect without a file: `config/openclaw.toml` as it is shipped.
pub const BUILT_IN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/openclaw.toml"));

/// What a load depends on. It holds secrets, hence no `Debug`.
#[derive(Clone, Default)]
pub struct Inputs {
    /// `--home`
    pub home: Option<PathBuf>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// The working folder, absolute.
    pub cwd: PathBuf,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

impl Inputs {
    /// The flags, with this process's working folder and environment. Variables that are not UTF-8 are left out.
    ///
    /// # Errors
    /// There is no working folder.
    pub fn of_process(home: Option<PathBuf>, config: Option<PathBuf>) -> std::io::Result<Self> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let env: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        let cwd = std::env::current_dir()?;
        let named = home.is_some() || env.get("OPENCLAW_HOME").is_some_and(|home| !home.is_empty());
        let home = if named || cwd.join(".openclaw").is_dir() { home } else { installed() };
        Ok(Self { home, config, cwd, env })
    }
}

/// The home that this program is installed in, if it is: `openclaw install` leaves its record beside it.
fn installed() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let bin = program.parent()?;
    bin.join(".installed.json").exists().then(|| bin.parent().map(PathBuf::from)).flatten()
}

/// Where the settings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This file.
    File(PathBuf),
    /// [`BUILT_IN`]
    BuiltIn,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is configured.
    pub settings: Settings,
    /// Where everything is.
    pub paths: Paths,
    /// Keys and tokens.
    pub secrets: Secrets,
    /// Who answers agents' questions.
    pub providers: Providers,
    /// Where the settings come from.
    pub origin: Origin,
}

/// Reads the configuration file, the environment's overrides and the secrets.
///
/// # Errors
/// The file cannot be read, or [`Mistakes`]: all of them.
pub fn load(inputs: &Inputs) -> Result<Loaded, LoadError> {
    let paths = Paths::resolve(inputs)?;
    let (origin, text) = match &paths.config {
        Some(path) => {
            let text =
                fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
            (Origin::File(path.clone()), text)
        }
        None => (Origin::BuiltIn, BUILT_IN.into()),
    };
    let (providers, wrong) = crate::providers::load(paths.config_folder());
    // What could not be read is not missed elsewhere as well.
    let known = wrong.is_empty().then_some(&providers);
    let (settings, mut list) = parse_with(&text, &inputs.env, known);
    list.extend(wrong);
    let (secrets, wrong) = Secrets::load(&paths.env_file, &inputs.env);
    list.extend(wrong);
    match settings {
        Some(settings) if list.is_empty() => Ok(Loaded { settings, paths, secrets, providers, origin }),
        _ => {
            list.sort_by(|a, b| (&a.place, a.line, a.column).cmp(&(&b.place, b.line, b.column)));
            Err(Mistakes { file: paths.config.unwrap_or_else(|| "built-in openclaw.toml".into()), list }
                .into())
        }
    }
}

/// The settings of a text, as far as they can be read, and what is wrong with them.
#[cfg(test)]
pub(crate) fn parse(
    text: &str,
    env: &BTreeMap<String, String>,
) -> (Option<Settings>, Vec<crate::mistakes::Mistake>) {
    parse_with(text, env, None)
}

/// The same; where the providers are known, those that are named must be among them.
fn parse_with(
    text: &str,
    env: &BTreeMap<String, String>,
    providers: Option<&Providers>,
) -> (Option<Settings>, Vec<crate::mistakes::Mistake>) {
    let mut document = Document::parse(text);
    document.override_from(env);
    let settings = document.read();
    if let Some(settings) = &settings {
        validate(settings, providers, &mut document);
    }
    (settings, document.mistakes)
}
