//! Looks at the alerts that are due, and has the operator told.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Channel, Envelope};
use chrono::{DateTime, TimeDelta, Utc};
use limits::Bucket;
use serde_json::json;
use settings::Alerts;
use store::alert::{Alert, Change, Level};
use store::task::NewTask;
use store::{Clock, Error, Store};
use tokio::time::{sleep, timeout};

use super::policy::{Look, Rules, Say, Signal, Told, look};
use super::text;
use crate::telegram::notice;

/// What other processes report, and what has arrived, is looked for so often.
const POLL: Duration = Duration::from_secs(5);
/// Between two looks at least: a flood is counted, not looked at one by one.
const PAUSE: Duration = Duration::from_millis(100);
/// A signal that the bus does not take within this is lost, as a signal may be.
const SIGNAL: Duration = Duration::from_secs(1);

/// How it is to work.
pub struct Options {
    /// `[alerts]`
    pub settings: Alerts,
    /// The chats that are told; none: nobody can be told here.
    pub chats: Vec<i64>,
    /// Where alerts are.
    pub store: Store,
    /// Where they are published.
    pub bus: Arc<dyn Bus>,
    /// The daemon's clock.
    pub clock: Clock,
}

/// Tells the operator.
pub struct Teller {
    rules: Rules,
    chats: Vec<i64>,
    store: Store,
    bus: Arc<dyn Bus>,
    clock: Clock,
    /// The period whose summary is out, as far as is known.
    summarized: Option<i64>,
    /// Messages that may still be said.
    left: Bucket,
}

/// What the operator is told at once.
struct Message {
    text: String,
    /// It is left once.
    key: String,
    /// Messages about the same are sent in their order.
    about: String,
}

/// So many messages of their own at once, then one each while: what goes wrong meanwhile comes together.
const AT_ONCE: u32 = 10;
const ONE_EACH: Duration = Duration::from_secs(6);

/// A look, and what it was at.
type Looked<'a> = (&'a Alert, Look);

impl Teller {
    /// One that has told nothing.
    pub fn new(options: Options) -> Self {
        let Options { settings, chats, store, bus, clock } = options;
        let delta = |time| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        let rules = Rules {
            cooldown: delta(settings.cooldown),
            escalate: delta(settings.escalate),
            summary: delta(settings.summary),
            speaks: !chats.is_empty(),
        };
        let left = Bucket::new(AT_ONCE, ONE_EACH, clock.now());
        Self { rules, chats, store, bus, clock, summarized: None, left }
    }

