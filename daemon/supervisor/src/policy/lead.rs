//! Who leads: an agent's name runs in one place at a time, by a lease in the database.
//!
//! ```text
//!            claimed                       not renewed in time, or told that another has it
//!  Wanted ───────────▶ Held{token,until} ─────────────────────────────────────────────────▶ Wanted
//!     ▲ retry            │ renewed: until = asked + ttl ▲
//!     └──────────────────└──────────────────────────────┘
//! ```
//!
//! `until` counts from before the question was asked, by the clock of this machine's boot ([`Clock::steady`](store::Clock::steady)), so it is never later than the
//! database's own: whoever stops its hosts a margin before it has stopped them before another may claim.
//! While the database is down for everybody nobody can claim either, and once it is up again it lets nobody claim for as
//! long as a lease lasts: the lead is kept then. A proxy may refuse for a server that others reach: `[database] proxied`
//! says that there is one, and then nothing is concluded from a refusal.
//!
//! A group is led as one. Of its members the first is claimed before all others, so that of two who claim one wins all; none
//! runs before all are held, and with one that is lost all are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openclaw_agent_api::AgentName;

use super::Time;

/// A suspension that is shorter is none.
const SLEPT: Duration = Duration::from_secs(1);

/// What the database said to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// This.
    Told(T),
    /// It is down: nobody can ask it.
    Down,
    /// Nothing: others may well ask it.
    Nothing(String),
}

/// What changed for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is led here from now on, under this fencing token.
    Won(i64),
    /// It must not run here any more.
    Lost {
        /// Why.
        why: String,
    },
    /// It is not led here.
    StandsBy {
        /// Who leads it, or why nobody here does.
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    token: i64,
    until: Time,
    /// It was told: all of its group are held.
    led: bool,
}

/// The leads of one process.
#[derive(Clone, Debug)]
pub struct Leads {
    ttl: Duration,
    /// Hosts are gone within this.
    margin: Duration,
    groups: Vec<Vec<AgentName>>,
    /// How long the machine had been suspended at the last look.
    suspended: Option<Duration>,
    held: BTreeMap<AgentName, Held>,
    wanted: BTreeSet<AgentName>,
}

impl Leads {
    /// Of leases of this length; what runs ends within `kill` once it is told to. Members of one of these groups that are
    /// wanted here are to be wanted before the first claim.
    pub fn new(ttl: Duration, kill: Duration, groups: Vec<Vec<AgentName>>) -> Self {
        let margin = (kill + ttl / 10).min(ttl / 2);
        Self { ttl, margin, groups, suspended: None, held: BTreeMap::new(), wanted: BTreeSet::new() }
    }

    /// An agent that is to be led here.
    pub fn want(&mut self, agent: AgentName) {
        if !self.held.contains_key(&agent) {
            self.wanted.insert(agent);
        }
    }

    /// How long a lease lasts.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Those to ask for now: of a group the first, and the others once that is held.
    pub fn wanted(&self) -> Vec<AgentName> {
        let now = |agent: &&AgentName| {
            let first = self.group(agent).into_iter().next();
            first.is_none_or(|first| first == **agent || self.held.contains_key(&first))
        };
        self.wanted.iter().filter(now).cloned().collect()
    }

    /// Those that are not led here, though they are to be.
    pub fn standing_by(&self) -> Vec<AgentName> {
        let unled = self.held.iter().filter(|(_, held)| !held.led).map(|(agent, _)| agent);
        self.wanted.iter().chain(unled).cloned().collect()
    }

    /// The members of an agent's group that are to be led here, in order; of one without a group itself.
    fn group(&self, agent: &AgentName) -> Vec<AgentName> {
        let ours = |agent: &&AgentName| self.wanted.contains(*agent) || self.held.contains_key(*agent);
        match self.groups.iter().find(|group| group.contains(agent)) {
            Some(group) => group.iter().filter(ours).cloned().collect(),
            None => vec![agent.clone()],
        }
    }

    /// Those that it has, with their tokens.
    pub fn held(&self) -> Vec<(AgentName, i64)> {
        self.held.iter().map(|(agent, held)| (agent.clone(), held.token)).collect()
    }

    /// How long hosts may live without hearing of this process, which may stand still: past the time in which it ends
    /// them itself, and before anybody else may claim.
    pub fn hosts_until(&self) -> Option<Time> {
        self.held.values().map(|held| held.until - self.ttl / 20).min()
    }

