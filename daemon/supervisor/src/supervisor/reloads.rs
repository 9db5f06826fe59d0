//! From files to candidates: looking at what the agents folder holds, and offering it to the policy, one agent at a
//! time.

use std::time::Duration;

use openclaw_agent_api::AgentName;

use super::slot::{File, Slot, Verdictee, Wanted};
use super::{Reply, Supervisor};
use crate::alerts::Level;
use crate::handle::Error;
use crate::library::watch::Sighting;
use crate::library::{Admitted, Hash, Refusal, Verdict};
use crate::policy::decide::REASON;
use crate::policy::{Back, Candidate, Event, Installed, Transition};
use crate::sentence::sentence;

/// Why somebody looks.
pub(super) enum Why {
    /// The daemon starts.
    Boot,
    /// The watch saw that the file has changed.
    Watched,
    /// A person asks for it.
    Asked { actor: String, reply: Verdictee },
    /// An agent without a library is to be started: this is to happen to it then.
    Start { actor: String, event: Event, reply: Reply<Result<(), Error>> },
}

impl Why {
    /// Who, for the history.
    fn actor(&self) -> String {
        match self {
            Self::Boot => "boot".into(),
            Self::Watched => "watch".into(),
            Self::Asked { actor, .. } | Self::Start { actor, .. } => actor.clone(),
        }
    }

    /// Who waits for a verdict.
    pub(super) fn into_verdictee(self) -> Option<Verdictee> {
        match self {
            Self::Asked { reply, .. } => Some(reply),
            // Its reply is dropped: whoever waits is told that it went away.
            Self::Boot | Self::Watched | Self::Start { .. } => None,
        }
    }

    fn by_hand(&self) -> bool {
        matches!(self, Self::Asked { .. } | Self::Start { .. })
    }
}

/// Something that was done beside.
pub(super) enum Done {
    Looked {
        name: AgentName,
        why: Why,
        /// Which look at this agent it is.
        look: u64,
        /// What the folder holds.
        found: Result<Admitted, Refusal>,
        /// What ran before and must not run any more, and why.
        distrusted: Vec<(Hash, String)>,
    },
    /// What to go back to.
    Back { name: AgentName, to: Result<Hash, String>, actor: String, reply: Verdictee },
    /// What was known of an agent where it was led before.
    Record { name: AgentName, record: Option<String> },
    /// Nobody waits for it.
    Nothing,
}

