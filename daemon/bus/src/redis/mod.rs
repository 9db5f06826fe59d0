//! The bus on Redis: one connection for commands, which all callers share, and one for signals.
//!
//! ```text
//!            open ──▶ greet (HELLO, PING) ──▶ held: answers within 1 s, is asked every 5 s
//!             ▲              │ refused          │ closed, silent, READONLY, LOADING, …
//!             └── pause ◀────┴──────────────────┘
//!          50 ms … 2 s, none after 5 s well
//! ```
//!
//! While a line is not held, commands fail at once with the reason. A request that is not answered in time ends the
//! line for all, so that at most one caller waits for a server that hangs.

mod commands;
mod connect;
mod explain;
mod options;
mod pause;
mod record;
mod signals;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, Value, from_redis_value};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::channel::Channels;
use crate::fanout::Fanout;
use crate::{Bus, Channel, Envelope, Error, Family, Fields, Health, Key, Listing, Projection, Subscription};
use commands::Connection;
pub use options::{Address, Options};
use record::Record;

/// How many keys one write or read has: the server serves nobody else meanwhile.
const AT_ONCE: usize = 100;
/// How many keys one step of a listing looks at.
const STEP: usize = 1000;
/// How long a listing may take, in a database that is full of other things.
const LISTED: Duration = Duration::from_secs(5);

/// What both lines and all callers share.
struct Shared {
    options: Options,
    fanout: Fanout,
    /// What somebody listens to.
    wanted: watch::Sender<Channels>,
    /// What is subscribed to, confirmed by the server.
    live: watch::Sender<Channels>,
    /// The line of commands, or why there is none.
    commands: watch::Sender<Result<Connection, Error>>,
    record: Record,
}

/// A bus on Redis. Works while its [`Service`] runs.
pub struct RedisBus(Arc<Shared>);

/// Keeps the connections of a [`RedisBus`].
pub struct Service(Arc<Shared>);

impl Service {
    /// Connects and connects again, for ever.
    pub async fn run(self) {
        tokio::join!(commands::run(&self.0), signals::run(&self.0));
    }
}

impl RedisBus {
    /// A bus that is away until its service has connected.
    pub fn new(options: Options) -> (Self, Service) {
        let why = options.away("it is not connected yet");
        let shared = Arc::new(Shared {
            record: Record::new(options.server(), why.clone()),
            options,
            fanout: Fanout::default(),
            wanted: watch::Sender::new(Channels::NONE),
            live: watch::Sender::new(Channels::NONE),
            commands: watch::Sender::new(Err(why)),
        });
        (Self(shared.clone()), Service(shared))
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<(), Error> {
        let mut publish = Pipeline::new();
        publish.cmd("PUBLISH").arg(channel.as_str()).arg(envelope.to_json()?).ignore();
        self.0.ask(&publish).await
    }

    async fn publish_all(&self, channel: Channel, envelopes: Vec<Envelope>) -> Result<(), Error> {
        for some in envelopes.chunks(AT_ONCE) {
            let mut publish = Pipeline::new();
            for envelope in some {
                publish.cmd("PUBLISH").arg(channel.as_str()).arg(envelope.to_json()?).ignore();
            }
            self.0.ask::<()>(&publish).await?;
        }
        Ok(())
    }

    fn subscribe(&self, channel: Channel) -> Subscription {
        // First the ear, then the connection: what is confirmed is heard.
        let subscription = self.0.fanout.listen(channel, self.0.live.subscribe());
        self.0.wanted.send_if_modified(|wanted| {
            let new = !wanted.has(channel);
            *wanted = wanted.and(Channels::of(channel));
            new
        });
        subscription
    }

    async fn project_all(&self, projections: Vec<Projection>) -> Result<(), Error> {
        projections.iter().try_for_each(|projection| projection.size().map(drop))?;
        for some in projections.chunks(AT_ONCE) {
            // Whole or not at all: a hash without its expiry would be a lie that never ends.
            let mut write = Pipeline::new();
            write.atomic();
            some.iter().for_each(|projection| add(&mut write, projection));
            self.0.ask::<()>(&write).await?;
        }
        Ok(())
    }

    async fn read_all(&self, keys: &[Key]) -> Result<Vec<Option<Fields>>, Error> {
        let mut all = Vec::with_capacity(keys.len());
        for some in keys.chunks(AT_ONCE) {
            let mut read = Pipeline::new();
            // Like this a value of another type is an answer, and the others are read all the same.
            read.ignore_errors();
            for key in some {
                read.cmd("HGETALL").arg(key.to_string());
            }
            let answers: Vec<::redis::RedisResult<Value>> = self.0.ask(&read).await?;
            for (key, answer) in some.iter().zip(answers) {
                let answer = answer.map_err(|error| match error.code() {
                    Some("WRONGTYPE") => Error::Foreign { key: key.to_string() },
                    _ => self.0.options.explain(&error),
                });
                all.push(fields(key, answer?)?);
            }
        }
        Ok(all)
    }

    async fn forget(&self, key: &Key) -> Result<(), Error> {
        let mut forget = Pipeline::new();
        forget.cmd("DEL").arg(key.to_string()).ignore();
        self.0.ask(&forget).await
    }

    async fn list(&self, family: &Family) -> Result<Listing, Error> {
        let (mut keys, mut cursor) = (BTreeSet::new(), "0".to_owned());
        let began = tokio::time::Instant::now();
        loop {
            let mut scan = Pipeline::new();
            scan.cmd("SCAN").arg(&cursor).arg("MATCH").arg(family.pattern());
            scan.arg("COUNT").arg(STEP).arg("TYPE").arg("hash");
            let ((next, found),): ((String, Vec<Vec<u8>>),) = self.0.ask(&scan).await?;
            let found = found.iter().filter_map(|key| std::str::from_utf8(key).ok()?.parse::<Key>().ok());
            keys.extend(found.filter(|key| key.family() == *family));
            let (done, over) = (next == "0", keys.len() > Listing::MOST || began.elapsed() > LISTED);
            if done || over {
                let whole = done && keys.len() <= Listing::MOST;
                return Ok(Listing { keys: keys.into_iter().take(Listing::MOST).collect(), whole });
            }
            cursor = next;
        }
    }

    fn health(&self) -> Health {
        self.0.record.health()
    }
}

fn add(write: &mut Pipeline, projection: &Projection) {
    let key = projection.key.to_string();
    write.cmd("DEL").arg(&key).ignore();
    if projection.fields.is_empty() {
        return;
    }
    write.cmd("HSET").arg(&key).arg(&projection.fields).ignore();
    if let Some(ttl) = projection.ttl() {
        write.cmd("PEXPIRE").arg(&key).arg(ttl.as_millis() as u64).ignore();
    }
}

fn fields(key: &Key, answer: Value) -> Result<Option<Fields>, Error> {
    let foreign = || Error::Foreign { key: key.to_string() };
    let texts: BTreeMap<String, String> = from_redis_value(answer).map_err(|_| foreign())?;
    Ok(Some(texts).filter(|texts| !texts.is_empty()))
}
