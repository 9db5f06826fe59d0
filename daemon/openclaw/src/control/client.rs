//! The command line's end of the operator's socket: blocking std, one request at a time.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use settings::{Inputs, Paths};
use supervisor::wire::{self, Decoder};

use super::{Answer, Ask, Request};
use crate::exit::{Code, Failure};

/// A connection to the daemon of this home.
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    next: u64,
}

impl Client {
    /// Connects, or says that there is no daemon and how to start one.
    pub fn connect(inputs: &Inputs) -> Result<Self, Failure> {
        let paths = Paths::resolve(inputs)?;
        let stream = UnixStream::connect(&paths.socket).map_err(|error| {
            let home = paths.home.display();
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::new(
                    Code::Unavailable,
                    format!("no daemon runs in {home}: start one with `openclaw run`, or name its home with --home"),
                ),
                _ => Failure::new(Code::Unavailable, format!("cannot reach the daemon in {home}: {error}")),
            }
        })?;
        Ok(Self { stream, decoder: Decoder::default(), next: 1 })
    }

    /// Asks and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, ask: Ask) -> Result<T, Failure> {
        let id = self.next;
        self.next += 1;
        let mut frame = Vec::new();
        wire::encode(&Request { id, ask }, &mut frame)
            .map_err(|error| Failure::new(Code::Usage, format!("the request is too long: {error}")))?;
        self.stream.write_all(&frame).map_err(|error| lost(&error))?;
        let answer = loop {
            let answer: Option<Answer> = self.decoder.frame().map_err(|error| lost(&error))?;
            match answer {
                Some(answer) if answer.id == id || answer.id == 0 => break answer,
                Some(_) => {}
                None => self.read()?,
            }
        };
        serde_json::from_str(answer.result?.get()).map_err(|error| {
            let advice = "is the daemon of another version? `openclaw version` shows this one's";
            Failure::new(Code::Unavailable, format!("the daemon's answer does not read ({error}): {advice}"))
        })
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk).map_err(|error| lost(&error))?;
        if read == 0 {
            return Err(lost(&"it closed the connection"));
        }
        self.decoder.extend(&chunk[..read]);
        Ok(())
    }
}

fn lost(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Unavailable, format!("the daemon went away: {error}"))
}
