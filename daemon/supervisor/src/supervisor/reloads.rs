//! From files to candidates: looking at what the agents folder holds, and offering it to the policy, one agent at a
//! time.

use std::sync::Arc;

use openclaw_agent_api::AgentName;

use super::slot::{File, Slot};
use super::{Reply, Supervisor};
use crate::alerts::Level;
use crate::library::watch::Sighting;
use crate::library::{Admitted, Hash, Libraries, Refusal, Verdict};
use crate::policy::{Candidate, Event, Transition};

/// Why somebody looks.
pub(super) enum Why {
    /// The daemon starts.
    Boot,
    /// The watch saw that the file has changed.
    Watched,
    /// A person asks for it.
    Asked { actor: String, reply: Reply<Result<String, String>> },
    /// An agent without a library is to be started.
    Start { actor: String, reply: Reply<bool> },
}

/// Something that was done on the blocking pool.
pub(super) enum Done {
    Looked {
        name: AgentName,
        why: Why,
        /// What the folder holds.
        found: Result<Admitted, Refusal>,
        /// Why what ran before must not run any more.
        distrusted: Option<String>,
    },
    /// What to go back to.
    Back { name: AgentName, to: Result<Hash, String>, actor: String, reply: Reply<Result<String, String>> },
    /// The vault's manifest was saved.
    Saved,
}

impl Supervisor {
    /// Looks at an agent's file.
    pub(super) fn look(&mut self, name: &AgentName, why: Why) {
        let Some(slot) = self.slots.get(name) else { return };
        let (libraries, clock) = (self.around.libraries.clone(), self.around.clock);
        let (configured, trust) = (slot.source.configured.clone(), slot.source.trust.clone());
        let current = slot.record.library.current.clone().filter(|_| matches!(why, Why::Boot));
        let name = name.clone();
        self.blocking.spawn_blocking(move || {
            let distrusted = current.and_then(|hash| libraries.recheck(&name, &hash, &trust).err());
            let found = libraries.admit(&name, &configured, &trust, clock.now());
            Done::Looked { name, why, found, distrusted }
        });
    }

