//! What can be said of providers. Every default says why.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::Breaker;
use crate::secrets::Secrets;
use crate::units::{ByteSize, duration};

/// All that is said of providers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Providers {
    /// By name: the file's, without `.toml`.
    pub named: BTreeMap<String, Provider>,
    /// `failover.json`
    pub failover: FailOver,
    /// `context-limits.json`
    pub limits: ContextLimits,
}

impl Providers {
    /// The providers of these kinds, in the order of `failover.json`; those that it does not name are not used, unless it
    /// names none.
    pub fn in_order(&self, chat: bool) -> Vec<(&str, &Provider)> {
        let order = if chat { &self.failover.chat } else { &self.failover.search };
        let of_kind = |provider: &Provider| (provider.kind == ProviderKind::Chat) == chat;
        if order.is_empty() {
            let all = self.named.iter().filter(|(_, provider)| of_kind(provider));
            return all.map(|(name, provider)| (name.as_str(), provider)).collect();
        }
        order.iter().filter_map(|name| Some((name.as_str(), self.named.get(name)?))).collect()
    }
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Chat completions as OpenAI has them.
    #[default]
    Chat,
    /// Brave's web search.
    Brave,
    /// Perplexity's search.
    Perplexity,
}

/// `providers/NAME.toml`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where its API is: `https://HOST/v1`; `http://` for this machine alone, since the key would be read.
    pub base_url: String,
    /// The *name* of the secret that is its key. Empty: it wants none, as a server on this machine.
    pub key: String,
    /// How long one try may take, from connecting to the last byte.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// The largest answer that is read.
    pub max_answer: ByteSize,
    /// What one request costs beside its tokens, in USD.
    pub request: f64,
    /// Its models; the first is used unless another is asked for.
    pub models: Vec<ChatModel>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            kind: ProviderKind::default(),
            base_url: String::new(),
            key: String::new(),
            // A slow answer of a large model; two of them fit into a call.
            timeout: Duration::from_secs(45),
            // A hundred times the longest useful answer.
            max_answer: ByteSize::mib(1),
            request: 0.0,
            models: Vec::new(),
        }
    }
}

impl Provider {
    /// Whether its key is there, or it wants none.
    pub fn is_configured(&self, secrets: &Secrets) -> bool {
        self.key.is_empty() || secrets.get(&self.key).is_some()
    }
}

/// A model and its prices, in USD per million tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatModel {
    /// As the provider calls it.
    pub name: String,
    /// For what it reads.
    #[serde(default)]
    pub input: f64,
    /// For what it writes.
    #[serde(default)]
    pub output: f64,
}

/// Why the next provider is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It answered with this status.
    Status(u16),
    /// It answered with any status from 500 on.
    Server,
    /// It did not answer in time.
    Timeout,
    /// It was not reached, or the connection broke.
    Network,
    /// It answered, and there was nothing in it that can be used.
    Empty,
}

/// Statuses that say that something is misconfigured here: the next provider would only hide it.
const NEVER: [u16; 3] = [400, 401, 403];

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "{code}"),
            Self::Server => f.write_str("5xx"),
            Self::Timeout => f.write_str("timeout"),
            Self::Network => f.write_str("network"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "5xx" => Self::Server,
            "timeout" => Self::Timeout,
            "network" => Self::Network,
            "empty" => Self::Empty,
            code => match code.parse() {
                Ok(code) if NEVER.contains(&code) => {
                    let why = "is never failed over: it says that the key or the call is wrong";
                    return Err(format!("{code} {why}; write none of 400, 401, 403"));
                }
                Ok(code @ 402..=599) => Self::Status(code),
                _ => {
                    let how = "write \"408\", \"429\", \"5xx\", \"timeout\", \"network\" or \"empty\"";
                    return Err(format!("`{}` is no trigger; {how}", text.escape_debug()));
                }
            },
        })
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

/// `failover.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FailOver {
    /// The language models' providers, the first choice first. None: all, by name.
    pub chat: Vec<String>,
    /// The search engines, likewise.
    pub search: Vec<String>,
    /// Why the next one is tried.
    pub on: Vec<Trigger>,
    /// How often all of them are tried.
    pub rounds: u32,
    /// The pause before the second round, doubled for each further one, up to a fifth longer by chance.
    #[serde(with = "duration")]
    pub pause: Duration,
    /// The longest pause, also where a provider asks for a longer one (`Retry-After`): then it is not tried again.
    #[serde(with = "duration")]
    pub pause_max: Duration,
    /// The longest that a call may take with all its tries.
    #[serde(with = "duration")]
    pub total: Duration,
    /// When a provider is left alone for a while, as in `[supervision.breaker]`; `intensity` and `period` mean nothing here.
    pub breaker: Breaker,
}

impl Default for FailOver {
    fn default() -> Self {
        use Trigger::{Empty, Network, Server, Status, Timeout};
        Self {
            chat: Vec::new(),
            search: Vec::new(),
            on: vec![Status(408), Status(429), Server, Timeout, Network, Empty],
            // A fault of all of them that outlives the pause is no hiccup.
            rounds: 2,
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(10),
            // Below the 2 min that a handler may take.
            total: Duration::from_secs(100),
            // One person's questions must open it, though each waits for a time-out of 45 s; below that slowness alone is a reason only
            // where all are slow: models think.
            breaker: Breaker {
                min_calls: 3,
                window: Duration::from_secs(300),
                slow_rate: 1.0,
                slow_call: Duration::from_secs(40),
                ..Breaker::default()
            },
        }
    }
}

/// `context-limits.json`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextLimits {
    /// Of models that have no limits of their own.
    pub default: ContextLimit,
    /// By the model's name.
    pub models: BTreeMap<String, ContextLimit>,
}

impl ContextLimits {
    /// Those of a model.
    pub fn of(&self, model: &str) -> ContextLimit {
        self.models.get(model).copied().unwrap_or(self.default)
    }
}

/// In tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextLimit {
    /// All that a model reads and writes in one call.
    pub context: u32,
    /// What it writes of that, at the most.
    pub answer: u32,
}

impl Default for ContextLimit {
    fn default() -> Self {
        // What every model of the last years has.
        Self { context: 32_768, answer: 2048 }
    }
}
