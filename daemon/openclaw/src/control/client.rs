//! The command line's end of the operators' sockets: blocking std, one request at a time. A home may have several
//! processes; whoever asks need not know which of them it is that can answer.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use settings::{Inputs, Paths, ProcessName};
use supervisor::wire::{self, Decoder};

use super::{Answer, Ask, Request};
use crate::exit::{Code, Failure};
use crate::status::{Component, Document};

/// A process that lives answers within milliseconds how it stands; one that is stopped or wedged must not hide the rest.
const STATUS: Duration = Duration::from_secs(3);

/// Connections to all processes of this home.
pub struct Client {
    /// Never empty; the one that runs all comes first.
    links: Vec<Link>,
}

impl Client {
    /// Connects, or says that there is no daemon and how to start one.
    pub fn connect(inputs: &Inputs) -> Result<Self, Failure> {
        let paths = Paths::resolve(inputs)?;
        let home = paths.home.display();
        let mut sockets: Vec<_> =
            fs::read_dir(&paths.run).into_iter().flatten().flatten().map(|e| e.path()).collect();
        sockets.retain(|path| path.extension().is_some_and(|end| end == "sock"));
        let whole = paths.of(&ProcessName::whole())?.socket;
        sockets.sort_by_key(|path| (*path != whole, path.clone()));
        let (mut links, mut failed) = (Vec::new(), None);
        for path in sockets {
            match UnixStream::connect(&path) {
                Ok(stream) => {
                    let process = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    links.push(Link { process, stream, decoder: Decoder::default(), next: 1 });
                }
                // One that was killed leaves its socket behind.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            _ if !links.is_empty() => Ok(Self { links }),
            None => Err(Failure::new(
                Code::Unavailable,
                format!(
                    "no daemon runs in {home}: start one with `openclaw run`, or name its home with --home"
                ),
            )),
            Some(error) => {
                Err(Failure::new(Code::Unavailable, format!("cannot reach the daemon in {home}: {error}")))
            }
        }
    }

    /// How all processes stand. One that does not answer is named, and one that goes away meanwhile left out.
    pub fn status(&mut self) -> Result<Document, Failure> {
        let (mut documents, mut silent, mut failure) = (Vec::new(), Vec::new(), None);
        for link in &mut self.links {
            match link.status() {
                Ok(Some(document)) => documents.push(document),
                Ok(None) => silent.push(link.process.clone()),
                Err(error) => failure = Some(error),
            }
        }
        let nobody = || {
            let limit = STATUS.as_secs();
            let what = format!(
                "{} does not answer within {limit} s: it is stopped or wedged; `systemctl restart` it, or end its process",
                silent.join(", ")
            );
            failure.unwrap_or_else(|| Failure::new(Code::Unavailable, what))
        };
        let mut document = Document::of_all(documents).ok_or_else(nobody)?;
        document.silent = silent;
        Ok(document)
    }

    /// Asks whoever can answer, and waits for that.
    pub fn ask<T: DeserializeOwned>(&mut self, ask: Ask) -> Result<T, Failure> {
        let place = match (ask.about(), ask.service()) {
            (Some(agent), _) if self.links.len() > 1 => self.leader(agent),
            (_, Some(service)) if self.links.len() > 1 => self.host(service),
            _ => 0,
        };
        let asked = self.links[place].ask(&ask);
        // A process that was started before an agent was configured does not know it; one that runs it does.
        if let (Err(Failure { code: Code::Usage, .. }), Ask::Send(message)) = (&asked, &ask)
            && self.links.len() > 1
        {
            let knows = self.leader(message.agent.as_str());
            if knows != place {
                return self.links[knows].ask(&ask);
            }
        }
        asked
    }

    /// Which process has a service; if none, the first, which says so.
    fn host(&mut self, service: &str) -> usize {
        let has = |link: &mut Link| {
            let document = link.ask::<Document>(&Ask::Status);
            document.is_ok_and(|document| document.components.iter().any(|part| part.name == service))
        };
        self.links.iter_mut().position(has).unwrap_or(0)
    }

    /// Which process leads an agent; if none, one that stands by; if none, the first, which says so.
    fn leader(&mut self, agent: &str) -> usize {
        let stands = |link: &mut Link| {
            let document = link.status().ok()??;
            document.agent(agent).map(Component::stands_by)
        };
        let stands: Vec<Option<bool>> = self.links.iter_mut().map(stands).collect();
        let first = |wanted| stands.iter().position(|stand| *stand == Some(wanted));
        first(false).or_else(|| first(true)).unwrap_or(0)
    }
}

/// A connection to one process.
struct Link {
    /// What it is called.
    process: String,
    stream: UnixStream,
    decoder: Decoder,
    next: u64,
}

impl Link {
    /// Asks and waits for the answer.
    fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<T, Failure> {
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

    /// How it stands; none when it does not answer.
    fn status(&mut self) -> Result<Option<Document>, Failure> {
        let limit = |stream: &UnixStream, most| stream.set_read_timeout(most).map_err(|error| lost(&error));
        limit(&self.stream, Some(STATUS))?;
        let began = Instant::now();
        let answer = self.ask(&Ask::Status);
        limit(&self.stream, None)?;
        // Nothing that arrives in pieces takes that long.
        if answer.is_err() && began.elapsed() >= STATUS { Ok(None) } else { answer.map(Some) }
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
