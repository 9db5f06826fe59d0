//! The bus within one process: what an embedded installation has.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::channel::Channels;
use crate::fanout::Fanout;
use crate::{Bus, Channel, Envelope, Error, Family, Fields, Health, Key, Listing, Projection, Subscription};

/// The most bytes that all projections may have.
const ROOM: usize = 64 << 20;
/// What a projection costs beside its texts: names, nodes, the key.
const OVERHEAD: usize = 256;

/// Signals and projections in this process's memory.
pub struct LocalBus {
    fanout: Fanout,
    live: watch::Sender<Channels>,
    shown: Mutex<Shown>,
    since: Instant,
}

impl Default for LocalBus {
    fn default() -> Self {
        let live = watch::Sender::new(Channels::ALL);
        Self { fanout: Fanout::default(), live, shown: Mutex::default(), since: Instant::now() }
    }
}

impl LocalBus {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        // Nothing panics while it is held, and each change is whole.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<(), Error> {
        envelope.to_json()?;
        self.fanout.send(channel, envelope);
        Ok(())
    }

    fn subscribe(&self, channel: Channel) -> Subscription {
        self.fanout.listen(channel, self.live.subscribe())
    }

    async fn project_all(&self, projections: Vec<Projection>) -> Result<(), Error> {
        let sizes = projections.iter().map(Projection::size).collect::<Result<Vec<_>, _>>()?;
        let (mut shown, now) = (self.shown(), Instant::now());
        projections
            .into_iter()
            .zip(sizes)
            .try_for_each(|(projection, size)| shown.put(projection, size + OVERHEAD, now))
    }

    async fn read_all(&self, keys: &[Key]) -> Result<Vec<Option<Fields>>, Error> {
        let (shown, now) = (self.shown(), Instant::now());
        Ok(keys.iter().map(|key| shown.get(key, now).cloned()).collect())
    }

    async fn forget(&self, key: &Key) -> Result<(), Error> {
        self.shown().remove(key);
        Ok(())
    }

    async fn list(&self, family: &Family) -> Result<Listing, Error> {
        let (shown, now) = (self.shown(), Instant::now());
        let mut keys =
            shown.entries.iter().filter(|(key, entry)| entry.lives(now) && key.family() == *family);
        let found = keys.by_ref().take(Listing::MOST).map(|(key, _)| key.clone()).collect();
        Ok(Listing { keys: found, whole: keys.next().is_none() })
    }

    fn health(&self) -> Health {
        let what = "a part of this process".to_owned();
        Health { what, connected: true, since: self.since, last_ok: None, error: None }
    }
}

/// What is shown, never more than [`ROOM`].
#[derive(Default)]
struct Shown {
    entries: BTreeMap<Key, Entry>,
    size: usize,
}

struct Entry {
    fields: Fields,
    size: usize,
    until: Option<Instant>,
}

impl Entry {
    fn lives(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Shown {
    fn get(&self, key: &Key, now: Instant) -> Option<&Fields> {
        self.entries.get(key).filter(|entry| entry.lives(now)).map(|entry| &entry.fields)
    }

    fn put(&mut self, projection: Projection, size: usize, now: Instant) -> Result<(), Error> {
        self.remove(&projection.key);
        if projection.fields.is_empty() {
            return Ok(());
        }
        if self.size + size > ROOM {
            self.drop_expired(now);
        }
        if self.size + size > ROOM {
            let why = format!("{} bytes are shown by this process already", self.size);
            return Err(Error::Full { why });
        }
        let until = projection.ttl().map(|ttl| now + ttl);
        self.size += size;
        self.entries.insert(projection.key, Entry { fields: projection.fields, size, until });
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.size -= entry.size;
        }
    }

    fn drop_expired(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.lives(now));
        self.size = self.entries.values().map(|entry| entry.size).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn filler(number: u32, ttl: Option<Duration>) -> Projection {
        let key = Key::breaker("test", &number.to_string()).unwrap();
        let fields = Fields::from([("text".into(), "x".repeat(Projection::LARGEST - 4))]);
        Projection { key, fields, ttl }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_what_expired_makes_room() {
        let bus = LocalBus::default();
        let second = Some(Duration::from_secs(1));
        let most = u32::try_from(ROOM / (Projection::LARGEST + OVERHEAD)).unwrap();
        bus.project_all((0..most).map(|number| filler(number, second)).collect()).await.unwrap();
        // In place of another there is room.
        bus.project_all(vec![filler(0, second)]).await.unwrap();
        assert!(matches!(bus.project_all(vec![filler(most, None)]).await, Err(Error::Full { .. })));
        assert!(bus.shown().size <= ROOM);
        tokio::time::advance(Duration::from_secs(1)).await;
        bus.project_all(vec![filler(most, None)]).await.unwrap();
        assert_eq!(bus.shown().entries.len(), 1);
    }
}
