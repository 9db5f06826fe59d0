//! An agent, run again on what it was told: a host whose daemon is a [`Record`]. Nothing is called, nothing is stored.
//!
//! What an agent keeps in its process, and what [`start`](openclaw_agent_api::agent::Agent::start) asked, is in no record: an
//! agent that can be replayed keeps what it knows in `memory`.

mod script;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use openclaw_agent_api::agent::AgentError;
use openclaw_agent_api::context::Level;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use settings::Supervision;
use store::Clock;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::instance::{Log, SharedVitals, pump};
use crate::logs::Logs;
use crate::manifest_check;
use crate::process::{Process, Program};
use crate::record::Record;
use crate::sandbox::Seat;
use crate::wire::{self, Decoder, FromHost, ToHost};
use script::Script;

pub use script::Difference;

/// What an agent is run again with.
pub struct Options {
    /// The binary of a host.
    pub program: Program,
    /// A file that the host locks.
    pub lock: PathBuf,
    /// The library: a copy that was verified.
    pub library: PathBuf,
    /// Where the operator knows it from.
    pub shown: PathBuf,
    /// An empty folder: the agent's workspace.
    pub workspace: PathBuf,
    /// What people sent: it may be read.
    pub uploads: PathBuf,
    /// How it is shut in, and how long it may take.
    pub config: Supervision,
    /// Where its lines go.
    pub logs: Logs,
}

/// What came of it.
pub struct Replayed {
    /// Calls that were answered.
    pub answered: usize,
    /// What differs from the record; empty: nothing.
    pub differences: Vec<Difference>,
    /// How it ended.
    pub outcome: Result<Value, AgentError>,
}

