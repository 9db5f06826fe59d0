//! What can be configured. Every default says why.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agents::{self, Agents};
use crate::alerts::Alerts;
use crate::rates::{Rate, Rates};
use crate::redis::{RedisUrl, blank};
use crate::telegram::{Routing, Telegram};
use crate::trust::{PublicKey, Sha256};
use crate::units::{ByteSize, address, duration};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `openclaw.toml` as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The daemon itself.
    pub daemon: Daemon,
    /// Where everything durable is.
    pub database: Database,
    /// The durable queue.
    pub tasks: Tasks,
    /// Signals between components, and what is shown to the outside.
    pub bus: Bus,
    /// How the team is reached from outside.
    pub gateway: Gateway,
    /// The bot that people talk with.
    pub telegram: Telegram,
    /// Which agent gets what comes from outside.
    pub routing: Routing,
    /// When the operator is told of what goes wrong.
    pub alerts: Alerts,
    /// What agents may ask of providers, and how much of it.
    pub providers: Calls,
    /// The vault of libraries.
    pub libraries: Libraries,
    /// What every agent inherits.
    pub supervision: Supervision,
    /// The agents, by name.
    #[schemars(with = "agents::Schema")]
    pub agents: Agents,
    /// Agents that start in order and fall together.
    pub groups: BTreeMap<String, Group>,
}

/// `[daemon]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// A tracing filter: `info`, `warn,supervisor=debug`.
    pub log: String,
    /// How long a stop waits for running handlers. Below systemd's 90 s stop limit, above most LLM answers.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub drain_timeout: Duration,
    /// Restarts of all agents together that may happen at once; what comes after waits for `restart_refill`.
    pub restart_budget: u32,
    /// How often the restart budget gains one.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub restart_refill: Duration,
    /// How often each agent's status is shown on the bus; it expires at three missed ones.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub heartbeat: Duration,
    /// How long an agent's name is kept for a process that is not heard of, where several share a database.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub lead: Duration,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            log: "info".into(),
            drain_timeout: secs(10),
            // A whole team may fall together once; a bad deploy then continues at one restart per second.
            restart_budget: 20,
            restart_refill: secs(1),
            // Nobody acts on an agent's silence sooner, and a thousand of them cost little.
            heartbeat: secs(10),
            // Outlives a stall of the database's disk; a stand-by takes over no later.
            lead: secs(10),
        }
    }
}

/// The services that `openclaw run` knows beside agents: no agent is called so.
pub const SERVICES: [&str; 6] =
    ["gateway", "heartbeat-bridge", "mission-worker", "event-reactor", "learning", "dashboard"];

/// `[bus]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// Redis, without a password: `OPENCLAW_REDIS_PASSWORD` among the secrets is it. Empty: the bus is within this
    /// process.
    #[serde(with = "blank")]
    #[schemars(with = "String")]
    pub url: Option<RedisUrl>,
    /// PEM certificates of who vouches for a `rediss://` server. Empty: the public authorities.
    pub ca: PathBuf,
}

/// `[database]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite://FILE`, one daemon's own, in the home unless absolute; or `postgres://USER@HOST:PORT/DATABASE`, which
    /// several daemons may share, with libpq's `sslmode` and `host=/FOLDER` for a Unix socket. The password is the
    /// secret `OPENCLAW_DATABASE_PASSWORD`, and never stands here.
    pub url: String,
    /// A pooler, proxy or tunnel on this machine stands between: that it refuses says nothing of the server, and agents stop
    /// when their lead cannot be renewed, instead of going on through an outage that is everybody's. What another machine
    /// refuses never says anything.
    pub proxied: bool,
}

impl Default for Database {
    fn default() -> Self {
        // Nothing to install, and enough for one machine.
        Self { url: "sqlite://openclaw.db".into(), proxied: false }
    }
}

