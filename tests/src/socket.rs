//! The operator's socket, with many requests under way at once.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use supervisor::wire::{Decoder, encode};

use crate::PATIENCE;

/// A connection.
pub struct Socket {
    stream: UnixStream,
    decoder: Decoder,
    next: u64,
}

/// An answer: the request's number, and what came of it.
pub type Answer = (u64, Result<Value, Value>);

impl Socket {
    /// Connects.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, decoder: Decoder::default(), next: 1 })
    }

    /// Asks without waiting; several may be written as one by [`asks`](Self::asks).
    pub fn ask(&mut self, ask: Value) -> Result<u64> {
        Ok(self.asks([ask])?[0])
    }

    /// Asks many things in one write; answers their numbers.
    pub fn asks(&mut self, asks: impl IntoIterator<Item = Value>) -> Result<Vec<u64>> {
        let (mut frames, mut ids) = (Vec::new(), Vec::new());
        for ask in asks {
            encode(&json!({"id": self.next, "ask": ask}), &mut frames)?;
            ids.push(self.next);
            self.next += 1;
        }
        self.stream.write_all(&frames)?;
        Ok(ids)
    }

    /// Writes bytes that may be no request.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next answer, whosever it is.
    pub fn answer(&mut self) -> Result<Answer> {
        loop {
            if let Some(answer) = self.arrived()? {
                return Ok(answer);
            }
            self.read()?;
        }
    }

    /// The next answer, if it comes within `time`, of which whole milliseconds count.
    pub fn answer_within(&mut self, time: Duration) -> Result<Option<Answer>> {
        if let Some(answer) = self.arrived()? {
            return Ok(Some(answer));
        }
        let mut ready = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, u16::try_from(time.as_millis()).unwrap_or(u16::MAX))? == 0 {
            return Ok(None);
        }
        self.read()?;
        self.arrived()
    }

    /// An answer that has been read, if there is one.
    fn arrived(&mut self) -> Result<Option<Answer>> {
        let Some(mut answer) = self.decoder.frame::<Value>()? else { return Ok(None) };
        let id = answer["id"].as_u64().context("an answer's number")?;
        let result = answer["result"].take();
        Ok(Some(match result {
            Value::Object(mut result) if result.contains_key("Ok") => (id, Ok(result["Ok"].take())),
            Value::Object(mut result) if result.contains_key("Err") => (id, Err(result["Err"].take())),
            other => bail!("neither Ok nor Err: {other}"),
        }))
    }

    fn read(&mut self) -> Result<()> {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk)? {
            0 => bail!("the daemon closed the connection"),
            read => self.decoder.extend(&chunk[..read]),
        }
        Ok(())
    }

    /// Asks, and waits for the answer.
    pub fn call(&mut self, ask: Value) -> Result<Result<Value, Value>> {
        let asked = self.ask(ask)?;
        loop {
            let (id, result) = self.answer()?;
            if id == asked || id == 0 {
                return Ok(result);
            }
        }
    }
}

/// A message to `agent`; `wait_ms` none: not waited for.
pub fn message(agent: &str, text: &str, session: Option<&str>, wait_ms: Option<u64>) -> Value {
    json!({"send": {"agent": agent, "text": text, "session": session, "wait_ms": wait_ms}})
}
