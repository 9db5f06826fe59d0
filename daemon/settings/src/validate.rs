//! What the types cannot say: bounds, and keys that must fit each other.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::methods;
use tracing_subscriber::EnvFilter;

use crate::alerts::Alerts;
use crate::document::Document;
use crate::explain::at;
use crate::mistakes::did_you_mean;
use crate::model::{Agent, Budget, Gateway, SERVICES, Settings, Supervision, Tasks, Trust};
use crate::providers::Providers;
use crate::redis::RedisUrl;
use crate::telegram::{Routing, Telegram, TelegramMode};
use crate::units::{self, ByteSize};

/// The first parts of [`methods::GRANTED`]: each grants all methods that begin with it.
const GRANTS: [&str; 11] = [
    "memory",
    "publish",
    "ask",
    "search",
    "fetch",
    "missions",
    "task",
    "supervisor",
    "system",
    "alert",
    "breaker",
];

/// Queues that are no agent's.
const RESERVED: [&str; 3] = ["telegram", "telegram-replies", "telegram-files"];

/// Adds a mistake to `document` for each rule that `settings` break.
pub(crate) fn validate(settings: &Settings, providers: Option<&Providers>, document: &mut Document<'_>) {
    let daemon = &mut Rules { document, scope: &["daemon"] };
    daemon.least("restart_budget", settings.daemon.restart_budget, 1);
    daemon.nonzero("restart_refill", settings.daemon.restart_refill);
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(600));
    daemon.range(
        "heartbeat",
        humantime::Duration::from(settings.daemon.heartbeat),
        least.into()..=most.into(),
    );
    let graces = settings.agents.values().map(|agent| agent.supervision(&settings.supervision).kill_grace);
    let grace = graces.chain([settings.supervision.kill_grace]).max().unwrap_or_default();
    let what = |key| format!("{key} is less than three times the longest kill_grace, {}", units::text(grace));
    let enough = settings.daemon.lead >= grace.saturating_mul(3);
    daemon.range(
        "lead",
        humantime::Duration::from(settings.daemon.lead),
        Duration::from_secs(2).into()..=Duration::from_secs(3600).into(),
    );
    let remedy =
        "a host must be gone before another process may start it: write more, or a shorter kill_grace";
    daemon.demand(enough, &["lead"], what, remedy);
    let filter = log_filter(&settings.daemon.log);
    let what = |key| format!("{key}: `{}` is no filter of the log", settings.daemon.log.escape_debug());
    daemon.demand(filter.is_some(), &["log"], what, "write `info` or `warn,supervisor=debug`");
    if let Err((what, remedy)) = settings.database.place(Path::new("/")) {
        let database = &mut Rules { document, scope: &["database"] };
        database.demand(false, &["url"], |key| format!("{key} {what}"), &remedy);
    }
    tasks(&settings.tasks, &mut Rules { document, scope: &["tasks"] });
    let bus = &mut Rules { document, scope: &["bus"] };
    let tls = settings.bus.url.as_ref().is_some_and(RedisUrl::is_tls) || bus.document.lost(&["bus", "url"]);
    let what = |key| format!("{key} vouches for a server, and `url` names none with TLS");
    bus.demand(tls || settings.bus.ca.as_os_str().is_empty(), &["ca"], what, "write rediss://… as `url`");
    gateway(&settings.gateway, &mut Rules { document, scope: &["gateway"] });
    telegram(&settings.telegram, &mut Rules { document, scope: &["telegram"] });
    routing(settings, document);
    alerts(&settings.alerts, &mut Rules { document, scope: &["alerts"] });
    calls(settings, providers, document);
    let libraries = &mut Rules { document, scope: &["libraries"] };
    libraries.nonzero("settle", settings.libraries.settle);
    libraries.least("keep", settings.libraries.keep, 2);
    supervision(&settings.supervision, &mut Rules { document, scope: &["supervision"] });
    rates(settings.supervision.rates.iter().map(|(what, _)| what), &["supervision", "rates"], document);
    signed(settings.supervision.trust, settings, &mut Rules { document, scope: &["supervision"] });
    for (name, agent) in settings.agents.iter() {
        let scope = ["agents", name.as_str()];
        if SERVICES.contains(&name.as_str()) {
            let what =
                format!("`{name}` in [agents] is a service of the daemon, and no agent can be called so");
            document.note(document.span(&scope), &owned(&scope), what, "give the agent another name".into());
        }
        signed(agent.trust.unwrap_or_default(), settings, &mut Rules { document, scope: &scope });
        pins(agent, &settings.supervision, &scope, document);
        supervision(&agent.supervision(&settings.supervision), &mut Rules { document, scope: &scope });
        grants(&agent.grants, name.as_str(), document);
        rates(agent.rates.keys().map(String::as_str), &["agents", name.as_str(), "rates"], document);
        let hosts = agent.fetch.iter().flat_map(|fetch| &fetch.hosts).filter(|host| !is_host(host));
        for host in hosts {
            let keys = ["agents", name.as_str(), "fetch", "hosts"];
            let what = format!("`{}` in [agents.{name}.fetch] is no host", host.escape_debug());
            let remedy = "write example.org, *.example.org or example.org:8443, without https://";
            element(document, &keys, host, what, remedy.into());
        }
    }
    groups(settings, document);
    for name in settings.agents.keys().filter(|name| RESERVED.contains(&name.as_str())) {
        let keys = ["agents", name.as_str()];
        let what = format!("`{name}` in [agents] is the name of a queue of the daemon's own");
        document.note(document.span(&keys), &owned(&keys), what, "give the agent another name".into());
    }
}