/// Why an agent could not be run again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Out of processes, descriptors, or memory.
    #[error("no host could be started: {0}")]
    Spawn(#[source] io::Error),
    /// A library or settings that cannot work.
    #[error("the agent cannot be started: {0}")]
    Refused(String),
    /// It ended before it was ready.
    #[error("the agent's host ended before it was ready")]
    Ended,
    /// It was not ready in time.
    #[error("the agent was not ready within start_timeout, {}", settings::units::text(*.0))]
    Slow(Duration),
    /// The host spoke no language of ours.
    #[error("the host cannot be spoken with: {0}")]
    Wire(#[from] wire::Error),
    /// The record does not fit the wire.
    #[error("the record cannot be told: {0}")]
    Record(#[from] serde_json::Error),
}

/// Runs the agent of a record again.
///
/// # Errors
/// [`Error`]: it did not come so far as to be compared.
pub async fn run(record: Record, options: Options) -> Result<Replayed, Error> {
    let agent = record.tried.agent.clone();
    let (process, streams) =
        Process::spawn(&options.program, agent.as_str(), &options.workspace).map_err(Error::Spawn)?;
    let log = Log::new(agent, options.logs.clone(), options.config.log_rate, Clock::new());
    let mut pumps = JoinSet::new();
    pumps.spawn(pump::pump(streams.stdout, "stdout", Level::Info, log.clone()));
    pumps.spawn(pump::pump(streams.stderr, "stderr", Level::Warn, log.clone()));
    let host =
        Host { socket: streams.socket, seat: Seat::of(process.pid()), decoder: Decoder::default(), log };
    let replayed = host.replay(record, &options).await;
    process.reap().await;
    replayed
}

struct Host {
    socket: UnixStream,
    seat: Seat,
    decoder: Decoder,
    log: Log,
}

impl Host {
    async fn replay(mut self, record: Record, options: &Options) -> Result<Replayed, Error> {
        let Supervision { start_timeout, handler_timeout, concurrency, log_rate, sandbox, .. } =
            options.config;
        let open = ToHost::Open {
            library: options.library.clone(),
            shown: options.shown.clone(),
            concurrency,
            memory_limit: options.config.memory_limit.bytes(),
            log_rate,
            lock: options.lock.clone(),
            sandbox,
            workspace: options.workspace.clone(),
            ask_time: true,
            uploads: options.uploads.clone(),
        };
        self.send(&open).await?;
        let started = timeout_at(Instant::now() + start_timeout, self.ready(&record, options)).await;
        started.map_err(|_| Error::Slow(start_timeout))??;
        let tried = &record.tried;
        let message = to_raw_value(&tried.message)?;
        self.send(&ToHost::Task { id: tried.task_id, kind: tried.kind.clone(), message }).await?;
        let mut script = Script::new(record);
        let until = Instant::now() + handler_timeout;
        let outcome = timeout_at(until, self.done(&mut script)).await.unwrap_or_else(|_| {
            let most = settings::units::text(handler_timeout);
            Ok(Err(AgentError::failed(format!("it took longer than handler_timeout, {most}"))))
        })?;
        let (answered, differences) = script.end(outcome.clone());
        Ok(Replayed { answered, differences, outcome })
    }

    async fn ready(&mut self, record: &Record, options: &Options) -> Result<(), Error> {
        let tried = &record.tried;
        let mut start = Script::new(Record { calls: Vec::new(), end: None, ..record.clone() });
        loop {
            match self.next().await?.ok_or(Error::Ended)? {
                FromHost::Sandboxed { sandbox } => {
                    let vitals = SharedVitals::default();
                    self.seat
                        .take(
                            &sandbox,
                            [&options.library, &options.uploads],
                            &options.workspace,
                            &self.log,
                            &vitals,
                        )
                        .map_err(Error::Refused)?;
                }
                FromHost::Hello { manifest } => {
                    manifest_check::check(&tried.agent, &tried.grants, &tried.settings, &manifest)
                        .map_err(Error::Refused)?;
                    self.send(&ToHost::Create { settings: to_raw_value(&tried.settings)? }).await?;
                }
                FromHost::Call { call, method, payload } => {
                    self.answer(&mut start, call, &method, &payload).await?;
                }
                FromHost::Ready => return Ok(()),
                FromHost::Refused { why } | FromHost::StartFailed { why } => return Err(Error::Refused(why)),
                FromHost::Panicked { message } => return Err(Error::Refused(message)),
                _ => {}
            }
        }
    }

    async fn done(&mut self, script: &mut Script) -> Result<Result<Value, AgentError>, Error> {
        loop {
            match self.next().await? {
                Some(FromHost::Call { call, method, payload }) => {
                    self.answer(script, call, &method, &payload).await?;
                }
                Some(FromHost::Done { outcome, .. }) => {
                    let read = |answer: Box<RawValue>| serde_json::from_str(answer.get());
                    return Ok(match outcome {
                        Ok(answer) => Ok(read(answer)?),
                        Err(error) => Err(error),
                    });
                }
                Some(_) => {}
                None => return Ok(Err(AgentError::failed("its host ended while at work on it"))),
            }
        }
    }

    async fn answer(
        &mut self,
        script: &mut Script,
        call: u64,
        method: &str,
        payload: &RawValue,
    ) -> Result<(), Error> {
        let answer = script.answer(method, serde_json::from_str(payload.get())?);
        let answer = match answer {
            Ok(answer) => Ok(to_raw_value(&answer)?),
            Err(error) => Err(error),
        };
        self.send(&ToHost::Answer { call, answer }).await
    }

    /// The next that it says; none when it has ended.
    async fn next(&mut self) -> Result<Option<FromHost>, Error> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(said) = self.decoder.frame()? {
                return Ok(Some(said));
            }
            let _ = self.socket.ready(Interest::READABLE).await;
            match self.seat.read(&self.socket, &mut chunk) {
                Ok(0) => return Ok(None),
                Ok(read) => self.decoder.extend(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// What a host that has ended does not take, reading tells.
    async fn send(&mut self, message: &ToHost) -> Result<(), Error> {
        let mut out = Vec::new();
        wire::encode(message, &mut out)?;
        while !out.is_empty() && self.socket.writable().await.is_ok() {
            match self.socket.try_write(&out) {
                Ok(written) => drop(out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        Ok(())
    }
}
