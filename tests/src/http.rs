//! The daemon's HTTP, as a program or a person reaches it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use crate::PATIENCE;
use crate::daemon::Home;

/// A client of one daemon.
pub struct Http {
    /// Where it is.
    pub address: SocketAddr,
    agent: Agent,
    token: Option<String>,
}

/// What was answered.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: ureq::http::HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("{}: {}", self.status, self.text))
    }

    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Http {
    /// A client for the daemon of that home, which says where it listens.
    pub fn of(home: &Home, token: Option<&str>) -> Result<Self> {
        let gateway = home.component("gateway")?;
        let told = gateway["description"].as_str().context("a description")?;
        let address = told.strip_prefix("HTTP on ").with_context(|| told.to_owned())?.parse()?;
        Ok(Self::at(address, token))
    }

    /// A client for that address.
    pub fn at(address: SocketAddr, token: Option<&str>) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        Self { address, agent: config.into(), token: token.map(str::to_owned) }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request("GET", path).body(())?)
    }

    /// POST, with a JSON document.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(body.to_string())?)
    }

    /// A request to be completed.
    pub fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Sends it.
    pub fn send(&self, request: Request<impl ureq::AsSendBody>) -> Result<Answer> {
        let mut response: Response<Body> = self.agent.run(request)?;
        let text = response.body_mut().read_to_string()?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), text })
    }

    /// A connection without a client.
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends bytes that may be no request; answers all that comes back until the other end closes.
    pub fn raw(&self, bytes: &[u8]) -> Result<String> {
        let mut stream = self.connect()?;
        // It may be refused before all of it has been taken.
        let _ = stream.write_all(bytes);
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        Ok(String::from_utf8_lossy(&told).into_owned())
    }
}
