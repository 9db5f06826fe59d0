//! Clients that send work with effects which can be counted, and repeat what was not acknowledged.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use openclaw_tests::PATIENCE;
use openclaw_tests::daemon::Home;
use openclaw_tests::socket::Socket;
use serde_json::{Value, json};
use store::task::TaskId;

use super::{AGENTS, pause};

/// Sessions of each agent; one more client of each has none.
const SESSIONS: u32 = 4;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A line in the session's file.
    Line,
    /// Two lines in the session's file, and time between them.
    Span,
    /// A line in the session's file with each try, and an error until there are two.
    Insist,
    /// An error at once.
    Invalid,
    /// Work for the other agent, stored with this task's end.
    Hand,
    /// Work for the other agent, waited for.
    Run,
}

/// A task that the daemon has acknowledged.
pub struct Accepted {
    pub id: TaskId,
    pub agent: &'static str,
    pub work: Work,
    /// Its place in its client's order.
    pub number: u32,
    /// Whether its client has a session.
    pub ordered: bool,
    /// Its client's file.
    pub file: PathBuf,
    /// What the other agent is to be told.
    pub onward: String,
}

/// One sender: all its messages are of one session, or of none.
pub struct Client {
    socket: PathBuf,
    /// Its database and its bus come and go, or it stands still: who asks is told to try again.
    patient: bool,
    /// What takes time takes 400 ms.
    long: bool,
    agent: &'static str,
    name: String,
    ordered: bool,
    file: PathBuf,
    rng: Rng,
    link: Option<Socket>,
}

impl Client {
    /// Those of all agents, at this home; `prefix` tells them from those at another home on the same database.
    pub fn all(home: &Home, prefix: &str, patient: bool, rng: &mut Rng) -> Vec<Self> {
        let clients = AGENTS.into_iter().flat_map(|agent| (0..=SESSIONS).map(move |number| (agent, number)));
        let client = |(agent, number)| {
            let name = format!("{prefix}{agent}-{number}");
            Self {
                patient,
                long: false,
                socket: home.path().join("run/openclaw.sock"),
                agent,
                ordered: number < SESSIONS,
                file: home.path().join(&name),
                name,
                rng: rng.fork(),
                link: None,
            }
        };
        clients.map(client).collect()
    }

    /// Sends bursts and waits for each one's last, until told to stop; counts what should be done by then. Answers
    /// what was accepted.
    pub fn run(mut self, stop: &AtomicBool, done: &AtomicU32) -> Result<Vec<Accepted>> {
        let mut accepted = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let burst = self.rng.u32(1..=8);
            for left in (0..burst).rev() {
                let number = accepted.len() as u32;
                let work = self.choose();
                let sent = self.send(work, number, left == 0).with_context(|| self.name.clone())?;
                accepted.push(sent);
            }
            done.fetch_add(burst, Ordering::Relaxed);
        }
        Ok(accepted)
    }

    /// Sends each kind of work once, and then again, without waiting for an end; `long`: what takes time takes longer
    /// than a third of the shortest lease.
    pub fn run_through(mut self, long: bool) -> Result<Vec<Accepted>> {
        let kinds = [Work::Line, Work::Span, Work::Insist, Work::Hand, Work::Run, Work::Invalid];
        // Only from the first to the second, as above.
        let kinds = kinds
            .into_iter()
            .filter(|work| self.agent == AGENTS[0] || !matches!(work, Work::Hand | Work::Run));
        let kinds: Vec<_> = kinds.collect();
        self.long = long;
        let twice = kinds.iter().chain(&kinds).copied().zip(0..);
        twice
            .map(|(work, number)| self.send(work, number, false).with_context(|| self.name.clone()))
            .collect()
    }

    fn send(&mut self, work: Work, number: u32, wait: bool) -> Result<Accepted> {
        let onward = format!("append {} {number}", self.onward_file().display());
        let file = self.file.display();
        let text = match work {
            Work::Line => format!("append {file} {number}"),
            Work::Span if self.long => format!("span {file} 400 {number}"),
            Work::Span => format!("span {file} {} {number}", self.rng.u32(0..12)),
            Work::Insist => format!("insist {file} 2 {number}"),
            Work::Invalid => format!("invalid {number}"),
            Work::Hand => format!("hand {} {onward}", AGENTS[1]),
            Work::Run => format!("run {} {onward}", AGENTS[1]),
        };
        let session = self.ordered.then_some(&self.name);
        let wait_ms = wait.then_some(10_000);
        let key = format!("{}:{number}", self.name);
        let ask = json!({"send": {
            "agent": self.agent, "text": text, "session": session, "key": key, "wait_ms": wait_ms,
        }});
        let answer = self.ask(&ask)?;
        let id = answer["task_id"].as_str().context("a task's id")?.parse()?;
        let (agent, ordered, file) = (self.agent, self.ordered, self.file.clone());
        Ok(Accepted { id, agent, work, number, ordered, file, onward })
    }

    fn choose(&mut self) -> Work {
        match self.rng.u32(0..100) {
            0..10 => Work::Invalid,
            10..30 => Work::Span,
            30..35 => Work::Insist,
            // Only from the first to the second: two that wait for each other's handlers may wait for ever.
            35..40 if self.agent == AGENTS[0] => Work::Hand,
            40..45 if self.agent == AGENTS[0] => Work::Run,
            _ => Work::Line,
        }
    }

    fn onward_file(&self) -> PathBuf {
        self.file.with_extension("onward")
    }

    /// Asks until a daemon answers: the key makes it safe.
    fn ask(&mut self, ask: &Value) -> Result<Value> {
        let mut since = Instant::now();
        loop {
            match self.once(&self.socket.clone(), ask) {
                Ok(Ok(answer)) => return Ok(answer),
                // It is on its way down.
                Ok(Err(failure)) if failure["code"] == "unavailable" => since = Instant::now(),
                // Its database is away.
                Ok(Err(failure)) if self.patient && failure["code"] == "try_again" => {
                    if since.elapsed() > PATIENCE * 2 {
                        bail!("{ask} is still answered {failure}");
                    }
                }
                Ok(Err(failure)) => bail!("{ask} was answered {failure}"),
                Err(error) => {
                    self.link = None;
                    if since.elapsed() > PATIENCE * 2 {
                        return Err(error.context("no daemon answers"));
                    }
                }
            }
            pause(1);
        }
    }

    fn once(&mut self, path: &Path, ask: &Value) -> Result<Result<Value, Value>> {
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(Socket::connect(path)?),
        };
        link.call(ask.clone())
    }
}
