//! One agent, as its supervisor holds it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::TimeDelta;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::manifest::Manifest;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::Reply;
use super::reloads::Why;
use crate::handle::Error;
use crate::instance::{Assignment, InstanceId, Order, SharedVitals, Vitals, vitals};
use crate::library::{Hash, Libraries, Trust, Verdict};
use crate::policy::{Candidate, Next, Record, State};
use crate::sandbox::InForce;
use crate::status::{AgentStatus, LibraryStatus};

/// An instance at work, or on its way there.
pub(super) struct Host {
    pub id: InstanceId,
    pub orders: mpsc::Sender<Order>,
    pub vitals: SharedVitals,
    pub manifest: Option<Box<Manifest>>,
    pub sandbox: Option<InForce>,
}

/// What the agents folder holds for an agent.
pub(super) enum File {
    /// Nobody has looked yet.
    Unknown,
    /// Nothing; the sentence that says so.
    Gone(String),
    /// Something that is not run, and why.
    Refused(String),
    /// This.
    Here(Hash),
}

/// What an agent's library is, and what it must be.
pub(super) struct Source {
    /// As configured: a file in the agents folder, or an absolute path.
    pub configured: PathBuf,
    /// The same, absolute.
    pub path: PathBuf,
    /// A new file is run without being asked for.
    pub auto: bool,
    /// What is asked of a file.
    pub trust: Trust,
}

/// Why it stands as it does, at the start.
fn reason(name: &AgentName, record: &Record) -> String {
    match &record.state {
        State::Stopped { why } => why.to_string(),
        state => {
            let what = if matches!(state, State::Open { .. }) { "open breaker" } else { "pause" };
            format!("the {what} outlives the daemon's restart: `openclaw agents history {name}` tells why")
        }
    }
}

/// One agent.
pub(super) struct Slot {
    pub assignment: Assignment,
    pub source: Source,
    pub record: Record,
    pub lead: Lead,
    /// What it said of itself last.
    pub manifest: Option<Box<Manifest>>,
    /// What held its host, as it was last started.
    pub sandbox: Option<InForce>,
    /// The host that takes tasks, or will.
    pub serving: Option<Host>,
    /// Its successor, while that proves itself.
    pub canary: Option<Host>,
    /// What the serving one told for it.
    pub snapshot: Option<Box<RawValue>>,
    /// Hosts that have nothing to do here but to end.
    pub leaving: BTreeMap<InstanceId, Leaving>,
    pub reason: String,
    /// Who caused the last transition.
    pub actor: String,
    pub file: File,
    /// What did not take over, and why.
    pub failed: Option<(Hash, String)>,
    /// What is to be run when its turn comes.
    pub wanted: Option<Wanted>,
    /// What the policy has taken up.
    pub taken: Option<Wanted>,
    /// How often somebody has begun to look at its file.
    pub looks: u64,
    /// Looks that wait for the first one.
    pub later: Vec<Why>,
}

/// Whose an agent's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// Another process's, or nobody's yet.
    Elsewhere,
    /// This one's: what it left here has to end, and its record to be read.
    Won,
    /// This one's.
    Ours,
}

/// A host on its way out.
pub(super) struct Leaving {
    /// Without somebody to give it orders it would end at once.
    orders: mpsc::Sender<Order>,
    /// It served, and its end is of interest.
    pub served: bool,
}

/// A candidate, and who waits for what becomes of it.
pub(super) struct Wanted {
    pub candidate: Candidate,
    pub waiting: Vec<Verdictee>,
}

/// Who waits for a verdict: the hash that it is about, and a sentence.
pub(super) type Verdictee = Reply<Result<(Hash, String), String>>;

impl Slot {
    pub fn new(assignment: Assignment, source: Source, record: Record, lead: Lead) -> Self {
        let reason = reason(&assignment.name, &record);
        Self {
            assignment,
            source,
            record,
            lead,
            manifest: None,
            sandbox: None,
            serving: None,
            canary: None,
            snapshot: None,
            leaving: BTreeMap::new(),
            reason,
            actor: "boot".into(),
            file: File::Unknown,
            failed: None,
            wanted: None,
            taken: None,
            looks: 0,
            later: Vec::new(),
        }
    }

    /// What another process saved of it last is how it stands.
    pub fn take_up(&mut self, record: Record) {
        self.reason = reason(&self.assignment.name, &record);
        (self.record, self.lead, self.actor) = (record, Lead::Ours, "boot".into());
    }

