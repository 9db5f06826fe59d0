//! What is wrong, decided from what was seen and what was found before. No clock, no call.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::decide::LastCheck;
use crate::seen::{Breaker, Budget, Component, Heartbeat, Proof, Provider, Resources, Seen, Status, Unit};
use crate::thresholds::Thresholds;

const MIB: u64 = 1024 * 1024;
/// A disk's finding stays until it is this many points below its threshold, so that a value at the edge is one alarm.
const DISK_SLACK: f64 = 2.0;
/// Exit codes of a wrong call, build or configuration: `RestartPreventExitStatus` of the units.
const NEVER: [i32; 3] = [64, 69, 78];
/// How the evidence begins of one whom somebody stopped: the daemon's words, never the agent's.
const STOPPED_BY: &str = "stopped by ";
/// As the daemon has it who opened a breaker: Atlas, or nobody.
const ACTOR: &str = "agent atlas";
const ITSELF: &str = "openclaw";
/// The same for memory and load, as a factor.
const SLACK: f64 = 1.1;
/// A process's problem.
const NO_ANSWER: &str = "no_answer";

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know; nobody need act.
    Info,
    /// Somebody should look today.
    Warn,
    /// Somebody should look now.
    Critical,
}

/// Where a finding was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// A component.
    Team,
    /// The machine's resources.
    Machine,
    /// What the heartbeat bridge hears.
    Heartbeats,
    /// What may be spent at providers.
    Budgets,
    /// What systemd runs.
    Units,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// A new process of that agent.
    Restart,
    /// A start of that unit.
    RestartUnit,
    /// That provider is left alone for a while.
    OpenBreaker,
    /// It is asked again.
    CloseBreaker,
}

impl Remedy {
    /// In words: what it is to do it, and that it was done.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Restart | Self::RestartUnit => ("restart it", "restarted it"),
            Self::OpenBreaker => ("open its breaker", "opened its breaker"),
            Self::CloseBreaker => ("close its breaker", "closed its breaker"),
        }
    }

    /// Whether it is a breaker's.
    pub const fn is_breaker(self) -> bool {
        matches!(self, Self::OpenBreaker | Self::CloseBreaker)
    }
}

/// Something that is wrong, or good to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where.
    pub area: Area,
    /// A component's name, or `disk`, `memory`, `load`.
    pub subject: String,
    /// What, in a word that stays the same while it lasts: `backoff`, `full`, …
    pub problem: String,
    /// How much it matters.
    pub severity: Severity,
    /// For people; may change while it lasts.
    pub text: String,
    /// What may help, where something may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Finding {
    fn new(area: Area, subject: &str, problem: &str, severity: Severity, text: String) -> Self {
        Self { area, subject: subject.into(), problem: problem.into(), severity, text, remedy: None }
    }

    /// What it is about; the same while it lasts, however its text and its weight change. At most 100 bytes.
    pub fn key(&self) -> String {
        let area = match self.area {
            Area::Team => "team",
            Area::Machine => "machine",
            Area::Heartbeats => "heartbeats",
            Area::Budgets => "budgets",
            Area::Units => "units",
        };
        let mut key = format!("{area}:{}:{}", self.problem, self.subject);
        while key.len() > 100 {
            key.pop();
        }
        key
    }

    /// Whether it happened in one moment, and is not there to be found again.
    pub fn is_event(&self) -> bool {
        self.problem == "restarted"
    }

    /// Whether what it is about is not well now, in whatever word.
    pub fn is_ill(&self) -> bool {
        self.severity > Severity::Info && !self.is_event()
    }

    /// Whether both are about the same. Heartbeats are of the team.
    pub fn is_about(&self, other: &Self) -> bool {
        let of_team = |area| matches!(area, Area::Team | Area::Heartbeats);
        self.subject == other.subject
            && (self.area == other.area || of_team(self.area) && of_team(other.area))
    }
}

