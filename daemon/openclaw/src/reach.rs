//! The gateway as a part of this process: opened before any work starts, told how the whole stands.

use std::net::TcpListener;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use gateway::{Handle, Options, Part, PartKind, Tokens, Whole};
use settings::{Gateway, Secrets};
use store::Clock;
use supervisor::Health;

use crate::components::{Components, Service};
use crate::exit::{Code, Failure};
use crate::status::{Board, Component, Evidence};

/// What systemd calls its socket.
pub const GATEWAY: &str = "gateway";

/// Takes the port, where this process has a gateway.
///
/// # Errors
/// The port is taken or cannot be had, or a token is missing or none.
pub fn open(
    settings: &Gateway,
    secrets: &Secrets,
    components: &Components,
    passed: Option<TcpListener>,
    clock: Clock,
) -> Result<Option<(gateway::Service, Handle)>, Failure> {
    if !components.services.contains(&Service::Gateway) {
        return Ok(None);
    }
    let tokens = Tokens::of(secrets)?;
    // One that systemd has bound is kept over restarts: who connects meanwhile waits.
    let listener = match passed {
        Some(listener) => gateway::adopt(listener, &tokens)?,
        None => gateway::bind(settings.bind, &tokens)?,
    };
    if let Err(error) = operations::sockets::keep(GATEWAY, &listener) {
        tracing::debug!(%error, "systemd does not keep the gateway's socket");
    }
    let options = Options { settings: settings.clone(), tokens, listener, clock };
    gateway::Service::new(options).map(Some).map_err(|error| Failure::of(Code::Io, &error))
}

impl Board {
    /// The gateway, if there is one here.
    pub fn gateway(&self) -> Option<Component> {
        let gateway::Health { address, has_tokens, since, answered_at, running, error } =
            self.gateway.as_ref()?.health();
        let evidence = match answered_at {
            Some(_) => Evidence { what: "answered a request".into(), at: answered_at },
            None => Evidence { what: "listens, and has not been asked yet".into(), at: None },
        };
        let (verdict, reason) = match error {
            Some(error) => (("backoff", "degraded"), format!("takes no connections at the moment: {error}")),
            None if has_tokens => (("ready", "ok"), "requests are answered".into()),
            None => (
                ("ready", "ok"),
                format!("its API is closed until .env has a token, {}=…", gateway::tokens::OPERATOR),
            ),
        };
        let description = format!("HTTP on {address}");
        let component = self.service("gateway", verdict, evidence, since, reason, description);
        Some(Component { running, ..component })
    }
}

#[async_trait]
impl Whole for Board {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn parts(&self) -> Result<Vec<Part>, String> {
        let document = self.document().await.map_err(|failure| failure.message)?;
        Ok(document.components.into_iter().map(part).collect())
    }
}

fn part(component: Component) -> Part {
    let kind = match (component.kind.as_str(), component.name.as_str()) {
        ("agent", _) => PartKind::Agent,
        (_, "store") => PartKind::Store,
        (_, "bus") => PartKind::Bus,
        _ => PartKind::Service,
    };
    let health = match component.health.as_str() {
        // Whoever leads it answers for it.
        _ if component.stands_by() => Health::Unknown,
        "ok" => Health::Ok,
        "degraded" => Health::Degraded,
        "failed" => Health::Failed,
        _ => Health::Unknown,
    };
    Part {
        name: component.name,
        kind,
        health,
        reason: component.reason,
        evidence: component.evidence.what,
        at: component.evidence.at,
    }
}
