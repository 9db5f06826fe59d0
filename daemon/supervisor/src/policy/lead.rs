//! Who leads: an agent's name runs in one place at a time, by a lease in the database.
//!
//! ```text
//!            claimed                       not renewed in time, or told that another has it
//!  Wanted ───────────▶ Held{token,until} ─────────────────────────────────────────────────▶ Wanted
//!     ▲ retry            │ renewed: until = asked + ttl ▲
//!     └──────────────────└──────────────────────────────┘
//! ```
//!
//! `until` counts from before the question was asked, by the clock of this machine's boot ([`Clock::steady`](store::Clock::steady)), and others
//! may claim no sooner than they have seen the lead unmoved for as long: whoever stops its hosts a margin before it has stopped
//! them before another starts its own. While the database is down for everybody nobody can claim either, and once it is up
//! again nobody may for as long as a lease lasts: the lead is kept then. A proxy may refuse for a server that others reach: `[database] proxied`
//! says that there is one, and then nothing is concluded from a refusal.
//!
//! A group is led as one. Of its members the first is claimed before all others, so that of two who claim one wins all; none
//! runs before all are held, and with one that is lost all are. Who has had only some of them for as long as a lease lasts,
//! since others are led elsewhere on their own, gives back what it has, and rests before it claims again: for half to one and
//! a half leases, by chance, so that two of whom each has what the other needs do not meet for ever. Who waits for the first, which is
//! led elsewhere, asks whether the others are led as well: where they are not, since the first is run alone, they run nowhere,
//! and that is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openclaw_agent_api::AgentName;

use super::Time;

/// A suspension that is shorter is none.
const SLEPT: Duration = Duration::from_secs(1);

/// That an agent runs nowhere is told again after this: what is not heard of for a day counts as over.
const TELL_AGAIN: Duration = Duration::from_secs(12 * 3600);

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

/// What changes, in order, and for whom.
pub type Changes = Vec<(AgentName, Change)>;

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
    /// It is not led here, and was given back so that it can be led elsewhere: the group cannot run here.
    GivenBack {
        /// Which of the group are led elsewhere, and by whom.
        why: String,
    },
    /// It runs nowhere, and has not for as long as a lease lasts: the first of its group is led elsewhere without it. Told
    /// again while it is so.
    Unled {
        /// By whom.
        why: String,
    },
    /// Somebody leads it, though its group is not led here.
    Led,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    token: i64,
    until: Time,
    /// When it was won.
    since: Time,
    /// It was told: all of its group are held.
    led: bool,
}

/// One that waits for the first of its group, which is led elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Nobody leads it, since then.
    Unled(Time),
    /// That was told, at last then.
    Told(Time),
    /// Whoever leads the first leads it too, or somebody else does.
    Led,
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
    /// Why the last claim was in vain.
    refusals: BTreeMap<AgentName, String>,
    /// Those that are not claimed before then, after they were given back.
    resting: BTreeMap<AgentName, Time>,
    /// What is known of those that wait for the first of their group.
    waiting: BTreeMap<AgentName, Waiting>,
}