/// All findings, the worst first. What cannot be seen keeps its previous findings: not to see is not to be mended.
pub fn findings(seen: &Seen, previous: Option<&LastCheck>, thresholds: &Thresholds) -> Vec<Finding> {
    let mut found = match &seen.status {
        Ok(status) => team(status, previous),
        Err(why) => unseen(Area::Team, "the team", why, previous),
    };
    found.extend(match &seen.resources {
        Ok(resources) => machine(resources, previous, thresholds),
        Err(why) => unseen(Area::Machine, "the machine", why, previous),
    });
    found.extend(match &seen.heartbeats {
        Ok(beats) => silent(beats.iter().flatten(), seen.status.as_ref().ok()),
        Err(why) => unseen(Area::Heartbeats, "the heartbeats", why, previous),
    });
    found.extend(match &seen.budgets {
        Ok(budgets) => spent(budgets.iter().flatten()),
        Err(why) => unseen(Area::Budgets, "the budgets", why, previous),
    });
    found.extend(match &seen.units {
        Ok(all) => units(all.iter().flatten()),
        Err(why) => unseen(Area::Units, "the units", why, previous),
    });
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    // Each process of the home has a store, a bus and providers: one thing is found once in a look.
    let mut keys = BTreeSet::new();
    found.retain(|finding| keys.insert(finding.key()));
    found
}

fn unseen(area: Area, what: &str, why: &str, previous: Option<&LastCheck>) -> Vec<Finding> {
    let blind = Finding::new(area, what, "unseen", Severity::Warn, format!("{what} cannot be seen: {why}"));
    std::iter::once(blind).chain(kept(area, previous).cloned()).collect()
}

/// What was found before and may be there still.
fn kept(area: Area, previous: Option<&LastCheck>) -> impl Iterator<Item = &Finding> {
    let old = previous.into_iter().flat_map(|last| &last.findings);
    old.filter(move |old| old.area == area && old.problem != "unseen" && !old.is_event())
}

/// Agents that are not heard although nothing else says why. Whom this daemon runs, it may restart.
fn silent<'a>(beats: impl Iterator<Item = &'a Heartbeat>, status: Option<&Status>) -> Vec<Finding> {
    let mut found = Vec::new();
    for beat in beats.filter(|beat| beat.status.as_deref() == Some("down")) {
        let Some(agent) = beat.agent.as_deref().filter(|agent| *agent != crate::NAME) else { continue };
        let known = status.and_then(|status| status.others().find(|(name, _)| *name == agent));
        let state = known.map(|(_, component)| component.state.as_deref().unwrap_or("unknown"));
        // Stopped, waiting or refused: that is a finding of its own, or nobody's trouble.
        if !matches!(state, None | Some("ready" | "standby")) {
            continue;
        }
        let text = format!("{agent} shows no heartbeat");
        // Whoever leads one that stands by here is gone: another takes over by itself.
        let remedy = (state == Some("ready")).then_some(Remedy::Restart);
        found.push(Finding {
            remedy,
            ..Finding::new(Area::Heartbeats, agent, "silent", Severity::Warn, text)
        });
    }
    found
}

/// Budgets that are nearly used up.
fn spent<'a>(budgets: impl Iterator<Item = &'a Budget>) -> Vec<Finding> {
    let mut found = Vec::new();
    for budget in budgets {
        let (Some(name), Some(percent)) = (budget.budget.as_deref(), budget.percent) else { continue };
        let severity = match percent {
            p if p >= 90.0 => Severity::Critical,
            p if p >= 75.0 => Severity::Warn,
            _ => continue,
        };
        let until = budget.until.map(|at| format!(", until {}", at.format("%F %T UTC"))).unwrap_or_default();
        let text = format!("{percent:.0} % of the budget `{name}` are used{until}");
        found.push(Finding::new(Area::Budgets, name, "spent", severity, text));
    }
    found
}

