//! Reads what all agents show of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bus::heartbeat::Beat;
use bus::{Bus, Error, Family, Fields, Key};
use openclaw_agent_api::AgentName;

use super::decide::Seen;

/// Keys that are read together; one of them that is not ours has all of them read one by one.
const TOGETHER: usize = 100;

/// Whoever is shown now, and `wanted`: also those that a listing, which may not be whole, has not.
pub(super) async fn team(
    bus: &dyn Bus,
    mut wanted: BTreeSet<AgentName>,
) -> Result<BTreeMap<AgentName, Seen>, Error> {
    let listing = bus.list(&Family::AgentStatus).await?;
    wanted.extend(listing.keys.into_iter().filter_map(|key| match key {
        Key::AgentStatus(agent) if !is_service(&agent) => Some(agent),
        _ => None,
    }));
    read(bus, wanted).await
}

/// Whether this name is a component's, and no agent's.
pub(super) fn is_service(name: &AgentName) -> bool {
    settings::SERVICES.contains(&name.as_str())
}

/// What each of these shows.
pub(super) async fn read(
    bus: &dyn Bus,
    agents: BTreeSet<AgentName>,
) -> Result<BTreeMap<AgentName, Seen>, Error> {
    let agents: Vec<_> = agents.into_iter().collect();
    let mut seen = BTreeMap::new();
    for some in agents.chunks(TOGETHER) {
        let keys: Vec<_> = some.iter().cloned().map(Key::AgentStatus).collect();
        match bus.read_all(&keys).await {
            Ok(all) => seen.extend(some.iter().cloned().zip(all.iter().map(Option::as_ref).map(of))),
            Err(Error::Foreign { .. }) => {
                for (agent, key) in some.iter().zip(&keys) {
                    let one = match bus.read(key).await {
                        Ok(fields) => of(fields.as_ref()),
                        Err(Error::Foreign { .. }) => Seen::Unreadable,
                        Err(error) => return Err(error),
                    };
                    seen.insert(agent.clone(), one);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

fn of(fields: Option<&Fields>) -> Seen {
    match fields.map(Beat::from_fields) {
        Some(Ok(beat)) => Seen::Beat(Arc::new(beat)),
        Some(Err(_)) => Seen::Unreadable,
        None => Seen::Missing,
    }
}