impl Leads {
    /// Of leases of this length; what runs ends within `kill` once it is told to. Members of one of these groups that are
    /// wanted here are to be wanted before the first claim.
    pub fn new(ttl: Duration, kill: Duration, groups: Vec<Vec<AgentName>>) -> Self {
        let margin = (kill + ttl / 10).min(ttl / 2);
        let (held, wanted) = (BTreeMap::new(), BTreeSet::new());
        let (refusals, resting) = (BTreeMap::new(), BTreeMap::new());
        let waiting = BTreeMap::new();
        Self { ttl, margin, groups, suspended: None, held, wanted, refusals, resting, waiting }
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
    pub fn wanted(&self, now: Time) -> Vec<AgentName> {
        let its_turn = |agent: &&AgentName| {
            let first = self.group(agent).into_iter().next();
            let rests = self.resting.get(*agent).is_some_and(|until| *until > now);
            !rests && first.is_none_or(|first| first == **agent || self.held.contains_key(&first))
        };
        self.wanted.iter().filter(its_turn).cloned().collect()
    }

    /// Those that are not led here, though they are to be.
    pub fn standing_by(&self) -> Vec<AgentName> {
        let unled = self.held.iter().filter(|(_, held)| !held.led).map(|(agent, _)| agent);
        self.wanted.iter().chain(unled).cloned().collect()
    }

    /// Those that are not claimed, since the first of their group is led elsewhere: of them alone nobody here knows whether
    /// somebody leads them.
    pub fn waiting(&self) -> Vec<AgentName> {
        let behind = |agent: &&AgentName| {
            let first = self.group(agent).into_iter().next();
            first.is_some_and(|first| first != **agent && self.refusals.contains_key(&first))
        };
        self.wanted.iter().filter(behind).cloned().collect()
    }

    /// What the database said at `now` of those that were [`waiting`](Self::waiting): these are led.
    pub fn seen(&mut self, waiting: &[AgentName], led: &[AgentName], now: Time) -> Changes {
        self.waiting.retain(|agent, _| waiting.contains(agent));
        let mut changes = Vec::new();
        for agent in waiting {
            let known = self.waiting.get(agent).copied();
            let (next, change) = match known {
                _ if led.contains(agent) => {
                    (Waiting::Led, (known != Some(Waiting::Led)).then_some(Change::Led))
                }
                Some(Waiting::Unled(since)) if since + self.ttl <= now => {
                    (Waiting::Told(now), Some(Change::Unled { why: self.refusal(agent) }))
                }
                Some(Waiting::Told(at)) if at + TELL_AGAIN <= now => {
                    (Waiting::Told(now), Some(Change::Unled { why: self.refusal(agent) }))
                }
                Some(known @ (Waiting::Unled(_) | Waiting::Told(_))) => (known, None),
                None | Some(Waiting::Led) => (Waiting::Unled(now), None),
            };
            self.waiting.insert(agent.clone(), next);
            changes.extend(change.map(|change| (agent.clone(), change)));
        }
        changes
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
    pub fn claimed(&mut self, said: Vec<(AgentName, Result<i64, String>)>, asked: Time) -> Changes {
        let mut changes = Vec::new();
        for (agent, claim) in said {
            if !self.wanted.contains(&agent) {
                continue;
            }
            match claim {
                Ok(token) => {
                    self.wanted.remove(&agent);
                    self.refusals.remove(&agent);
                    self.resting.remove(&agent);
                    let held = Held { token, until: asked + self.ttl, since: asked, led: false };
                    self.held.insert(agent, held);
                }
                Err(why) => {
                    self.refusals.insert(agent.clone(), why);
                    let stands = |member| {
                        let why = self.refusal(&member);
                        (member, Change::StandsBy { why })
                    };
                    changes.extend(self.group(&agent).into_iter().map(stands));
                }
            }
        }
        changes.extend(self.complete());
        changes
    }

    /// Why an agent's group does not run here.
    fn refusal(&self, agent: &AgentName) -> String {
        let refused = |member: &AgentName| Some((member.clone(), self.refusals.get(member)?));
        let group = self.group(agent);
        let refused: Vec<_> = group.iter().filter_map(refused).collect();
        match &refused[..] {
            // Whoever has the first has all, or soon will; or runs it alone, and then nobody runs the others.
            [(first, why)] if first == agent && group.first() == Some(first) => (*why).clone(),
            [(first, why)] if group.first() == Some(first) => {
                format!("its group runs as one, and `{first}` is had by another: {why}")
            }
            _ => {
                let each: Vec<_> = refused.iter().map(|(member, why)| format!("`{member}`: {why}")).collect();
                format!("its group runs as one, and not all of it is to be had: {}", each.join(", "))
            }
        }
    }

    /// What is to be given back now: of a group of which others are led elsewhere, what was held for as long as a lease lasts.
    /// `jitter` is 0 to 1.
    pub fn give_back(&mut self, now: Time, jitter: f64) -> (Vec<(AgentName, i64)>, Changes) {
        let stuck = |held: &Held| !held.led && held.since + self.ttl <= now;
        let stuck: Vec<_> =
            self.held.iter().filter(|(_, h)| stuck(h)).map(|(agent, _)| agent.clone()).collect();
        let (mut given, mut changes) = (Vec::new(), Vec::new());
        for agent in stuck {
            let why = self.refusal(&agent);
            for member in self.group(&agent) {
                self.resting.insert(member.clone(), now + self.ttl.mul_f64(0.5 + jitter.clamp(0.0, 1.0)));
                if let Some(held) = self.held.remove(&member) {
                    given.push((member.clone(), held.token));
                    self.wanted.insert(member.clone());
                    changes.push((member, Change::GivenBack { why: why.clone() }));
                }
            }
        }
        (given, changes)
    }

    /// Those that are led from now on, since all of their group are held.
    fn complete(&mut self) -> Changes {
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
    ) -> Changes {
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
    pub fn expired(&mut self, now: Time, why: &str) -> Changes {
        let late = |held: &Held| held.until - self.margin <= now;
        let agents: Vec<_> =
            self.held.iter().filter(|(_, held)| late(held)).map(|(agent, _)| agent.clone()).collect();
        self.lose(agents, &format!("the lead could not be renewed in time: {why}"))
    }

    /// How long the machine has been suspended by now. Leases go on meanwhile, and the timers by which they are kept here do
    /// not: then all are given up.
    pub fn awake(&mut self, suspended: Duration) -> Changes {
        let before = self.suspended.replace(suspended);
        if before.is_none_or(|before| suspended <= before + SLEPT) {
            return Vec::new();
        }
        self.lose(self.held.keys().cloned().collect(), "the machine was suspended")
    }

    /// These, and their groups with them.
    fn lose(&mut self, agents: Vec<AgentName>, why: &str) -> Changes {
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
