//! From the files beside `openclaw.toml` to providers, or to everything that is wrong with them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::model::{ContextLimits, FailOver, Provider, ProviderKind, Providers};
use crate::document::Document;
use crate::mistakes::{Mistake, Place, did_you_mean};
use crate::secrets::is_name;
use crate::units::ByteSize;
use crate::validate::{Rules, element};

/// The providers that are shipped.
macro_rules! shipped {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/providers/", $name, ".toml")))),*]
    };
}
const SHIPPED: [(&str, &str); 6] =
    shipped!("minimax", "openrouter", "deepseek", "xai", "brave", "perplexity");
const FAILOVER: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/failover.json"));
const LIMITS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/context-limits.json"));

/// The files about providers that are shipped, each by its place beside `openclaw.toml`, and its text.
pub fn shipped_providers() -> impl Iterator<Item = (String, &'static str)> {
    let described = SHIPPED.into_iter().map(|(name, text)| (format!("providers/{name}.toml"), text));
    described.chain([("failover.json".into(), FAILOVER), ("context-limits.json".into(), LIMITS)])
}

/// More providers, or larger files, are a mistake of another kind.
const MOST: usize = 64;
const LARGEST: u64 = 1 << 20;

/// A file: where a mistake in it is, and its text.
struct Text {
    place: PathBuf,
    text: String,
}

/// Reads what stands in `folder`, and else what is shipped.
pub(crate) fn load(folder: &Path) -> (Providers, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let own = folder.join("providers");
    let texts = match named(&own) {
        Ok(Some(paths)) => {
            paths.into_iter().filter_map(|(name, path)| Some((name, read(path, &mut mistakes)?))).collect()
        }
        Ok(None) => {
            let text = |(name, text): (&str, &str)| {
                (name.to_owned(), Text { place: format!("built-in {name}.toml").into(), text: text.into() })
            };
            SHIPPED.map(text).into()
        }
        Err(error) => {
            mistakes.push(unreadable(own.clone(), &error));
            Vec::new()
        }
    };
    let mut providers = Providers::default();
    for (name, text) in texts {
        if let Some(provider) = provider(&name, &text, &mut mistakes) {
            providers.named.insert(name, provider);
        }
    }
    let beside = |name: &str, built_in: &str, mistakes: &mut Vec<Mistake>| {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            return read(path, mistakes);
        }
        // The order that is shipped is one of those that are.
        let text = if own.is_dir() && name == "failover.json" { "{}" } else { built_in };
        Some(Text { place: format!("built-in {name}").into(), text: text.into() })
    };
    // What could not be read is not missed elsewhere as well.
    let whole = mistakes.is_empty();
    if let Some(text) = beside("failover.json", FAILOVER, &mut mistakes) {
        let mut document = Document::parse_json(&text.text);
        if let Some(failover) = document.read() {
            check_failover(&failover, whole.then_some(&providers), &mut document);
            providers.failover = failover;
        }
        mistakes.extend(placed(document.mistakes, &text.place));
    }
    if let Some(text) = beside("context-limits.json", LIMITS, &mut mistakes) {
        let mut document = Document::parse_json(&text.text);
        if let Some(limits) = document.read() {
            check_limits(&limits, &mut document);
            providers.limits = limits;
        }
        mistakes.extend(placed(document.mistakes, &text.place));
    }
    (providers, mistakes)
}

/// The files of a folder by their providers' names; none where there is no folder.
fn named(folder: &Path) -> io::Result<Option<Vec<(String, PathBuf)>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A home that lies below a file is told when it is made.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        // Not what an editor leaves beside them.
        if path.extension().is_some_and(|end| end == "toml") && !name.starts_with('.') {
            found.push((name, path));
        }
    }
    if found.len() > MOST {
        return Err(io::Error::other(format!("more than {MOST} providers")));
    }
    found.sort();
    Ok(Some(found))
}

fn read(path: PathBuf, mistakes: &mut Vec<Mistake>) -> Option<Text> {
    let text = match fs::metadata(&path) {
        Ok(meta) if meta.len() > LARGEST => Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => fs::read_to_string(&path),
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => Some(Text { place: path, text }),
        Err(error) => {
            mistakes.push(unreadable(path, &error));
            None
        }
    }
}

fn unreadable(path: PathBuf, error: &io::Error) -> Mistake {
    let remedy = "make it a text that the daemon's user may read";
    Mistake::of(Place::File(path), format!("cannot be read: {error}"), remedy)
}

/// The mistakes of one file, in it.
fn placed<'m>(mistakes: Vec<Mistake>, path: &'m Path) -> impl Iterator<Item = Mistake> + 'm {
    mistakes.into_iter().map(|mistake| Mistake { place: Place::File(path.into()), ..mistake })
}

