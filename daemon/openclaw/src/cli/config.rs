//! `openclaw config`: without a daemon.

use clap::Subcommand;
use settings::{Inputs, Origin};

use super::{print, print_json};
use crate::exit::Failure;

/// `openclaw config`
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// List every mistake, with its line and what to do; exit code 78 when there is one
    Check,
    /// The configuration in effect, the paths, and the names of the secrets that are set
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The JSON Schema of the configuration, for editors
    Schema,
}

/// Checks or shows.
pub fn run(inputs: &Inputs, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => {
            let loaded = settings::load(inputs)?;
            let file = match &loaded.origin {
                Origin::File(path) => path.display().to_string(),
                Origin::BuiltIn => "the built-in configuration".into(),
            };
            let agents = loaded.settings.agents.values().filter(|agent| agent.is_enabled()).count();
            print(&format!("{file} is well: {agents} agents enabled"))
        }
        ConfigCommand::Show { json: false } => print(settings::show(&settings::load(inputs)?).trim_end()),
        ConfigCommand::Show { json: true } => print_json(&settings::load(inputs)?.settings),
        ConfigCommand::Schema => print_json(&settings::schema()),
    }
}
