//! What others hold, and the task that settles what calls have used.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use limits::Opened;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{Hit, Page};
use reqwest::Client;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use settings::{Calls, Fetch, Period, ProviderKind, Providers, Secrets};
use store::ledger::{self, ABANDONED, Entered, Entry, NewCall, Share, UNDER_WAY};
use store::{Clock, Store};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::budget::{self, Cost, Standing};
use crate::chat::{self, Question, Tokens};
use crate::client::{self, Clients, NoClient};
use crate::exchange::{Attempt, Candidate, Refusal, over};
use crate::health::Health;
use crate::policy::Position;
use crate::search;

/// While the store is away, between two tries to settle.
const AGAIN: Duration = Duration::from_millis(500);
/// Settlements that are entered at once.
const AT_ONCE: usize = 256;

/// What a component is made of.
pub struct Options {
    /// `[providers]`
    pub calls: Calls,
    /// Who the providers are.
    pub providers: Providers,
    /// Their keys.
    pub secrets: Secrets,
    /// What each agent may fetch.
    pub hosts: BTreeMap<AgentName, Fetch>,
    /// Where calls are counted.
    pub store: Store,
    /// The time.
    pub clock: Clock,
}

/// There can be no calls.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS cannot be set up.
    #[error(transparent)]
    Client(#[from] NoClient),
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What was told of under this key is over; where nothing was, this is no news.
    Over,
    /// It was dealt with.
    Warning,
    /// Somebody must do something.
    Critical,
}

/// What the operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// About whom; none: about all.
    pub agent: Option<AgentName>,
    /// How much it matters.
    pub level: Level,
    /// What it is about: the same is told of once, and counted.
    pub key: String,
    /// What happened and what to do, in a sentence.
    pub text: String,
}

/// How a provider stands.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub base_url: String,
    /// What it proved.
    pub health: Health,
    /// Whether it is a language model's or a search engine.
    pub answers: Answers,
    /// Where its breaker stands.
    pub position: Position,
    /// Failures since that closed.
    pub failures: u64,
    /// Calls that failed since one went well.
    pub in_a_row: u32,
    /// How it came to be open.
    pub opened: Option<Opened>,
    /// When it is free again, where it is not.
    pub free_at: Option<DateTime<Utc>>,
}

/// What a provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// `ask`
    Chat,
    /// `search`
    Search,
}

/// Who is asked, and how.
pub(crate) struct Set {
    pub chat: Vec<Candidate>,
    pub search: Vec<Candidate>,
    pub described: Providers,
    /// The keys that are missing, of either kind, for whoever asks why.
    missing: (Vec<String>, Vec<String>),
}

impl Set {
    /// Those whose keys are there. What is known of them from before stays known.
    fn of(described: Providers, secrets: &Secrets, before: Option<&Self>) -> Result<Self, Error> {
        let (mut missing, mut clients) = ((Vec::new(), Vec::new()), Clients::default());
        let known = |name: &str| {
            let all = before.into_iter().flat_map(|set| set.chat.iter().chain(&set.search));
            all.into_iter().find(|candidate| candidate.name == name)
        };
        let mut candidates = |chat: bool| -> Result<Vec<Candidate>, Error> {
            let mut found = Vec::new();
            for (name, provider) in described.in_order(chat) {
                if provider.is_configured(secrets) {
                    let key = secrets.get(&provider.key).cloned();
                    let new = Candidate::new(name, provider, key, clients.to(&provider.base_url)?);
                    found.push(match known(name) {
                        Some(earlier) => new.after(earlier),
                        None => new,
                    });
                } else {
                    if chat { &mut missing.0 } else { &mut missing.1 }.push(provider.key.clone());
                }
            }
            Ok(found)
        };
        let (chat, search) = (candidates(true)?, candidates(false)?);
        Ok(Self { chat, search, described, missing })
    }
}

pub(crate) struct Inner {
    pub clock: Clock,
    pub calls: Calls,
    pub hosts: BTreeMap<AgentName, Fetch>,
    /// To public addresses, and to any; made when the first page is wanted.
    pages: OnceLock<(Client, Client)>,
    /// In effect now; a call goes on with what was when it began.
    set: RwLock<Arc<Set>>,
    secrets: Secrets,
    store: Store,
    settlements: mpsc::Sender<Settlement>,
    /// Of any breaker.
    pub changed: watch::Sender<u64>,
    closing: Arc<Notify>,
}

