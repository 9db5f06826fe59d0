//! Asking providers how they are, without spending a token: is a server there, and does it know our key? Only an answer to a
//! question shows that it is functional, and those cost money: see [`Handle::probe`](crate::Handle::probe).

use std::time::Duration;

use futures_util::future::join_all;
use openclaw_agent_api::AgentName;
use secrecy::ExposeSecret;
use serde_json::Value;
use settings::ProviderKind;
use tokio::time::{Instant, sleep, timeout};

use crate::Handle;
use crate::chat::{Question, Say};
use crate::exchange::{Candidate, MISCONFIGURED, Refusal, misconfigured, over_with};
use crate::policy::Trouble;
use crate::settlement::Notice;

/// How long one may take: who is slower than that serves nobody.
const LONGEST: Duration = Duration::from_secs(10);
/// Tokens of the answer to a question that is asked only to see whether it is answered.
const ANSWER: u32 = 16;

/// What a look at a provider shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// It answers, and whether it knows our key is not known from that.
    Reached,
    /// It lists its models to who shows our key, and not to who shows none.
    Known,
    /// It does not do as it should.
    Trouble(Trouble),
}

impl Handle {
    /// Asks each provider once how it is; with `ask`, by a question that costs what a question costs, counted as `agent`'s.
    /// Answers what the operator should hear of.
    pub async fn probe(&self, agent: &AgentName, ask: bool) -> Vec<Notice> {
        let set = self.0.set();
        let all = set.chat.iter().chain(&set.search).map(|candidate| self.probe_one(agent, candidate, ask));
        join_all(all).await.into_iter().flatten().collect()
    }

    async fn probe_one(&self, agent: &AgentName, candidate: &Candidate, ask: bool) -> Option<Notice> {
        let now = || self.0.clock.now();
        let seen = timeout(LONGEST, look(candidate, now())).await;
        let seen = seen.unwrap_or(Seen::Trouble(Trouble::Timeout(LONGEST)));
        let knew = candidate.state().health.authenticated.holds;
        candidate.state().health.see(&seen, now());
        let mut notice = None;
        if let Seen::Trouble(trouble) = &seen {
            tracing::warn!(provider = %candidate.name, "{trouble}");
            let news = trouble.is_ours() && knew != Some(false);
            notice = news.then(|| misconfigured(candidate, trouble));
        }
        // It is refuted by a refusal alone, which is what was told of.
        if seen == Seen::Known && knew == Some(false) {
            notice = Some(over_with(candidate, MISCONFIGURED, "knows its key again"));
        }
        if ask {
            // What comes of it is learned where it is asked.
            let only = Some(candidate.name.as_str());
            let asked = match candidate.provider.kind {
                ProviderKind::Chat => {
                    let turns = vec![Say { role: "user".into(), text: "Answer with OK.".into() }];
                    let question = Question { turns, max_tokens: Some(ANSWER), ..Question::default() };
                    self.0.ask(agent, &question, only).await.map(drop)
                }
                _ => self.0.search(agent, ("openclaw", 1), None, only).await.map(drop),
            };
            // Nobody but us chose what was asked.
            if let Err(Refusal::Nothing { .. }) = asked {
                candidate.state().health.learn(Some(&Trouble::Empty), now());
            }
            if let Err(refusal) = asked {
                tracing::warn!(provider = %candidate.name, "{refusal}");
            }
        }
        notice
    }

    /// Asks all of them again and again, for ever; never, where the period is zero.
    pub async fn watch(self, agent: AgentName, tell: impl Fn(Notice)) {
        let period = self.0.calls.probe;
        if period.is_zero() {
            return std::future::pending().await;
        }
        let mut due = Instant::now() + period;
        loop {
            sleep(due.saturating_duration_since(Instant::now())).await;
            due = Instant::now() + period;
            self.probe(&agent, false).await.into_iter().for_each(&tell);
        }
    }
}

/// A list of models for a language model's provider. A search engine has nothing that costs nothing: its server is looked for.
async fn look(candidate: &Candidate, now: crate::Time) -> Seen {
    if candidate.provider.kind != ProviderKind::Chat {
        return match candidate.send(candidate.http.get(candidate.at("")), now).await {
            Ok(_) | Err(Trouble::Status { .. }) => Seen::Reached,
            Err(trouble) => Seen::Trouble(trouble),
        };
    }
    let list = || candidate.http.get(candidate.at("models"));
    let Some(key) = &candidate.key else { return seen(candidate.send(list(), now).await, None) };
    let with = candidate.send(list().bearer_auth(key.expose_secret()), now).await;
    // Some list them to everybody, which says nothing of the key.
    let without = if with.is_ok() { Some(candidate.send(list(), now).await) } else { None };
    seen(with, without)
}

fn seen(with: Result<Vec<u8>, Trouble>, without: Option<Result<Vec<u8>, Trouble>>) -> Seen {
    let refused = |code| matches!(code, 401 | 403);
    match (with, without) {
        (Ok(body), without) => {
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            if !json["data"].is_array() {
                return Seen::Trouble(Trouble::Unusable("no list of models".into()));
            }
            match without {
                Some(Err(Trouble::Status { code, .. })) if refused(code) => Seen::Known,
                _ => Seen::Reached,
            }
        }
        (Err(trouble @ Trouble::Status { code, .. }), _) if refused(code) || code >= 500 => {
            Seen::Trouble(trouble)
        }
        // It may have no such list, or want us to wait: it is there.
        (Err(Trouble::Status { .. }), _) => Seen::Reached,
        (Err(trouble), _) => Seen::Trouble(trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_for_everybody_says_nothing_of_the_key() {
        let list = || Ok(br#"{"data": []}"#.to_vec());
        let no = |code| Err(Trouble::Status { code, retry_after: None, why: String::new() });
        assert_eq!(seen(list(), Some(no(401))), Seen::Known);
        assert_eq!(seen(list(), Some(list())), Seen::Reached);
        assert_eq!(seen(list(), Some(no(500))), Seen::Reached);
        assert_eq!(seen(list(), None), Seen::Reached);
        assert!(matches!(seen(no(401), None), Seen::Trouble(_)));
        assert!(matches!(seen(no(503), None), Seen::Trouble(_)));
        assert_eq!(seen(no(404), None), Seen::Reached);
        assert_eq!(seen(no(429), None), Seen::Reached);
        assert!(matches!(seen(Ok(b"<html>".to_vec()), None), Seen::Trouble(Trouble::Unusable(_))));
    }
}