    /// Finds what to go back to.
    pub(super) fn look_back(
        &mut self,
        name: AgentName,
        prefix: Option<String>,
        actor: String,
        reply: Reply<Result<String, String>>,
    ) {
        let Some(slot) = self.slots.get(&name) else { return };
        let (libraries, trust) = (self.around.libraries.clone(), slot.source.trust.clone());
        let installed = slot.record.library.clone();
        self.blocking.spawn_blocking(move || {
            let known = match (prefix, installed.current) {
                (Some(prefix), _) => libraries.find(&name, &prefix),
                (None, None) => Err(format!("`{name}` has never run: there is nothing to go back to")),
                (None, Some(current)) => {
                    let back = installed
                        .previous
                        .into_iter()
                        .next()
                        .or_else(|| libraries.last_good(&name, &current));
                    back.ok_or_else(|| {
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
            Done::Looked { name, why, found, distrusted } => self.looked(&name, why, found, distrusted),
            Done::Back { name, to, actor, reply } => self.looked_back(&name, to, actor, reply),
            Done::Saved => {}
        }
    }

    fn looked(
        &mut self,
        name: &AgentName,
        why: Why,
        found: Result<Admitted, Refusal>,
        distrusted: Option<String>,
    ) {
        let libraries = self.around.libraries.clone();
        let Some(slot) = self.slots.get_mut(name) else { return };
        if let Some(why) = distrusted {
            // What was trusted once may not be any more: the configuration decides.
            slot.record.library = crate::policy::Installed::default();
            self.tell(name, "boot", format!("reload: what ran before is not run any more: {why}"), true);
        }
        let outcome = match found {
            Ok(Admitted { hash, .. }) => self.found(name, &hash, &why, &libraries),
            Err(gone @ Refusal::Gone { .. }) => self.not_found(name, File::Gone(gone.to_string())),
            Err(Refusal::Refused(text)) => self.not_found(name, File::Refused(text)),
        };
        match why {
            Why::Asked { reply, .. } => match outcome {
                Outcome::Wanted => {
                    if let Some(slot) = self.slots.get_mut(name) {
                        slot.waiting.push(reply);
                    }
                }
                Outcome::Nothing(answer) => drop(reply.send(answer)),
            },
            Why::Start { actor, reply } => {
                if !self.ending {
                    self.decide(name, Event::Start { actor });
                }
                let _ = reply.send(!self.ending);
            }
            Why::Boot | Why::Watched => {}
        }
        self.save();
        self.move_on();
    }

    fn found(&mut self, name: &AgentName, hash: &Hash, why: &Why, libraries: &Libraries) -> Outcome {
        let Some(slot) = self.slots.get_mut(name) else { return Outcome::Nothing(Ok(String::new())) };
        slot.file = File::Here(hash.clone());
        let current = slot.record.library.current.as_ref();
        if current == Some(hash) {
            slot.wanted = None;
            return Outcome::Nothing(Ok(format!(
                "{name} has {} already: the file is the same",
                hash.short()
            )));
        }
        if let Some(Verdict::Bad { reason }) = libraries.verdict(name, hash)
            && current.is_some()
        {
            let short = hash.short();
            let text = format!(
                "{short} is not tried again: {reason}; copy a mended file, or `openclaw agents rollback {name} {short}`"
            );
            return Outcome::Nothing(Err(text));
        }
        let actor = match why {
            Why::Asked { actor, .. } | Why::Start { actor, .. } => actor,
            Why::Boot => "boot",
            Why::Watched => "watch",
        };
        let by_hand = matches!(why, Why::Asked { .. });
        if !by_hand && !slot.source.auto && current.is_some() {
            return Outcome::Nothing(Ok(String::new()));
        }
        slot.want(Candidate { to: hash.clone(), actor: actor.to_owned(), back: None });
        Outcome::Wanted
    }

    fn not_found(&mut self, name: &AgentName, file: File) -> Outcome {
        let Some(slot) = self.slots.get_mut(name) else { return Outcome::Nothing(Ok(String::new())) };
        let (text, refused) = match &file {
            File::Refused(text) => (text.clone(), true),
            File::Gone(text) => (text.clone(), false),
            File::Unknown | File::Here(_) => return Outcome::Nothing(Ok(String::new())),
        };
        let same = match (&slot.file, &file) {
            (File::Refused(a), File::Refused(b)) => a == b,
            (File::Gone(_), File::Gone(_)) => true,
            _ => false,
        };
        slot.file = file;
        slot.wanted = None;
        // Without anything to run, the refusal itself says it.
        if let Some(current) = slot.record.library.current.as_ref().filter(|_| !same) {
            let stays = current.short().to_owned();
            if refused {
                self.tell(
                    name,
                    "watch",
                    format!("reload: the file is refused: {text}; {stays} goes on"),
                    true,
                );
            } else {
                self.tell(name, "watch", format!("library gone, running {stays} from store"), false);
            }
        }
        let stays = goes_on(self.slots.get(name));
        Outcome::Nothing(Err(format!("{text}{stays}")))
    }

    fn looked_back(
        &mut self,
        name: &AgentName,
        to: Result<Hash, String>,
        actor: String,
        reply: Reply<Result<String, String>>,
    ) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        match to {
            Err(why) => drop(reply.send(Err(why))),
            Ok(to) if slot.record.library.current.as_ref() == Some(&to) => {
                let _ = reply.send(Ok(format!("{name} has {} already", to.short())));
            }
            Ok(to) => {
                let back = Some(format!("asked for by {actor}"));
                slot.want(Candidate { to, actor, back });
                slot.waiting.push(reply);
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

    /// Offers what is wanted to the policy: one reload at a time.
    pub(super) fn offer(&mut self) {
        loop {
            if self.slots.values().any(|slot| slot.record.reload.is_some()) {
                return;
            }
            let ready = |slot: &&Slot| slot.wanted.is_some() && slot.record.takes_candidate();
            let Some(slot) = self.slots.values_mut().find(|slot| ready(&&**slot)) else { return };
            let name = slot.assignment.name.clone();
            let Some(candidate) = slot.wanted.clone() else { return };
            let same = slot.record.library.current.as_ref() == Some(&candidate.to);
            if same {
                slot.answer(&Ok(format!("{name} has {} already", candidate.to.short())));
                continue;
            }
            self.decide(&name, Event::Candidate(candidate));
        }
    }

    /// Into the history, and to the operator if it is worth that: something that is no change of state.
    pub(super) fn tell(&mut self, name: &AgentName, actor: &str, reason: String, alert: bool) {
        let Some(slot) = self.slots.get(name) else { return };
        let state = slot.record.state.name().to_owned();
        let at = self.around.clock.now();
        let reason = crate::sentence::sentence(&reason, crate::policy::decide::REASON);
        if alert {
            self.alert(name, Level::Warning, reason.clone());
        }
        self.note(name, Transition { from: state.clone(), to: state, actor: actor.into(), reason, at });
    }

    /// Has the vault's manifest written, where it has changed.
    pub(super) fn save(&mut self) {
        let libraries: Arc<Libraries> = self.around.libraries.clone();
        self.blocking.spawn_blocking(move || {
            if let Err(error) = libraries.save() {
                tracing::warn!(%error, "the manifest of the private store was not written: verdicts may be forgotten");
            }
            Done::Saved
        });
    }

    /// Remembers of a library what it proved.
    pub(super) fn judge(&mut self, name: &AgentName, hash: &Hash, bad: Option<String>) {
        let (libraries, clock) = (self.around.libraries.clone(), self.around.clock);
        let verdict = bad.map_or(Verdict::Good, |reason| Verdict::Bad { reason });
        libraries.judge(name, hash, verdict, clock.now());
        self.tidy(name);
    }

    /// Lets go of what is old.
    pub(super) fn tidy(&mut self, name: &AgentName) {
        let libraries = self.around.libraries.clone();
        let in_use: Vec<Hash> = self.slots.values().flat_map(Slot::in_use).cloned().collect();
        let name = name.clone();
        self.blocking.spawn_blocking(move || {
            libraries.prune(&name, &in_use);
            Done::Saved
        });
        self.save();
    }
}

/// What an asker is told beside the reason: that nothing has changed.
fn goes_on(slot: Option<&Slot>) -> String {
    let current = slot.and_then(|slot| slot.record.library.current.as_ref());
    current.map(|hash| format!("; {} goes on", hash.short())).unwrap_or_default()
}

/// What a look led to.
enum Outcome {
    /// A candidate.
    Wanted,
    /// Nothing to do, or nothing that can be done.
    Nothing(Result<String, String>),
}

impl Slot {
    /// The libraries that it needs.
    fn in_use(&self) -> impl Iterator<Item = &Hash> {
        let installed = &self.record.library;
        let wanted = self.wanted.as_ref().map(|candidate| &candidate.to);
        installed.current.iter().chain(&installed.previous).chain(wanted)
    }

    fn want(&mut self, candidate: Candidate) {
        if self.wanted.as_ref().is_some_and(|wanted| wanted.to != candidate.to) {
            let newer = format!("{} came in between", candidate.to.short());
            self.waiting.drain(..).for_each(|waiting| drop(waiting.send(Err(newer.clone()))));
        }
        self.wanted = Some(candidate);
    }

    /// Tells all who wait for the candidate what became of it.
    pub(super) fn answer(&mut self, answer: &Result<String, String>) {
        let wanted = self.wanted.take();
        self.failed = wanted.zip(answer.clone().err()).map(|(wanted, why)| (wanted.to, why));
        self.waiting.drain(..).for_each(|waiting| drop(waiting.send(answer.clone())));
    }
}
