//! What all parts of the bot share.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bus::{Bus, Channel, Envelope};
use openclaw_agent_api::manifest::Command;
use serde_json::{Value, json};
use settings::{Routing, Telegram};
use store::Clock;
use store::backend::{MemoryChange, NewEvent};
use store::task::NewTask;
use tokio::sync::mpsc;

use super::Error;
use super::api::{Api, Failure};
use super::health::Health;
use super::pairing::People;
use super::tasks::{Job, Queue};
use super::text::{Span, Style, read};
use super::update::{Inbound, Person, Place, User};
use super::uploads::Uploads;
use crate::Whole;
use crate::desk::Desk;

/// Under which key those who came by themselves are remembered.
const PEOPLE: &str = "people";
/// A call that sends or asks something small.
pub const CALL: Duration = Duration::from_secs(30);

/// The bot.
pub struct Shared {
    pub settings: Telegram,
    pub routing: Routing,
    pub api: Api,
    pub clock: Clock,
    pub uploads: Uploads,
    /// How long a worker owns a task without renewing.
    pub lease: Duration,
    within: OnceLock<Within>,
    me: OnceLock<User>,
    health: Mutex<Health>,
    people: tokio::sync::Mutex<Option<People>>,
    /// Nothing is shown as being typed before then, in milliseconds of the epoch: Telegram asked for less.
    quiet_until: AtomicI64,
    fetching: Mutex<Fetching>,
}

/// The updates of each chat whose files are being fetched, or that wait behind such: what comes meanwhile must not overtake
/// them. After a restart nothing is known of it, and the order of a moment may be lost.
#[derive(Default)]
pub struct Fetching(HashMap<i64, HashSet<i64>>);

impl Fetching {
    pub fn begins(&mut self, inbound: &Inbound) {
        self.0.entry(inbound.place.chat).or_default().insert(inbound.update);
    }

    pub fn ends(&mut self, inbound: &Inbound) {
        if let Some(updates) = self.0.get_mut(&inbound.place.chat) {
            updates.remove(&inbound.update);
            if updates.is_empty() {
                self.0.remove(&inbound.place.chat);
            }
        }
    }

    pub fn holds(&self, chat: i64) -> bool {
        self.0.contains_key(&chat)
    }
}

/// What the bot speaks with.
pub struct Within {
    pub desk: Desk,
    pub whole: Arc<dyn Whole>,
    pub signals: mpsc::Sender<Envelope>,
}

impl Shared {
    pub fn new(
        settings: Telegram,
        routing: Routing,
        api: Api,
        clock: Clock,
        uploads: PathBuf,
        lease: Duration,
    ) -> Self {
        let health = Mutex::new(Health::new(settings.mode, clock.now()));
        Self {
            settings,
            routing,
            api,
            clock,
            uploads: Uploads::new(uploads),
            lease,
            within: OnceLock::new(),
            me: OnceLock::new(),
            health,
            people: tokio::sync::Mutex::default(),
            quiet_until: AtomicI64::new(0),
            fetching: Mutex::default(),
        }
    }

    /// From now on there is something to speak with.
    pub fn begin(&self, desk: Desk, whole: Arc<dyn Whole>, signals: mpsc::Sender<Envelope>) {
        let _ = self.within.set(Within { desk, whole, signals });
    }

    pub fn within(&self) -> Result<&Within, Error> {
        self.within.get().ok_or(Error::Starting)
    }

    pub fn health(&self) -> MutexGuard<'_, Health> {
        // Each change is a few assignments, so a poisoned lock is still good.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fetching(&self) -> MutexGuard<'_, Fetching> {
        // Each change is one insertion or removal.
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bot itself; none before Telegram has told.
    pub fn me(&self) -> Option<User> {
        self.me.get().cloned()
    }

    pub fn met(&self, me: User) {
        self.health().bot.clone_from(&me.username);
        let _ = self.me.set(me);
    }

    /// Those who came by themselves, as they stand.
    pub async fn people(&self) -> Result<People, Error> {
        self.with_people(|_| ()).await.map(|(people, ())| people)
    }

    /// Changes who came by themselves; durable when this returns.
    pub async fn with_people<T>(&self, change: impl FnOnce(&mut People) -> T) -> Result<(People, T), Error> {
        let store = &self.within()?.desk.store;
        let mut held = self.people.lock().await;
        let now = match held.as_ref() {
            Some(people) => people.clone(),
            None => {
                let stored = store.recall(&Queue::Out.name(), PEOPLE).await?;
                // What does not read was not written here.
                stored.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
            }
        };
        let mut changed = now.clone();
        changed.expire(self.clock.now());
        let answer = change(&mut changed);
        if changed != now {
            let value = serde_json::to_string(&changed).unwrap_or_default();
            let (agent, key) = (Queue::Out.name(), PEOPLE.to_owned());
            store.remember(MemoryChange::Set { agent, key, value }).await?;
        }
        *held = Some(changed.clone());
        Ok((changed, answer))
    }

    /// A group has another id from now on; durable when this returns.
    pub async fn moved(&self, from: i64, to: i64) -> Result<(), Error> {
        if self.with_people(|people| people.moves.note(from, to)).await?.1 {
            tracing::info!(from, to, "telegram: a group became a supergroup, with another id");
        }
        Ok(())
    }

