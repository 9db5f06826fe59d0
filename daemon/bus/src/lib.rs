//! Signals between components, and projections for the outside world. Both may be lost at any moment and nothing is
//! lost with them: the store is the truth.
//!
//! A *signal* ([`Envelope`]) is heard by whoever listens on its [`Channel`] now. A *projection* is a hash under a
//! [`Key`]: what its owner knows, written again at each beat, so that a flushed or restarted Redis is whole again
//! within one. One interface, [`Bus`], and two implementations: [`LocalBus`] within this process, [`RedisBus`] for
//! several processes and for every tool that reads Redis.

mod channel;
mod envelope;
mod error;
mod fanout;
mod health;
pub mod heartbeat;
mod key;
mod local;
mod projection;
mod redis;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;

pub use channel::Channel;
pub use envelope::Envelope;
pub use error::Error;
pub use fanout::{Heard, Subscription};
pub use health::Health;
pub use key::{BadKey, Family, Key, Label};
pub use local::LocalBus;
pub use projection::{Fields, Listing, Projection};
pub use redis::{Address, Options, RedisBus, Service};

/// Carries signals and shows projections. No call takes longer than seconds, whatever state Redis is in: while it is
/// away each fails at once.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends to whoever listens now.
    ///
    /// # Errors
    /// The envelope is too large, or it was not handed over. The caller goes on: a signal may be lost.
    async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<(), Error>;

    /// Sends these, in order. What comes after one that was not handed over is not sent.
    ///
    /// # Errors
    /// As [`Self::publish`].
    async fn publish_all(&self, channel: Channel, envelopes: Vec<Envelope>) -> Result<(), Error> {
        for envelope in envelopes {
            self.publish(channel, envelope).await?;
        }
        Ok(())
    }

    /// Listens; [`Subscription::subscribed`] says from when on.
    fn subscribe(&self, channel: Channel) -> Subscription;

    /// Shows these, each in place of all that its key held. None is ever seen half written; without fields a key is
    /// forgotten.
    ///
    /// # Errors
    /// One is too large, or not all were written: their owners show them again at the next beat.
    async fn project_all(&self, projections: Vec<Projection>) -> Result<(), Error>;

    /// What each of `keys` holds: nothing, or its fields.
    ///
    /// # Errors
    /// They cannot be read now, or a key holds something else than a hash of texts.
    async fn read_all(&self, keys: &[Key]) -> Result<Vec<Option<Fields>>, Error>;

    /// Shows it no longer.
    ///
    /// # Errors
    /// It cannot be written now.
    async fn forget(&self, key: &Key) -> Result<(), Error>;

    /// The keys of a family; at most [`Listing::MOST`].
    ///
    /// # Errors
    /// They cannot be read now.
    async fn list(&self, family: &Family) -> Result<Listing, Error>;

    /// What is known of it, without asking it.
    fn health(&self) -> Health;

    /// Shows one projection: see [`Self::project_all`]. It expires after `ttl`.
    ///
    /// # Errors
    /// As there.
    async fn project(&self, key: Key, fields: Fields, ttl: Option<Duration>) -> Result<(), Error> {
        self.project_all(vec![Projection { key, fields, ttl }]).await
    }

    /// What one key holds: see [`Self::read_all`].
    ///
    /// # Errors
    /// As there.
    async fn read(&self, key: &Key) -> Result<Option<Fields>, Error> {
        Ok(self.read_all(std::slice::from_ref(key)).await?.pop().flatten())
    }
}
