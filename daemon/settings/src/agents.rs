//! `[agents]`: a table of agents, with one key that is none.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use openclaw_agent_api::AgentName;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Agent;

/// The agents by name, and whether others may join them. A table `[agents.discover]` is an agent of that name; it takes
/// the place of the key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agents {
    /// Whether a library in the agents folder that belongs to no agent becomes one.
    pub discover: bool,
    named: BTreeMap<AgentName, Agent>,
}

const DISCOVER: &str = "discover";

impl Deref for Agents {
    type Target = BTreeMap<AgentName, Agent>;

    fn deref(&self) -> &Self::Target {
        &self.named
    }
}

impl From<BTreeMap<AgentName, Agent>> for Agents {
    fn from(named: BTreeMap<AgentName, Agent>) -> Self {
        Self { discover: false, named }
    }
}

impl Serialize for Agents {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        if !self.named.contains_key(DISCOVER) {
            map.serialize_entry(DISCOVER, &self.discover)?;
        }
        self.named.iter().try_for_each(|(name, agent)| map.serialize_entry(name, agent))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Agents {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Agents;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Agents, A::Error> {
        let mut agents = Agents::default();
        while let Some(name) = map.next_key::<AgentName>()? {
            if name.as_str() != DISCOVER {
                agents.named.insert(name, map.next_value()?);
                continue;
            }
            match map.next_value()? {
                Either::Key(discover) => agents.discover = discover,
                Either::Agent(agent) => drop(agents.named.insert(name, *agent)),
            }
        }
        Ok(agents)
    }
}

/// What stands under `discover`.
enum Either {
    Key(bool),
    Agent(Box<Agent>),
}

impl<'de> Deserialize<'de> for Either {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(EitherVisitor)
    }
}

struct EitherVisitor;

impl<'de> Visitor<'de> for EitherVisitor {
    type Value = Either;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, discover: bool) -> Result<Either, E> {
        Ok(Either::Key(discover))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Either, A::Error> {
        Agent::deserialize(MapAccessDeserializer::new(map)).map(|agent| Either::Agent(Box::new(agent)))
    }
}

/// `[agents]`: the agents, by name, and one key.
#[derive(JsonSchema)]
#[schemars(rename = "Agents")]
pub(crate) struct Schema {
    /// Whether a library `libNAME.so` in the agents folder that belongs to no agent becomes the agent NAME, without grants.
    #[serde(default)]
    #[allow(dead_code, reason = "only its schema is used")]
    discover: bool,
    #[serde(flatten)]
    #[allow(dead_code, reason = "only its schema is used")]
    named: BTreeMap<String, Agent>,
}
