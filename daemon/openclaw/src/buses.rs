//! Which bus it is, by the settings.

use std::path::Path;
use std::sync::Arc;

use bus::{Address, Bus, LocalBus, Options, RedisBus, Service};
use settings::{RedisAt, Secrets};

/// The password of Redis among the secrets.
const PASSWORD: &str = "OPENCLAW_REDIS_PASSWORD";

/// The bus that `settings` name, and what keeps its connections. Nothing is connected before that runs, and the
/// daemon does not wait for it. A relative `ca` lies in `folder`.
pub fn open(settings: &settings::Bus, secrets: &Secrets, folder: &Path) -> (Arc<dyn Bus>, Option<Service>) {
    let Some(url) = &settings.url else {
        return (Arc::new(LocalBus::default()), None);
    };
    let address = match &url.at {
        RedisAt::Tcp { host, port, tls } => Address::Tcp { host: host.clone(), port: *port, tls: *tls },
        RedisAt::Unix(path) => Address::Unix(path.clone()),
    };
    let (bus, service) = RedisBus::new(Options {
        address,
        user: url.user.clone(),
        password: secrets.get(PASSWORD).cloned(),
        database: url.database,
        ca: Some(&settings.ca).filter(|ca| !ca.as_os_str().is_empty()).map(|ca| folder.join(ca)),
    });
    (Arc::new(bus), Some(service))
}
