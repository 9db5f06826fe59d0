//! Pages: from hosts that the operator allowed the agent, at public addresses, of a bounded size, in a bounded time.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Page;
use reqwest::Url;
use reqwest::header::LOCATION;
use settings::Fetch;
use tokio::time::timeout;
use url::Host;

use crate::budget::Cost;
use crate::client::{self, Private, Unread};
use crate::exchange::Refusal;
use crate::service::Inner;

/// The provider's name in budgets and records.
pub(crate) const FETCH: &str = "fetch";

/// How a host is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// At public addresses.
    Public,
    /// Wherever it is.
    Anywhere,
}

/// Whether, and how, an address may be fetched. Pure.
fn allowed(url: &Url, rules: &Fetch) -> Option<Allowed> {
    let host = url.host_str()?;
    let port = url.port_or_known_default()?;
    let matches = |rule: &String| {
        let (name, below) = rule.strip_prefix("*.").map_or((rule.as_str(), false), |name| (name, true));
        // In the form that a URL gives it: lower case, IPv4 in four parts.
        let rule = Url::parse(&format!("http://{name}/")).ok()?;
        let named = rule.host_str()?;
        let same = if below {
            matches!(url.host(), Some(Host::Domain(_)))
                && host.strip_suffix(named).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == named
        };
        // A URL forgets :80 where it is the default.
        let written = name.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let good = written.map_or(matches!(port, 80 | 443), |written| written == port);
        (same && good).then_some(if written.is_some() && rules.allow_private {
            Allowed::Anywhere
        } else {
            Allowed::Public
        })
    };
    let found: Vec<_> = rules.hosts.iter().filter_map(matches).collect();
    found.iter().find(|how| **how == Allowed::Anywhere).or(found.first()).copied()
}

impl Inner {
    /// A page. The rate has been checked.
    pub async fn page(&self, agent: &AgentName, address: &str) -> Result<Page, Refusal> {
        let url = Url::parse(address)
            .map_err(|error| Refusal::Invalid(format!("the address does not read: {error}")))?;
        self.check(agent, &url)?;
        let cost = Cost { requests: 1, micros: 0 };
        let mut flight = self.reserve((agent, "fetch"), FETCH, None, cost).await?;
        flight.about(url.host_str().unwrap_or_default());
        let within = self.calls.fetch_timeout;
        let page = timeout(within, self.follow(agent, url)).await.unwrap_or_else(|_| {
            let within = settings::units::text(within);
            Err(Refusal::Failed { why: format!("the page did not come within {within}"), retry_at: None })
        });
        let (outcome, detail) = match &page {
            Ok(_) => ("ok", None),
            Err(refusal @ Refusal::NotGranted(_)) => ("refused", Some(refusal.to_string())),
            Err(refusal) => ("failed", Some(refusal.to_string())),
        };
        flight.end(outcome, detail);
        page
    }

