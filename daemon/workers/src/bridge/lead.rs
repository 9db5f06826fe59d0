//! Which of several bridges speaks: the one that holds the lead of [`NAME`](super::NAME) in the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use store::backend::{Claim, Heartbeat};
use store::{Clock, Store};
use supervisor::policy::lead::{Change, Leads, Said};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::decide::FORGET;
use super::error::Error;
use super::look::is_service;

/// Who was at work of late is asked for no oftener.
const ASKED: Duration = Duration::from_secs(60);

/// How long this process may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Term {
    /// Another one may.
    #[default]
    Over,
    /// Until then, by [`Clock::steady`]: what stood still past it may not, before anybody has told it so.
    Until(DateTime<Utc>),
    /// There is nobody else.
    Always,
}

impl Term {
    /// Whether it may at this moment.
    pub fn holds(self, steady: DateTime<Utc>) -> bool {
        match self {
            Self::Over => false,
            Self::Until(end) => steady < end,
            Self::Always => true,
        }
    }
}

/// What the store says.
#[derive(Clone, Debug, Default)]
pub(super) struct Lead {
    /// Whether this process leads, and how long. Looked at right before each thing that is done in the lead's name.
    pub term: Term,
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
    // Taken over before the bridge's own beat is called down, at three and a quarter intervals. It ends nothing when it is lost.
    let mut leads = Leads::new(interval * 2, Duration::ZERO, Vec::new());
    leads.want(name.clone());
    let (mut speaks, mut asked) = (false, None::<Instant>);
    let pause = interval / 2;
    loop {
        let mut changes = leads.awake(clock.suspended());
        let before = leads.deadline();
        let error = ask(store, clock, &mut leads, &mut changes).await.err();
        for (_, change) in changes {
            if let Change::Lost { why } = change {
                tracing::warn!("the heartbeat bridge leads no longer: {why}");
                speaks = false;
            }
        }
        // Renewed too late: it has kept silent meanwhile, and does not know what of its last look it has told.
        speaks &= before.is_none_or(|end| clock.steady() < end);
        let term = leads.deadline().filter(|_| speaks).map_or(Term::Over, Term::Until);
        // Whoever listens is woken by the end of a lead, and not by its renewal.
        lead.send_if_modified(|lead| std::mem::replace(&mut lead.term, term) != Term::Over && !speaks);
        match error {
            Some(error) => failed(lead, error),
            // Whoever speaks must know what has been said.
            None if !speaks && !leads.held().is_empty() => {
                // No longer than till the next renewal, as below.
                match timeout(pause, store.last_heartbeats()).await {
                    Ok(Ok(stored)) => {
                        speaks = true;
                        tracing::debug!("the heartbeat bridge leads");
                        let term = leads.deadline().map_or(Term::Over, Term::Until);
                        lead.send_modify(|lead| {
                            (lead.term, lead.stored, lead.error) = (term, Arc::new(stored), None);
                        });
                    }
                    Ok(Err(error)) => failed(lead, error),
                    Err(_) => {}
                }
            }
            None => quietly(lead, |lead| lead.error = None),
        }
        // While a renewal need not be thought of.
        let know = async {
            if asked.is_none_or(|at| at.elapsed() >= ASKED)
                && let Ok(Ok(names)) = timeout(pause, store.agents_since(clock.now() - FORGET)).await
            {
                asked = Some(Instant::now());
                let names =
                    names.iter().filter_map(|name| name.parse().ok()).filter(|name| !is_service(name));
                let known = names.collect();
                quietly(lead, |lead| lead.known = known);
            }
        };
        tokio::join!(sleep(pause), know);
    }
}

/// Keeps what is held, and claims what is not.
async fn ask(
    store: &Store,
    clock: Clock,
    leads: &mut Leads,
    changes: &mut Vec<(AgentName, Change)>,
) -> Result<(), store::Error> {
    let (held, asked) = (leads.held(), clock.steady());
    if !held.is_empty() {
        let answer = store.renew_agents(&held, leads.ttl()).await;
        let said = match &answer {
            Ok(renewed) => Said::Told((renewed.kept.clone(), renewed.lost.clone())),
            Err(error) => Said::Nothing(error.to_string()),
        };
        changes.extend(leads.renewed(&held, said, asked, clock.steady()));
        answer?;
    }
    let asked = clock.steady();
    let wanted = leads.wanted(asked);
    if !wanted.is_empty() {
        let claims = store.claim_agents(&wanted, leads.ttl()).await?.into_iter();
        let claims = claims.map(|(agent, claim)| match claim {
            Claim::Won(token) => (agent, Ok(token)),
            Claim::Lost { owner, .. } => (agent, Err(owner)),
        });
        changes.extend(leads.claimed(claims.collect(), asked));
    }
    Ok(())
}

/// Where nobody else is on the bus there is nobody to agree with, and nothing to be heard of others: this process speaks for
/// its own.
pub(super) async fn keep_alone(store: &Store, interval: Duration, lead: &watch::Sender<Lead>) {
    loop {
        match store.last_heartbeats().await {
            Ok(stored) => {
                lead.send_modify(|lead| {
                    (lead.term, lead.stored, lead.error) = (Term::Always, Arc::new(stored), None)
                });
                return;
            }
            Err(error) => failed(lead, error),
        }
        sleep(interval / 2).await;
    }
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
