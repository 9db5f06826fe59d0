//! Both buses against one suite, and the one on Redis against a real server that is ill-treated.

mod access;
mod conformance;
mod cost;
mod faults;
mod limits;
mod server;

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{Address, Bus, Envelope, Fields, Heard, Key, Options, RedisBus, Subscription};

/// How long a test waits for what takes milliseconds on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` finds something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("{what} has not come"))
}

/// A bus on Redis and its connections.
struct Running {
    bus: Arc<RedisBus>,
    _service: JoinSet<()>,
}

impl std::ops::Deref for Running {
    type Target = RedisBus;

    fn deref(&self) -> &RedisBus {
        &self.bus
    }
}

impl Running {
    fn start(options: Options) -> Self {
        let (bus, service) = RedisBus::new(options);
        let mut tasks = JoinSet::new();
        tasks.spawn(service.run());
        Self { bus: Arc::new(bus), _service: tasks }
    }

    /// On that port, without a password.
    fn on(port: u16) -> Self {
        Self::start(Options::at(tcp(port)))
    }

    /// Until both lines are well.
    async fn up(self) -> Self {
        self.well().await;
        self
    }

    async fn well(&self) {
        until("the connection", async || self.health().connected.then_some(())).await;
    }

    /// Until it tells an error with `text` in it.
    async fn told(&self, text: &str) -> String {
        let mut last = None;
        let told = timeout(PATIENCE, async {
            loop {
                last = self.health().error;
                if last.as_ref().is_some_and(|error| error.contains(text)) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(told.await.is_ok(), "waited for `{text}`, last told {last:?}");
        last.unwrap()
    }
}

fn tcp(port: u16) -> Address {
    Address::Tcp { host: "127.0.0.1".into(), port, tls: false }
}

fn signal(number: u64) -> Envelope {
    Envelope::new("atlas", "test", json!({"number": number}), DateTime::UNIX_EPOCH)
}

fn number(heard: &Heard) -> Option<u64> {
    match heard {
        Heard::Signal(envelope) => envelope.data["number"].as_u64(),
        Heard::Missed(_) => None,
    }
}

async fn next(subscription: &mut Subscription) -> Heard {
    timeout(PATIENCE, subscription.next()).await.expect("nothing is heard").expect("it is closed")
}

async fn subscribed(subscription: &mut Subscription) {
    timeout(PATIENCE, subscription.subscribed()).await.expect("it is not confirmed").unwrap();
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|&(name, text)| (name.into(), text.into())).collect()
}

fn status(agent: &str) -> Key {
    Key::AgentStatus(agent.parse().unwrap())
}
