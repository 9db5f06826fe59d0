//! HTTP as this daemon speaks it: rustls with ring, the public authorities, no redirects of its own accord, no compression.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;
use url::{Host, Url};

/// A connection takes no longer, or there is none.
const CONNECT: Duration = Duration::from_secs(10);
/// Names that are looked up at once: each takes a thread while it lasts, and others need threads too.
const LOOKUPS: usize = 16;

/// There can be no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP client: {0}")]
pub struct NoClient(String);

/// The beginning of every client here.
///
/// # Errors
/// TLS cannot be set up.
pub fn builder() -> Result<ClientBuilder, NoClient> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| NoClient(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder().tls_backend_preconfigured(tls).connect_timeout(CONNECT);
    Ok(client.redirect(Policy::none()).user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION"))))
}

/// A client for the server at `base`: one on this machine is not reached through a proxy.
///
/// # Errors
/// TLS cannot be set up.
pub fn to(base: &str) -> Result<Client, NoClient> {
    let client = builder()?;
    build(if is_own(base) { client.no_proxy() } else { client })
}

fn build(client: ClientBuilder) -> Result<Client, NoClient> {
    client.build().map_err(|error| NoClient(error.without_url().to_string()))
}

/// Whether the server at `base` is on this machine.
fn is_own(base: &str) -> bool {
    Url::parse(base).is_ok_and(|url| match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

/// Why there was no answer: the cause of it, without the address.
pub fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut last: &dyn std::error::Error = &error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Why a body was not read.
pub(crate) enum Unread {
    /// It is longer than that.
    TooLong,
    /// The connection broke.
    Broken(reqwest::Error),
}

/// A body of at most so many bytes.
pub(crate) async fn body(mut response: Response, most: u64) -> Result<Vec<u8>, Unread> {
    if response.content_length().is_some_and(|length| length > most) {
        return Err(Unread::TooLong);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if (body.len() + chunk.len()) as u64 > most {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A name leads to an address that is nobody's business.
#[derive(Debug, thiserror::Error)]
#[error("{0} is a private address")]
pub(crate) struct Private(pub IpAddr);

/// Those that many servers share: each has its own pool, and its own copy of the authorities.
#[derive(Default)]
pub(crate) struct Clients {
    own: Option<Client>,
    others: Option<Client>,
}

impl Clients {
    /// As [`to`].
    pub fn to(&mut self, base: &str) -> Result<Client, NoClient> {
        let kept = if is_own(base) { &mut self.own } else { &mut self.others };
        match kept {
            Some(client) => Ok(client.clone()),
            None => Ok(kept.insert(to(base)?).clone()),
        }
    }
}

/// Clients for pages: one connects to public addresses alone, the other to any. No proxy: it would look names up itself.
pub(crate) fn for_pages() -> Result<(Client, Client), NoClient> {
    let lookups = Arc::new(Semaphore::new(LOOKUPS));
    let client = |public_only| {
        let names = Names { public_only, lookups: lookups.clone() };
        // A kept connection would be one that nobody has checked now.
        build(builder()?.no_proxy().pool_max_idle_per_host(0).dns_resolver(Arc::new(names)))
    };
    Ok((client(true)?, client(false)?))
}

/// Looks names up, and answers the addresses that were checked: the client connects to no others.
struct Names {
    public_only: bool,
    lookups: Arc<Semaphore>,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (public_only, lookups) = (self.public_only, self.lookups.clone());
        Box::pin(async move {
            let turn = lookups.acquire_owned().await?;
            // Nobody ends a look-up that hangs: its turn is over when it is, though nobody waits for it.
            let look = move || {
                let found = (name.as_str(), 0).to_socket_addrs().map(Vec::from_iter);
                drop(turn);
                found
            };
            let found = tokio::task::spawn_blocking(look).await??;
            // One that leads inside is no accident: none of its addresses is used.
            match found.iter().map(SocketAddr::ip).find(|ip| public_only && !is_public(*ip)) {
                Some(ip) => Err(Private(ip).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address is one of the public Internet: not this machine, its network, or anybody's special purpose
/// (IANA's registries of special-purpose addresses), also within an address of IPv6.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || matches!(
                    (a, b, c),
                    (0, ..)
                        | (100, 64..=127, _)
                        | (192, 0, 0)
                        | (192, 88, 99)
                        | (198, 18..=19, _)
                        | (224..=255, ..)
                ))
        }
        IpAddr::V6(ip) => {
            let parts = ip.segments();
            let within = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                is_public(IpAddr::from([a, b, c, d]))
            };
            match parts {
                [0, 0, 0, 0, 0, 0xffff, high, low] => within(high, low),
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => within(high, low),
                [0x2002, high, low, ..] => within(high, low),
                // Teredo and others of IETF's protocols, ORCHID, documentation.
                [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
                [0x3fff, ..] => false,
                // What is given out as global unicast today is 2000::/3.
                [first, ..] => (0x2000..0x4000).contains(&first),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for inside in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001:0:4136:e378::1",
            "2001:db8::1",
            "100::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.169.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
