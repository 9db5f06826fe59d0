//! The gateway as a part of this process: opened before any work starts, told how the whole stands.

use std::net::SocketAddr;

use async_trait::async_trait;
use gateway::{Handle, Options, Tokens, Whole};
use operations::sockets::Passed;
use settings::{Secrets, Settings};
use store::Clock;

use crate::components::{Components, Service};
use crate::exit::{Code, Failure};
use crate::status::{Board, Component, Document, Evidence};

/// What systemd calls its socket.
pub const GATEWAY: &str = "gateway";

/// Takes the port, where this process has a gateway.
///
/// # Errors
/// The port is taken or cannot be had, or a token is missing or none.
pub fn open(
    settings: &Settings,
    secrets: &Secrets,
    components: &Components,
    passed: Passed,
    clock: Clock,
) -> Result<Option<(gateway::Service, Handle)>, Failure> {
    if !components.services.contains(&Service::Gateway) {
        return Ok(None);
    }
    let tokens = Tokens::of(secrets)?;
    let (listener, kept) = match passed.listener {
        Some((listener, by_unit)) => (gateway::adopt(listener, &tokens)?, by_unit),
        None => (gateway::bind(settings.gateway.bind, &tokens)?, false),
    };
    // One that no socket unit has is left with systemd: who connects during a restart waits.
    if !kept && let Err(error) = operations::sockets::keep(GATEWAY, &listener) {
        tracing::debug!(%error, "systemd does not keep the gateway's socket");
    }
    if let Some(astray) = passed.astray {
        tracing::warn!(event = "astray", "{}", astray_said(astray));
    }
    let (settings, routing) = (settings.gateway.clone(), settings.routing.clone());
    let redactor = secrets.redactor();
    let options = Options { settings, routing, tokens, listener, clock, redactor };
    gateway::Service::new(options).map(Some).map_err(|error| Failure::of(Code::Io, &error))
}

fn astray_said(astray: SocketAddr) -> String {
    format!(
        "openclaw.socket listens on {astray}, where nobody answers: write [gateway] bind as its ListenStream, with \
         `systemctl edit openclaw.socket`"
    )
}

/// What must be told of a stop.
pub struct Reached(Option<Handle>, Option<gateway::telegram::Handle>);

impl Reached {
    /// What there is here.
    pub fn of(board: &Board) -> Self {
        Self(board.gateway.clone(), board.telegram.clone())
    }

    /// Nothing more is taken.
    pub fn stop(&self) {
        self.0.iter().for_each(Handle::stop);
        self.1.iter().for_each(gateway::telegram::Handle::stop);
    }

    /// All work has ended.
    pub fn finish(&self) {
        self.0.iter().for_each(Handle::finish);
        self.1.iter().for_each(gateway::telegram::Handle::finish);
    }
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
            None if let Some(astray) = self.astray => (("ready", "degraded"), astray_said(astray)),
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
    async fn document(&self) -> Result<Document, String> {
        Board::document(self).await.map_err(|failure| failure.message)
    }

    async fn home(&self) -> Result<Document, String> {
        Ok(self.neighbours.home(Whole::document(self).await?).await)
    }
}