    /// When the first of its leads must be given up, if nothing is heard until then.
    pub fn deadline(&self) -> Option<Time> {
        self.held.values().map(|held| held.until - self.margin).min()
    }

    /// What the database said when it was asked at `asked` for those that are wanted.
    pub fn claimed(
        &mut self,
        said: Vec<(AgentName, Result<i64, String>)>,
        asked: Time,
    ) -> Vec<(AgentName, Change)> {
        let mut changes = Vec::new();
        for (agent, claim) in said {
            if !self.wanted.contains(&agent) {
                continue;
            }
            match claim {
                Ok(token) => {
                    self.wanted.remove(&agent);
                    let until = asked + self.ttl;
                    self.held.insert(agent.clone(), Held { token, until, led: false });
                }
                Err(why) => {
                    let stands = |member| (member, Change::StandsBy { why: why.clone() });
                    changes.extend(self.group(&agent).into_iter().map(stands));
                }
            }
        }
        changes.extend(self.complete());
        changes
    }

    /// Those that are led from now on, since all of their group are held.
    fn complete(&mut self) -> Vec<(AgentName, Change)> {
        let all = |agent: &AgentName| self.group(agent).iter().all(|one| self.held.contains_key(one));
        let new = self.held.iter().filter(|(agent, held)| !held.led && all(agent));
        let new: Vec<_> = new.map(|(agent, held)| (agent.clone(), Change::Won(held.token))).collect();
        self.held.iter_mut().for_each(|(agent, held)| held.led |= new.iter().any(|(won, _)| won == agent));
        new
    }

    /// What the database said when it was asked at `asked` to keep `held`: which it kept, and which are lost. Of the others
    /// it said nothing.
    pub fn renewed(
        &mut self,
        held: &[(AgentName, i64)],
        said: Said<(Vec<AgentName>, Vec<AgentName>)>,
        asked: Time,
        now: Time,
    ) -> Vec<(AgentName, Change)> {
        let mut gone = Vec::new();
        for (agent, token) in held {
            let Some(lead) = self.held.get_mut(agent).filter(|lead| lead.token == *token) else { continue };
            match &said {
                Said::Told((kept, _)) if kept.contains(agent) => {
                    lead.until = lead.until.max(asked + self.ttl);
                }
                Said::Told((_, lost)) if lost.contains(agent) => {
                    gone.push(agent.clone());
                }
                Said::Down => lead.until = lead.until.max(asked + self.ttl),
                Said::Told(_) | Said::Nothing(_) => {}
            }
        }
        let mut changes = self.lose(gone, "another process has taken the lead");
        let why = match &said {
            Said::Nothing(why) => why,
            Said::Told(_) | Said::Down => "its row in the database is held by somebody",
        };
        changes.extend(self.expired(now, why));
        changes
    }

    /// Those whose time is up: nothing was heard of the database, for the reason `why`.
    pub fn expired(&mut self, now: Time, why: &str) -> Vec<(AgentName, Change)> {
        let late = |held: &Held| held.until - self.margin <= now;
        let agents: Vec<_> =
            self.held.iter().filter(|(_, held)| late(held)).map(|(agent, _)| agent.clone()).collect();
        self.lose(agents, &format!("the lead could not be renewed in time: {why}"))
    }

    /// How long the machine has been suspended by now. Leases go on meanwhile, and the timers by which they are kept here do
    /// not: then all are given up.
    pub fn awake(&mut self, suspended: Duration) -> Vec<(AgentName, Change)> {
        let before = self.suspended.replace(suspended);
        if before.is_none_or(|before| suspended <= before + SLEPT) {
            return Vec::new();
        }
        self.lose(self.held.keys().cloned().collect(), "the machine was suspended")
    }

    /// These, and their groups with them.
    fn lose(&mut self, agents: Vec<AgentName>, why: &str) -> Vec<(AgentName, Change)> {
        let mut changes = Vec::new();
        for agent in agents.iter().flat_map(|agent| self.group(agent)).collect::<BTreeSet<_>>() {
            let Some(held) = self.held.remove(&agent) else { continue };
            self.wanted.insert(agent.clone());
            if held.led {
                changes.push((agent, Change::Lost { why: why.to_owned() }));
            }
        }
        changes
    }
}

#[cfg(test)]
#[path = "lead_tests.rs"]
mod tests;