/// `[tasks]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tasks {
    /// Tries before a task is a dead letter.
    pub max_attempts: u32,
    /// The pause before the second try; doubled for each further one.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub retry_initial: Duration,
    /// The longest pause between two tries.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub retry_max: Duration,
    /// How long a worker owns a task without renewing. Renewed every third of it.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub lease: Duration,
    /// The largest message or result.
    pub max_payload: ByteSize,
    /// The most tasks that may wait for one agent; a submission beyond is refused.
    pub max_queued: u32,
    /// How long ended tasks, outcomes and events are kept.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub keep: Duration,
    /// How many ended tasks are kept at the most, whatever their age: of the failed, of those with a key, and of the
    /// others, so many each.
    pub keep_rows: u32,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            // The third failure in a row is rarely an accident.
            max_attempts: 3,
            retry_initial: secs(1),
            retry_max: secs(300),
            // Long enough for a stalled disk, short enough that a dead worker's task is soon free.
            lease: secs(30),
            max_payload: ByteSize::mib(1),
            max_queued: 100_000,
            keep: secs(7 * 24 * 3600),
            keep_rows: 100_000,
        }
    }
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Whether a daemon that runs everything has it as well.
    pub enabled: bool,
    /// The address and port of HTTP. One that is not loopback needs the secret `OPENCLAW_GATEWAY_TOKEN`.
    #[serde(with = "address")]
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// Connections at once; beyond, the one that is idle for longest gives way.
    pub max_connections: u32,
    /// The largest body of a request.
    pub max_body: ByteSize,
    /// How long a request's head may take to arrive, and then its body.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub request_timeout: Duration,
    /// The longest that `?wait=` may wait for a result.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub max_wait: Duration,
    /// Requests a second that are served to one token, and as many at once.
    pub rate: u32,
    /// Requests with a wrong token that an address may make in a minute before it is told to wait.
    pub bad_tokens: u32,
    /// Listeners of `/api/v1/events` at once.
    pub max_listeners: u32,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            enabled: true,
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 18789)),
            // Half of the 1,024 descriptors that a process usually has.
            max_connections: 512,
            // The largest message, with what JSON's escapes make of it.
            max_body: ByteSize::mib(2),
            request_timeout: secs(10),
            // As long as a handler may take.
            max_wait: secs(120),
            // More than the store can take, so that it stops loops and nobody's work.
            rate: 10_000,
            bad_tokens: 10,
            max_listeners: 64,
        }
    }
}

/// `[providers]`: what agents may ask of providers (`ask`, `search`) and of the web (`fetch`), and how much of it. Who the
/// providers are stands beside this file: `providers/*.toml`, `failover.json`, `context-limits.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Calls {
    /// Calls of all agents that may be under way; further ones are refused.
    pub max_calls: u32,
    /// What may be used up; a call must fit into each that is about it.
    pub budgets: Vec<Budget>,
    /// How long fetching a page may take, with all redirects.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub fetch_timeout: Duration,
    /// The largest page.
    pub max_page: ByteSize,
    /// Redirects that are followed.
    pub max_redirects: u32,
    /// How often each provider is asked how it is, without spending a token. Zero: never.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub probe: Duration,
    /// A folder, absolute or in the home, in which all that agents are told is kept, for `openclaw replay`. Empty: nowhere.
    pub record: PathBuf,
}

impl Default for Calls {
    fn default() -> Self {
        let day = |requests, usd| Budget { requests, usd, ..Budget::default() };
        Self {
            max_calls: 128,
            // A loop that nobody sees over a weekend costs ten dollars, not hundreds.
            budgets: vec![day(Some(2000), None), day(None, Some(5.0))],
            fetch_timeout: secs(20),
            max_page: ByteSize::mib(1),
            max_redirects: 5,
            // A key that was taken back is known before an agent needs it.
            probe: secs(300),
            // What agents are told may be private.
            record: PathBuf::new(),
        }
    }
}

/// Over which time a budget is counted, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A day.
    #[default]
    Day,
    /// A month.
    Month,
}

/// One of `[providers] budgets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Whose calls; without it those of all agents together.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// To which provider; without it to all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// In which time.
    pub period: Period,
    /// So many requests, or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// so much money, in USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

/// `[agents.NAME] fetch`: what it may fetch, where `fetch` is granted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fetch {
    /// `example.org`, `*.example.org` (all below it), or `example.org:8443` where it is another port than 443 (or 80).
    pub hosts: Vec<String>,
    /// Whether those of `hosts` that are written with a port may be on this machine, or in a private network.
    pub allow_private: bool,
}

