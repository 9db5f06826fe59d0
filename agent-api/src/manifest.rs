//! What an agent says of itself: read by the host before the agent is made, shown by `openclaw agents list`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An agent's description of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The agent's name: the Cargo package's, unless [`Manifest::named`] says otherwise.
    #[serde(default)]
    pub name: String,
    /// The Cargo package's version.
    #[serde(default)]
    pub version: String,
    /// The version of this SDK that the agent was built with.
    #[serde(default)]
    pub sdk: String,
    /// The compiler that built it.
    #[serde(default)]
    pub compiler: String,
    /// Whether a panic can be caught.
    #[serde(default)]
    pub panic: PanicStrategy,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// What people can type; feeds `/help`.
    #[serde(default)]
    pub commands: Vec<Command>,
    /// What the agent does by itself.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// The grants without which it cannot work; one that the config lacks is a refusal at start.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The JSON Schema that its settings must fit; none means any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Value>,
}

/// How the library was compiled to panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PanicStrategy {
    /// A panic becomes an error with its message.
    #[default]
    Unwind,
    /// A panic ends the host with SIGABRT; only its signal is known.
    Abort,
}

/// Something people can type to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// As typed, with its arguments: `/analyze SERIES`.
    pub usage: String,
    /// What it does, in a few words.
    pub help: String,
}

impl Command {
    /// The first word: `/analyze`.
    pub fn name(&self) -> &str {
        self.usage.split_whitespace().next().unwrap_or("")
    }
}

/// Something the agent does by itself: `Agent::tick` gets its name each period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Handed to `tick`.
    pub name: String,
    /// The period in seconds, 1 to 86,400. Slots are counted from the Unix epoch, so a restart within one neither
    /// misses nor doubles it; one that passed while nothing ran is not made up for.
    pub every_seconds: u64,
    /// The setting without which there is nothing to do: while it is absent, null, false or empty, this is never due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl Schedule {
    /// Due only where the operator has set `setting`.
    pub fn when(mut self, setting: &str) -> Self {
        self.when = Some(setting.into());
        self
    }

    /// Whether it is due at all under these settings.
    pub fn applies(&self, settings: &Value) -> bool {
        let Some(setting) = &self.when else { return true };
        match &settings[setting.as_str()] {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::String(text) => !text.is_empty(),
            Value::Bool(true) | Value::Number(_) => true,
        }
    }
}

/// A schedule called `name`, due once per `period` (whole seconds, one second to one day).
pub fn every(period: Duration, name: &str) -> Schedule {
    Schedule { name: name.into(), every_seconds: period.as_secs().max(1), when: None }
}

impl Manifest {
    /// A manifest with a description; `export_agent!` adds name, version, SDK and compiler.
    pub fn new(description: &str) -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            sdk: env!("CARGO_PKG_VERSION").into(),
            compiler: env!("OPENCLAW_RUSTC").into(),
            panic: PanicStrategy::default(),
            description: description.into(),
            commands: Vec::new(),
            schedules: Vec::new(),
            needs: Vec::new(),
            settings: None,
        }
    }

    /// Another name than the Cargo package's.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a command: how it is typed, and what it does.
    pub fn command(mut self, usage: &str, help: &str) -> Self {
        self.commands.push(Command { usage: usage.into(), help: help.into() });
        self
    }

    /// Adds a schedule, made by [`every`].
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// Adds a grant that the agent cannot do without, such as `memory` or `supervisor.status`.
    pub fn needs(mut self, grant: &str) -> Self {
        self.needs.push(grant.into());
        self
    }

    /// The JSON Schema of the agent's `[agents.NAME.settings]`.
    pub fn settings(mut self, schema: Value) -> Self {
        self.settings = Some(schema);
        self
    }
}