/// Units that systemd has given up, or starts again and again.
fn units<'a>(units: impl Iterator<Item = &'a Unit>) -> Vec<Finding> {
    let mut found = Vec::new();
    for unit in units {
        let (Some(name), Some(state)) = (unit.unit.as_deref(), unit.state.as_deref()) else { continue };
        let (problem, severity, remedy) = match state {
            // systemd has given it up; what made it fail may be over, unless it said that it can never work like this.
            state if state.starts_with("failed") => {
                let helps =
                    name.ends_with(".service") && !unit.exit_code.is_some_and(|code| NEVER.contains(&code));
                ("unit_failed", Severity::Critical, helps.then_some(Remedy::RestartUnit))
            }
            state if state.contains("auto-restart") => ("unit_restarting", Severity::Warn, None),
            _ => continue,
        };
        let text = format!("{name} is {state}");
        found.push(Finding { remedy, ..Finding::new(Area::Units, name, problem, severity, text) });
    }
    found
}

/// Findings about the other components. Of whom a process that does not answer runs, the previous ones stay.
pub fn team(status: &Status, previous: Option<&LastCheck>) -> Vec<Finding> {
    let silent = status.silent.iter().flatten().map(|process| {
        let text = format!("the process {process} of this home does not answer");
        Finding::new(Area::Team, process, NO_ANSWER, Severity::Critical, text)
    });
    let mut found: Vec<_> = silent.collect();
    for (name, component) in status.others() {
        let mut add = |(problem, severity, text): (&str, Severity, String)| {
            let remedy = remedy(component, problem, severity);
            let text = format!("{name} {text}");
            found.push(Finding { remedy, ..Finding::new(Area::Team, name, problem, severity, text) });
        };
        condition(component).into_iter().for_each(&mut add);
        let before = previous.and_then(|last| last.restarts.get(name));
        if let (Some(now), Some(&before)) = (component.restarts, before)
            && now > before
        {
            let times = now - before;
            let text = format!("was restarted {times} × since the last check{}", last_exit(component));
            add(("restarted", Severity::Warn, text));
        }
        found.extend(breaker(name, component, status));
    }
    if status.silent.iter().flatten().next().is_some() {
        let names: BTreeSet<_> = status.led().map(|(name, _)| name).collect();
        let kept = kept(Area::Team, previous).filter(|old| old.problem != NO_ANSWER);
        found.extend(kept.filter(|old| !names.contains(old.subject.as_str())).cloned());
    }
    found
}

/// Where a provider's breaker may help: it is closed, and lets through what fails; or Atlas opened it, and what was wrong is
/// over. An agent's opens by itself as it fails, and is the supervisor's.
fn breaker(name: &str, component: &Component, team: &Status) -> Option<Finding> {
    let breaker = component.breaker.as_ref()?;
    let (problem, remedy, text) = match (component.kind.as_deref()?, breaker.state.as_deref()?) {
        // The daemon tells the operator of it; here it is in the way of others who could answer.
        ("provider", "closed") => {
            let why = useless(component.provider.as_ref()?)?;
            let is_like = |other: &Component| {
                other.process == component.process && answers(other) == answers(component)
            };
            // They are listed in the order in which they are asked.
            let all = team.components.iter().flatten();
            all.skip_while(|one| !std::ptr::eq(*one, component))
                .skip(1)
                .find(|other| is_like(other) && may_answer(other))?;
            let text = format!("{why}, and is asked before others that could answer");
            ("in_the_way", Remedy::OpenBreaker, text)
        }
        ("provider", "open") if is_mended(component.provider.as_ref()?, breaker) => {
            let text = "is well by the last look at it, and its breaker is open still".into();
            ("left_alone", Remedy::CloseBreaker, text)
        }
        _ => return None,
    };
    let found = Finding::new(Area::Team, name, problem, Severity::Info, format!("{name} {text}"));
    Some(Finding { remedy: Some(remedy), ..found })
}

/// What kind of a provider it is.
fn answers(component: &Component) -> Option<&str> {
    component.provider.as_ref()?.answers.as_deref()
}

fn holds(proof: Option<&Proof>) -> Option<bool> {
    proof.and_then(|proof| proof.holds)
}

/// Why every call of a provider is lost: it refuses us, or it failed the last call and the last look as well.
fn useless(provider: &Provider) -> Option<&'static str> {
    let [authenticated, functional, look] =
        [&provider.authenticated, &provider.functional, &provider.look].map(|proof| holds(proof.as_ref()));
    match (authenticated, functional, look) {
        (Some(false), ..) => Some("refuses our key"),
        (_, Some(false), Some(false)) => Some("answers neither calls nor looks"),
        _ => None,
    }
}