    /// Somebody says so: believed of the groups that the configuration names. Of any other to which something is to be sent,
    /// Telegram says so itself then.
    pub async fn said_to_move(&self, from: i64, to: i64) -> Result<(), Error> {
        let rules = self.routing.rules.iter().filter_map(|rule| rule.chat);
        let named = self.settings.groups.iter().copied().chain(rules);
        match self.people().await?.moves.among(named, from) {
            Some(_) => self.moved(from, to).await,
            None => Ok(()),
        }
    }

    /// The id that a chat has now, as far as it is known.
    pub async fn chat_now(&self, chat: i64) -> i64 {
        self.people().await.map_or(chat, |people| people.moves.now(chat))
    }

    /// The id that rules of the routing call a chat by, if any do.
    pub async fn chat_of_rules(&self, chat: i64) -> i64 {
        let named = self.routing.rules.iter().filter_map(|rule| rule.chat);
        self.people().await.ok().and_then(|people| people.moves.among(named, chat)).unwrap_or(chat)
    }

    /// Puts down what somebody did.
    pub fn record(&self, kind: &'static str, payload: &Value) {
        if let Ok(within) = self.within() {
            let event = NewEvent {
                agent: Queue::Out.name(),
                kind,
                payload: payload.to_string(),
                at: self.clock.now(),
            };
            within.desk.store.event(event);
        }
    }

    /// Leaves a text to be sent; durable when this returns. `key`: once.
    pub async fn say(&self, place: &Place, text: &str, key: Option<&str>) -> Result<(), Error> {
        let store = &self.within()?.desk.store;
        for task in texts(place, text, key) {
            store.submit(task).await?;
        }
        Ok(())
    }

    /// What every agent of this home says that it understands.
    pub async fn commands(&self) -> Vec<(String, Vec<Command>)> {
        let Ok(within) = self.within() else { return Vec::new() };
        let parts = within.whole.home().await.map(|home| home.components).unwrap_or_default();
        let agents = parts.into_iter().filter(|part| part.kind == "agent");
        agents.map(|agent| (agent.name, agent.commands)).collect()
    }

    /// Shows that an agent works, unless Telegram wants less. Whether it is seen matters to nobody.
    pub async fn typing(&self, place: &Place) {
        let now = self.clock.now().timestamp_millis();
        if now < self.quiet_until.load(Ordering::Relaxed) {
            return;
        }
        let mut parameters = json!({"chat_id": self.chat_now(place.chat).await, "action": "typing"});
        if let Some(thread) = place.thread {
            parameters["message_thread_id"] = thread.into();
        }
        if let Err(failure) = self.api.call::<Value>("sendChatAction", &parameters, CALL).await {
            let pause = super::retry::pause(&failure, 4);
            self.quiet_until.store(now + pause.as_millis() as i64, Ordering::Relaxed);
        }
    }

    /// Tells who listens that a message was left for an agent. It is durable already; a signal may be lost.
    pub fn routed(&self, inbound: &Inbound, task: &NewTask, rule: Option<usize>) {
        let data = json!({
            "task_id": task.id, "agent": task.queue, "channel": "telegram", "chat": inbound.place.chat,
            "sender": inbound.sender.id, "session": task.session, "rule": rule,
        });
        let envelope = Envelope::new("gateway", "message.accepted", data, self.clock.now());
        if let Ok(within) = self.within() {
            let _ = within.signals.try_send(envelope);
        }
    }

    /// Somebody, as those who did something are put down.
    pub fn actor(person: &Person) -> String {
        format!("telegram {} ({})", person.id, person.name)
    }
}

/// The rows of a text; those with a key are stored once.
pub fn texts(place: &Place, text: &str, key: Option<&str>) -> Vec<NewTask> {
    rows(place, &read(text), key)
}

fn rows(place: &Place, text: &[Span], key: Option<&str>) -> Vec<NewTask> {
    let jobs: Vec<Job> = super::tasks::messages(place, text);
    let key = |part: usize| key.map(|key| format!("{key}:{part}"));
    jobs.iter().enumerate().map(|(part, job)| job.task(key(part), "telegram".into())).collect()
}

/// The rows that have a text sent to a chat as it is, whoever stores them: with a key once, and whenever there is a bot.
pub fn notice(chat: i64, text: &str, key: Option<&str>) -> Vec<NewTask> {
    // Whoever is quoted in it formats nothing.
    let text = Span { text: text.into(), style: Style::Plain };
    rows(&Place::chat(chat), &[text], key)
}

/// Hands signals on, off the way of what must be quick: a bus that is away may take its time.
pub async fn publish(bus: Arc<dyn Bus>, mut signals: mpsc::Receiver<Envelope>) {
    while let Some(envelope) = signals.recv().await {
        // A signal may be lost: the row is the truth.
        let _ = bus.publish(Channel::GatewayEvents, envelope).await;
    }
}

/// A fault, said once and not at each try.
pub fn complain(shared: &Shared, failure: &Failure, faults: u32) {
    if faults == 1 {
        tracing::warn!("telegram: {failure}; tried again by itself");
    }
    let now = shared.clock.now();
    shared.health().failed(failure, now);
}