/// The filter that `daemon.log` asks for, if it is one.
///
/// Names in code are ASCII; in other text the parser of tracing-subscriber 0.3.23 cuts characters in two and panics.
pub fn log_filter(text: &str) -> Option<EnvFilter> {
    text.is_ascii().then(|| EnvFilter::try_new(text).ok()).flatten()
}

fn tasks(tasks: &Tasks, rules: &mut Rules<'_, '_>) {
    rules.range("max_attempts", tasks.max_attempts, 1..=100);
    rules.order(("retry_initial", tasks.retry_initial), ("retry_max", tasks.retry_max));
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
    rules.range("lease", humantime::Duration::from(tasks.lease), least.into()..=most.into());
    // A frame is 8 MiB at most, and JSON may double a payload.
    rules.range("max_payload", tasks.max_payload, ByteSize::kib(1)..=ByteSize::mib(4));
    rules.least("max_queued", tasks.max_queued, 1);
    rules.least("keep_rows", tasks.keep_rows, 100);
    rules.nonzero("keep", tasks.keep);
}

fn calls(settings: &Settings, providers: Option<&Providers>, document: &mut Document<'_>) {
    let calls = &settings.providers;
    let rules = &mut Rules { document, scope: &["providers"] };
    rules.range("max_calls", calls.max_calls, 1..=1024);
    let bounds = Duration::from_secs(1).into()..=Duration::from_secs(600).into();
    rules.range("fetch_timeout", humantime::Duration::from(calls.fetch_timeout), bounds);
    // What an agent is told must fit into a frame.
    rules.range("max_page", calls.max_page, ByteSize::kib(1)..=ByteSize::mib(4));
    rules.range("max_redirects", calls.max_redirects, 0..=20);
    let span = document.span(&["providers", "budgets"]);
    let unsure = !document.broken.is_empty();
    for (number, budget) in (1..).zip(&calls.budgets) {
        let mut note = |why: String, remedy: String| {
            let what = format!("budget {number} of [providers] {why}");
            document.note(span.clone(), &owned(&["providers", "budgets"]), what, remedy);
        };
        if budget.requests.is_none() == budget.usd.is_none() {
            let remedy = "write requests = 1000, or usd = 5.0";
            note("limits neither requests nor money, or both".into(), remedy.into());
        }
        if budget.usd.is_some_and(|usd| !(0.0..=1e6).contains(&usd)) {
            note("has an odd amount of money".into(), "write USD from 0 to 1000000".into());
        }
        // A call would take of both: one of them would lie.
        let of = |budget: &Budget| {
            let Budget { agent, provider, period, requests, usd } = budget.clone();
            (agent, provider, period, requests.is_some(), usd.is_some())
        };
        let earlier = calls.budgets.iter().take(number - 1).position(|earlier| of(earlier) == of(budget));
        if let Some(earlier) = earlier {
            let remedy =
                "keep the one that you mean: a call is counted once by each agent, provider, period and unit";
            note(format!("limits the same as budget {}", earlier + 1), remedy.into());
        }
        let known = |agent: &AgentName| settings.agents.contains_key(agent) || unsure;
        if let Some(agent) = budget.agent.as_ref().filter(|agent| !known(agent)) {
            let near = did_you_mean(agent.as_str(), settings.agents.keys().map(AsRef::as_ref));
            note(format!("names `{agent}`, which is no configured agent"), near);
        }
        let known = |name: &String| providers.is_none_or(|all| all.named.contains_key(name));
        if let Some(name) = budget.provider.as_ref().filter(|name| !known(name) && name.as_str() != "fetch") {
            let names = providers.iter().flat_map(|all| all.named.keys().map(String::as_str));
            let near = did_you_mean(name, names.collect::<Vec<_>>());
            note(format!("names `{name}`, which has no file providers/{name}.toml"), near);
        }
    }
}

