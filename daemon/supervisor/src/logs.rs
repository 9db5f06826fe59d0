//! Agents' logs: a file of JSON lines each, of bounded size, written by one thread so that a slow disk holds up
//! nobody, without secrets. `openclaw agents logs` reads the files.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Level;
use serde::{Deserialize, Serialize};
use settings::Redactor;

/// A file past this is set aside as `.1`, and the `.1` before it goes.
const FILE: u64 = 4 << 20;
/// Lines on their way to the disk; beyond it they are dropped.
const WAITING: usize = 4096;

/// One line of an agent's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub at: DateTime<Utc>,
    /// How much it matters.
    pub level: Level,
    /// `log`, `stdout`, `stderr`, or `supervisor`.
    pub source: String,
    /// On behalf of which task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What it says.
    pub text: String,
}

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    lines: SyncSender<Entry>,
    redactor: Redactor,
}

enum Entry {
    Line(AgentName, Line),
    End,
}

impl Logs {
    /// Starts the thread that writes below `folder` what `redactor` leaves. It ends after [`close`](Self::close).
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(folder: PathBuf, redactor: Redactor) -> io::Result<(Self, JoinHandle<()>)> {
        let (lines, waiting) = sync_channel(WAITING);
        let thread =
            std::thread::Builder::new().name("logs".into()).spawn(move || write(&folder, &waiting))?;
        Ok((Self { lines, redactor }, thread))
    }

    /// Writes a line, or drops it when the disk cannot keep up: an agent's work does not wait for its log.
    pub fn write(&self, agent: &AgentName, mut line: Line) {
        self.redactor.redact_in(&mut line.text);
        let _ = self.lines.try_send(Entry::Line(agent.clone(), line));
    }

    /// What takes secrets out of an agent's words, also where they go elsewhere.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Nothing more comes: the thread writes what it has and ends.
    pub fn close(&self) {
        // An error says that it has ended already.
        let _ = self.lines.send(Entry::End);
    }
}

/// The file of an agent's newest lines; older ones are in `.log.1`.
pub fn file(folder: &Path, agent: &AgentName) -> PathBuf {
    folder.join(format!("{agent}.log"))
}

fn write(folder: &Path, lines: &Receiver<Entry>) {
    let mut files: HashMap<AgentName, (File, u64)> = HashMap::new();
    while let Ok(Entry::Line(agent, line)) = lines.recv() {
        let Ok(mut text) = serde_json::to_string(&line) else { continue };
        text.push('\n');
        // A full disk loses log lines and nothing else; the file is opened anew with the next line.
        if append(folder, &agent, &text, &mut files).is_err() {
            files.remove(&agent);
        }
    }
}

fn append(
    folder: &Path,
    agent: &AgentName,
    text: &str,
    files: &mut HashMap<AgentName, (File, u64)>,
) -> io::Result<()> {
    let path = file(folder, agent);
    if files.get(agent).is_some_and(|(_, size)| *size >= FILE) {
        files.remove(agent);
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    if !files.contains_key(agent) {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        files.insert(agent.clone(), (file, size));
    }
    if let Some((file, size)) = files.get_mut(agent) {
        file.write_all(text.as_bytes())?;
        *size += text.len() as u64;
    }
    Ok(())
}
