//! Which of several bridges speaks: the one that holds the lead of [`NAME`](super::NAME) in the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use store::backend::{Claim, Heartbeat};
use store::{Clock, Store};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::decide::FORGET;
use super::error::Error;
use super::look::is_service;

/// Who was at work of late is asked for no oftener.
const ASKED: Duration = Duration::from_secs(60);

/// What the store says.
#[derive(Clone, Debug, Default)]
pub(super) struct Lead {
    /// Whether this process leads.
    pub leads: bool,
    /// What was stored last of each agent when it took the lead.
    pub stored: Arc<Vec<Heartbeat>>,
    /// Agents that were at work of late, wherever.
    pub known: BTreeSet<AgentName>,
    /// Why it cannot be told now.
    pub error: Option<Error>,
}

/// Takes and keeps the lead, for ever. Beside the looks: a database that is slow must not make anybody late.
pub(super) async fn keep(
    store: &Store,
    clock: Clock,
    name: &AgentName,
    interval: Duration,
    lead: &watch::Sender<Lead>,
) {
    // Taken over before the bridge's own beat is called down, at three and a quarter intervals.
    let (ttl, pace) = (interval * 2, interval / 2);
    let (mut token, mut asked) = (None, None::<Instant>);
    let mut until = Instant::now();
    loop {
        let began = Instant::now();
        let held = hold(store, name, ttl, token).await;
        if matches!(held, Ok(Some(_))) {
            until = began + ttl;
        }
        match held {
            Ok(held) if held.is_some() != token.is_some() => {
                // Whoever speaks must know what has been said.
                match took(store, held).await {
                    Ok(stored) => {
                        token = held;
                        lead.send_modify(|lead| {
                            (lead.leads, lead.stored, lead.error) = (held.is_some(), Arc::new(stored), None);
                        });
                    }
                    Err(error) => failed(lead, error),
                }
            }
            Ok(held) => {
                token = held;
                quietly(lead, |lead| lead.error = None);
            }
            Err(error) if token.is_some() && Instant::now() >= until => {
                // Another one may reach the database, and speak.
                token = None;
                tracing::warn!(%error, "the heartbeat bridge leads no longer: its lead cannot be renewed");
                lead.send_modify(|lead| (lead.leads, lead.error) = (false, Some(Error::Lead(error))));
            }
            Err(error) => failed(lead, error),
        }
        if asked.is_none_or(|at| at.elapsed() >= ASKED)
            && let Ok(names) = store.agents_since(clock.now() - FORGET).await
        {
            asked = Some(Instant::now());
            let names = names.iter().filter_map(|name| name.parse().ok()).filter(|name| !is_service(name));
            let known = names.collect();
            quietly(lead, |lead| lead.known = known);
        }
        sleep(pace).await;
    }
}

/// Where nobody else is on the bus there is nobody to agree with, and nothing to be heard of others: this process speaks for
/// its own.
pub(super) async fn keep_alone(store: &Store, interval: Duration, lead: &watch::Sender<Lead>) {
    loop {
        match store.last_heartbeats().await {
            Ok(stored) => {
                lead.send_modify(|lead| {
                    (lead.leads, lead.stored, lead.error) = (true, Arc::new(stored), None)
                });
                return;
            }
            Err(error) => failed(lead, error),
        }
        sleep(interval / 2).await;
    }
}

/// The token, while it is led here.
async fn hold(
    store: &Store,
    name: &AgentName,
    ttl: Duration,
    token: Option<i64>,
) -> Result<Option<i64>, store::Error> {
    if let Some(token) = token
        && store.renew_agents(&[(name.clone(), token)], ttl).await?.kept.contains(name)
    {
        return Ok(Some(token));
    }
    let claims = store.claim_agents(std::slice::from_ref(name), ttl).await?;
    Ok(claims.into_iter().find_map(|(_, claim)| match claim {
        Claim::Won(token) => Some(token),
        Claim::Lost(_) => None,
    }))
}

async fn took(store: &Store, held: Option<i64>) -> Result<Vec<Heartbeat>, store::Error> {
    if held.is_none() {
        tracing::info!("another process's heartbeat bridge leads; this one stands by");
        return Ok(Vec::new());
    }
    let stored = store.last_heartbeats().await?;
    tracing::debug!("the heartbeat bridge leads");
    Ok(stored)
}

/// It stays as it was until its lead has run out.
fn failed(lead: &watch::Sender<Lead>, error: store::Error) {
    quietly(lead, |lead| lead.error = Some(Error::Lead(error)));
}

/// Without waking whoever waits for the lead to change.
fn quietly(lead: &watch::Sender<Lead>, change: impl FnOnce(&mut Lead)) {
    lead.send_if_modified(|lead| {
        change(lead);
        false
    });
}
