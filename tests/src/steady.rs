//! Steady work for the chameleon on several sessions, each message an effect that can be counted.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::daemon::Home;
use crate::socket::{Socket, message};
use crate::variant::NAME;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many under way at once: each end makes room for another.
    Window(usize),
    /// So many a second, whatever becomes of them.
    PerSecond(f64),
}

/// Sends it, and sees it end.
pub struct Steady {
    socket: Socket,
    folder: PathBuf,
    sessions: Vec<u64>,
    /// What has not ended.
    asked: HashSet<u64>,
    /// When each ended, in order.
    ends: Vec<Instant>,
    sent: u64,
}

/// As many as the daemon reads ahead of one connection.
const MOST: usize = 1024;
/// Of each message.
const PATIENCE_MS: u64 = 60_000;

impl Steady {
    /// Work on so many sessions, whose effects are in a folder of the home.
    pub fn new(home: &Home, sessions: usize) -> Result<Self> {
        let folder = home.path().join("effects");
        fs::create_dir_all(&folder)?;
        let (sessions, asked, ends) = (vec![0; sessions], HashSet::new(), Vec::new());
        Ok(Self { socket: home.socket()?, folder, sessions, asked, ends, sent: 0 })
    }

    /// Works until told to stop, and then until all has ended; counts what has in `done`. Answers when each ended.
    pub fn run(&mut self, pace: Pace, stop: &AtomicBool, done: &AtomicU64) -> Result<Vec<Instant>> {
        let (began, before) = (Instant::now(), self.sent);
        loop {
            let over = stop.load(Ordering::Relaxed);
            if over && self.asked.is_empty() {
                return Ok(std::mem::take(&mut self.ends));
            }
            let due = match pace {
                Pace::Window(window) => window.saturating_sub(self.asked.len()),
                Pace::PerSecond(rate) => {
                    let by_now = (began.elapsed().as_secs_f64() * rate) as u64 + before;
                    by_now.saturating_sub(self.sent) as usize
                }
            };
            let room = MOST - self.asked.len();
            // In one write: the client's share of the cores is taken from the daemon.
            let enough = if let Pace::Window(window) = pace { window.div_ceil(32) } else { 1 };
            if !over && due.min(room) >= enough {
                self.send(due.min(room))?;
            }
            let mut wait = Duration::from_millis(1);
            while let Some((id, answer)) = self.socket.answer_within(wait)? {
                wait = Duration::ZERO;
                ensure!(self.asked.remove(&id), "an answer to nothing: {answer:?}");
                let answer = answer.map_err(|error| anyhow!("a message was refused: {error}"))?;
                ensure!(answer["state"] == "done" && answer["attempts"] == 1, "not done at once: {answer}");
                self.ends.push(Instant::now());
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn send(&mut self, many: usize) -> Result<()> {
        let mut asks = Vec::with_capacity(many);
        for _ in 0..many {
            let session = (self.sent % self.sessions.len() as u64) as usize;
            let number = self.sessions[session];
            let file = self.folder.join(session.to_string());
            let text = format!("append {} {number}", file.display());
            asks.push(message(NAME, &text, Some(&session.to_string()), Some(PATIENCE_MS)));
            self.sessions[session] += 1;
            self.sent += 1;
        }
        self.asked.extend(self.socket.asks(asks)?);
        Ok(())
    }

    /// Nothing is lost, nothing was done twice, and each session's order was kept.
    pub fn check(&self) -> Result<()> {
        for (session, sent) in self.sessions.iter().enumerate() {
            let lines = fs::read_to_string(self.folder.join(session.to_string()))?;
            let lines = lines.lines().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
            let wrong = lines.iter().zip(0..).position(|(line, expected)| *line != expected);
            ensure!(
                wrong.is_none() && lines.len() as u64 == *sent,
                "session {session}: {sent} were sent, {} effects are there, the first wrong one is {:?}",
                lines.len(),
                wrong.map(|at| &lines[at..lines.len().min(at + 5)])
            );
        }
        Ok(())
    }

    /// So many were sent.
    pub const fn sent(&self) -> u64 {
        self.sent
    }
}