fn provider(name: &str, text: &Text, mistakes: &mut Vec<Mistake>) -> Option<Provider> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(good) {
        let what = "the file's name, without .toml, is no provider's";
        let remedy = "use 1 to 32 characters of a-z, 0-9 and `-`";
        mistakes.push(Mistake::of(Place::File(text.place.clone()), what, remedy));
    }
    let mut document = Document::parse(&text.text);
    let provider = document.read();
    if let Some(provider) = &provider {
        check_provider(provider, &mut document);
    }
    mistakes.extend(placed(document.mistakes, &text.place));
    provider
}

fn check_provider(provider: &Provider, document: &mut Document<'_>) {
    // What a file does not say is a mistake of the file as a whole.
    let missing = |document: &mut Document<'_>, key: &str, remedy: &str| {
        if !document.lost(&[key]) {
            document.note(None, &[key.into()], format!("`{key}` is missing"), remedy.into());
        }
    };
    if provider.base_url.is_empty() {
        missing(document, "base_url", "write base_url = \"https://HOST/v1\"");
    }
    if provider.kind == ProviderKind::Chat && provider.models.is_empty() {
        missing(document, "models", "write models = [{ name = \"NAME\", input = 0.3, output = 1.2 }]");
    }
    let rules = &mut Rules { document, scope: &[] };
    // The text may hold a secret that does not belong there.
    let what = |key| format!("{key} is no address of an API");
    let remedy = "write https://HOST/v1, without a key; http:// is for this machine alone, since the key would be read";
    rules.demand(provider.base_url.is_empty() || good_base(&provider.base_url), &["base_url"], what, remedy);
    let what = |key| format!("{key} is no name of a secret");
    let remedy = "write the name alone, such as \"OPENROUTER_API_KEY\"; the key itself stands in .env";
    rules.demand(provider.key.is_empty() || is_name(&provider.key), &["key"], what, remedy);
    rules.nonzero("timeout", provider.timeout);
    rules.range("max_answer", provider.max_answer, ByteSize::kib(1)..=ByteSize::mib(4));
    let prices = provider.models.iter().flat_map(|model| [model.input, model.output]);
    let what = |key| format!("{key}: a price is a number from 0 to 10000");
    let good = |price: &f64| (0.0..=10_000.0).contains(price);
    let all = prices.chain([provider.request]).all(|price| good(&price));
    rules.demand(all, &["models", "request"], what, "write USD per million tokens, or per request");
    let named = provider.models.iter().all(|model| !model.name.trim().is_empty());
    let what = |key| format!("{key}: a model has no name");
    rules.demand(named, &["models"], what, "write it as the provider does");
}

/// `https://`, or `http://` to this machine.
fn good_base(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let own = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        (url.scheme() == "https" || url.scheme() == "http" && own)
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn check_failover(failover: &FailOver, providers: Option<&Providers>, document: &mut Document<'_>) {
    for (key, order, chat) in [("chat", &failover.chat, true), ("search", &failover.search, false)] {
        for name in order {
            let Some(providers) = providers else { continue };
            let of_kind = |kind: ProviderKind| (kind == ProviderKind::Chat) == chat;
            match providers.named.get(name) {
                Some(provider) if of_kind(provider.kind) => {}
                Some(_) => {
                    let what = format!("`{name}` in `{key}` is a provider of the other kind");
                    element(document, &[key], name, what, "move it to the other list".into());
                }
                None => {
                    let what = format!("`{name}` in `{key}` has no file providers/{name}.toml");
                    let known = providers.named.iter().filter(|(_, provider)| of_kind(provider.kind));
                    let remedy = did_you_mean(name, known.map(|(name, _)| name.as_str()));
                    element(document, &[key], name, what, remedy);
                }
            }
        }
        let twice = order.iter().enumerate().find(|(n, name)| order[..*n].contains(name));
        if let Some((_, name)) = twice {
            let what = format!("`{name}` stands in `{key}` twice");
            element(document, &[key], name, what, "name it once".into());
        }
    }
    let rules = &mut Rules { document, scope: &[] };
    rules.range("rounds", failover.rounds, 1..=10);
    rules.nonzero("total", failover.total);
    rules.order(("pause", failover.pause), ("pause_max", failover.pause_max));
    rules.share("breaker.failure_rate", failover.breaker.failure_rate);
    rules.share("breaker.slow_rate", failover.breaker.slow_rate);
    rules.nonzero("breaker.window", failover.breaker.window);
    rules.least("breaker.min_calls", failover.breaker.min_calls, 1);
    rules.nonzero("breaker.open", failover.breaker.open);
    rules.order(("breaker.open", failover.breaker.open), ("breaker.open_max", failover.breaker.open_max));
}

fn check_limits(limits: &ContextLimits, document: &mut Document<'_>) {
    let models = limits.models.iter().map(|(name, limit)| (vec!["models", name.as_str()], limit));
    for (scope, limit) in models.chain([(vec!["default"], &limits.default)]) {
        let rules = &mut Rules { document, scope: &scope };
        let what = |key| format!("{key}: the answer leaves no room for a question");
        let fits = limit.answer > 0 && limit.answer < limit.context;
        rules.demand(fits, &["answer", "context"], what, "write less than `context`");
    }
}
