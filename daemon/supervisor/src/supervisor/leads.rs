//! An agent's name runs in one place at a time: claims and renews the leads of this process's agents, and takes up or
//! lets go of those that it wins or loses.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use store::backend::Claim;
use store::{Clock, Error, Store};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Supervisor;
use super::reloads::{Done, Why};
use super::slot::{Lead, Slot};
use crate::alerts::{self, Level, Topic};
use crate::policy::lead::{Change, Leads, Said};
use crate::policy::{Event, Record, State, StopReason, Time};

/// How often what another process leads is asked for: what it gives back is taken up no later.
const POLL: Duration = Duration::from_millis(500);
/// What has run out is asked for at once, but no oftener than this: somebody may hold its row.
const SOON: Duration = Duration::from_millis(20);
/// Pause before a question that failed is asked again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the end waits for leads to be given back; they run out by themselves.
const LAST: Duration = Duration::from_millis(500);
/// Pause before a record that could not be read is read again.
const REREAD: Duration = Duration::from_secs(1);

/// How often it is looked whether the machine was suspended.
const AWAKE: Duration = Duration::from_secs(1);

/// What a change is about.
pub(super) type Changed = (AgentName, Change);

/// Asks the database; a task of the supervisor's. It ends, and gives its leads back, when nobody names agents any more.
pub(super) struct Keeper {
    pub store: Store,
    pub clock: Clock,
    pub leads: Leads,
    /// Something stands between the database and here: a refusal says nothing of it.
    pub proxied: bool,
    /// When a claim was answered last.
    pub claimed_at: Instant,
    /// When it was asked last who leads the rest of groups.
    pub looked_at: Instant,
    /// Agents that are to be led here.
    pub wanted: mpsc::UnboundedReceiver<AgentName>,
    pub changes: mpsc::Sender<Changed>,
    /// Until when hosts may live on their own.
    pub led_until: watch::Sender<Option<Instant>>,
}

impl Keeper {
    pub async fn run(mut self) {
        let (mut renew_at, mut claim_at) = (Instant::now(), Instant::now());
        loop {
            let next = if self.leads.held().is_empty() { claim_at } else { renew_at.min(claim_at) };
            // The timers stand still while the machine is suspended, and its leases do not.
            let next = next.min(Instant::now() + AWAKE);
            tokio::select! {
                agent = self.wanted.recv() => match agent {
                    Some(agent) => {
                        self.leads.want(agent);
                        while let Ok(agent) = self.wanted.try_recv() {
                            self.leads.want(agent);
                        }
                        claim_at = Instant::now();
                    }
                    None => break,
                },
                () = sleep_until(next) => {}
            }
            let changes = self.leads.awake(self.clock.suspended());
            self.tell(changes).await;
            let now = Instant::now();
            if renew_at <= now {
                renew_at = now + self.renew().await;
            }
            if claim_at <= now {
                claim_at = now + self.claim().await;
            }
        }
        let _ = timeout(LAST, self.store.release_agents(&self.leads.held())).await;
    }

    /// Answers when to renew next.
    async fn renew(&mut self) -> Duration {
        let held = self.leads.held();
        if held.is_empty() {
            return AGAIN;
        }
        let asked = self.clock.steady();
        let answer = timeout_at(self.deadline(), self.store.renew_agents(&held, self.leads.ttl())).await;
        let (said, pause) = match answer {
            Ok(Ok(renewed)) => (Said::Told((renewed.kept, renewed.lost)), self.leads.ttl() / 3),
            Ok(Err(Error::Down(_))) if !self.proxied => (Said::Down, AGAIN),
            Ok(Err(error)) => (Said::Nothing(error.to_string()), AGAIN),
            Err(_) => (Said::Nothing("the database has not answered".into()), AGAIN),
        };
        let changes = self.leads.renewed(&held, said, asked, self.clock.steady());
        self.tell(changes).await;
        // What must be given up is given up in time, however soon the database said nothing.
        pause.min(self.deadline().saturating_duration_since(Instant::now()))
    }

