//! A call carried out: who is tried is decided by [`policy`](crate::policy), each try is counted before it is made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use openclaw_agent_api::AgentName;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::Value;
use settings::{Breaker, ChatModel, FailOver, Provider, Redactor};
use store::ledger::Short;
use tokio::time::{Instant, timeout};

use crate::Time;
use crate::budget::{self, Cost, micros};
use crate::chat::Tokens;
use crate::client::{self, Unread};
use crate::health::Health;
use crate::policy::{Gate, Pass, Position, Progress, Step, Trouble, Why};
use crate::service::Inner;
use crate::settlement::{Level, Notice};

/// What is read of an answer that says no.
const REFUSAL: u64 = 64 * 1024;
/// Who has said nothing for so long is in trouble, however patient its caller.
const ENOUGH: Duration = Duration::from_secs(20);
/// What is said of a failure is for a line of a log.
const TOLD: usize = 200;

/// Why a call was not carried out; before anything was sent, but for `Misconfigured` and `Failed`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing is configured that could carry it out.
    #[error("{0}")]
    NotConfigured(String),
    /// The operator has not allowed it.
    #[error("{0}")]
    NotGranted(String),
    /// The call is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There are too many calls under way.
    #[error("{most} calls are under way already ([providers] max_calls): try again soon")]
    Busy {
        /// What there may be.
        most: u32,
    },
    /// A budget has not so much left.
    #[error("{why}")]
    OverBudget {
        /// Which, how much of it is left, and what to do.
        why: String,
        /// When there is more, where that helps.
        until: Option<Time>,
    },
    /// All that answered had nothing to say.
    #[error("no provider has answered; last `{provider}`: its answer is empty")]
    Nothing {
        /// The last of them.
        provider: String,
    },
    /// A provider refuses what we send: trying again does not help.
    #[error("the provider `{provider}` is misconfigured: {trouble}; {remedy}")]
    Misconfigured {
        /// Which.
        provider: String,
        /// What it answered.
        trouble: Trouble,
        /// What to do.
        remedy: String,
    },
    /// Nobody answered.
    #[error("{why}")]
    Failed {
        /// Why not.
        why: String,
        /// When it is worth another try, where that is known.
        retry_at: Option<Time>,
    },
    /// It cannot be counted.
    #[error("nothing is asked, since it cannot be counted: {0}")]
    Ledger(#[from] store::Error),
}

/// A provider whose key is there.
pub(crate) struct Candidate {
    pub name: String,
    pub provider: Provider,
    pub key: Option<SecretString>,
    pub http: Client,
    redactor: Redactor,
    /// Outlives a change of its description.
    state: Arc<Mutex<State>>,
}

/// What is known of it.
#[derive(Default)]
pub(crate) struct State {
    pub gate: Gate,
    pub health: Health,
}

/// A call that has passed a provider's gate. Unless something was learned from it, another may pass in its place: nothing was
/// sent, or whoever waited for it is gone.
struct Passed<'c> {
    candidate: &'c Candidate,
    pass: Option<Pass>,
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass {
            self.candidate.state().gate.back(pass);
        }
    }
}

/// An answer, as it reads, and what it took, where that is known.
pub(crate) struct Reading<A> {
    pub answer: Result<A, Trouble>,
    pub usage: Option<Tokens>,
}

/// A try that was answered with nothing, and how long it took. That says something of the provider only where another one had
/// something to say: whoever may ask could else ask for nothing until all are left alone.
type Empty<'c> = (Passed<'c>, Duration);

/// A call, ready to be sent to one provider.
pub(crate) struct Attempt {
    pub request: RequestBuilder,
    pub model: Option<ChatModel>,
    /// The most that it may use.
    pub most: Tokens,
}

impl Candidate {
    pub fn new(name: &str, provider: &Provider, key: Option<SecretString>, http: Client) -> Self {
        let (provider, redactor) = (provider.clone(), Redactor::of(&key));
        Self { name: name.into(), provider, key, http, redactor, state: Arc::default() }
    }