/// A name or an address, perhaps with a port: what `fetch` is allowed.
fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    // As a URL has it, which lowers and encodes names.
    let url = url::Url::parse(&format!("http://{name}/"));
    name.chars().all(good) && url.is_ok_and(|url| url.has_host() && url.path() == "/")
}

fn gateway(gateway: &Gateway, rules: &mut Rules<'_, '_>) {
    rules.range("max_connections", gateway.max_connections, 8..=65_536);
    rules.range("max_body", gateway.max_body, ByteSize::kib(1)..=ByteSize::mib(64));
    let bounds = |least, most| Duration::from_secs(least).into()..=Duration::from_secs(most).into();
    rules.range("request_timeout", humantime::Duration::from(gateway.request_timeout), bounds(1, 600));
    rules.range("max_wait", humantime::Duration::from(gateway.max_wait), bounds(1, 3600));
    rules.least("rate", gateway.rate, 1);
    rules.least("bad_tokens", gateway.bad_tokens, 1);
    rules.range("max_listeners", gateway.max_listeners, 1..=4096);
}

fn alerts(alerts: &Alerts, rules: &mut Rules<'_, '_>) {
    let day = Duration::from_secs(24 * 3600);
    for (key, value) in
        [("cooldown", alerts.cooldown), ("escalate", alerts.escalate), ("summary", alerts.summary)]
    {
        rules.range(key, humantime::Duration::from(value), Duration::from_secs(1).into()..=day.into());
    }
    let what = |key| format!("{key}: no chat has the id 0");
    rules.demand(
        !alerts.chats.contains(&0),
        &["chats"],
        what,
        "write the id of a person, or of a group with its -",
    );
}

fn telegram(telegram: &Telegram, rules: &mut Rules<'_, '_>) {
    let place = |text: &str, schemes: &[&str]| {
        url::Url::parse(text).is_ok_and(|url| {
            schemes.contains(&url.scheme())
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        })
    };
    // The text may hold a secret that does not belong there.
    let what = |key| format!("{key} is no address of a server");
    let remedy = "write https://HOST, without a token: that is TELEGRAM_BOT_TOKEN in .env";
    rules.demand(place(&telegram.api, &["http", "https"]), &["api"], what, remedy);
    let webhook = telegram.mode != TelegramMode::Webhook || place(&telegram.webhook_url, &["https", "http"]);
    let what =
        |key| format!("{key}: `webhook_url` says no https:// address at which Telegram reaches this machine");
    rules.demand(webhook, &["webhook_url", "mode"], what, "write it, or `mode = \"polling\"`");
    let most: humantime::Duration = Duration::from_secs(50).into();
    let poll = humantime::Duration::from(telegram.poll_timeout);
    rules.range("poll_timeout", poll, Duration::from_secs(1).into()..=most);
    rules.range("max_upload", telegram.max_upload, ByteSize(0)..=ByteSize::mib(2000));
    let people = telegram.allow.iter().chain(&telegram.operators).all(|id| *id > 0);
    let what = |key| format!("{key}: the id of a person is a number above 0");
    rules.demand(people, &["allow", "operators"], what, "`openclaw telegram pending` shows who wrote");
    let what = |key| format!("{key}: the id of a group is a number below 0");
    rules.demand(
        telegram.groups.iter().all(|id| *id < 0),
        &["groups"],
        what,
        "write it as Telegram has it, with its -",
    );
}

