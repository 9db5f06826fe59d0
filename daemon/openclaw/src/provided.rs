//! Who answers agents' questions: how they are opened, what the operator hears of them, how they are shown.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::methods;
use providers::policy::Position;

use providers::{Handle, Keeper, Level, Notice, Options, Proof, ProviderStatus, Service, is_past};
use serde::{Deserialize, Serialize};
use settings::{Providers, Secrets, Settings};
use store::alert::{LISTED_ALERTS, News};
use store::backend::REFUSED;
use store::ledger::Entry;
use store::tally::Count;
use store::{Clock, Store};
use supervisor::alerts;

use crate::exit::{Code, Failure};
use crate::status::{Board, Breaker, Component, Evidence, Provider};

/// How often it is looked whether a budget has begun anew, or a daemon left calls: a clock may be set, a machine suspended.
const ANEW: Duration = Duration::from_secs(600);
/// No call is under way for so long: [providers] and failover.json allow minutes.
const LONGEST: TimeDelta = TimeDelta::minutes(15);
/// What worked so long ago proves nothing: agents may not have asked since.
const STALE: TimeDelta = TimeDelta::hours(1);

/// Opens those whose keys are there, with their breakers as an earlier life of the daemon left them.
pub async fn open(
    settings: &Settings,
    providers: Providers,
    secrets: &Secrets,
    store: &Store,
    clock: Clock,
    process: String,
) -> Result<(Service, Handle), Failure> {
    let hosts = settings.agents.iter().filter_map(|(name, agent)| Some((name.clone(), agent.fetch.clone()?)));
    let options = Options {
        calls: settings.providers.clone(),
        providers,
        secrets: secrets.clone(),
        hosts: hosts.collect(),
        store: store.clone(),
        clock,
        keeper: Keeper { agent: crate::alerts::whole(), process },
    };
    let (service, handle) = Handle::open(options).map_err(|error| Failure::of(Code::Failed, &error))?;
    if !store.shared() {
        abandoned(store, clock.now()).await;
    }
    if let Err(error) = handle.recall().await {
        tracing::warn!(%error, "which providers are to be left alone is not known: all are asked");
    }
    Ok((service, handle))
}

/// Settles what calls used, and raises alerts, until all is settled.
pub async fn run(service: Service, store: Store, clock: Clock) {
    tokio::select! {
        () = service.run(teller(store.clone(), clock)) => {}
        never = forgive(&store, clock) => match never {},
        never = abandon(&store, clock) => match never {},
    }
}

/// What an earlier life of this daemon had under way, or another daemon that died. On a database of its own the daemon has abandoned
/// them before its first call.
async fn abandon(store: &Store, clock: Clock) -> Infallible {
    while store.shared() {
        abandoned(store, clock.now() - LONGEST).await;
        tokio::time::sleep(ANEW).await;
    }
    std::future::pending().await
}

async fn abandoned(store: &Store, before: DateTime<Utc>) {
    if let Err(error) = store.enter(Entry::Abandon(before)).await {
        tracing::warn!(%error, "calls that an earlier daemon left are shown as under way");
    }
}

/// What was told of a budget is over with its period, also where nothing ran then.
async fn forgive(store: &Store, clock: Clock) -> Infallible {
    let mut looked = None;
    loop {
        let now = clock.now();
        if looked != Some(now.date_naive())
            && let Ok(known) = store.alerts(LISTED_ALERTS).await
        {
            looked = Some(now.date_naive());
            let past =
                known.into_iter().filter(|alert| alert.resolved_at.is_none() && is_past(&alert.key, now));
            for alert in past {
                let Ok(source) = alert.source.parse() else { continue };
                let text = "the budget has begun anew";
                store.report(alerts::report(News::Over, source, alert.key, text, now));
            }
        }
        tokio::time::sleep(ANEW).await;
    }
}

/// Asks the providers how they are, again and again, and raises alerts.
pub async fn watch(handle: Handle, store: Store, clock: Clock) {
    handle.watch(crate::alerts::whole(), teller(store, clock)).await;
}

/// Asks them once. With `ask`, by a question that costs what a question costs.
pub async fn probe(board: &Board, ask: bool) {
    let notices = board.providers.probe(&crate::alerts::whole(), ask).await;
    notices.into_iter().for_each(teller(board.store.clone(), board.clock));
}

pub fn teller(store: Store, clock: Clock) -> impl Fn(Notice) {
    move |Notice { agent, level, key, text }| {
        let news = match level {
            Level::Over => News::Over,
            Level::Warning => News::Wrong(alerts::Level::Warning, 1),
            Level::Critical => News::Wrong(alerts::Level::Critical, 1),
        };
        match level {
            Level::Over => tracing::info!("{text}"),
            Level::Warning => tracing::warn!("{text}"),
            Level::Critical => tracing::error!("{text}"),
        }
        // What is about all agents stands under the name of the whole.
        let source = agent.unwrap_or_else(crate::alerts::whole);
        store.report(alerts::report(news, source, key, &text, clock.now()));
    }
}

/// The most calls that are looked at for a day's count.
const CALLS: u32 = 1000;
/// The refusals that are shown.
const REFUSALS: u32 = 20;