    /// Whether the agent may have it; how.
    fn check(&self, agent: &AgentName, url: &Url) -> Result<Allowed, Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Invalid("only http:// and https:// can be fetched".into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Invalid("an address with a user or password is not fetched".into()));
        }
        let none = Fetch::default();
        let rules = self.hosts.get(agent).unwrap_or(&none);
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let how = allowed(url, rules).ok_or_else(|| {
            let text = format!(
                "`{agent}` may not fetch from `{host}{port}`: add it to agents.{agent}.fetch.hosts if you want that"
            );
            Refusal::NotGranted(text)
        })?;
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(ip.into()),
            Some(Host::Ipv6(ip)) => Some(ip.into()),
            _ => None,
        };
        match ip {
            Some(ip) if how == Allowed::Public && !client::is_public(ip) => {
                Err(private(agent, host, &Private(ip)))
            }
            _ => Ok(how),
        }
    }

    async fn follow(&self, agent: &AgentName, mut url: Url) -> Result<Page, Refusal> {
        let failed = |why: String| Refusal::Failed { why, retry_at: None };
        let (public, any) = self.pages().map_err(|error| failed(error.to_string()))?;
        for _ in 0..=self.calls.max_redirects {
            let how = self.check(agent, &url)?;
            let http = if how == Allowed::Public { public } else { any };
            let host = url.host_str().unwrap_or_default().to_owned();
            let response = http.get(url.clone()).send().await.map_err(|error| match inside(&error) {
                Some(ip) => private(agent, &host, ip),
                None => failed(format!("`{host}` is not reached: {}", client::cause(error))),
            })?;
            let status = response.status();
            let location = response.headers().get(LOCATION).filter(|_| status.is_redirection());
            if let Some(location) = location {
                let next = location.to_str().ok().and_then(|text| url.join(text).ok());
                url = next
                    .ok_or_else(|| failed(format!("`{host}` redirects to an address that does not read")))?;
                continue;
            }
            let most = self.calls.max_page;
            let body = client::body(response, most.bytes()).await.map_err(|unread| match unread {
                Unread::TooLong => failed(format!("the page is longer than [providers] max_page, {most}")),
                Unread::Broken(error) => failed(format!("the page broke off: {}", client::cause(error))),
            })?;
            let body = String::from_utf8_lossy(&body).into_owned();
            return Ok(Page { status: status.as_u16(), body });
        }
        Err(failed(format!("it redirects more than {} times", self.calls.max_redirects)))
    }
}

/// Whether a connection was not made since the name leads inside.
fn inside(error: &reqwest::Error) -> Option<&Private> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(private) = cause.downcast_ref() {
            return Some(private);
        }
        source = cause.source();
    }
    None
}

fn private(agent: &AgentName, host: &str, why: &Private) -> Refusal {
    Refusal::NotGranted(format!(
        "`{agent}` may not fetch from `{host}`: {why}; where you want that, write it with its port into \
         agents.{agent}.fetch.hosts, and allow_private = true"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], allow_private: bool) -> Fetch {
        Fetch { hosts: hosts.iter().map(|host| host.to_string()).collect(), allow_private }
    }

    #[test]
    fn hosts_are_allowed_by_name_and_port() {
        let rules = rules(&["Example.org", "*.docs.rs", "x.org:8443", "10.0.0.1:80", "[::1]:9"], true);
        for (url, how) in [
            ("https://example.org/a", Some(Allowed::Public)),
            ("http://EXAMPLE.org", Some(Allowed::Public)),
            ("http://example.org:8080", None),
            ("https://www.example.org", None),
            ("https://example.org.evil.com", None),
            ("https://evil-example.org", None),
            ("https://a.docs.rs", Some(Allowed::Public)),
            ("https://a.b.docs.rs", Some(Allowed::Public)),
            ("https://docs.rs", None),
            ("https://evildocs.rs", None),
            ("https://x.org", None),
            ("https://x.org:8443", Some(Allowed::Anywhere)),
            ("http://10.0.0.1/", Some(Allowed::Anywhere)),
            ("http://0xa.1/", Some(Allowed::Anywhere)),
            ("https://10.0.0.1/", None),
            ("http://[::1]:9/", Some(Allowed::Anywhere)),
            ("http://example.org@evil.com/", None),
        ] {
            assert_eq!(allowed(&Url::parse(url).unwrap(), &rules), how, "{url}");
        }
    }

    #[test]
    fn private_is_allowed_by_port_and_by_will() {
        let url = Url::parse("http://127.0.0.1:8080").unwrap();
        assert_eq!(allowed(&url, &rules(&["127.0.0.1:8080"], false)), Some(Allowed::Public));
        assert_eq!(allowed(&url, &rules(&["127.0.0.1:8080"], true)), Some(Allowed::Anywhere));
        let url = Url::parse("http://127.0.0.1").unwrap();
        assert_eq!(allowed(&url, &rules(&["127.0.0.1"], true)), Some(Allowed::Public));
    }
}
