//! Agents that start in order and fall together.

use openclaw_agent_api::AgentName;
use settings::{Group, Strategy};

use super::State;

/// The other members that fall with `name`, in starting order.
pub fn fallen_with<'g>(group: &'g Group, name: &AgentName) -> Vec<&'g AgentName> {
    let place = group.agents.iter().position(|member| member == name);
    let falls = |index: usize| match group.strategy {
        Strategy::OneForOne => false,
        Strategy::OneForAll => true,
        Strategy::RestForOne => place.is_some_and(|place| index > place),
    };
    let others = group.agents.iter().enumerate().filter(|(_, member)| *member != name);
    others.filter(|(index, _)| falls(*index)).map(|(_, member)| member).collect()
}

/// Whether members that start before `name` fall with it.
pub fn others_first(group: &Group, name: &AgentName) -> bool {
    group.strategy == Strategy::OneForAll && group.agents.first() != Some(name)
}

/// Whether `name`'s turn to start has come: all before it are ready, or will not be by themselves soon.
pub fn may_start<'s>(
    group: &Group,
    name: &AgentName,
    state: impl Fn(&AgentName) -> Option<&'s State>,
) -> bool {
    let before = group.agents.iter().take_while(|member| *member != name);
    before.filter_map(state).all(|state| !is_coming(state))
}

/// Whether `name`'s turn to stop has come: none after it has a host.
pub fn may_stop<'s>(
    group: &Group,
    name: &AgentName,
    state: impl Fn(&AgentName) -> Option<&'s State>,
) -> bool {
    let after = group.agents.iter().skip_while(|member| *member != name).skip(1);
    after.filter_map(state).all(|state| !state.has_host())
}

fn is_coming(state: &State) -> bool {
    use super::{Probe, StopReason};
    matches!(
        state,
        State::Starting { .. }
            | State::Draining { .. }
            | State::HalfOpen { probe: Probe::Starting { .. } }
            | State::Stopped { why: StopReason::NotStarted | StopReason::FellWith { .. } }
            // One that stumbles is waited for, one that goes on falling is not.
            | State::Backoff { attempt: ..=3, .. }
    )
}
