//! What others hold: who is asked, and how each stands.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use limits::Opened;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::{Hit, Page};
use reqwest::Client;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use settings::{Calls, Fetch, Period, ProviderKind, Providers, Secrets};
use store::{Clock, Store};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use url::Url;

use crate::budget::{self, Standing};
use crate::chat::{self, Question, Tokens};
use crate::client::{self, Clients, NoClient};
use crate::exchange::{Attempt, Candidate, Reading, Refusal};
use crate::health::Health;
use crate::kept::Keeper;
use crate::policy::Position;
use crate::search;
use crate::settlement::{Service, Settlement};

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
    /// Where breakers are kept.
    pub keeper: Keeper,
}

/// There can be no calls.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS cannot be set up.
    #[error(transparent)]
    Client(#[from] NoClient),
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
    pub store: Store,
    pub settlements: mpsc::Sender<Settlement>,
    /// Of any breaker.
    pub changed: watch::Sender<u64>,
    /// As the store has each breaker; none: it could not be read.
    pub kept: Mutex<Option<BTreeMap<String, String>>>,
    pub keeper: Keeper,
    closing: Arc<Notify>,
}

/// What calls are made with. Cheap to clone.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Inner>);

impl Handle {
    /// Those whose keys are there, ready to be asked.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn open(options: Options) -> Result<(Service, Self), Error> {
        let Options { calls, providers, secrets, hosts, store, clock, keeper } = options;
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
            kept: Mutex::default(),
            keeper,
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
        let (mut candidates, mut calls, mut too_long) = (Vec::new(), Vec::new(), None);
        for candidate in set.chat.iter().filter(|one| only.is_none_or(|only| one.name == only)) {
            let mut models = candidate.provider.models.iter();
            let model = match &question.model {
                Some(name) => models.find(|model| model.name == *name),
                None => models.next(),
            };
            let Some(model) = model else { continue };
            match chat::call(question, set.described.limits.of(&model.name)) {
                Err(lengths) => too_long = Some((model.name.clone(), lengths)),
                Ok(call) => {
                    candidates.push(candidate);
                    calls.push((model, call));
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
        // Made when it is tried: a question may be long, and most ask one provider.
        let attempt = |n: usize| {
            let (candidate, (model, call)) = (candidates[n], &calls[n]);
            let body = call.body(question, &model.name);
            let request = candidate.http.post(candidate.at("chat/completions")).json(&body);
            let request = match &candidate.key {
                Some(key) => request.bearer_auth(key.expose_secret()),
                None => request,
            };
            Attempt { request, model: Some((*model).clone()), most: call.most }
        };
        let read = |_: &Candidate, body: &[u8]| chat::answer(body);
        let tried = (candidates.as_slice(), attempt);
        self.exchange((agent, "ask"), question.within, tried, &set.described.failover, read).await
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
        let candidates: Vec<_> =
            set.search.iter().filter(|one| only.is_none_or(|only| one.name == only)).collect();
        let attempt = |n: usize| {
            let candidate = candidates[n];
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
        let read = |candidate: &Candidate, body: &[u8]| {
            let answer = match candidate.provider.kind {
                ProviderKind::Brave => search::brave(body),
                ProviderKind::Perplexity | ProviderKind::Chat => search::perplexity(body),
            };
            Reading { answer, usage: Some(Tokens::default()) }
        };
        let tried = (candidates.as_slice(), attempt);
        self.exchange((agent, "search"), within, tried, &set.described.failover, read).await
    }
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
