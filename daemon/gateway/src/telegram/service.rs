//! The service: listens to the bot, and works off what is owed to those who wrote.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use settings::{Routing, Telegram, TelegramMode};
use store::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::api::Api;
use super::health::{Health, Verdict};
use super::pairing::{Approved, Pending};
use super::shared::{Shared, publish};
use super::tasks::Queue;
use super::update::{Person, Place};
use super::worker::work;
use super::{Error, menu, poll, webhook};
use crate::Whole;
use crate::desk::Desk;
use crate::http::Drain;

/// Signals that wait for the bus; beyond, they are lost, as a signal may be.
const SIGNALS: usize = 1024;

/// How it is to work.
pub struct Options {
    /// `[telegram]`
    pub settings: Telegram,
    /// `[routing]`
    pub routing: Routing,
    /// The bot's token.
    pub token: SecretString,
    /// The webhook's port, bound, where there is one.
    pub listener: Option<TcpListener>,
    /// Where files land.
    pub uploads: PathBuf,
    /// How long a worker owns a task without renewing.
    pub lease: Duration,
    /// The daemon's clock.
    pub clock: Clock,
}

/// How the bot stands: `openclaw telegram status --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stand {
    /// What it last proved.
    #[serde(flatten)]
    pub health: Health,
    /// What follows.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// People whom the configuration names.
    pub allow: Vec<i64>,
    /// Those of them who may command the daemon.
    pub operators: Vec<i64>,
    /// The groups.
    pub groups: Vec<i64>,
    /// People who were approved.
    pub approved: Vec<Approved>,
    /// Strangers who wait.
    pub pending: Vec<Pending>,
}

/// What others hold of it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    drain: Arc<watch::Sender<Drain>>,
}

impl Handle {
    /// What it last proved, what follows, and why.
    pub fn health(&self) -> (Health, Verdict, String) {
        let settings = &self.shared.settings;
        let stale = match settings.mode {
            TelegramMode::Polling => settings.poll_timeout + Duration::from_secs(30),
            TelegramMode::Webhook => webhook::LOOK * 3,
        };
        let health = self.shared.health().clone();
        let stale = i64::try_from(stale.as_secs()).unwrap_or(i64::MAX);
        let (verdict, reason) = health.verdict(self.shared.clock.now(), stale);
        (health, verdict, reason)
    }

    /// How the bot stands.
    ///
    /// # Errors
    /// [`Error::Starting`], [`Error::Store`].
    pub async fn stand(&self) -> Result<Stand, Error> {
        let (health, verdict, reason) = self.health();
        let people = self.shared.people().await?;
        let Telegram { allow, operators, groups, .. } = self.shared.settings.clone();
        let (approved, pending) = (people.approved, people.pending);
        Ok(Stand { health, verdict, reason, allow, operators, groups, approved, pending })
    }

    /// Lets in who has that code; durable when this returns. They are told.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Store`].
    pub async fn approve(&self, code: &str, actor: &str) -> Result<Person, Error> {
        let now = self.shared.clock.now();
        let person = self.shared.with_people(|people| people.approve(code, actor, now)).await?.1?;
        tracing::info!(sender = person.id, actor, "telegram: somebody was approved");
        self.shared.record("telegram.approved", &json!({"person": person, "actor": actor}));
        self.shared.say(&Place::chat(person.id), "You are in. /help lists what you can type.", None).await?;
        Ok(person)
    }

    /// Shuts somebody out again; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Store`].
    pub async fn revoke(&self, id: i64, actor: &str) -> Result<Person, Error> {
        let person = self.shared.with_people(|people| people.revoke(id)).await?.1?;
        tracing::info!(sender = id, actor, "telegram: somebody was shut out");
        self.shared.record("telegram.revoked", &json!({"person": person, "actor": actor}));
        Ok(person)
    }

    /// Listens no more; what is owed is still sent.
    pub fn stop(&self) {
        self.drain.send_replace(Drain::Stopping);
    }

    /// Ends within seconds; what is owed then is sent at the next start.
    pub fn finish(&self) {
        self.drain.send_replace(Drain::Finishing);
    }
}

/// The service.
pub struct Service {
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
    secret: Arc<str>,
    drain: watch::Receiver<Drain>,
}

impl Service {
    /// A service, and what others hold of it.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Client`].
    pub fn new(options: Options) -> Result<(Self, Handle), Error> {
        let Options { settings, routing, token, listener, uploads, lease, clock } = options;
        let secret = webhook::secret(&token).into();
        let api = Api::new(&settings.api, token)?;
        let shared = Arc::new(Shared::new(settings, routing, api, clock, uploads, lease));
        let (stop, drain) = watch::channel(Drain::Open);
        let handle = Handle { shared: shared.clone(), drain: Arc::new(stop) };
        Ok((Self { shared, listener, secret, drain }, handle))
    }

    /// Serves until it is [finished](Handle::finish).
    pub async fn run(self, desk: Desk, whole: Arc<dyn Whole>, bus: Arc<dyn Bus>) {
        let Self { shared, listener, secret, mut drain } = self;
        let (signals, waiting) = mpsc::channel(SIGNALS);
        shared.begin(desk, whole, signals);
        let mut listening = JoinSet::new();
        let (one, two, three) = (shared.clone(), shared.clone(), shared.clone());
        if let Some(listener) = listener {
            let told = secret.clone();
            listening.spawn(webhook::serve(one, listener, told));
            listening.spawn(async move { match webhook::register(two, secret).await {} });
        } else {
            listening.spawn(async move { match poll::poll(one).await {} });
        }
        listening.spawn(menu::keep(three));
        let mut publishing = JoinSet::new();
        publishing.spawn(publish(bus, waiting));
        let mut working = JoinSet::new();
        for queue in [Queue::Replies, Queue::Out, Queue::Files] {
            working.spawn(work(queue, shared.clone(), drain.clone()));
        }
        // None of them ends by itself: whoever waits for this learns that one has.
        tokio::select! {
            _ = drain.changed() => {}
            _ = listening.join_next() => return,
            _ = working.join_next() => return,
            _ = publishing.join_next() => return,
        }
        listening.shutdown().await;
        while working.join_next().await.is_some() {}
        publishing.shutdown().await;
    }
}