/// What calls are made with. Cheap to clone.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Inner>);

/// What is left to be done behind a try.
pub(crate) struct Settlement {
    /// The caller went away while this was waited for: what was reserved, if it was, is given back.
    reserving: Option<oneshot::Receiver<Result<Entered, store::Error>>>,
    reserved: Vec<Share>,
    used: Vec<i64>,
    call: Box<NewCall>,
    notices: Vec<Notice>,
}

/// Settles what calls have used, and tells of what somebody should hear of.
pub struct Service {
    store: Store,
    settlements: mpsc::Receiver<Settlement>,
    closing: Arc<Notify>,
}

impl Handle {
    /// Those whose keys are there, ready to be asked.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn open(options: Options) -> Result<(Service, Self), Error> {
        let Options { calls, providers, secrets, hosts, store, clock } = options;
        let set = Set::of(providers, &secrets, None)?;
        // A place for each call under way: what it used can always be left there.
        let (settlements, waiting) = mpsc::channel(calls.max_calls as usize);
        let closing = Arc::new(Notify::new());
        let service = Service { store: store.clone(), settlements: waiting, closing: closing.clone() };
        let inner = Inner {
            clock,
            pages: OnceLock::new(),
            calls,
            hosts,
            set: RwLock::new(Arc::new(set)),
            secrets,
            store,
            settlements,
            changed: watch::Sender::new(0),
            closing,
        };
        Ok((service, Self(Arc::new(inner))))
    }

    /// Asks a language model.
    ///
    /// # Errors
    /// Why it was not answered.
    pub async fn ask(&self, agent: &AgentName, question: &Question) -> Result<String, Refusal> {
        self.0.ask(agent, question, None).await
    }

    /// Searches the web: at most `limit` hits, and never more than 20; `within`: for whoever waits no longer.
    ///
    /// # Errors
    /// Why it was not answered.
    pub async fn search(
        &self,
        agent: &AgentName,
        query: &str,
        limit: u32,
        within: Option<Duration>,
    ) -> Result<Vec<Hit>, Refusal> {
        self.0.search(agent, (query, limit), within, None).await
    }

    /// GETs a page.
    ///
    /// # Errors
    /// Why it is not to be had.
    pub async fn fetch(&self, agent: &AgentName, url: &str) -> Result<Page, Refusal> {
        self.0.page(agent, url).await
    }

    /// From now on calls go to these, with the keys that were there at the start; what is known of those that stay is kept, and
    /// calls under way go on as they began. Answers whether anything is otherwise.
    ///
    /// # Errors
    /// [`Error::Client`]: all is as before.
    pub fn reload(&self, providers: Providers) -> Result<bool, Error> {
        let before = self.0.set();
        if before.described == providers {
            return Ok(false);
        }
        let set = Arc::new(Set::of(providers, &self.0.secrets, Some(&before))?);
        *self.0.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(true)
    }

    /// How each provider stands, those for chat first.
    pub fn providers(&self) -> Vec<ProviderStatus> {
        let (now, step) = (self.0.clock.steady(), self.0.clock.step());
        let status = |candidate: &Candidate| {
            let state = candidate.state();
            let breaker = state.gate.breaker();
            let opened = breaker.opened.clone();
            ProviderStatus {
                name: candidate.name.clone(),
                base_url: candidate.provider.base_url.clone(),
                health: state.health.clone(),
                position: state.gate.position(now),
                failures: breaker.failures,
                in_a_row: breaker.in_a_row,
                opened: opened.map(|opened| Opened { at: opened.at + step, ..opened }),
                answers: match candidate.provider.kind {
                    ProviderKind::Chat => Answers::Chat,
                    ProviderKind::Brave | ProviderKind::Perplexity => Answers::Search,
                },
                free_at: state.gate.free_at(now).map(|at| at + step),
            }
        };
        let set = self.0.set();
        set.chat.iter().chain(&set.search).map(status).collect()
    }

    /// Changes with each breaker.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// How each budget stands.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn budgets(&self) -> Result<Vec<Standing>, store::Error> {
        let now = self.0.clock.now();
        let periods = [Period::Day, Period::Month].map(|period| budget::period(period, now));
        let rows = self.0.store.usage(&periods).await?;
        Ok(budget::standings(&self.0.calls.budgets, &rows, now))
    }

    /// What an agent may fetch.
    pub fn hosts(&self, agent: &AgentName) -> Option<&Fetch> {
        self.0.hosts.get(agent)
    }

    /// No more calls come: [`Service::run`] settles what there is, and ends.
    pub fn close(&self) {
        self.0.closing.notify_one();
    }
}