/// `[libraries]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Libraries {
    /// How long a new file must stand still before it is read.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub settle: Duration,
    /// Good libraries kept for each agent, at least 2: one to run, one to fall back to.
    pub keep: u32,
    /// The minisign public keys that may sign libraries, for `trust = "signed"`.
    pub keys: Vec<PublicKey>,
}

impl Default for Libraries {
    fn default() -> Self {
        // Above the pauses of a copy over a slow network, below a person's patience.
        Self { settle: Duration::from_millis(500), keep: 3, keys: Vec::new() }
    }
}

/// Whether a new file replaces the agent that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// As soon as it is whole.
    #[default]
    Auto,
    /// When the operator says so.
    Manual,
}

/// What a library must show before anything of it is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Nothing but a good owner and mode.
    #[default]
    Any,
    /// One of the agent's `pins`.
    Pinned,
    /// A signature by one of `libraries.keys`.
    Signed,
}

/// When an agent that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whatever it ended with.
    #[default]
    Always,
    /// Unless it ended cleanly.
    OnFailure,
    /// Not at all.
    Never,
}

/// What an agent's process may do beyond asking the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Read its library and the system's, write its workspace, compute; no sockets, no programs.
    #[default]
    Strict,
    /// No sockets, no programs; files as the daemon's user.
    Relaxed,
    /// Whatever the daemon's user may.
    Off,
}

/// `[supervision]`, and each key again in `[agents.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Supervision {
    /// When an agent that ended is started again.
    pub restart: Restart,
    /// Handlers that run side by side.
    pub concurrency: u32,
    /// From spawn to ready.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub start_timeout: Duration,
    /// The longest a handler may take; past it the agent hangs.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub handler_timeout: Duration,
    /// How often a host is pinged.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered; past it the host hangs.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub ping_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub kill_grace: Duration,
    /// The private memory a host may have (RLIMIT_DATA); past it an allocation fails.
    pub memory_limit: ByteSize,
    /// Lines a second an agent may log; what comes beyond is dropped and counted.
    pub log_rate: u32,
    /// Whether a new file replaces the agent that runs.
    pub reload: Reload,
    /// What a library must show before anything of it is executed.
    pub trust: Trust,
    /// How long a new library is watched: should it fail, the last good one comes back. Zero switches it off.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub probation: Duration,
    /// What an agent's process may do beyond asking the daemon.
    pub sandbox: Sandbox,
    /// The pauses between restarts.
    pub backoff: Backoff,
    /// When restarting or sending work stops for a while.
    pub breaker: Breaker,
    /// How often an agent may ask the daemon for each thing.
    pub rates: Rates,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: Restart::Always,
            // Agents mostly wait for answers from elsewhere.
            concurrency: 4,
            start_timeout: secs(10),
            // Above a slow LLM answer.
            handler_timeout: secs(120),
            ping_interval: secs(5),
            // A host answers from a thread of its own in microseconds; 15 s also outlives a machine that swaps.
            ping_timeout: secs(15),
            kill_grace: secs(1),
            memory_limit: ByteSize::mib(512),
            log_rate: 200,
            reload: Reload::Auto,
            trust: Trust::Any,
            probation: secs(60),
            // A library is somebody's code: what it may do is granted, not assumed.
            sandbox: Sandbox::Strict,
            backoff: Backoff::default(),
            breaker: Breaker::default(),
            rates: Rates::default(),
        }
    }
}

/// `[….backoff]`: the first restart is immediate, the n-th waits `initial · factor^(n-2)`, at most `max`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The pause before the second restart in a row.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub initial: Duration,
    /// The longest pause.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub max: Duration,
    /// What each pause is multiplied by; at least 1.
    pub factor: f64,
    /// The share by which a pause is varied, 0 to 1: agents that fell together do not rise together.
    pub jitter: f64,
    /// A run this long is stable: the pauses begin anew, and a half-open breaker closes.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: secs(30),
            factor: 2.0,
            jitter: 0.2,
            reset_after: secs(30),
        }
    }
}

