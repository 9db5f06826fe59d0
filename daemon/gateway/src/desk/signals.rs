//! What is told on the bus of what became durable. A signal may be lost: the row is the truth.

use std::sync::Arc;

use bus::{Bus, Channel, Envelope};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::mpsc;

/// Signals on their way to a bus that is slow; beyond, they are lost.
const WAITING: usize = 1024;

/// Where signals are left. Cheap to clone.
#[derive(Clone)]
pub struct Signals(mpsc::Sender<Envelope>);

impl Signals {
    /// The place, and what hands on to the bus what is left there: it ends with the last of its clones.
    pub fn to(bus: Arc<dyn Bus>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (signals, mut waiting) = mpsc::channel(WAITING);
        let hand_on = async move {
            while let Some(envelope) = waiting.recv().await {
                let _ = bus.publish(Channel::GatewayEvents, envelope).await;
            }
        };
        (Self(signals), hand_on)
    }

    /// A message was accepted.
    pub(super) fn accepted(&self, data: Value, at: DateTime<Utc>) {
        let _ = self.0.try_send(Envelope::new("gateway", "message.accepted", data, at));
    }
}