    /// Answers when to claim next.
    async fn claim(&mut self) -> Duration {
        self.give_back().await;
        self.look_around().await;
        let wanted = self.leads.wanted(self.clock.steady());
        if wanted.is_empty() {
            // Those that rest are claimed again in time.
            return self.pace();
        }
        let asked = self.clock.steady();
        let answer = timeout_at(self.deadline(), self.store.claim_agents(&wanted, self.leads.ttl())).await;
        match answer {
            Ok(Ok(claims)) => {
                let mut pause = self.pace();
                let mut claim = |claim| match claim {
                    Claim::Won(token) => Ok(token),
                    Claim::Lost { owner, free_in } => {
                        pause = pause.min(free_in.max(SOON));
                        Err(format!("{} leads it", leader(&owner)))
                    }
                };
                let claims = claims.into_iter().map(|(agent, one)| (agent, claim(one))).collect();
                let changes = self.leads.claimed(claims, asked);
                self.claimed_at = Instant::now();
                self.tell(changes).await;
                // The first of a group is held: now the others.
                if self.leads.wanted(asked).iter().any(|agent| !wanted.contains(agent)) {
                    return Duration::ZERO;
                }
                return pause;
            }
            Ok(Err(error)) => self.unclaimed(&error.to_string()).await,
            Err(_) => {
                let why = "the database has not answered";
                let changes = self.leads.expired(self.clock.steady(), why);
                self.tell(changes).await;
                self.unclaimed(why).await;
            }
        }
        self.pace()
    }

    fn pace(&self) -> Duration {
        POLL.min(self.leads.ttl() / 4)
    }

    /// Where the rest of a group is led elsewhere.
    async fn give_back(&mut self) {
        let (given, changes) = self.leads.give_back(self.clock.steady(), fastrand::f64());
        if given.is_empty() {
            return;
        }
        // Where this fails they run out by themselves: nobody renews them any more.
        let released = timeout_at(self.deadline(), self.store.release_agents(&given)).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::debug!("leads could not be given back, and run out");
        }
        self.tell(changes).await;
    }

    /// Whether what waits here for the first of its group, which is led elsewhere, is led as well.
    async fn look_around(&mut self) {
        let ttl = self.leads.ttl();
        if self.looked_at.elapsed() < ttl / 3 {
            return;
        }
        self.looked_at = Instant::now();
        let waiting = self.leads.waiting();
        // Nobody renews meanwhile. Where it is not answered it is asked again. Who led it for a moment is not overlooked.
        let led = match waiting.is_empty() {
            true => Vec::new(),
            false => match timeout(ttl / 6, self.store.led(&waiting, ttl / 2)).await {
                Ok(Ok(led)) => led,
                Ok(Err(_)) | Err(_) => return,
            },
        };
        let changes = self.leads.seen(&waiting, &led, self.clock.steady());
        self.tell(changes).await;
    }

    /// Whoever led may be gone by now, and nobody here can tell.
    async fn unclaimed(&self, error: &str) {
        if self.claimed_at.elapsed() > self.leads.ttl() {
            let why = format!("nobody is known to lead it, and it cannot be claimed: {error}");
            let stands = |agent| (agent, Change::StandsBy { why: why.clone() });
            self.tell(self.leads.standing_by().into_iter().map(stands).collect()).await;
        }
    }

    /// Until when an answer may be waited for.
    fn deadline(&self) -> Instant {
        let longest = Instant::now() + self.leads.ttl();
        self.leads.deadline().map_or(longest, |at| self.instant(at).min(longest))
    }

    /// Leads are counted in steady time.
    fn instant(&self, at: Time) -> Instant {
        self.clock.instant(at + self.clock.step())
    }

    async fn tell(&self, changes: Vec<Changed>) {
        let until = self.leads.hosts_until().map(|at| self.instant(at));
        // Before anything is started that is to be bound by it.
        self.led_until.send_if_modified(|known| std::mem::replace(known, until) != until);
        for change in changes {
            // The supervisor outlives this task.
            let _ = self.changes.send(change).await;
        }
    }
}

/// `installation:process@host/life`, for people.
fn leader(owner: &str) -> String {
    let process = owner.split_once('/').map_or(owner, |(installation, _)| installation);
    match process.split_once(':') {
        Some((_, process)) => process.into(),
        None if process.is_empty() => "another process".into(),
        None => process.into(),
    }
}

