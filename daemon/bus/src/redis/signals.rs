//! The line of signals: subscribed to what is listened to in this process, and again after each loss.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redis::aio::MultiplexedConnection;
use ::redis::{PushInfo, PushKind, Value};
use tokio::time::{Instant, timeout};

use super::Shared;
use super::commands::open;
use super::connect::{self, ANSWER, Opened};
use super::pause::Pause;
use super::record::Line;
use crate::channel::Channels;
use crate::{Channel, Envelope, Error};

/// Keeps a connection for signals, for ever, from when somebody listens first. There are six channels, so that none
/// is left again.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut wanted = shared.wanted.subscribe();
    if wanted.wait_for(|wanted| !wanted.is_empty()).await.is_err() {
        return;
    }
    let mut pause = Pause::default();
    // What has been heard before: after a loss its listeners are told that they may have missed something.
    let mut heard = Channels::NONE;
    loop {
        let listener = Listener { shared: shared.clone(), warned: AtomicBool::new(false) };
        let opened = open(shared, Line::Signals, Some(move |push| listener.hear(&push).ok_or(()))).await;
        let began = Instant::now();
        let error = match opened {
            Ok(opened) => hold(shared, opened, heard).await,
            Err(error) => error,
        };
        shared.record.down(Line::Signals, error);
        heard = heard.and(shared.live.send_replace(Channels::NONE));
        tokio::time::sleep(pause.after(began.elapsed(), fastrand::f64())).await;
    }
}

/// Listens until the connection ends; tells why it did.
async fn hold(shared: &Shared, opened: Opened, heard: Channels) -> Error {
    let Opened { connection, driver, version } = opened;
    tokio::select! {
        () = driver => shared.options.away("it closed the connection"),
        error = connect::keep_asking(&shared.options, connection.clone(), || shared.record.answered()) => error,
        error = subscribe(shared, connection, &version, heard) => error,
    }
}

/// Subscribes to what is wanted, and to what will be.
async fn subscribe(
    shared: &Shared,
    mut connection: MultiplexedConnection,
    version: &str,
    heard: Channels,
) -> Error {
    let mut wanted = shared.wanted.subscribe();
    loop {
        let live = *shared.live.borrow();
        let missing = wanted.borrow_and_update().without(live);
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(Channel::as_str).collect();
            match timeout(ANSWER, connection.subscribe(&names[..])).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return shared.options.explain(&error),
                Err(_) => return shared.options.silent(ANSWER),
            }
            if live.is_empty() {
                shared.record.up(Line::Signals, version);
            }
            shared.fanout.gap(missing.of_both(heard));
            shared.live.send_replace(live.and(missing));
        }
        if wanted.changed().await.is_err() {
            return Error::Closed;
        }
    }
}

/// Takes what the server pushes.
struct Listener {
    shared: Arc<Shared>,
    warned: AtomicBool,
}

impl Listener {
    /// Passes a signal on; anything else that is said on the channels is dropped.
    fn hear(&self, push: &PushInfo) -> Option<()> {
        let (PushKind::Message, [Value::BulkString(name), Value::BulkString(json)]) =
            (&push.kind, push.data.as_slice())
        else {
            return Some(());
        };
        let channel = Channel::named(name)?;
        if !self.shared.fanout.is_heard(channel) {
            return Some(());
        }
        match Envelope::from_json(json) {
            Some(envelope) => self.shared.fanout.send(channel, envelope),
            None if !self.warned.swap(true, Ordering::Relaxed) => {
                let (channel, bytes) = (channel.as_str(), json.len());
                tracing::warn!(
                    "something else than an envelope was said on {channel} ({bytes} bytes): dropped"
                );
            }
            None => {}
        }
        Some(())
    }
}