fn routing(settings: &Settings, document: &mut Document<'_>) {
    let routing = &settings.routing;
    let unsure = !document.broken.is_empty();
    let known = |name: &str, document: &Document<'_>| {
        settings.agents.contains_key(name) || unsure || document.lost(&["agents", name])
    };
    let near = |name: &str| did_you_mean(name, settings.agents.keys().map(AsRef::as_ref));
    let default = routing.default.as_str();
    // The built-in one need not be there: what is shown of a team without it must load again.
    if routing.default != Routing::default().default
        && !known(default, document)
        && let Some(span) = document.span(&["routing", "default"])
    {
        let what = format!("`{default}` in [routing] is no configured agent");
        document.note(Some(span), &owned(&["routing", "default"]), what, near(default));
    }
    let span = document.span(&["routing", "rules"]);
    for (number, rule) in (1..).zip(&routing.rules) {
        let mut note = |why: String, remedy: String| {
            document.note(
                span.clone(),
                &owned(&["routing", "rules"]),
                format!("rule {number} of [routing] {why}"),
                remedy,
            );
        };
        match &rule.agent {
            None => note("names no agent".into(), "write agent = \"NAME\"".into()),
            Some(agent) if !settings.agents.contains_key(agent) && !unsure => {
                note(format!("names `{agent}`, which is no configured agent"), near(agent.as_str()));
            }
            Some(_) => {}
        }
        match rule.channel.as_deref() {
            None | Some("telegram") => {}
            Some("http") if rule.chat.is_some() || rule.sender.is_some() => {
                note("is about chats or senders, of which HTTP has none".into(), "leave them out".into());
            }
            Some("http") => {}
            Some(_) => {
                let remedy = "write channel = \"telegram\" or channel = \"http\"";
                note("is about a channel that there is not".into(), remedy.into());
            }
        }
        if rule.command.as_deref().is_some_and(|command| !command.starts_with('/')) {
            note("has a command without its `/`".into(), "write command = \"/name\"".into());
        }
    }
}

fn supervision(s: &Supervision, rules: &mut Rules<'_, '_>) {
    rules.range("concurrency", s.concurrency, 1..=1024);
    rules.nonzero("start_timeout", s.start_timeout);
    rules.nonzero("handler_timeout", s.handler_timeout);
    rules.nonzero("ping_interval", s.ping_interval);
    rules.least("log_rate", s.log_rate, 1);
    let keys = ["ping_timeout", "ping_interval"];
    let what = |key| format!("{key}: `ping_timeout` is not longer than `ping_interval`");
    rules.demand(s.ping_timeout > s.ping_interval, &keys, what, "make it three times as long");
    rules.least("memory_limit", s.memory_limit, ByteSize::mib(16));
    rules.order(("backoff.initial", s.backoff.initial), ("backoff.max", s.backoff.max));
    rules.range("backoff.factor", s.backoff.factor, 1.0..=100.0);
    rules.range("backoff.jitter", s.backoff.jitter, 0.0..=1.0);
    rules.least("breaker.intensity", s.breaker.intensity, 1);
    rules.nonzero("breaker.period", s.breaker.period);
    rules.share("breaker.failure_rate", s.breaker.failure_rate);
    rules.share("breaker.slow_rate", s.breaker.slow_rate);
    rules.nonzero("breaker.window", s.breaker.window);
    rules.least("breaker.min_calls", s.breaker.min_calls, 1);
    rules.nonzero("breaker.open", s.breaker.open);
    rules.order(("breaker.open", s.breaker.open), ("breaker.open_max", s.breaker.open_max));
}

/// Without a key no library could be trusted.
fn signed(trust: Trust, settings: &Settings, rules: &mut Rules<'_, '_>) {
    let keys = !settings.libraries.keys.is_empty() || rules.document.lost(&["libraries", "keys"]);
    let what = |key| format!("{key} is \"signed\", and [libraries] has no `keys`");
    let remedy =
        "generate one with `openclaw agents keygen`, and write the line that it prints into [libraries]";
    rules.demand(trust != Trust::Signed || keys, &["trust"], what, remedy);
}

fn pins(agent: &Agent, inherited: &Supervision, scope: &[&str; 2], document: &mut Document<'_>) {
    let (pins, trust) = (join(scope, "pins"), join(scope, "trust"));
    let pinned = agent.trust.unwrap_or(inherited.trust) == Trust::Pinned;
    if pinned && agent.pins.is_empty() && !document.lost(&pins) && !document.lost(&trust) {
        let span = [&pins, &trust].into_iter().find_map(|keys| document.span(keys));
        let span = span.or_else(|| document.span(scope));
        let what = format!("{} is \"pinned\", and it has no `pins`", at(&trust));
        let remedy = "write the SHA-256 of its library: pins = [\"…\"], as `sha256sum` prints it";
        document.note(span, &owned(&pins), what, remedy.into());
    }
}

fn grants(grants: &[String], agent: &str, document: &mut Document<'_>) {
    let known = GRANTS.into_iter().chain(methods::GRANTED);
    for grant in grants.iter().filter(|grant| !known.clone().any(|known| known == grant.as_str())) {
        let keys = ["agents", agent, "grants"];
        let what = format!("unknown grant `{grant}` in [agents.{agent}]");
        element(document, &keys, grant, what, did_you_mean(grant, known.clone()));
    }
}