/// A provider to whom calls go, and who may answer them.
fn may_answer(component: &Component) -> bool {
    let breaker = component.breaker.as_ref().and_then(|breaker| breaker.state.as_deref());
    matches!(breaker, Some("closed" | "half_open"))
        && component.provider.as_ref().is_some_and(|one| useless(one).is_none())
}

/// Opened by Atlas, looked at since, and nothing was wrong. What opened by itself has its own pauses, and what a person opened is
/// theirs.
fn is_mended(provider: &Provider, breaker: &Breaker) -> bool {
    let opened = breaker.opened.as_ref().and_then(|opened| opened.at);
    let looked = provider.look.as_ref().and_then(|look| look.at);
    let ours = breaker.opened.as_ref().and_then(|opened| opened.actor.as_deref()) == Some(ACTOR);
    ours && holds(provider.look.as_ref()) == Some(true)
        && holds(provider.authenticated.as_ref()) != Some(false)
        && opened.is_some_and(|opened| looked.is_some_and(|looked| looked > opened))
}

/// An agent that has ended by a failure, or proves nothing although it runs, may be well in a new process. The rest the
/// supervisor mends by itself, or only the operator can.
fn remedy(component: &Component, problem: &str, severity: Severity) -> Option<Remedy> {
    let is_agent = component.kind.as_deref() == Some("agent");
    let helps = match problem {
        "stopped" => severity == Severity::Warn,
        "unproved" => true,
        "failed" | "degraded" => component.state.as_deref() == Some("ready"),
        _ => false,
    };
    (is_agent && helps).then_some(Remedy::Restart)
}

/// How a component is, when that is not simply well: one finding, the weightiest.
fn condition(component: &Component) -> Option<(&'static str, Severity, String)> {
    let state = component.state.as_deref().unwrap_or("unknown");
    let breaker = component.breaker.as_ref();
    let breaker_state = breaker.and_then(|breaker| breaker.state.as_deref()).unwrap_or("closed");
    let exit = || last_exit(component);
    Some(match (state, breaker_state, component.health.as_deref().unwrap_or("unknown")) {
        ("stopped", ..) if let Some(actor) = stopped_by(component) => {
            ("stopped", Severity::Info, format!("is {STOPPED_BY}{actor}"))
        }
        ("stopped", ..) if ended_well(component) => ("stopped", Severity::Info, "is stopped".into()),
        ("stopped", ..) => ("stopped", Severity::Warn, format!("is stopped{}", exit())),
        ("misconfigured", ..) => (
            "misconfigured",
            Severity::Warn,
            format!("refuses our key, or is misconfigured{}", evidence(component)),
        ),
        ("refused", ..) => ("refused", Severity::Critical, format!("was refused{}", exit())),
        ("open", ..) | (_, "open", _) => {
            let until = breaker.and_then(|breaker| breaker.open_until);
            let until =
                until.map(|until| format!(" until {}", until.format("%F %T UTC"))).unwrap_or_default();
            let opened = breaker.and_then(|breaker| breaker.opened.as_ref()?.actor.as_deref());
            match opened.filter(|actor| *actor != ITSELF) {
                Some(actor) => ("breaker_open", Severity::Info, format!("is left alone{until}, by {actor}")),
                None => (
                    "breaker_open",
                    Severity::Critical,
                    format!("failed too often: its breaker is open{until}{}", exit()),
                ),
            }
        }
        (_, _, "failed") => {
            ("failed", Severity::Critical, format!("has failed{}{}", evidence(component), exit()))
        }
        ("backoff", ..) => ("backoff", Severity::Warn, format!("waits to be restarted{}", exit())),
        ("half_open" | "half-open", ..) | (_, "half_open" | "half-open", _) => {
            // A provider is until somebody asks it.
            let idle = component.kind.as_deref() == Some("provider");
            let severity = if idle { Severity::Info } else { Severity::Warn };
            ("on_trial", severity, format!("is on trial after its breaker was open{}", exit()))
        }
        (_, _, "degraded") => ("degraded", Severity::Warn, format!("is degraded{}", evidence(component))),
        (_, _, "ok") => return None,
        // Nobody has asked it.
        (_, _, "unknown") if component.kind.as_deref() == Some("provider") && state != "misconfigured" => {
            return None;
        }
        // Another process leads it, and is asked itself.
        ("standby", ..) => return None,
        ("ready", _, "unknown") if component.kind.as_deref() == Some("agent") => (
            "unproved",
            Severity::Warn,
            format!("has not proved lately that it works{}", evidence(component)),
        ),
        // Neither well nor ill; a start looks like this too.
        _ => ("unknown", Severity::Info, format!("({state}) has not proved anything yet")),
    })
}

