//! What is thought of an agent, and what that rests on.

use std::sync::Arc;

use bus::heartbeat::{Beat, Verdict};
use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// How an agent stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Which.
    pub agent: AgentName,
    /// What is thought of it: `fresh`, `late`, `down`, `unknown`.
    #[serde(serialize_with = "word")]
    pub verdict: Verdict,
    /// So since.
    pub since: DateTime<Utc>,
    /// What that rests on.
    pub evidence: Evidence,
}

fn word<S: Serializer>(verdict: &Verdict, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(verdict.as_str())
}

/// The last beat that was read, and what followed from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The beat; none when none was ever read here.
    pub beat: Option<Arc<Beat>>,
    /// Whether the operator was told that it is down.
    pub alerted: bool,
}

impl Serialize for Evidence {
    /// What the beat says, flat; a field that says nothing is left out.
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        if let Some(beat) = &self.beat {
            map.serialize_entry("status", beat.status.as_str())?;
            map.serialize_entry("state", beat.state.as_str())?;
            map.serialize_entry("last_seen", &beat.last_seen)?;
            map.serialize_entry("host", &beat.host)?;
            map.serialize_entry("restarts", &beat.restarts)?;
            map.serialize_entry("breaker", beat.breaker.as_str())?;
            may(&mut map, "pid", &beat.pid)?;
            may(&mut map, "version", &beat.version)?;
            may(&mut map, "unit", &beat.unit)?;
            may(&mut map, "started_at", &beat.started_at)?;
            may(&mut map, "last_pong", &beat.last_pong)?;
            may(&mut map, "last_done", &beat.last_done)?;
            may(&mut map, "current_task", &beat.current_task)?;
            may(&mut map, "current_since", &beat.current_since)?;
        }
        if self.alerted {
            map.serialize_entry("alerted", &true)?;
        }
        map.end()
    }
}

fn may<M: SerializeMap, T: Serialize>(map: &mut M, name: &str, value: &Option<T>) -> Result<(), M::Error> {
    value.iter().try_for_each(|value| map.serialize_entry(name, value))
}