/// What has a rate is what can be granted.
fn rates<'a>(named: impl Iterator<Item = &'a str>, keys: &[&str], document: &mut Document<'_>) {
    let known = GRANTS.into_iter().chain(methods::GRANTED);
    for what in named.filter(|what| !known.clone().any(|known| known == *what)) {
        let span = document.span(&[keys, &[what]].concat());
        let told = format!("unknown key `{what}` in [{}]", keys.join("."));
        document.note(span, &owned(keys), told, did_you_mean(what, known.clone()));
    }
}

fn groups(settings: &Settings, document: &mut Document<'_>) {
    let mut grouped = BTreeSet::new();
    for (group, members) in &settings.groups {
        let keys = ["groups", group.as_str(), "agents"];
        for member in &members.agents {
            let name = member.as_str();
            let what = format!("`{name}` in [groups.{group}]");
            let unsure = !document.broken.is_empty() || document.lost(&["agents", name]);
            if !settings.agents.contains_key(member) && !unsure {
                let remedy = did_you_mean(name, settings.agents.keys().map(AsRef::as_ref));
                element(document, &keys, name, format!("{what} is no configured agent"), remedy);
            }
            if !grouped.insert(member) {
                let what = format!("{what} is in a group already");
                element(document, &keys, name, what, "name it once: an agent is in one group at most".into());
            }
        }
    }
}

pub(crate) fn element(document: &mut Document<'_>, keys: &[&str], text: &str, what: String, remedy: String) {
    let span = document.element(keys, text).or_else(|| document.span(keys));
    document.note(span, &owned(keys), what, remedy);
}

pub(crate) fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| key.to_string()).collect()
}

/// The rules of one table.
pub(crate) struct Rules<'d, 'i> {
    pub(crate) document: &'d mut Document<'i>,
    pub(crate) scope: &'d [&'d str],
}

impl Rules<'_, '_> {
    /// Notes a mistake at the first of `keys` that is written here. Where none is they are inherited and judged
    /// there; where one was taken out because it is wrong, nobody knows what it should be.
    pub(crate) fn demand(
        &mut self,
        holds: bool,
        keys: &[&str],
        what: impl FnOnce(String) -> String,
        remedy: &str,
    ) {
        let paths = || keys.iter().map(|key| join(self.scope, key));
        let inherited = || keys.iter().map(|key| join(&["supervision"], key));
        if holds || paths().chain(inherited()).any(|path| self.document.lost(&path)) {
            return;
        }
        if let Some((path, span)) =
            paths().find_map(|path| self.document.span(&path).map(|span| (path, span)))
        {
            let (keys, what) = (owned(&path), what(at(&path)));
            self.document.note(Some(span), &keys, what, remedy.into());
        }
    }

    pub(crate) fn range<T: PartialOrd + Display>(&mut self, key: &str, value: T, bounds: RangeInclusive<T>) {
        let remedy = format!("write {} to {}", bounds.start(), bounds.end());
        self.demand(bounds.contains(&value), &[key], |key| format!("{key} is {value}"), &remedy);
    }

    pub(crate) fn least<T: PartialOrd + Display>(&mut self, key: &str, value: T, least: T) {
        let remedy = format!("write {least} or more");
        self.demand(value >= least, &[key], |key| format!("{key} is {value}"), &remedy);
    }

    pub(crate) fn nonzero(&mut self, key: &str, value: Duration) {
        self.demand(!value.is_zero(), &[key], |key| format!("{key} is zero"), "write a duration above zero");
    }

    pub(crate) fn share(&mut self, key: &str, value: f64) {
        let holds = value > 0.0 && value <= 1.0;
        self.demand(holds, &[key], |key| format!("{key} is {value}"), "write a share above 0, at most 1");
    }

    pub(crate) fn order(&mut self, (low, least): (&str, Duration), (high, most): (&str, Duration)) {
        let [shown, bound] = [least, most].map(humantime::Duration::from);
        let what = format!("`{low}` ({shown}) is longer than `{high}` ({bound})");
        let remedy = format!("lower `{low}` or raise `{high}`");
        let table = self.scope.join(".");
        self.demand(least <= most, &[low, high], |_| format!("{what} in [{table}]"), &remedy);
    }
}

fn join<'a>(scope: &[&'a str], key: &'a str) -> Vec<&'a str> {
    scope.iter().copied().chain(key.split('.')).collect()
}
