//! Long polling. The offset is kept in memory alone: Telegram delivers again what was not confirmed, for a day, and each row's
//! key, which is kept for a week, makes a second delivery nothing new. So there is no second truth that could be ahead of the
//! first.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::Failure;
use super::receive::take;
use super::retry::pause;
use super::shared::{CALL, Shared, complain};
use super::update::{Update, User};

/// An answer may take so much longer than the poll is to stay open.
const SLACK: Duration = Duration::from_secs(10);
/// A server that answers at once although nothing came is asked no oftener than this.
const PACE: Duration = Duration::from_millis(20);
/// A store that takes nothing is tried again after this.
const STORE: Duration = Duration::from_secs(1);

/// Whose bot it is; asks until Telegram tells.
pub async fn meet(shared: &Shared) {
    let mut faults = 0;
    loop {
        match shared.api.call::<User>("getMe", &json!({}), CALL).await {
            Ok(me) => return shared.met(me),
            Err(failure) => wait(shared, &failure, &mut faults).await,
        }
    }
}

/// Polls for ever.
pub async fn poll(shared: Arc<Shared>) -> Infallible {
    meet(&shared).await;
    // While there is a webhook Telegram answers no poll. What waits is kept.
    let mut faults = 0;
    while let Err(failure) = shared.api.call::<Value>("deleteWebhook", &json!({}), CALL).await {
        // Should there be one all the same, the polls will say so.
        if faults >= 3 || matches!(failure, Failure::Refused { .. }) {
            break;
        }
        wait(&shared, &failure, &mut faults).await;
    }
    let (mut offset, mut faults) = (0, 0);
    loop {
        let began = Instant::now();
        let timeout = shared.settings.poll_timeout;
        let parameters = json!({"offset": offset, "timeout": timeout.as_secs(), "limit": 100, "allowed_updates": ["message"]});
        match shared.api.call::<Vec<Value>>("getUpdates", &parameters, timeout + SLACK).await {
            Ok(updates) => {
                let now = shared.clock.now();
                shared.health().completed(now);
                if std::mem::take(&mut faults) > 0 {
                    tracing::info!("telegram: polls are answered again");
                }
                if updates.is_empty() {
                    sleep(PACE.saturating_sub(began.elapsed())).await;
                    continue;
                }
                offset = store(&shared, updates, offset).await;
            }
            Err(failure) => wait(&shared, &failure, &mut faults).await,
        }
    }
}

/// Stores updates, as often as it takes, and answers where to go on.
async fn store(shared: &Shared, updates: Vec<Value>, offset: i64) -> i64 {
    let last = updates.iter().filter_map(|update| update["update_id"].as_i64()).max();
    let mut complained = false;
    loop {
        match take(shared, readable(&updates)).await {
            Ok(()) => return last.map_or(offset, |last| last + 1),
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!("telegram: what came cannot be stored, and is tried again: {error}");
                }
                let now = shared.clock.now();
                shared.health().trouble(format!("what came cannot be stored: {error}"), false, now);
                sleep(STORE).await;
            }
        }
    }
}

/// Those that read; one that does not must not hold up all others for ever.
pub fn readable(updates: &[Value]) -> Vec<Update> {
    let read = |update: &Value| {
        serde_json::from_value(update.clone())
            .inspect_err(|error| tracing::warn!(id = ?update["update_id"].as_i64(), "telegram: an update does not read and is left out: {error}"))
            .ok()
    };
    updates.iter().filter_map(read).collect()
}

async fn wait(shared: &Shared, failure: &Failure, faults: &mut u32) {
    *faults = faults.saturating_add(1);
    complain(shared, failure, *faults);
    sleep(pause(failure, *faults)).await;
}
