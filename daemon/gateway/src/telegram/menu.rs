//! Keeps Telegram's menu of commands as the agents say. Whether that succeeds matters to no message.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::direct::menu;
use super::shared::{CALL, Shared};

/// A team that starts says many things one after the other.
const SETTLE: Duration = Duration::from_secs(2);
/// What failed is tried again, and other processes' agents are looked at, after this or when the agents here change.
const AGAIN: Duration = Duration::from_secs(60);

/// Registers the menu whenever it is another.
pub async fn keep(shared: Arc<Shared>) {
    let Ok(within) = shared.within() else { return };
    let mut changes = within.desk.supervisor.changes();
    let (mut told, mut complained) = (None, false);
    loop {
        sleep(SETTLE).await;
        changes.mark_unchanged();
        let wanted = menu(&shared.commands().await);
        if told.as_ref() != Some(&wanted) {
            let commands = wanted.iter().map(|(name, help)| json!({"command": name, "description": help}));
            let parameters = json!({"commands": commands.collect::<Vec<_>>()});
            match shared.api.call::<Value>("setMyCommands", &parameters, CALL).await {
                Ok(_) => told = Some(wanted),
                Err(failure) if !complained => {
                    complained = true;
                    tracing::warn!("telegram: its menu of commands is not registered: {failure}");
                }
                Err(_) => {}
            }
        }
        if let Ok(Err(_)) = timeout(AGAIN, changes.changed()).await {
            // The supervisor has ended, and with it all that could change.
            std::future::pending::<()>().await;
        }
    }
}
