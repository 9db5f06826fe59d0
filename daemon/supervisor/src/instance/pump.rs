//! What an agent prints becomes lines of its log: bounded in length, in number, and in what they cost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Level;
use store::Clock;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::logs::{Line, Logs};
use crate::throttle::Throttle;

/// A longer line is cut.
const LINE: usize = 4096;
/// What is read of one stream in a second; beyond it the agent's own writes wait.
const BYTES_PER_SECOND: usize = 8 << 20;
/// The last lines on standard error tell what an abort was about.
const LAST_WORDS: usize = 20;

/// Where one agent's lines go.
#[derive(Clone)]
pub struct Log {
    agent: AgentName,
    logs: Logs,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

/// On whose behalf a line is.
#[derive(Default)]
pub struct Behalf {
    /// Which task's.
    pub task: Option<String>,
    /// In which session that is, where it is in work.
    pub session: Option<String>,
}

struct State {
    throttle: Throttle,
    last_words: VecDeque<String>,
}

impl Log {
    pub fn new(agent: AgentName, logs: Logs, rate: u32, clock: Clock) -> Self {
        let state = State { throttle: Throttle::new(rate), last_words: VecDeque::new() };
        Self { agent, logs, clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Writes a line, unless the agent has had its share of this second.
    pub fn write(&self, level: Level, source: &str, behalf: Behalf, text: String) {
        let text = self.plain(text);
        if source == "stderr" {
            self.remember(&text);
        }
        let dropped = {
            match self.lock().throttle.take(Instant::now().into_std()) {
                None => return,
                Some(dropped) => dropped,
            }
        };
        if dropped > 0 {
            self.dropped(dropped);
        }
        self.put(level, source, behalf, text);
    }

    /// Writes what the sandbox has to say, which is bounded by itself: with the agent's own lines it would be among those
    /// that are dropped when the agent prints too much.
    pub fn violation(&self, text: String) {
        self.put(Level::Warn, "sandbox", Behalf::default(), self.plain(text));
    }

    /// Without secrets, and then no longer than a line: a part of one is not known for what it is.
    fn plain(&self, mut text: String) -> String {
        self.logs.redactor().redact_in(&mut text);
        cut(text)
    }

    /// Nothing more comes: says what was dropped since the last line.
    pub fn close(&self) {
        let dropped = self.lock().throttle.dropped();
        if dropped > 0 {
            self.dropped(dropped);
        }
    }

    fn dropped(&self, lines: u64) {
        let text = format!("{lines} lines were dropped: over log_rate");
        self.put(Level::Warn, "supervisor", Behalf::default(), text);
    }

    /// The last lines on standard error, oldest first.
    pub fn last_words(&self) -> Vec<String> {
        self.lock().last_words.iter().cloned().collect()
    }

    fn put(&self, level: Level, source: &str, behalf: Behalf, text: String) {
        let Behalf { task, session } = behalf;
        let (agent, task_id, session) = (&self.agent, task.as_deref(), session.as_deref());
        match level {
            Level::Error => tracing::error!(target: "agent", %agent, task_id, session, "{text}"),
            Level::Warn => tracing::warn!(target: "agent", %agent, task_id, session, "{text}"),
            Level::Info => tracing::info!(target: "agent", %agent, task_id, session, "{text}"),
            Level::Debug => tracing::debug!(target: "agent", %agent, task_id, session, "{text}"),
        }
        let line = Line { at: self.clock.now(), level, source: source.into(), task, text };
        self.logs.write(agent, line);
    }

    fn remember(&self, text: &str) {
        let mut state = self.lock();
        if state.last_words.len() == LAST_WORDS {
            state.last_words.pop_front();
        }
        state.last_words.push_back(text.into());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Printable, and not too long.
fn cut(text: String) -> String {
    let plain = text.chars().all(|c| !c.is_control() || c == '\t');
    if plain && text.len() <= LINE {
        return text;
    }
    let printable = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    let mut end = String::new();
    for c in text.chars().map(printable) {
        if end.len() + c.len_utf8() > LINE {
            end.push('…');
            break;
        }
        end.push(c);
    }
    end
}

/// Reads one stream to its end.
pub async fn pump(mut stream: pipe::Receiver, source: &'static str, level: Level, log: Log) {
    let (mut chunk, mut line) = (vec![0; 16 * 1024], Vec::new());
    let (mut read_now, mut began) = (0, Instant::now());
    while let Ok(read) = stream.read(&mut chunk).await {
        if read == 0 {
            break;
        }
        for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
            // What is beyond is not even kept, but for the rest of a secret that begins within the longest line.
            let room = (2 * LINE).saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                said(&log, level, source, &mut line);
            }
        }
        read_now += read;
        if began.elapsed() >= Duration::from_secs(1) {
            (read_now, began) = (0, Instant::now());
        } else if read_now >= BYTES_PER_SECOND {
            tokio::time::sleep_until(began + Duration::from_secs(1)).await;
        }
    }
    said(&log, level, source, &mut line);
}

fn said(log: &Log, level: Level, source: &str, line: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    line.clear();
    if !text.is_empty() {
        log.write(level, source, Behalf::default(), text);
    }
}
