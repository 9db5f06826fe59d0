//! What `openclaw run` is told to run: services and agents.

use std::collections::BTreeSet;
use std::fmt;

use openclaw_agent_api::AgentName;
use settings::{ProcessName, Settings};

use crate::exit::{Code, Failure};

/// A part of the daemon that is no agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// HTTP, and what comes from outside.
    Gateway,
    /// Watches the agents of all processes.
    HeartbeatBridge,
    /// Carries missions out.
    MissionWorker,
    /// Turns events into work.
    EventReactor,
    /// Learns from outcomes.
    Learning,
    /// The page.
    Dashboard,
}

impl Service {
    const ALL: [Self; 6] = [
        Self::Gateway,
        Self::HeartbeatBridge,
        Self::MissionWorker,
        Self::EventReactor,
        Self::Learning,
        Self::Dashboard,
    ];

    /// Those that this version has.
    pub fn built() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|service| service.is_built())
    }

    /// As it is typed and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::HeartbeatBridge => "heartbeat-bridge",
            Self::MissionWorker => "mission-worker",
            Self::EventReactor => "event-reactor",
            Self::Learning => "learning",
            Self::Dashboard => "dashboard",
        }
    }

    /// Whether it runs where nothing is named.
    const fn is_enabled(self, settings: &Settings) -> bool {
        match self {
            Self::Gateway => settings.gateway.enabled,
            _ => self.is_built(),
        }
    }

    /// Whether this version has it.
    const fn is_built(self) -> bool {
        match self {
            Self::Gateway | Self::HeartbeatBridge => true,
            Self::MissionWorker | Self::EventReactor | Self::Learning | Self::Dashboard => false,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What one process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// What it is called after them.
    pub process: ProcessName,
    /// Its services.
    pub services: BTreeSet<Service>,
    /// Its agents.
    pub agents: BTreeSet<AgentName>,
}

impl Components {
    /// Those that the command line names, or all that are built and enabled.
    ///
    /// # Errors
    /// One is not built yet, or there is none of that name.
    pub fn chosen(settings: &Settings, named: &[String]) -> Result<Self, Failure> {
        if named.is_empty() {
            let enabled = settings.agents.iter().filter(|(_, agent)| agent.is_enabled());
            return Ok(Self {
                process: ProcessName::whole(),
                services: Service::ALL.into_iter().filter(|service| service.is_enabled(settings)).collect(),
                agents: enabled.map(|(name, _)| name.clone()).collect(),
            });
        }
        let process = ProcessName::of(named.iter().map(String::as_str));
        let mut chosen = Self { process, services: BTreeSet::new(), agents: BTreeSet::new() };
        for name in named {
            if let Some((agent, _)) = settings.agents.get_key_value(name.as_str()) {
                chosen.agents.insert(agent.clone());
            } else if let Some(service) = Service::ALL.into_iter().find(|service| service.name() == name) {
                if !service.is_built() {
                    let what = format!("the component `{name}` is not built yet");
                    return Err(Failure::new(Code::Unavailable, what));
                }
                chosen.services.insert(service);
            } else {
                return Err(unknown(settings, name));
            }
        }
        chosen.whole_groups(settings)?;
        Ok(chosen)
    }

    /// Members of a group start in order and fall together: that is one process's to see to.
    fn whole_groups(&self, settings: &Settings) -> Result<(), Failure> {
        for (name, group) in &settings.groups {
            let (here, away): (Vec<_>, Vec<_>) =
                group.agents.iter().partition(|agent| self.agents.contains(*agent));
            if let (Some(here), Some(away)) = (here.first(), away.first()) {
                let what = format!(
                    "`{here}` and `{away}` are in [groups.{name}], whose members one process runs: name all of them, or none"
                );
                return Err(Failure::new(Code::Usage, what));
            }
        }
        Ok(())
    }

    /// Whether it runs all that there is: then what is discovered is its own as well.
    pub fn are_all(&self) -> bool {
        self.process.is_whole()
    }
}

fn unknown(settings: &Settings, name: &str) -> Failure {
    let known = settings.agents.keys().map(AgentName::as_str).chain(Service::ALL.map(Service::name));
    let near = settings::nearest(name, known);
    let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
    let shown = name.escape_debug();
    let remedy = format!("add [agents.{shown}] to the config, or see `openclaw config show`");
    Failure::new(Code::Usage, format!("there is no component `{shown}`{near}: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_agent_can_be_called_as_a_service_is() {
        assert_eq!(Service::ALL.map(Service::name), settings::SERVICES);
    }
}