impl Inner {
    /// Who is asked now.
    pub fn set(&self) -> Arc<Set> {
        // Changed whole: a poisoned lock is still good.
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who fetches pages: from public addresses, and from any.
    pub fn pages(&self) -> Result<&(Client, Client), NoClient> {
        // Two that make them at once make the same.
        match self.pages.get() {
            Some(pages) => Ok(pages),
            None => client::for_pages().map(|pages| self.pages.get_or_init(|| pages)),
        }
    }

    /// Asks all of them in their order, or the one that is named.
    pub async fn ask(
        &self,
        agent: &AgentName,
        question: &Question,
        only: Option<&str>,
    ) -> Result<String, Refusal> {
        let set = self.set();
        if set.chat.is_empty() {
            return Err(not_configured("no language model is configured", &set.missing.0));
        }
        if question.turns.is_empty() {
            return Err(Refusal::Invalid("there is no question: give `prompt` or `messages`".into()));
        }
        let (mut candidates, mut too_long) = (Vec::new(), None);
        for candidate in set.chat.iter().filter(|one| only.is_none_or(|only| one.name == only)) {
            let mut models = candidate.provider.models.iter();
            let model = match &question.model {
                Some(name) => models.find(|model| model.name == *name),
                None => models.next(),
            };
            let Some(model) = model else { continue };
            match chat::call(question, &model.name, set.described.limits.of(&model.name)) {
                Err(lengths) => too_long = Some((model.name.clone(), lengths)),
                Ok(call) => {
                    let request = candidate.http.post(candidate.at("chat/completions")).json(&call.body);
                    let request = match &candidate.key {
                        Some(key) => request.bearer_auth(key.expose_secret()),
                        None => request,
                    };
                    let attempt = Attempt { request, model: Some(model.clone()), most: call.most };
                    candidates.push((candidate, attempt));
                }
            }
        }
        if candidates.is_empty() {
            return Err(Refusal::Invalid(match (too_long, &question.model) {
                (Some((model, (tokens, room))), _) => format!(
                    "the question has some {tokens} tokens, and {room} fit into `{model}` (context-limits.json): shorten it"
                ),
                (None, Some(model)) => {
                    format!("no configured provider has the model `{}`", model.escape_debug())
                }
                (None, None) => "no provider has a model".into(),
            }));
        }
        let read = |_: &Candidate, body: &[u8]| chat::answer(body);
        self.exchange((agent, "ask"), question.within, &candidates, &set.described.failover, read).await
    }

    /// As [`ask`](Self::ask).
    pub async fn search(
        &self,
        agent: &AgentName,
        (query, limit): (&str, u32),
        within: Option<Duration>,
        only: Option<&str>,
    ) -> Result<Vec<Hit>, Refusal> {
        let set = self.set();
        if set.search.is_empty() {
            return Err(not_configured("no search engine is configured", &set.missing.1));
        }
        // Brave's own limit.
        if query.trim().is_empty() || query.chars().count() > 400 {
            return Err(Refusal::Invalid("a query has 1 to 400 characters".into()));
        }
        let limit = limit.clamp(1, search::HITS);
        let attempt = |candidate: &Candidate| {
            let key = candidate.key.as_ref().map(ExposeSecret::expose_secret);
            let request = match candidate.provider.kind {
                ProviderKind::Brave => {
                    let count = limit.to_string();
                    let address = Url::parse_with_params(
                        &candidate.at("web/search"),
                        [("q", query), ("count", &count)],
                    );
                    // Checked when it was configured; an empty address fails as any that is not reached.
                    let request = candidate.http.get(address.map(String::from).unwrap_or_default());
                    key.into_iter().fold(request, |request, key| request.header("X-Subscription-Token", key))
                }
                ProviderKind::Perplexity | ProviderKind::Chat => {
                    let body = serde_json::json!({"query": query, "max_results": limit});
                    let request = candidate.http.post(candidate.at("search")).json(&body);
                    key.into_iter().fold(request, |request, key| request.bearer_auth(key))
                }
            };
            Attempt { request, model: None, most: Tokens::default() }
        };
        let candidates: Vec<_> = set
            .search
            .iter()
            .filter(|one| only.is_none_or(|only| one.name == only))
            .map(|candidate| (candidate, attempt(candidate)))
            .collect();
        let read = |candidate: &Candidate, body: &[u8]| {
            let hits = match candidate.provider.kind {
                ProviderKind::Brave => search::brave(body),
                ProviderKind::Perplexity | ProviderKind::Chat => search::perplexity(body),
            };
            hits.map(|hits| (hits, Some(Tokens::default())))
        };
        self.exchange((agent, "search"), within, &candidates, &set.described.failover, read).await
    }

    /// Reserves what a try may take, in all budgets that are about it.
    pub async fn reserve(
        &self,
        (agent, capability): (&AgentName, &'static str),
        provider: &str,
        model: Option<String>,
        cost: Cost,
    ) -> Result<Flight, Refusal> {
        let most = self.calls.max_calls;
        let place = self.settlements.clone().try_reserve_owned().map_err(|_| Refusal::Busy { most })?;
        let now = self.clock.now();
        let reserved = budget::shares(&self.calls.budgets, agent, provider, cost, now);
        let call = NewCall {
            id: Uuid::now_v7(),
            agent: agent.clone(),
            capability,
            provider: provider.into(),
            model,
            tokens_in: 0,
            tokens_out: 0,
            cost: cost.micros,
            duration_ms: 0,
            outcome: ABANDONED,
            detail: None,
            at: now,
        };
        // In the same transaction as the reservation, or before it: what it is settled by comes later.
        let begun = (!reserved.is_empty()).then(|| Box::new(NewCall { outcome: UNDER_WAY, ..call.clone() }));
        begun.map(|begun| self.store.leave(Entry::Begin(begun)));
        let mut flight = Flight {
            place: Some(place),
            reserving: None,
            used: reserved.iter().map(|share| share.amount).collect(),
            reserved,
            call: Some(Box::new(call)),
            notices: Vec::new(),
            began: Instant::now(),
        };
        if flight.reserved.is_empty() {
            return Ok(flight);
        }
        let answer = flight.reserving.insert(self.store.leave(Entry::Reserve(flight.reserved.clone())));
        let entered = self.store.entered(answer).await;
        if let Err(error @ store::Error::Doubtful(_)) = entered {
            // It may be reserved yet: then it is given back.
            flight.used.fill(0);
            if let Some(call) = &mut flight.call {
                (call.outcome, call.cost) = ("refused", 0);
            }
            return Err(error.into());
        }
        flight.reserving = None;
        let refused = match entered {
            Ok(Entered { exhausted: None, .. }) => return Ok(flight),
            Ok(Entered { exhausted: Some(short), crossed }) => {
                flight.notices.extend(crossed.iter().map(crossing));
                over(&short, now)
            }
            Err(error) => error.into(),
        };
        flight.nothing();
        Err(refused)
    }
}

/// A try under way: whatever becomes of its caller, what it used is settled.
pub(crate) struct Flight {
    place: Option<mpsc::OwnedPermit<Settlement>>,
    reserving: Option<oneshot::Receiver<Result<Entered, store::Error>>>,
    reserved: Vec<Share>,
    /// Until something else is known, all that was reserved.
    used: Vec<i64>,
    call: Option<Box<NewCall>>,
    pub notices: Vec<Notice>,
    began: Instant,
}

impl Flight {
    /// What it used; the request counts in any case.
    pub fn used(&mut self, tokens: Tokens, micros: i64) {
        for (share, used) in self.reserved.iter().zip(&mut self.used) {
            if !budget::of(share).0 {
                *used = micros;
            }
        }
        if let Some(call) = &mut self.call {
            (call.tokens_in, call.tokens_out, call.cost) = (tokens.read, tokens.written, micros);
        }
    }

    /// What it is about, for the record.
    pub fn about(&mut self, what: &str) {
        if let Some(call) = &mut self.call {
            call.model = Some(what.into());
        }
    }

    /// It has ended.
    pub fn end(mut self, outcome: &'static str, detail: Option<String>) {
        if let Some(call) = &mut self.call {
            (call.outcome, call.detail) = (outcome, detail);
        }
    }

    /// Nothing was reserved, and nothing is sent.
    fn nothing(mut self) {
        self.reserved.clear();
        self.used.clear();
        if let Some(call) = &mut self.call {
            (call.outcome, call.cost) = ("refused", 0);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (Some(place), Some(mut call)) = (self.place.take(), self.call.take()) else { return };
        call.duration_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        place.send(Settlement {
            reserving: self.reserving.take(),
            reserved: std::mem::take(&mut self.reserved),
            used: std::mem::take(&mut self.used),
            call,
            notices: std::mem::take(&mut self.notices),
        });
    }
}

impl Service {
    /// Runs until [`Handle::close`], and until all that has begun by then is settled.
    pub async fn run(mut self, tell: impl Fn(Notice)) {
        let (store, mut settling) = (&self.store, FuturesUnordered::new());
        let (mut open, mut ended) = (true, false);
        while !ended || !settling.is_empty() {
            // Side by side: the store makes one transaction of them, and none waits for another's.
            tokio::select! {
                settlement = self.settlements.recv(), if !ended && settling.len() < AT_ONCE => match settlement {
                    Some(settlement) => settling.push(settle(store, settlement)),
                    None => ended = true,
                },
                Some(notices) = settling.next() => notices.into_iter().for_each(&tell),
                () = self.closing.notified(), if open => {
                    open = false;
                    self.settlements.close();
                }
            }
        }
    }
}

/// Settles until it is settled, or the store has ended.
async fn settle(store: &Store, settlement: Settlement) -> Vec<Notice> {
    let Settlement { reserving, mut reserved, mut used, call, mut notices } = settlement;
    if let Some(reserving) = reserving {
        // The caller is gone, and nothing was sent.
        match reserving.await {
            Ok(Ok(Entered { exhausted: None, .. })) => used.fill(0),
            _ => {
                reserved.clear();
                used.clear();
            }
        }
    }
    loop {
        let entry = Entry::Settle { reserved: reserved.clone(), used: used.clone(), call: call.clone() };
        match store.enter_soon(entry).await {
            Ok(entered) => {
                notices.extend(entered.crossed.iter().map(crossing));
                return notices;
            }
            Err(store::Error::Closed) => return notices,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// What is said of a budget that has come so far.
fn crossing((share, level): &(Share, ledger::Level)) -> Notice {
    let (budget, period) = &share.budget;
    // Each is news of its own, once a period.
    let (level, told, text) = match level {
        ledger::Level::Warning => {
            (Level::Warning, 75, format!("75 % of the budget `{budget}` is used in {period}"))
        }
        ledger::Level::Critical => {
            (Level::Critical, 90, format!("90 % of the budget `{budget}` is used in {period}"))
        }
        ledger::Level::Exhausted => {
            (Level::Critical, 100, format!("the budget `{budget}` is used up in {period}: calls are refused"))
        }
    };
    let key = budget::key(share, told);
    let text = format!("{text}; `openclaw budget` shows it, [providers] budgets can raise it");
    let agent = budget.split(" · ").next().and_then(|name| name.parse().ok());
    Notice { agent, level, key, text }
}

fn not_configured(what: &str, missing: &[String]) -> Refusal {
    let how = match missing {
        [] => "list a provider in config/failover.json, and describe it in config/providers/NAME.toml".into(),
        keys => format!(
            "put a key into config/.env (chmod 600), one of {}; config/failover.json has their order",
            keys.join(", ")
        ),
    };
    Refusal::NotConfigured(format!("{what}: {how}"))
}