/// `[….breaker]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Restarts within `period` past which the breaker opens.
    pub intensity: u32,
    /// The window in which restarts are counted.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub period: Duration,
    /// The share of failed tasks in `window` at which the breaker opens, above 0 to 1.
    pub failure_rate: f64,
    /// The share of slow tasks in `window` at which the breaker opens, above 0 to 1.
    pub slow_rate: f64,
    /// A task that takes longer is slow.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub slow_call: Duration,
    /// The window in which tasks are counted.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub window: Duration,
    /// Fewer tasks than this in `window` say nothing.
    pub min_calls: u32,
    /// How long the breaker is open the first time; doubled each time in a row.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub open: Duration,
    /// The longest it is open.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub open_max: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            intensity: 5,
            period: secs(60),
            failure_rate: 0.5,
            // Slowness is weaker evidence than failure.
            slow_rate: 0.8,
            slow_call: secs(60),
            window: secs(60),
            min_calls: 10,
            open: secs(10),
            open_max: secs(600),
        }
    }
}

/// `[agents.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Set to false to leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The library: a path, or a file in the agents folder. Default: `libNAME.so`, with `-` as `_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<PathBuf>,
    /// What it may ask the daemon for: `memory`, `task`, `supervisor.status`, …
    pub grants: Vec<String>,
    /// What it may fetch from the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Fetch>,
    /// The SHA-256s of its libraries that `trust = "pinned"` admits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Sha256>,
    /// Its own settings, checked against its manifest's JSON Schema.
    pub settings: Map<String, Value>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional")]
    #[schemars(schema_with = "duration::schema")]
    pub start_timeout: Option<Duration>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional")]
    #[schemars(schema_with = "duration::schema")]
    pub handler_timeout: Option<Duration>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional")]
    #[schemars(schema_with = "duration::schema")]
    pub ping_interval: Option<Duration>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional")]
    #[schemars(schema_with = "duration::schema")]
    pub ping_timeout: Option<Duration>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional")]
    #[schemars(schema_with = "duration::schema")]
    pub kill_grace: Option<Duration>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_rate: Option<u32>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional")]
    #[schemars(schema_with = "duration::schema")]
    pub probation: Option<Duration>,
    /// As in `[supervision]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// As in `[supervision.backoff]`, as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// As in `[supervision.breaker]`, as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// As in `[supervision.rates]`, key by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, Rate>,
}

mod optional {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::serialize(value, out),
            None => out.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(input).map(Some)
    }
}

impl Agent {
    /// Whether it is started.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// Its library as configured: a path, or the name of a file in the agents folder.
    pub fn library_file(&self, name: &AgentName) -> PathBuf {
        self.library.clone().unwrap_or_else(|| format!("lib{}.so", name.as_str().replace('-', "_")).into())
    }

    /// What applies to it: its own keys over the inherited ones.
    pub fn supervision(&self, inherited: &Supervision) -> Supervision {
        let own = self.clone();
        let inherited = inherited.clone();
        Supervision {
            restart: own.restart.unwrap_or(inherited.restart),
            concurrency: own.concurrency.unwrap_or(inherited.concurrency),
            start_timeout: own.start_timeout.unwrap_or(inherited.start_timeout),
            handler_timeout: own.handler_timeout.unwrap_or(inherited.handler_timeout),
            ping_interval: own.ping_interval.unwrap_or(inherited.ping_interval),
            ping_timeout: own.ping_timeout.unwrap_or(inherited.ping_timeout),
            kill_grace: own.kill_grace.unwrap_or(inherited.kill_grace),
            memory_limit: own.memory_limit.unwrap_or(inherited.memory_limit),
            log_rate: own.log_rate.unwrap_or(inherited.log_rate),
            reload: own.reload.unwrap_or(inherited.reload),
            trust: own.trust.unwrap_or(inherited.trust),
            probation: own.probation.unwrap_or(inherited.probation),
            sandbox: own.sandbox.unwrap_or(inherited.sandbox),
            backoff: own.backoff.unwrap_or(inherited.backoff),
            breaker: own.breaker.unwrap_or(inherited.breaker),
            rates: inherited.rates.with(&own.rates),
        }
    }
}

/// Who falls with a member that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only itself.
    #[default]
    OneForOne,
    /// All members.
    OneForAll,
    /// Itself and those that start after it.
    RestForOne,
}

/// `[groups.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Who falls with a member that failed.
    pub strategy: Strategy,
    /// The members in the order in which they start; they stop in reverse.
    #[schemars(with = "Vec<String>")]
    pub agents: Vec<AgentName>,
}