    /// What is known of an earlier one is known of it, where the server and the key are the same.
    pub fn after(self, earlier: &Self) -> Self {
        let key = |candidate: &Self| candidate.provider.key.clone();
        let same = self.provider.base_url == earlier.provider.base_url && key(&self) == key(earlier);
        if same { Self { state: earlier.state.clone(), ..self } } else { self }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // Plain values, each changed whole: a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An address of its API.
    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.provider.base_url.trim_end_matches('/'))
    }

    /// What it says, as a line that does not repeat its key.
    fn told(&self, text: &str) -> String {
        let text = self.redactor.redact(text);
        let harmless = |c: &char| c.is_alphanumeric() || c.is_ascii_graphic() || *c == ' ';
        text.chars().filter(harmless).take(TOLD).collect()
    }

    /// Sends, and reads all of the answer.
    pub async fn send(&self, request: RequestBuilder, now: Time) -> Result<Vec<u8>, Trouble> {
        let network = |error: reqwest::Error| {
            let sent = !error.is_connect();
            let why = self.told(&client::cause(error));
            if sent { Trouble::Broken(why) } else { Trouble::Network(why) }
        };
        let response = request.send().await.map_err(network)?;
        if !response.status().is_success() {
            return Err(self.refusal(response, now).await);
        }
        client::body(response, self.provider.max_answer.bytes()).await.map_err(|unread| match unread {
            Unread::TooLong => {
                Trouble::Unusable(format!("it is longer than max_answer, {}", self.provider.max_answer))
            }
            Unread::Broken(error) => network(error),
        })
    }

    async fn refusal(&self, response: Response, now: Time) -> Trouble {
        let code = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|text| retry_after(text, now));
        // What it says beside the status is worth a look, no more.
        let body = client::body(response, REFUSAL).await.unwrap_or_default();
        Trouble::Status {
            code,
            retry_after,
            why: self.why(&serde_json::from_slice(&body).unwrap_or_default()),
        }
    }

    /// What it says of its refusal.
    fn why(&self, said: &Value) -> String {
        let places = [&said["error"]["message"], &said["error"], &said["message"], &said["detail"]];
        self.told(places.into_iter().find_map(Value::as_str).unwrap_or_default())
    }

    /// Some say in the body of a 200 what went wrong behind them: <https://openrouter.ai/docs/api-reference/errors>.
    fn error_in(&self, body: &[u8]) -> Option<Trouble> {
        let said: Value = serde_json::from_slice(body).ok()?;
        let code = said.get("error")?.get("code")?.as_u64().filter(|code| (400..600).contains(code))?;
        Some(Trouble::Status { code: u16::try_from(code).ok()?, retry_after: None, why: self.why(&said) })
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110).
fn retry_after(text: &str, now: Time) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

