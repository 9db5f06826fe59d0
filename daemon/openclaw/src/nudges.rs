//! Tells other processes on the same database of tasks that concern them, and hears of theirs. The bus makes it fast; the
//! store's poll makes it certain.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Channel, Envelope, Heard};
use openclaw_agent_api::AgentName;
use serde_json::{Value, json};
use store::{Clock, Store};
use supervisor::known::Known;

/// What happens together is told together.
const TOGETHER: Duration = Duration::from_millis(5);
/// The type of the signal.
const CHANGED: &str = "tasks.changed";

/// Runs until it is dropped.
pub async fn exchange(store: Store, bus: Arc<dyn Bus>, clock: Clock, known: Known) {
    let mut heard = bus.subscribe(Channel::GatewayEvents);
    let own = store.owner();
    loop {
        tokio::select! {
            agents = store.abroad() => {
                let data = json!({ "agents": agents });
                let told = bus.publish(Channel::GatewayEvents, Envelope::new(&own, CHANGED, data, clock.now()));
                if let Err(error) = told.await {
                    // Status shows how the bus is.
                    tracing::debug!(%error, "others were not told of tasks: they find them by their poll");
                }
                tokio::time::sleep(TOGETHER).await;
            }
            signal = heard.next() => match signal {
                Some(Heard::Signal(signal)) if signal.kind == CHANGED && signal.source != own => {
                    named(&signal.data).iter().for_each(|agent| store.nudge(agent));
                }
                Some(Heard::Signal(_)) => {}
                Some(Heard::Missed(_)) => known.names().iter().for_each(|agent| store.nudge(agent)),
                // The daemon ends.
                None => std::future::pending().await,
            },
        }
    }
}

fn named(data: &Value) -> Vec<AgentName> {
    let names = data["agents"].as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str()?.parse().ok()).collect()
}
