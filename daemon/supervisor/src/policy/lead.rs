//! Who leads: an agent's name runs in one place at a time, by a lease in the database.
//!
//! ```text
//!            claimed                       not renewed in time, or told that another has it
//!  Wanted ───────────▶ Held{token,until} ─────────────────────────────────────────────────▶ Wanted
//!     ▲ retry            │ renewed: until = asked + ttl ▲
//!     └──────────────────└──────────────────────────────┘
//! ```
//!
//! `until` counts from before the question was asked, by this machine's monotonic clock, so it is never later than the
//! database's own: whoever stops its hosts a margin before it has stopped them before another may claim.
//! While the database is down for everybody nobody can claim either, and once it is up again it lets nobody claim for as
//! long as a lease lasts: the lead is kept then. A proxy may refuse for a server that others reach: `[database] proxied`
//! says that there is one, and then nothing is concluded from a refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openclaw_agent_api::AgentName;

use super::Time;

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
}

/// The leads of one process.
#[derive(Clone, Debug)]
pub struct Leads {
    ttl: Duration,
    /// Hosts are gone within this.
    margin: Duration,
    held: BTreeMap<AgentName, Held>,
    wanted: BTreeSet<AgentName>,
}

impl Leads {
    /// Of leases of this length; what runs ends within `kill` once it is told to.
    pub fn new(ttl: Duration, kill: Duration) -> Self {
        let margin = (kill + ttl / 10).min(ttl / 2);
        Self { ttl, margin, held: BTreeMap::new(), wanted: BTreeSet::new() }
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

    /// Those that it asks for.
    pub fn wanted(&self) -> Vec<AgentName> {
        self.wanted.iter().cloned().collect()
    }

    /// Those that it has, with their tokens.
    pub fn held(&self) -> Vec<(AgentName, i64)> {
        self.held.iter().map(|(agent, held)| (agent.clone(), held.token)).collect()
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
            let change = match claim {
                Ok(token) => {
                    self.wanted.remove(&agent);
                    self.held.insert(agent.clone(), Held { token, until: asked + self.ttl });
                    Change::Won(token)
                }
                Err(why) => Change::StandsBy { why },
            };
            changes.push((agent, change));
        }
        changes
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
        let mut changes = Vec::new();
        for (agent, token) in held {
            let Some(lead) = self.held.get_mut(agent).filter(|lead| lead.token == *token) else { continue };
            match &said {
                Said::Told((kept, _)) if kept.contains(agent) => {
                    lead.until = lead.until.max(asked + self.ttl);
                }
                Said::Told((_, lost)) if lost.contains(agent) => {
                    let why = "another process has taken the lead".to_owned();
                    changes.push((agent.clone(), Change::Lost { why }));
                }
                Said::Down => lead.until = lead.until.max(asked + self.ttl),
                Said::Told(_) | Said::Nothing(_) => {}
            }
        }
        for (agent, _) in &changes {
            self.lose(agent);
        }
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
        let why = format!("the lead could not be renewed in time: {why}");
        let lost = |agent: AgentName| {
            self.lose(&agent);
            (agent, Change::Lost { why: why.clone() })
        };
        agents.into_iter().map(lost).collect()
    }

    fn lose(&mut self, agent: &AgentName) {
        if self.held.remove(agent).is_some() {
            self.wanted.insert(agent.clone());
        }
    }
}

#[cfg(test)]
#[path = "lead_tests.rs"]
mod tests;