/// Whoever stopped it.
fn stopped_by(component: &Component) -> Option<&str> {
    component.evidence.as_ref()?.what.as_deref()?.strip_prefix(STOPPED_BY)
}

/// Without an exit at all, or with a clean one, it was no failure. What an agent says at its end is no reason to leave it.
fn ended_well(component: &Component) -> bool {
    let class = component.last_exit.as_ref().and_then(|exit| exit.class.as_deref());
    matches!(class, None | Some("clean"))
}

fn last_exit(component: &Component) -> String {
    let Some(exit) = &component.last_exit else { return String::new() };
    match (&exit.class, &exit.detail) {
        (Some(class), Some(detail)) => format!("; last exit: {class} ({detail})"),
        (Some(only), None) | (None, Some(only)) => format!("; last exit: {only}"),
        (None, None) => String::new(),
    }
}

fn evidence(component: &Component) -> String {
    let what = component.evidence.as_ref().and_then(|evidence| evidence.what.as_deref());
    what.map(|what| format!(": {what}")).unwrap_or_default()
}

/// Findings about the machine. What is null is not judged.
pub fn machine(resources: &Resources, previous: Option<&LastCheck>, thresholds: &Thresholds) -> Vec<Finding> {
    let was = |subject: &str, least: Severity| {
        let mut old = previous.iter().flat_map(|last| &last.findings);
        old.any(|f| f.area == Area::Machine && f.subject == subject && f.severity >= least)
    };
    let mut found = Vec::new();
    let mut add = |subject: &str, problem: &str, severity: Severity, text: String| {
        found.push(Finding::new(Area::Machine, subject, problem, severity, text));
    };

    if let Some(disk) = &resources.disk
        && let Some(used) = disk.used_percent()
    {
        let reaches = |limit: u8, severity: Severity| {
            used >= f64::from(limit) - if was("disk", severity) { DISK_SLACK } else { 0.0 }
        };
        let path = disk.path.as_deref().unwrap_or("?");
        let text = format!("disk {path} is {used:.0} % full");
        if reaches(thresholds.disk_critical_percent, Severity::Critical) {
            add("disk", "full", Severity::Critical, text);
        } else if reaches(thresholds.disk_warn_percent, Severity::Warn) {
            add("disk", "full", Severity::Warn, text);
        }
    }

    if let Some(available) = resources.memory.as_ref().and_then(|memory| memory.available_bytes) {
        let limit = thresholds.memory_critical_mib.saturating_mul(MIB) as f64;
        let slack = if was("memory", Severity::Critical) { SLACK } else { 1.0 };
        if (available as f64) < limit * slack {
            let text = format!("only {} MiB of memory are available", available / MIB);
            add("memory", "low", Severity::Critical, text);
        }
    }

    let cores = resources.cpu.as_ref().and_then(|cpu| cpu.cores);
    // Five minutes: a burst of one is no overload.
    let load = resources.load.as_ref().and_then(|load| load.get(1).copied().flatten());
    if let (Some(cores @ 1..), Some(load)) = (cores, load) {
        let slack = if was("load", Severity::Warn) { SLACK } else { 1.0 };
        if load > 2.0 * f64::from(cores) / slack {
            let text = format!("the load is {load:.1}, more than two for each of {cores} cores");
            add("load", "high", Severity::Warn, text);
        }
    }
    found
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
