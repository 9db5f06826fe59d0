//! From one who hears to all who listen in this process.

use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use crate::channel::Channels;
use crate::{Channel, Envelope, Error};

/// What a slow listener may fall behind.
const BEHIND: usize = 1024;

/// What passes to each listener.
#[derive(Clone)]
enum Item {
    Signal(Arc<Envelope>),
    /// Signals may have passed unheard before this.
    Gap,
}

/// Every channel's listeners. A channel costs memory once somebody listens.
#[derive(Default)]
pub(crate) struct Fanout([OnceLock<broadcast::Sender<Item>>; Channel::ALL.len()]);

impl Fanout {
    /// Whether anybody listens.
    pub fn is_heard(&self, channel: Channel) -> bool {
        self.0[channel as usize].get().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// To all who listen.
    pub fn send(&self, channel: Channel, envelope: Envelope) {
        self.pass(channel, Item::Signal(Arc::new(envelope)));
    }

    /// Tells all who listen to `channels` that they may have missed something.
    pub fn gap(&self, channels: Channels) {
        channels.iter().for_each(|channel| self.pass(channel, Item::Gap));
    }

    fn pass(&self, channel: Channel, item: Item) {
        if let Some(sender) = self.0[channel as usize].get() {
            // An error says that nobody listens, which is fine.
            let _ = sender.send(item);
        }
    }

    /// A new listener.
    pub fn listen(&self, channel: Channel, live: watch::Receiver<Channels>) -> Subscription {
        let sender = self.0[channel as usize].get_or_init(|| broadcast::Sender::new(BEHIND));
        Subscription { items: sender.subscribe(), live, channel }
    }
}

/// What somebody hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A signal.
    Signal(Arc<Envelope>),
    /// Signals passed unheard: look at the truth afresh. So many when the listener was more than 1,024 behind;
    /// nobody knows how many when the bus was away.
    Missed(Option<u64>),
}

/// One who listens to a channel.
pub struct Subscription {
    items: broadcast::Receiver<Item>,
    live: watch::Receiver<Channels>,
    channel: Channel,
}

impl Subscription {
    /// Waits until it is confirmed: every signal that is published later is heard, as long as the bus is connected.
    ///
    /// # Errors
    /// The bus is closed.
    pub async fn subscribed(&mut self) -> Result<(), Error> {
        self.live.wait_for(|live| live.has(self.channel)).await.map(drop).map_err(|_| Error::Closed)
    }

    /// The next that is heard; none once the bus is closed. Safe to cancel.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.items.recv().await {
            Ok(Item::Signal(envelope)) => Some(Heard::Signal(envelope)),
            Ok(Item::Gap) => Some(Heard::Missed(None)),
            Err(RecvError::Lagged(count)) => Some(Heard::Missed(Some(count))),
            Err(RecvError::Closed) => None,
        }
    }
}