/// What an agent may ask for, and what it did with that today.
#[derive(Serialize, Deserialize)]
pub struct Grants {
    pub agent: String,
    pub grants: Vec<String>,
    /// Where it may fetch from.
    pub hosts: Vec<String>,
    /// Whether those with a port may be in a private network.
    pub allow_private: bool,
    /// How often it may ask for what it may ask for: `12/1h`.
    pub rates: Vec<(String, settings::Rate)>,
    /// What it may use up: by name, and how much of it is used in per cent.
    pub budgets: Vec<(String, f64)>,
    /// What it asked for today (UTC), by what came of it.
    pub asked: Vec<Count>,
    /// Calls of providers and pages of today, by what was called, whom, and what came of it; of the last thousand.
    pub today: Vec<(String, u32)>,
    /// What was refused lately, newest first.
    pub refused: Vec<(DateTime<Utc>, String)>,
}

/// Of one agent.
pub async fn grants(board: &Board, agent: AgentName) -> Result<Grants, Failure> {
    let mut counted = BTreeMap::new();
    let now = board.clock.now();
    let today = now.date_naive();
    for call in board.store.calls(Some(&agent), CALLS).await? {
        if call.at.date_naive() == today {
            let what = format!("{} · {} · {}", call.capability, call.provider, call.outcome);
            *counted.entry(what).or_insert(0) += 1;
        }
    }
    let its = |name: &str| {
        let whose = name.split(" · ").next().unwrap_or_default();
        whose == "all agents" || whose == agent.as_str()
    };
    let budgets = board.providers.budgets().await?.into_iter().filter(|standing| its(&standing.budget));
    let refused = board.store.events(&agent, REFUSED, REFUSALS).await?.into_iter();
    let refused =
        refused.map(|event| (event.at, event.payload["message"].as_str().unwrap_or_default().into()));
    let fetch = board.providers.hosts(&agent).cloned().unwrap_or_default();
    // What has been counted by now, where it runs here; another process leaves it every two seconds.
    board.supervisor.count(&agent).await.map_err(|error| Failure::of(Code::Unavailable, &error))?;
    let asked = board.store.asked(&agent, today).await?;
    let (granted, rates) = board.grants.get(&agent).cloned().unwrap_or_default();
    Ok(Grants {
        rates: rates_of(&granted, &rates),
        grants: granted,
        hosts: fetch.hosts,
        allow_private: fetch.allow_private,
        asked,
        budgets: budgets.map(|standing| (standing.budget, standing.percent)).collect(),
        today: counted.into_iter().collect(),
        refused: refused.collect(),
        agent: agent.to_string(),
    })
}

/// Of the methods that it may ask for, each rate once.
fn rates_of(grants: &[String], rates: &settings::Rates) -> Vec<(String, settings::Rate)> {
    let granted = methods::GRANTED.into_iter().filter(|method| supervisor::grants::allows(grants, method));
    let rates: BTreeMap<_, _> = granted.map(|method| rates.of(method)).collect();
    rates.into_iter().map(|(what, rate)| (what.to_owned(), rate)).collect()
}

/// The word for where its breaker stands.
pub fn breaker(one: &ProviderStatus) -> &'static str {
    match one.position {
        Position::Closed => "closed",
        Position::Open { .. } => "open",
        Position::HalfOpen { .. } => "half_open",
    }
}

/// A provider, as the status document has it: what it proved last, of three things.
pub fn component(board: &Board, one: &ProviderStatus, now: DateTime<Utc>) -> Component {
    let health = &one.health;
    let fresh = health.functional.at.is_some_and(|at| now - at < STALE);
    let misconfigured = health.authenticated.holds == Some(false);
    let state = match one.position {
        _ if misconfigured => "misconfigured",
        Position::Closed => "ready",
        Position::Open { .. } => "open",
        Position::HalfOpen { .. } => "half_open",
    };
    let broken = [&health.reachable, &health.authenticated, &health.functional];
    let verdict = match health.functional.holds {
        // No daemon is unready for it: agents are told, and others may answer.
        _ if broken.iter().any(|proof| proof.holds == Some(false)) => "degraded",
        Some(true) if fresh => "ok",
        _ => "unknown",
    };
    let word = |holds| match holds {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let proofs = [
        ("reachable", &health.reachable),
        ("authenticated", &health.authenticated),
        ("functional", &health.functional),
    ];
    let told = |(name, proof): &(&str, &Proof)| {
        let at = proof.at.map(|at| format!(" at {at:.0}")).unwrap_or_default();
        let why = proof.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{name}: {}{at}{why}", word(proof.holds))
    };
    let reason = proofs.iter().map(told).collect::<Vec<_>>().join("; ");
    let what = match health.functional.holds {
        Some(true) => "answered with what was asked for",
        Some(false) => "did not answer with what was asked for",
        None => "has not been asked",
    };
    let evidence = Evidence { what: what.into(), at: health.functional.at };
    let description = format!("answers agents' questions at {}", one.base_url);
    let since = health.functional.at.unwrap_or(board.started_at);
    let service = board.service(&one.name, (state, verdict), evidence, since, reason, description);
    Component {
        kind: "provider".into(),
        pid: None,
        version: None,
        breaker: Breaker {
            state: breaker(one).into(),
            failures: one.failures,
            open_until: one.free_at,
            in_a_row: one.in_a_row,
            opened: one.opened.clone(),
        },
        provider: Some(Provider { answers: one.answers, proved: health.clone() }),
        ..service
    }
}