    /// Tells, for ever.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.turn().await {
                // The store says why, loudly enough.
                tracing::debug!(%error, "alerts could not be looked at");
            }
            let next = self.store.next_alert().await.ok().flatten();
            let now = self.clock.now();
            // Those that are due then, come together.
            let next = next.map(|at| at.max(self.left.next(now)));
            let until = next.map_or(POLL, |at| (at - now).to_std().unwrap_or_default().min(POLL));
            sleep(PAUSE).await;
            tokio::select! {
                () = self.store.alerted() => {}
                () = sleep(until) => {}
            }
            // What was reported is stored then.
            if self.store.turned().await.is_err() {
                sleep(POLL).await;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Error> {
        let arrived = self.store.alerts_arrived().await?;
        if !arrived.is_empty() {
            self.store.change_alerts(Change::Delivered(arrived)).await?;
        }
        let now = self.clock.now();
        if self.left.next(now) > now {
            return Ok(());
        }
        let alerts = self.store.alerts_due(now).await?;
        if alerts.is_empty() {
            return Ok(());
        }
        let period = self.rules.period(now);
        let summarized = self.summarized == Some(period);
        let looked = alerts.iter().map(|alert| {
            // What does not read was not written here: it is told anew.
            let told: Told = serde_json::from_value(alert.told.clone()).unwrap_or_default();
            (alert, look(alert, &told, &self.rules, summarized, now))
        });
        let of_summary = |(_, look): &Looked<'_>| look.say.is_some_and(|say| !say.stands_alone());
        let (summary, own): (Vec<_>, Vec<_>) = looked.partition(of_summary);
        if own.iter().any(|(_, look)| look.say.is_some()) {
            let _ = self.left.take(now);
        }
        self.tell(&own, now, |said| {
            let (alert, _) = said.first()?;
            let key = format!("alert:{}:{}", alert.id, alert.revision);
            Some(Message { text: text::message(said), key, about: alert.id.to_string() })
        })
        .await?;
        let length = self.rules.summary;
        if !summary.is_empty() {
            let key = format!("alerts:summary:{period}");
            let told = |said: &[(&Alert, Say)]| {
                let (text, key) = (text::summary(said, length), key.clone());
                Some(Message { text, key, about: "summary".into() })
            };
            self.tell(&summary, now, told).await?;
            // Now, or by another process before.
            self.summarized = Some(period);
        }
        Ok(())
    }

    /// Keeps what was looked at, and leaves the message that tells of it, in one transaction. Where somebody else did something
    /// with one of them meanwhile, nothing happens: all are looked at again.
    async fn tell(
        &self,
        looked: &[Looked<'_>],
        now: DateTime<Utc>,
        say: impl Fn(&[(&Alert, Say)]) -> Option<Message>,
    ) -> Result<(), Error> {
        if looked.is_empty() {
            return Ok(());
        }
        let said: Vec<_> = looked.iter().filter_map(|(alert, look)| Some((*alert, look.say?))).collect();
        let messages: Vec<NewTask> = say(&said)
            .map(|Message { text, key, about }| {
                let to = |chat: &i64| {
                    let mut parts = notice(*chat, &text, Some(&format!("{key}:{chat}")));
                    // It waits for no answer of an agent, nor for another alert that Telegram does not take.
                    let session = format!("telegram-alerts:{chat}:{about}");
                    parts.iter_mut().for_each(|part| part.session = Some(session.clone()));
                    parts
                };
                self.chats.iter().flat_map(to).collect()
            })
            .unwrap_or_default();
        let first = messages.first().map(|task| task.id);
        let alerts = looked.iter().map(|(alert, look)| store::alert::Told {
            id: alert.id,
            revision: alert.revision,
            count: alert.count,
            told: serde_json::to_value(&look.told).unwrap_or_default(),
            message: look.say.and(first),
            due: look.due,
            anew: look.anew,
            closed: look.closes.then_some(now),
        });
        let change = Change::Tell { alerts: alerts.collect(), messages };
        if self.store.change_alerts(change).await? > 0 {
            for (alert, look) in looked {
                self.signal(alert, look, now).await;
            }
        }
        Ok(())
    }

    /// Into the journal, and to whoever listens.
    async fn signal(&self, alert: &Alert, look: &Look, now: DateTime<Utc>) {
        let Alert { id, level, source, key, count, text, .. } = alert;
        if let Some(say) = look.say {
            tracing::info!(id, key, ?say, chats = self.chats.len(), "the operator is told of an alert");
        }
        let Some(signal) = look.signal else { return };
        let name = match (signal, level) {
            (Signal::Over, _) => {
                tracing::info!(
                    id,
                    key,
                    count,
                    "alert over, {source}: {}",
                    alert.resolution.as_deref().unwrap_or(text)
                );
                "alert.over"
            }
            (Signal::Raised, Level::Info) => {
                tracing::info!(id, key, count, "alert, {source}: {text}");
                "alert.raised"
            }
            (Signal::Raised, Level::Warning) => {
                tracing::warn!(id, key, count, "alert, {source}: {text}");
                "alert.raised"
            }
            (Signal::Raised, Level::Critical) => {
                tracing::error!(id, key, count, "critical alert, {source}: {text}");
                "alert.raised"
            }
        };
        let envelope = Envelope::new("gateway", name, json!(alert), now);
        // It may be lost: the row is the truth.
        let _ = timeout(SIGNAL, self.bus.publish(Channel::SystemAlerts, envelope)).await;
    }
}