impl Supervisor {
    /// What the keeper tells.
    pub(super) fn lead_changed(&mut self, (name, change): Changed) {
        let Some(slot) = self.slots.get_mut(&name) else { return };
        match change {
            Change::Won(token) => {
                tracing::info!(agent = %name, token, "led here from now on");
                slot.lead = Lead::Won;
            }
            Change::StandsBy { why } => {
                let nobody = why.starts_with("nobody");
                let why = StopReason::StandsBy { why };
                let reason = why.to_string();
                if matches!(slot.record.state, State::Stopped { .. }) && slot.reason != reason {
                    if nobody {
                        tracing::warn!(agent = %name, "{reason}");
                    } else {
                        tracing::info!(agent = %name, "{reason}");
                    }
                    if matches!(slot.record.state, State::Stopped { why: StopReason::NotStarted }) {
                        self.prepare(&name);
                    }
                    let Some(slot) = self.slots.get_mut(&name) else { return };
                    slot.record.state = State::Stopped { why };
                    slot.reason = reason;
                    self.changed.send_modify(|count| *count += 1);
                }
            }
            Change::GivenBack { why } => {
                let text = format!("it does not run anywhere with its group, and was given back: {why}");
                self.alert(&name, Level::Warning, Topic::Lead, &text);
                self.lead_changed((name, Change::StandsBy { why }));
            }
            Change::Unled { why } => {
                let text = format!(
                    "it runs nowhere: {why}; run its whole group there, or stop what runs there alone"
                );
                tracing::warn!(agent = %name, "{text}");
                self.alert(&name, Level::Warning, Topic::Group, &text);
            }
            Change::Led => {
                let (store, now) = (&self.around.store, self.around.clock.now());
                alerts::over(store, &name, Topic::Group, "another process leads it", now);
            }
            Change::Lost { why } => {
                let text = format!("it is stopped here: {why}");
                // First: what is saved stays as it is, so that a wait goes on wherever it is led next.
                let waiting = slot.let_go();
                self.alert(&name, Level::Warning, Topic::Lead, &text);
                self.decide(&name, Event::StandBy { why });
                self.answer(waiting, Err(text));
            }
        }
        self.move_on();
    }

    /// What was won is begun here once nothing of an earlier lead is left: as it was left where it was led last.
    pub(super) fn take_up_what_was_won(&mut self) {
        let won = |slot: &&Slot| slot.lead == Lead::Won && !slot.lives();
        let won: Vec<_> = self.slots.values().filter(won).map(|slot| slot.assignment.name.clone()).collect();
        for name in won {
            if !self.reading.insert(name.clone()) {
                continue;
            }
            let store = self.around.store.clone();
            self.beside.spawn(async move {
                let records = loop {
                    match store.records().await {
                        Ok(records) => break records,
                        Err(error) => {
                            tracing::warn!(agent = %name, %error, "its record cannot be read yet");
                            tokio::time::sleep(REREAD).await;
                        }
                    }
                };
                let record = records.into_iter().find(|(agent, _)| agent == name.as_str());
                Done::Record { record: record.map(|(_, record)| record), name }
            });
        }
    }

    /// Takes the file of one that stands by into the vault, so that it can be run here as it is run there: what comes to
    /// the folder later may be what failed there.
    pub(super) fn prepare(&mut self, name: &AgentName) {
        let Some(slot) = self.slots.get(name) else { return };
        let (libraries, clock, name) = (self.around.libraries.clone(), self.around.clock, name.clone());
        let (configured, trust) = (slot.source.configured.clone(), slot.source.trust.clone());
        self.beside.spawn_blocking(move || {
            if let Err(error) = libraries.admit(&name, &configured, &trust, clock.now()) {
                tracing::warn!(agent = %name, "it could not be run here, should it be this process's turn: {error}");
            }
            Done::Nothing
        });
    }

    /// Begins with an agent that was won.
    pub(super) fn take_up(&mut self, name: &AgentName, record: Option<String>) {
        self.reading.remove(name);
        self.follow_the_clock();
        let now = self.around.clock.now();
        let Some(slot) = self.slots.get_mut(name).filter(|slot| slot.lead == Lead::Won && !slot.lives())
        else {
            return;
        };
        let mut record = read(record.as_deref(), &slot.assignment.config, now);
        // Where it was led before, the libraries may have been others: then this vault's file is what it begins with.
        let vault = &self.around.libraries;
        record.library.keep(|hash| vault.path(hash).is_file());
        slot.take_up(record);
        if !self.ending {
            self.look(name, Why::Boot);
        }
    }
}

/// What is known of an agent. A record of an older form is as good as none: the agent starts with a clean history.
pub(super) fn read(json: Option<&str>, config: &settings::Supervision, now: crate::policy::Time) -> Record {
    let record = json.and_then(|json| serde_json::from_str(json).ok());
    record.map_or_else(|| Record::new(now), |record: Record| record.restored(config, now))
}

#[cfg(test)]
mod tests {
    use super::leader;

    #[test]
    fn a_leader_is_named_as_people_know_it() {
        assert_eq!(leader("0199-7:atlas@box/55"), "atlas@box");
        assert_eq!(leader("1/55"), "1");
        assert_eq!(leader(""), "another process");
    }
}
