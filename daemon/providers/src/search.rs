//! Search engines: Brave's web search and Perplexity's search. Pure.

use openclaw_agent_api::context::Hit;
use serde::Deserialize;

use crate::chat::read;
use crate::policy::Trouble;

/// The most hits that an agent gets: Brave's own limit.
pub(crate) const HITS: u32 = 20;

#[derive(Deserialize)]
struct Brave {
    #[serde(default)]
    web: Option<Web>,
}

#[derive(Deserialize)]
struct Web {
    #[serde(default)]
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct Perplexity {
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    title: String,
    url: String,
    /// Perplexity's word for it.
    #[serde(default)]
    snippet: Option<String>,
    /// Brave's.
    #[serde(default)]
    description: Option<String>,
}

/// The hits of a Brave search. Without a `web` there are none: it found nothing.
pub(crate) fn brave(body: &[u8]) -> Result<Vec<Hit>, Trouble> {
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase")]
    enum Kind {
        Search(Brave),
    }
    let Kind::Search(brave) = read(body)?;
    Ok(hits(brave.web.map(|web| web.results).unwrap_or_default()))
}

/// The hits of a Perplexity search.
pub(crate) fn perplexity(body: &[u8]) -> Result<Vec<Hit>, Trouble> {
    read::<Perplexity>(body).map(|found| hits(found.results))
}

fn hits(found: Vec<Found>) -> Vec<Hit> {
    let hit = |found: Found| Hit {
        title: plain(&found.title),
        snippet: plain(&found.snippet.or(found.description).unwrap_or_default()),
        url: found.url,
    };
    found.into_iter().take(HITS as usize).map(hit).collect()
}

/// Brave marks what was found with `<strong>`.
fn plain(text: &str) -> String {
    text.replace("<strong>", "").replace("</strong>", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_read() {
        let hit = Hit { title: "T".into(), url: "https://x/".into(), snippet: "a b".into() };
        let body = br#"{"type":"search","web":{"results":[{"title":"T","url":"https://x/","description":"a <strong>b</strong>"}]}}"#;
        assert_eq!(brave(body).unwrap(), std::slice::from_ref(&hit));
        assert_eq!(brave(br#"{"type":"search"}"#).unwrap(), []);
        assert_eq!(
            perplexity(br#"{"results":[{"title":"T","url":"https://x/","snippet":"a b"}]}"#).unwrap(),
            [hit]
        );
        for odd in [&b"{}"[..], b"<html>", b"[]", br#"{"type":"error"}"#] {
            assert!(matches!(brave(odd), Err(Trouble::Unusable(_))));
        }
        assert!(matches!(perplexity(b"{}"), Err(Trouble::Unusable(_))));
        assert_eq!(perplexity(b""), Err(Trouble::Empty));
    }
}