impl Supervisor {
    /// Looks at an agent's file.
    pub(super) fn look(&mut self, name: &AgentName, why: Why) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if let Some(why_not) = slot.stands_by() {
            match why {
                Why::Asked { reply, .. } => drop(reply.send(Err(slot.refusal(why_not).to_string()))),
                Why::Start { reply, .. } => drop(reply.send(Err(slot.refusal(why_not)))),
                Why::Boot | Why::Watched => {}
            }
            return;
        }
        // The first look takes stock of what may run at all: no other is to overtake it.
        if !matches!(why, Why::Boot) && !slot.is_known() {
            return slot.later.push(why);
        }
        slot.looks += 1;
        let look = slot.looks;
        let (libraries, clock) = (self.around.libraries.clone(), self.around.clock);
        let (configured, trust) = (slot.source.configured.clone(), slot.source.trust.clone());
        let installed = &slot.record.library;
        let before = installed.current.iter().chain(&installed.previous).filter(|_| matches!(why, Why::Boot));
        let before: Vec<Hash> = before.cloned().collect();
        let name = name.clone();
        self.beside.spawn_blocking(move || {
            let distrusted =
                |hash: Hash| libraries.recheck(&name, &hash, &trust).err().map(|why| (hash, why));
            let distrusted = before.into_iter().filter_map(distrusted).collect();
            let found = libraries.admit(&name, &configured, &trust, clock.now());
            Done::Looked { name, why, look, found, distrusted }
        });
    }

    /// Finds what to go back to.
    pub(super) fn look_back(
        &mut self,
        name: AgentName,
        prefix: Option<String>,
        actor: String,
        reply: Verdictee,
    ) {
        let Some(slot) = self.slots.get(&name) else { return };
        if let Some(why) = slot.stands_by() {
            return drop(reply.send(Err(slot.refusal(why).to_string())));
        }
        let (libraries, trust) = (self.around.libraries.clone(), slot.source.trust.clone());
        let installed = slot.record.library.clone();
        self.beside.spawn_blocking(move || {
            let known = match (prefix, installed.current) {
                (Some(prefix), _) => libraries.find(&name, &prefix),
                (None, None) => Err(format!("`{name}` has never run: there is nothing to go back to")),
                (None, Some(current)) => {
                    let back = installed.previous.into_iter().next();
                    back.or_else(|| libraries.last_good(&name, &current)).ok_or_else(|| {
                        format!(
                            "nothing older that `{name}` ran well is kept: there is nothing to go back to"
                        )
                    })
                }
            };
            let to = known.and_then(|hash| libraries.recheck(&name, &hash, &trust).map(|()| hash));
            Done::Back { name, to, actor, reply }
        });
    }

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Looked { name, why, look, found, distrusted } => {
                self.looked(&name, why, look, found, distrusted);
            }
            Done::Back { name, to, actor, reply } => self.looked_back(&name, to, actor, reply),
            Done::Record { name, record } => self.take_up(&name, record),
            Done::Nothing => {}
        }
    }

    fn looked(
        &mut self,
        name: &AgentName,
        why: Why,
        look: u64,
        found: Result<Admitted, Refusal>,
        distrusted: Vec<(Hash, String)>,
    ) {
        let Some(slot) = self.slots.get(name) else { return };
        // A later look, which may have ended earlier, has seen a newer file.
        if look < slot.looks {
            if why.by_hand() {
                self.look(name, why);
            }
            return;
        }
        if matches!(why, Why::Boot) {
            self.take_stock(name, distrusted);
        }
        let answer = match found {
            Ok(Admitted { hash, .. }) => self.found(name, hash, &why),
            Err(gone @ Refusal::Gone { .. }) => self.not_found(name, File::Gone(gone.to_string()), &why),
            Err(Refusal::Refused(text)) => self.not_found(name, File::Refused(text), &why),
        };
        self.offer();
        match (why, answer) {
            (Why::Asked { reply, .. }, Some(answer)) => self.answer(vec![reply], answer),
            (Why::Asked { reply, .. }, None) => {
                // It was offered at once, or will be.
                let slot = self.slots.get_mut(name);
                let wanted = slot.and_then(|slot| slot.wanted.as_mut().or(slot.taken.as_mut()));
                match wanted {
                    Some(wanted) => wanted.waiting.push(reply),
                    None => self.adopted(name, reply),
                }
            }
            (Why::Start { event, reply, .. }, _) => {
                let ended = self.ending;
                if !ended {
                    self.decide(name, event);
                }
                let _ = reply.send(if ended { Err(Error::Gone) } else { Ok(()) });
            }
            (Why::Boot | Why::Watched, _) => {}
        }
        let later = self.slots.get_mut(name).map(|slot| std::mem::take(&mut slot.later));
        for why in later.unwrap_or_default() {
            self.look(name, why);
        }
        self.save();
        self.move_on();
    }

    /// Whoever asked for what was taken over at once, since nothing ran.
    fn adopted(&mut self, name: &AgentName, reply: Verdictee) {
        let Some(slot) = self.slots.get(name) else { return };
        let text = slot.reason.clone();
        let answer = slot.record.library.current.clone().map(|hash| (hash, text.clone())).ok_or(text);
        self.answer(vec![reply], answer);
    }

    /// At the start: what must not run any more, and what an earlier daemon was about to go back from.
    fn take_stock(&mut self, name: &AgentName, distrusted: Vec<(Hash, String)>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let installed = &mut slot.record.library;
        installed.previous.retain(|hash| !distrusted.iter().any(|(other, _)| other == hash));
        let bad = installed.current.as_ref().and_then(|current| {
            let refused = distrusted.iter().find(|(hash, _)| hash == current).map(|(_, why)| why.clone());
            let failed = match self.around.libraries.verdict(name, current) {
                Some(Verdict::Bad { reason })
                    if !installed.previous.is_empty()
                        || self.around.libraries.last_good(name, current).is_some() =>
                {
                    Some(reason)
                }
                _ => None,
            };
            refused.or(failed)
        });
        if let Some(why) = bad {
            let back = (!installed.previous.is_empty()).then(|| installed.previous.remove(0));
            let good = || self.around.libraries.last_good(name, installed.current.as_ref()?);
            let back = back.or_else(good);
            *installed = Installed { current: back, ..std::mem::take(installed) };
            self.tell(name, "boot", format!("reload: what ran before is not run any more: {why}"), true);
        }
    }

    /// A good file. None: it is a candidate; else there is nothing to do, or nothing that can be done.
    fn found(&mut self, name: &AgentName, hash: Hash, why: &Why) -> Option<Answer> {
        let slot = self.slots.get_mut(name)?;
        let short = hash.short().to_owned();
        slot.file = File::Here(hash.clone());
        if slot.record.library.current.as_ref() == Some(&hash) {
            let text = format!("{short} is what the agents folder has, and runs");
            self.withdraw(name, &text, true);
            return Some(Ok((hash, format!("{name} has {short} already: the file is the same"))));
        }
        let slot = self.slots.get_mut(name)?;
        let has_some = slot.record.library.current.is_some();
        let told = match self.around.libraries.verdict(name, &hash) {
            Some(Verdict::Bad { reason }) if has_some => Some(format!("it failed before: {reason}")),
            Some(Verdict::Left { reason }) if has_some && !why.by_hand() => Some(reason),
            _ => None,
        };
        if let Some(reason) = told {
            let text = format!(
                "{short} is not tried again: {reason}; copy a mended file, or `openclaw agents rollback {name} {short}`"
            );
            self.withdraw(name, &text, false);
            return Some(Err(text));
        }
        if !matches!(why, Why::Asked { .. }) && !slot.source.auto && has_some {
            self.withdraw(name, "the file has changed again", false);
            return Some(Err(format!("{short} waits for `openclaw agents reload {name}`")));
        }
        let coming = slot.taken.as_ref().or(slot.wanted.as_ref());
        if coming.is_some_and(|wanted| wanted.candidate.to == hash) {
            return None;
        }
        let candidate = Candidate { to: hash, actor: why.actor(), by_hand: why.by_hand(), back: None };
        self.want(name, candidate, Vec::new());
        None
    }

    fn not_found(&mut self, name: &AgentName, file: File, why: &Why) -> Option<Answer> {
        let slot = self.slots.get_mut(name)?;
        let (text, refused) = match &file {
            File::Refused(text) => (text.clone(), true),
            File::Gone(text) => (text.clone(), false),
            File::Unknown | File::Here(_) => return None,
        };
        let same = match (&slot.file, &file) {
            (File::Refused(a), File::Refused(b)) => a == b,
            (File::Gone(_), File::Gone(_)) => true,
            _ => false,
        };
        slot.file = file;
        let current = slot.record.library.current.as_ref().map(|hash| hash.short().to_owned());
        self.withdraw(name, &text, false);
        let actor = why.actor();
        match &current {
            _ if same => {}
            Some(stays) if refused => {
                self.tell(
                    name,
                    &actor,
                    format!("reload: the file is refused: {text}; {stays} goes on"),
                    true,
                );
            }
            Some(stays) => {
                self.tell(name, &actor, format!("library gone, running {stays} from store"), false)
            }
            // At the start, the refusal that follows says it.
            None if refused && !matches!(why, Why::Boot) => {
                self.tell(name, &actor, format!("reload: the file is refused: {text}"), true);
            }
            None => {}
        }
        let stays = current.map(|stays| format!("; {stays} goes on")).unwrap_or_default();
        Some(Err(format!("{text}{stays}")))
    }

    fn looked_back(&mut self, name: &AgentName, to: Result<Hash, String>, actor: String, reply: Verdictee) {
        let Some(slot) = self.slots.get(name) else { return };
        match to {
            Err(why) => self.answer(vec![reply], Err(why)),
            Ok(to) if slot.record.library.current.as_ref() == Some(&to) => {
                self.withdraw(name, &format!("{actor} goes back to what runs"), true);
                let text = format!("{name} has {} already", to.short());
                self.answer(vec![reply], Ok((to, text)));
            }
            Ok(to) => {
                // Whoever goes back does not wait for what is about to come.
                self.withdraw(name, &format!("{actor} goes back to {}", to.short()), true);
                let proved = match self.around.libraries.verdict(name, &to) {
                    Some(Verdict::Bad { .. }) | None => false,
                    Some(Verdict::Good | Verdict::Left { .. } | Verdict::Untried) => true,
                };
                let back = Some(Back { why: format!("asked for by {actor}"), proved });
                self.want(name, Candidate { to, actor, by_hand: true, back }, vec![reply]);
                self.move_on();
            }
        }
    }

    /// What the watch saw.
    pub(super) fn sighted(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Settled { agent } | Sighting::Gone { agent } => self.look(&agent, Why::Watched),
            Sighting::Discovered { name, file } => self.discovered(name, file),
        }
    }

    /// A candidate takes the place of the one that waits for its turn, if there is one.
    fn want(&mut self, name: &AgentName, candidate: Candidate, waiting: Vec<Verdictee>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let newer = format!("{} came in between", candidate.to.short());
        let older = slot.wanted.replace(Wanted { candidate, waiting });
        if let Some(older) = older {
            self.answer(older.waiting, Err(newer));
        }
    }

    /// What waits for its turn is not wanted any more; nor what is under way, if `all`.
    fn withdraw(&mut self, name: &AgentName, why: &str, all: bool) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if let Some(wanted) = slot.wanted.take() {
            self.answer(wanted.waiting, Err(why.into()));
        }
        if all && self.slots.get(name).is_some_and(|slot| slot.record.reload.is_some()) {
            self.decide(name, Event::Withdraw { why: why.into() });
        }
    }

    /// Offers what is wanted to the policy. One reload at a time; but who goes back does not wait for others, nor who
    /// does not serve.
    pub(super) fn offer(&mut self) {
        if self.ending {
            return;
        }
        let mut offered: Vec<AgentName> = Vec::new();
        loop {
            let busy = self.slots.values().any(|slot| slot.record.reload.is_some());
            let may = |slot: &&Slot| {
                let back = slot.wanted.as_ref().is_some_and(|wanted| wanted.candidate.back.is_some());
                slot.wanted.is_some()
                    && slot.record.takes_candidate()
                    && (!busy || back || !slot.record.state.is_ready())
                    && !offered.contains(&slot.assignment.name)
            };
            // By hand before what came by itself.
            let by_itself =
                |slot: &&Slot| slot.wanted.as_ref().is_some_and(|wanted| !wanted.candidate.by_hand);
            let next = self.slots.values().filter(may).min_by_key(by_itself);
            let Some(name) = next.map(|slot| slot.assignment.name.clone()) else { return };
            let Some(wanted) = self.slots.get_mut(&name).and_then(|slot| slot.wanted.take()) else { return };
            if self
                .slots
                .get(&name)
                .is_some_and(|s| s.record.library.current.as_ref() == Some(&wanted.candidate.to))
            {
                let text = format!("{name} has {} already", wanted.candidate.to.short());
                self.answer(wanted.waiting, Ok((wanted.candidate.to, text)));
                continue;
            }
            let candidate = wanted.candidate.clone();
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.taken = Some(wanted);
            }
            offered.push(name.clone());
            self.decide(&name, Event::Candidate(candidate));
        }
    }

    /// The policy lets go of a candidate for now.
    pub(super) fn postpone(&mut self, name: &AgentName) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let Some(taken) = slot.taken.take() else { return };
        match &slot.wanted {
            None => slot.wanted = Some(taken),
            Some(newer) => {
                let newer = format!("{} came in between", newer.candidate.to.short());
                self.answer(taken.waiting, Err(newer));
            }
        }
    }

    /// The policy has come to a verdict.
    pub(super) fn verdict(&mut self, name: &AgentName, verdict: Result<String, String>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let Some(Wanted { candidate, waiting }) = slot.taken.take() else { return };
        slot.failed = verdict.clone().err().map(|why| (candidate.to.clone(), why));
        self.answer(waiting, verdict.map(|text| (candidate.to, text)));
    }

    /// Answers who waits, once what was decided is durable.
    pub(super) fn answer(&mut self, waiting: Vec<Verdictee>, answer: Answer) {
        if waiting.is_empty() {
            return;
        }
        let store = self.around.store.clone();
        self.beside.spawn(async move {
            // A disk that is full must not keep people waiting for ever.
            let _ = tokio::time::timeout(DURABLE, store.renew(Vec::new())).await;
            waiting.into_iter().for_each(|waiting| drop(waiting.send(answer.clone())));
            Done::Nothing
        });
    }

    /// Into the history, and to the operator if it is worth that: something that is no change of state.
    pub(super) fn tell(&mut self, name: &AgentName, actor: &str, reason: String, alert: bool) {
        let Some(slot) = self.slots.get(name) else { return };
        let state = slot.record.state.name().to_owned();
        let at = self.around.clock.now();
        let reason = sentence(&reason, REASON);
        if alert {
            self.alert_of_library(name, Level::Warning, &reason);
        }
        self.note(name, Transition { from: state.clone(), to: state, actor: actor.into(), reason, at });
    }

    /// Has the vault's manifest written, where it has changed.
    pub(super) fn save(&mut self) {
        let libraries = self.around.libraries.clone();
        self.beside.spawn_blocking(move || {
            if let Err(error) = libraries.save() {
                tracing::warn!(%error, "the manifest of the private store was not written: verdicts may be forgotten");
            }
            Done::Nothing
        });
    }

    /// Remembers of a library what became of it.
    pub(super) fn judge(&mut self, name: &AgentName, hash: &Hash, verdict: Verdict) {
        self.around.libraries.judge(name, hash, verdict, self.around.clock.now());
        self.tidy(name);
    }

    /// Lets go of what is old.
    pub(super) fn tidy(&mut self, name: &AgentName) {
        let libraries = self.around.libraries.clone();
        let in_use: Vec<Hash> = self.slots.values().flat_map(Slot::in_use).cloned().collect();
        let name = name.clone();
        self.beside.spawn_blocking(move || {
            libraries.prune(&name, &in_use);
            Done::Nothing
        });
        self.save();
    }
}

/// The hash that was asked for and what became of it, or why not.
type Answer = Result<(Hash, String), String>;

/// How long an answer waits for its record to be durable.
const DURABLE: Duration = Duration::from_secs(2);