impl Inner {
    /// Asks the candidates, each with its own attempt, until one answers; `within`: the caller waits for no longer.
    pub async fn exchange<A>(
        &self,
        (agent, capability): (&AgentName, &'static str),
        within: Option<Duration>,
        (candidates, attempt): (&[&Candidate], impl Fn(usize) -> Attempt),
        rules: &FailOver,
        read: impl Fn(&Candidate, &[u8]) -> Reading<A>,
    ) -> Result<A, Refusal> {
        let mut progress = Progress::new(candidates.len(), rules, within, self.clock.steady());
        let (mut last, mut empty, mut all_cut_off) = (None, Vec::new(), true);
        loop {
            let now = self.clock.steady();
            let free: Vec<_> =
                candidates.iter().map(|candidate| candidate.state().gate.free_at(now)).collect();
            match progress.next(&free, rules, fastrand::f64(), now) {
                Step::Try(n) => {
                    let candidate = candidates[n];
                    let within = progress.time_for(candidate.provider.timeout, now);
                    let tried = (candidate, attempt(n));
                    let answer =
                        self.attempt((agent, capability), tried, within, &rules.breaker, &read, &mut empty);
                    match answer.await? {
                        Ok(answer) => return Ok(answer),
                        Err(trouble) => {
                            progress.failed(&trouble, rules);
                            all_cut_off &= trouble == Trouble::CutOff;
                            last = Some((candidate, trouble));
                        }
                    }
                }
                Step::Wait(until) => {
                    let until = until + self.clock.step();
                    tokio::time::sleep_until(self.clock.instant(until)).await;
                }
                Step::GiveUp(why) => return Err(given_up(why, last, all_cut_off, self.clock.step())),
            }
        }
    }

    /// One try. The outer error is ours: the try was not made.
    async fn attempt<'c, A>(
        &self,
        (agent, capability): (&AgentName, &'static str),
        (candidate, attempt): (&'c Candidate, Attempt),
        within: Duration,
        breaker: &Breaker,
        read: impl Fn(&Candidate, &[u8]) -> Reading<A>,
        empty: &mut Vec<Empty<'c>>,
    ) -> Result<Result<A, Trouble>, Refusal> {
        let pass = candidate.state().gate.pass(within, self.clock.steady());
        let mut passed = Passed { candidate, pass: Some(pass) };
        let base = micros(candidate.provider.request);
        let cost = |tokens: Tokens| base + attempt.model.as_ref().map_or(0, |model| tokens.cost(model));
        let most = Cost { requests: 1, micros: cost(attempt.most) };
        let model = attempt.model.as_ref().map(|model| model.name.clone());
        let mut flight = self.reserve((agent, capability), &candidate.name, model, most).await?;
        let (now, began) = (self.clock.now(), Instant::now());
        let Reading { answer, usage } = match timeout(within, candidate.send(attempt.request, now)).await {
            Ok(Ok(body)) => {
                let Reading { answer, usage } = read(candidate, &body);
                Reading {
                    answer: answer.map_err(|trouble| candidate.error_in(&body).unwrap_or(trouble)),
                    usage,
                }
            }
            Ok(Err(trouble)) => Reading { answer: Err(trouble), usage: None },
            Err(_) => Reading { answer: Err(Trouble::Timeout(within)), usage: None },
        };
        let trouble = answer.as_ref().err();
        match (trouble, usage) {
            (_, Some(tokens)) => flight.used(tokens, cost(tokens)),
            (Some(Trouble::Network(_)), None) => flight.unsent(),
            (Some(trouble), None) if !trouble.may_be_billed() => flight.used(Tokens::default(), 0),
            (_, None) => flight.used(attempt.most, most.micros),
        }
        if answer.is_ok() {
            // Its own emptiness it has disproved.
            for (mut passed, took) in
                empty.drain(..).filter(|(passed, _)| passed.candidate.name != candidate.name)
            {
                passed.pass = None;
                let nothing = (Some(&Trouble::Empty), took);
                self.learn(passed.candidate, nothing, breaker, &mut flight.notices);
            }
        }
        // Whose caller waits for no longer was not given its time: that says nothing of it.
        let its_time = candidate.provider.timeout.min(ENOUGH);
        let cut_short = matches!(trouble, Some(Trouble::Timeout(_))) && within < its_time;
        match trouble {
            Some(_) if cut_short => {}
            Some(Trouble::Empty) => empty.push((passed, began.elapsed())),
            _ => {
                passed.pass = None;
                // It does its work, and was not given the tokens for it.
                let trouble = trouble.filter(|trouble| **trouble != Trouble::CutOff);
                self.learn(candidate, (trouble, began.elapsed()), breaker, &mut flight.notices);
            }
        }
        flight.end(trouble.map_or("ok", Trouble::word), trouble.map(ToString::to_string));
        Ok(answer)
    }

    /// What a try says of its provider.
    fn learn(
        &self,
        candidate: &Candidate,
        (trouble, took): (Option<&Trouble>, Duration),
        breaker: &Breaker,
        notices: &mut Vec<Notice>,
    ) {
        let now = self.clock.now();
        let mut state = candidate.state();
        let knew = state.health.authenticated.holds;
        let worked = state.health.functional.holds;
        let stood = state.gate.position(self.clock.steady());
        let free_at = state.gate.free_at(self.clock.steady());
        state.health.learn(trouble, now);
        let broken = state.health.functional.holds == Some(false);
        let opened = state.gate.ended(trouble, took, breaker, self.clock.steady());
        let closed = state.gate.position(self.clock.steady()) == Position::Closed;
        let waits = state.gate.free_at(self.clock.steady()) != free_at;
        drop(state);
        if stood != Position::Closed || !closed || waits {
            self.changed.send_modify(|count| *count += 1);
        }
        // One that an earlier life of the daemon told of may be over as well.
        if closed && (stood != Position::Closed || trouble.is_none() && worked != Some(true)) {
            notices.push(over_with(candidate, BREAKER, "answers again"));
        }
        let Some(trouble) = trouble else {
            if worked != Some(true) || knew != Some(true) {
                notices.push(over_with(candidate, MISCONFIGURED, "does its work again"));
            }
            return;
        };
        let name = &candidate.name;
        tracing::warn!(provider = %name, "{trouble}");
        if trouble.is_ours() && broken && (worked != Some(false) || knew != Some(false)) {
            notices.push(misconfigured(candidate, trouble));
        }
        if let Some(until) = opened.map(|until| until + self.clock.step()) {
            let text = format!("the provider `{name}` is left alone until {until:.0}: {trouble}");
            notices.push(Notice { agent: None, level: Level::Warning, key: key(candidate, BREAKER), text });
        }
    }
}

/// What the operator may hear of a provider.
pub(crate) const MISCONFIGURED: &str = "misconfigured";
pub(crate) const BREAKER: &str = "breaker";

pub(crate) fn key(candidate: &Candidate, topic: &str) -> String {
    format!("provider:{}:{topic}", candidate.name)
}

/// The operator hears that it is over.
pub(crate) fn over_with(candidate: &Candidate, topic: &str, what: &str) -> Notice {
    let text = format!("the provider `{}` {what}", candidate.name);
    Notice { agent: None, level: Level::Over, key: key(candidate, topic), text }
}

/// What the operator hears of it.
pub(crate) fn misconfigured(candidate: &Candidate, trouble: &Trouble) -> Notice {
    let name = &candidate.name;
    let text = format!("the provider `{name}` is misconfigured: {trouble}; {}", remedy(candidate, trouble));
    Notice { agent: None, level: Level::Critical, key: key(candidate, MISCONFIGURED), text }
}

/// What an operator can do about an answer that says that something is wrong here.
fn remedy(candidate: &Candidate, trouble: &Trouble) -> String {
    let file = format!("config/providers/{}.toml", candidate.name);
    match trouble {
        Trouble::Status { code: 401 | 403, .. } if candidate.key.is_none() => {
            format!("it wants a key: name one in {file}")
        }
        Trouble::Status { code: 401 | 403, .. } => format!("check {} in .env", candidate.provider.key),
        Trouble::Status { code: 402, .. } => "its account has no credit left".into(),
        Trouble::Status { code: 300..=399, .. } => {
            format!("check base_url in {file}, or log in to the network's portal")
        }
        _ => format!("check base_url and models in {file}"),
    }
}

/// `step`: what is added to a steady time for people.
fn given_up(why: Why, last: Option<(&Candidate, Trouble)>, all_cut_off: bool, step: TimeDelta) -> Refusal {
    match (why, last) {
        (_, Some((candidate, trouble))) if all_cut_off => {
            let name = &candidate.name;
            Refusal::Invalid(format!(
                "`{name}`: {trouble}: let it write more (`max_tokens`, and `answer` in context-limits.json)"
            ))
        }
        (_, Some((candidate, Trouble::Empty))) => Refusal::Nothing { provider: candidate.name.clone() },
        (Why::Fatal, Some((candidate, trouble))) if !trouble.is_ours() => {
            let why = format!(
                "`{}` has not answered: {trouble} (failover.json tries nobody else then)",
                candidate.name
            );
            Refusal::Failed { why, retry_at: None }
        }
        (Why::Fatal, Some((candidate, trouble))) => {
            let remedy = remedy(candidate, &trouble);
            Refusal::Misconfigured { provider: candidate.name.clone(), trouble, remedy }
        }
        (Why::Nobody { free_at }, last) => {
            let free_at = free_at.map(|at| at + step);
            let last = last.map(|(candidate, trouble)| format!("; last `{}`: {trouble}", candidate.name));
            let retry = free_at.map(|at| format!("; worth another try at {at:.0}")).unwrap_or_default();
            let why = format!("no provider has answered{}{retry}", last.unwrap_or_default());
            Refusal::Failed { why, retry_at: free_at }
        }
        (_, last) => {
            let last = last.map(|(candidate, trouble)| format!("; last `{}`: {trouble}", candidate.name));
            let why = format!("no provider has answered in time{}", last.unwrap_or_default());
            Refusal::Failed { why, retry_at: None }
        }
    }
}

/// What a refused reservation is to its caller.
pub(crate) fn over(short: &Short, now: Time) -> Refusal {
    let (why, until) = budget::refused(short, now);
    Refusal::OverBudget { why, until }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sat, 28 Nov 2026 12:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sat, 28 Nov 2026 11:00:00 GMT", now), Some(Duration::ZERO));
        for odd in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(odd, now), None, "{odd}");
        }
    }
}