    /// Everything of it here ends at once, and nothing is looked at until it is led here again. Answers who waits for
    /// what will not come.
    pub fn let_go(&mut self) -> Vec<Verdictee> {
        (self.lead, self.file) = (Lead::Elsewhere, File::Unknown);
        self.looks += 1;
        for leaving in self.leaving.values() {
            // Full: it has orders enough to end by.
            let _ = leaving.orders.try_send(Order::Kill);
        }
        let wanted = [self.wanted.take(), self.taken.take()].into_iter().flatten();
        let later = std::mem::take(&mut self.later).into_iter().filter_map(Why::into_verdictee);
        wanted.flat_map(|wanted| wanted.waiting).chain(later).collect()
    }

    /// What is said to whoever wants something of it meanwhile.
    pub fn refusal(&self, why: String) -> Error {
        Error::StandsBy { name: self.assignment.name.clone(), why }
    }

    /// Why it does not run here, while another process leads it.
    pub fn stands_by(&self) -> Option<String> {
        (self.lead != Lead::Ours).then(|| self.reason.clone())
    }

    /// One of its hosts has nothing more to do here, but to end.
    pub fn leave(&mut self, host: Option<Host>, order: Order) {
        if let Some(host) = host {
            let served = matches!(order, Order::Retire(_));
            host.order(&self.assignment.name, order);
            self.leaving.insert(host.id, Leaving { orders: host.orders, served });
        }
    }

    /// The libraries that it needs.
    pub fn in_use(&self) -> impl Iterator<Item = &Hash> {
        let installed = &self.record.library;
        let coming = self.wanted.iter().chain(&self.taken).map(|wanted| &wanted.candidate.to);
        installed.current.iter().chain(&installed.previous).chain(coming)
    }

    /// Whether anything of it still lives.
    pub fn lives(&self) -> bool {
        self.record.state.has_host() || self.canary.is_some() || !self.leaving.is_empty()
    }

    pub fn is_on_its_way_out(&self) -> bool {
        match &self.record.state {
            State::Draining { next, .. } => matches!(next, Next::Stopped { .. } | Next::Open { .. }),
            state => !state.has_host(),
        }
    }

    /// Whether its file has been looked at: before that it is not started.
    pub fn is_known(&self) -> bool {
        !matches!(self.file, File::Unknown)
    }

    /// Why there is nothing to start it from.
    pub fn nothing_to_run(&self) -> String {
        match &self.file {
            File::Gone(why) | File::Refused(why) => why.clone(),
            File::Unknown | File::Here(_) => "its library has not been verified yet: start it again".into(),
        }
    }

    /// Its library, and whatever the operator should know of the file in the folder.
    fn library(&self, libraries: &Libraries) -> LibraryStatus {
        let name = &self.assignment.name;
        let current = self.record.library.current.as_ref();
        let note = match &self.file {
            File::Gone(_) => current.map(|_| "library gone, running from store".to_owned()),
            File::Refused(why) => current.map(|_| why.clone()),
            File::Here(hash) if Some(hash) != current => {
                let short = hash.short();
                Some(match (libraries.verdict(name, hash), &self.failed) {
                    _ if self.wanted.is_some() || self.taken.is_some() => {
                        format!("{short} is about to be run")
                    }
                    (Some(Verdict::Bad { reason } | Verdict::Left { reason }), _) => {
                        format!("{short} in the agents folder is not run: {reason}")
                    }
                    (_, Some((failed, why))) if failed == hash => why.clone(),
                    _ => format!("{short} waits for `openclaw agents reload {name}`"),
                })
            }
            File::Unknown | File::Here(_) => None,
        };
        LibraryStatus {
            file: self.source.path.clone(),
            installed: self.record.library.clone(),
            reload: self.record.reload.as_ref().map(|reload| reload.phase.name()),
            note,
        }
    }

    /// As all of it is by a clock that was set forward by so much.
    pub fn shift(&mut self, by: TimeDelta) {
        self.record.shift(by);
        for host in self.serving.iter().chain(&self.canary) {
            let mut vitals = vitals(&host.vitals);
            let Vitals { started_at, pong_at, done_at, oldest_since, .. } = &mut *vitals;
            [started_at, pong_at, done_at, oldest_since]
                .into_iter()
                .flatten()
                .for_each(|at| limits::shift(at, by));
        }
    }

    pub fn status(&self, libraries: &Libraries) -> AgentStatus {
        AgentStatus {
            name: self.assignment.name.clone(),
            library: self.library(libraries),
            concurrency: self.assignment.config.concurrency,
            record: self.record.clone(),
            manifest: self.manifest.clone(),
            sandbox: self.sandbox.clone(),
            vitals: self.serving.as_ref().map(|host| vitals(&host.vitals).clone()).unwrap_or_default(),
            led: self.lead == Lead::Ours,
            reason: self.reason.clone(),
            actor: self.actor.clone(),
            stale: self.assignment.config.ping_interval + self.assignment.config.ping_timeout,
        }
    }
}
