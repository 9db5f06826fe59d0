//! What agents were told, kept where `providers.record` says: a file per try of a task, of which a [`replay`](crate::replay) is
//! made. All that an agent knows of the world are the answers to its calls, so that these are what is recorded.
//!
//! A file has a JSON object a line: the try, each call with its answer, the end. One thread writes; an agent never waits for it.
//! Secrets are taken out of every text.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::agent::AgentError;
use openclaw_agent_api::context::CallError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use settings::Redactor;
use store::task::TaskId;

/// What is written of one try at the most, in bytes: dozens of whole pages.
const FILE: u64 = 16 << 20;
/// Files that are kept, and their bytes in all: the oldest go first.
const FILES: usize = 1000;
const BYTES: u64 = 256 << 20;
/// How many tries begin, and how many bytes are written, between two looks at that.
const LOOK: u64 = 50;
const LOOK_BYTES: u64 = 16 << 20;
/// What waits for the disk, in entries and in bytes; beyond it, it is not kept.
const WAITING: usize = 1024;
const WAITING_BYTES: u64 = 32 << 20;
/// Tries that are written at once: a team's concurrency is far below.
const OPEN: usize = 1024;
/// The ending of a record.
const ENDING: &str = "jsonl";

/// A try, as it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// Of which task.
    pub task_id: TaskId,
    /// Which agent's.
    pub agent: AgentName,
    /// What it was called with.
    pub kind: String,
    /// 1 for the first.
    pub attempt: u32,
    /// The agent API's `Message`.
    pub message: Value,
    /// The agent's settings.
    pub settings: Value,
    /// What it was granted.
    pub grants: Vec<String>,
    /// The SHA-256 of its library.
    pub library: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A call of the agent's, and what the daemon answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// What for.
    pub method: String,
    /// With what.
    pub payload: Value,
    /// What came of it.
    pub answer: Result<Value, CallError>,
    /// Its place among all that its host asked for: several may be under way, and are answered in another order.
    #[serde(default)]
    pub asked: u64,
}

/// A line of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first.
    Try(Box<Try>),
    /// Its calls, as they were answered.
    Call(Call),
    /// Calls may be missing: too long, or too many at once.
    Lost,
    /// What the agent answered, with what it handed on. A host that ended has no such line.
    End(Result<Value, AgentError>),
}

/// A whole record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What was tried.
    pub tried: Try,
    /// What was asked, in the order of the answers.
    pub calls: Vec<Call>,
    /// Calls may be missing.
    pub lost: bool,
    /// How it ended, if it did.
    pub end: Option<Result<Value, AgentError>>,
}

/// Why a record cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error(
        "nothing is recorded of the task {task} in {}: set providers.record before it runs; the newest {FILES} tries are kept",
        folder.display()
    )]
    None {
        /// Of which.
        task: TaskId,
        /// Where.
        folder: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the record {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no record.
    #[error("{} is no whole record: {why}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Record {
    /// Reads the record of a task: of this try, or of the last.
    ///
    /// # Errors
    /// [`Error`]: each names what is missing or broken.
    pub fn of(folder: &Path, task: TaskId, attempt: Option<u32>) -> Result<Self, Error> {
        let attempts = files(folder).into_iter().filter_map(|file| (file.of.0 == task).then_some(file.of.1));
        let last = attempts.filter(|one| attempt.is_none_or(|wanted| wanted == *one)).max();
        let last: u32 = last.ok_or_else(|| Error::None { task, folder: folder.into() })?;
        let path = folder.join(name(task, last));
        let text = fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        Self::parse(&text).map_err(|why| Error::Malformed { path, why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(|line| serde_json::from_str(line).map_err(|error| error.to_string()));
        let mut lines = lines.peekable();
        let Some(Line::Try(tried)) = lines.next().transpose()? else {
            return Err("it does not begin with a try".into());
        };
        let mut record = Self { tried: *tried, calls: Vec::new(), lost: false, end: None };
        while let Some(line) = lines.next() {
            match line {
                Ok(Line::Call(call)) => record.calls.push(call),
                Ok(Line::Lost) => record.lost = true,
                Ok(Line::End(end)) => record.end = Some(end),
                Ok(Line::Try(_)) => return Err("a second try begins in it".into()),
                // A daemon that died while it wrote leaves half a line.
                Err(_) if lines.peek().is_none() => record.lost = true,
                Err(why) => return Err(why),
            }
        }
        Ok(record)
    }
}

fn name(task: TaskId, attempt: u32) -> String {
    format!("{task}.{attempt}.{ENDING}")
}

/// Of which try a file is, by its name; of none, who knows what it is.
fn named(path: &Path) -> Option<(TaskId, u32)> {
    let (stem, attempt) =
        path.file_name()?.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?.split_once('.')?;
    let of = (stem.parse().ok()?, attempt.parse().ok()?);
    // Only as it is written here.
    (path.file_name()?.to_str()? == name(of.0, of.1)).then_some(of)
}

struct Found {
    of: (TaskId, u32),
    path: PathBuf,
    changed: SystemTime,
    size: u64,
}

fn files(folder: &Path) -> Vec<Found> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = entries.filter_map(|path| {
        let of = named(&path)?;
        let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(Found { of, path, changed: meta.modified().ok()?, size: meta.len() })
    });
    found.collect()
}

/// Takes what is to be recorded. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    entries: SyncSender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes that wait.
    waiting: AtomicU64,
    /// Entries that were not kept, ever.
    lost: AtomicU64,
}

enum Entry {
    /// With the bytes that it is about.
    Begin(Box<Try>, u64),
    Call {
        task: TaskId,
        asked: u64,
        method: String,
        payload: Box<RawValue>,
        answer: Result<Box<RawValue>, CallError>,
    },
    End {
        task: TaskId,
        outcome: Result<Box<RawValue>, AgentError>,
    },
    Gone(TaskId),
    Close,
}

impl Recorder {
    /// Makes the folder, for its owner alone, and starts the thread that writes. It ends after [`close`](Self::close).
    ///
    /// # Errors
    /// The folder cannot be made, or no thread is to be had.
    pub fn start(folder: PathBuf, redactor: Redactor) -> io::Result<(Self, JoinHandle<()>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let (entries, waiting) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            folder,
            redactor,
            shared: shared.clone(),
            open: HashMap::new(),
            begun: 0,
            room: 0,
            ill: false,
        };
        let thread =
            std::thread::Builder::new().name("records".into()).spawn(move || writer.write(&waiting))?;
        Ok((Self { entries, shared }, thread))
    }

    /// A try begins, whose message has so many bytes.
    pub fn begin(&self, tried: Try, size: usize) {
        self.put(Entry::Begin(Box::new(tried), size as u64));
    }

    /// A call of it was answered: the how manieth that its host asked for, and what for.
    pub fn call(
        &self,
        task: TaskId,
        (asked, method): (u64, String),
        payload: Box<RawValue>,
        answer: Result<Box<RawValue>, CallError>,
    ) {
        self.put(Entry::Call { task, asked, method, payload, answer });
    }

    /// It ended so.
    pub fn end(&self, task: TaskId, outcome: Result<Box<RawValue>, AgentError>) {
        self.put(Entry::End { task, outcome });
    }

    /// Its host ended.
    pub fn gone(&self, task: TaskId) {
        self.put(Entry::Gone(task));
    }

    /// Nothing more comes.
    pub fn close(&self) {
        // An error says that it has ended already.
        let _ = self.entries.send(Entry::Close);
    }

    fn put(&self, entry: Entry) {
        let size = entry.size();
        let before = self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        if before + size > WAITING_BYTES || self.entries.try_send(entry).is_err() {
            self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Entry {
    fn size(&self) -> u64 {
        let raw = |raw: &RawValue| raw.get().len() as u64;
        match self {
            Self::Call { payload, answer, .. } => raw(payload) + answer.as_deref().map_or(0, raw),
            Self::End { outcome, .. } => outcome.as_deref().map_or(0, raw),
            Self::Begin(_, size) => *size,
            Self::Gone(_) | Self::Close => 0,
        }
    }
}

struct Writer {
    folder: PathBuf,
    redactor: Redactor,
    shared: Arc<Shared>,
    open: HashMap<TaskId, Open>,
    begun: u64,
    /// Bytes that may be written before the next look.
    room: u64,
    /// It was said that nothing can be written.
    ill: bool,
}

struct Open {
    file: File,
    size: u64,
    /// What had been lost of any try when it began.
    lost_before: u64,
    /// Something of it was too long.
    cut: bool,
}

impl Writer {
    fn write(mut self, entries: &Receiver<Entry>) {
        while let Ok(entry) = entries.recv() {
            self.shared.waiting.fetch_sub(entry.size(), Ordering::Relaxed);
            let written = match entry {
                Entry::Begin(tried, _) => self.begin(tried),
                Entry::Call { task, asked, method, payload, answer } => {
                    let answer = answer.map(|answer| read(&answer));
                    self.append(task, &Line::Call(Call { method, payload: read(&payload), answer, asked }))
                }
                Entry::End { task, outcome } => self.end(task, outcome.map(|outcome| read(&outcome))),
                Entry::Gone(task) => self.close(task),
                Entry::Close => return,
            };
            match written {
                Ok(()) => self.ill = false,
                Err(error) if !self.ill => {
                    tracing::warn!(folder = %self.folder.display(), %error, "what agents are told cannot be recorded");
                    self.ill = true;
                }
                Err(_) => {}
            }
        }
    }

    fn begin(&mut self, tried: Box<Try>) -> io::Result<()> {
        if self.begun.is_multiple_of(LOOK) {
            self.room = prune(&self.folder);
        }
        self.begun += 1;
        if self.open.len() >= OPEN {
            return Ok(());
        }
        let (task, path) = (tried.task_id, self.folder.join(name(tried.task_id, tried.attempt)));
        // A try that did not count has the same number as the next.
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        let lost_before = self.shared.lost.load(Ordering::Relaxed);
        self.open.insert(task, Open { file, size: 0, lost_before, cut: false });
        self.append(task, &Line::Try(tried))
    }

    fn append(&mut self, task: TaskId, line: &Line) -> io::Result<()> {
        let Some(open) = self.open.get_mut(&task) else { return Ok(()) };
        let mut line = serde_json::to_value(line)?;
        clean(&mut line, &self.redactor);
        let text = format!("{line}\n");
        if open.size + text.len() as u64 > FILE {
            open.cut = true;
            return Ok(());
        }
        open.size += text.len() as u64;
        if text.len() as u64 > self.room {
            self.room = prune(&self.folder);
        }
        self.room = self.room.saturating_sub(text.len() as u64);
        // In one piece: half a line can only be the last.
        open.file.write_all(text.as_bytes()).inspect_err(|_| open.cut = true)
    }

    fn end(&mut self, task: TaskId, outcome: Result<Value, AgentError>) -> io::Result<()> {
        self.append(task, &Line::End(outcome))?;
        self.close(task)
    }

    /// Nothing more comes of it: whether something is missing is its last line, which always fits.
    fn close(&mut self, task: TaskId) -> io::Result<()> {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        match self.open.remove(&task) {
            Some(mut open) if open.cut || open.lost_before != lost => {
                open.file.write_all(format!("{}\n", serde_json::to_value(Line::Lost)?).as_bytes())
            }
            _ => Ok(()),
        }
    }
}

/// Removes the oldest beyond what is kept. Answers how many bytes may be written before the next look.
fn prune(folder: &Path) -> u64 {
    let mut found = files(folder);
    found.sort_by_key(|file| std::cmp::Reverse(file.changed));
    let mut sum = 0;
    for (index, file) in found.iter().enumerate() {
        sum += file.size;
        if index >= FILES || sum > BYTES - LOOK_BYTES {
            // Another process of the home may have been first.
            let _ = fs::remove_file(&file.path);
        }
    }
    LOOK_BYTES
}

/// What came over the wire is JSON.
fn read(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Takes secrets out of every text. A number that is one becomes a text, so that it stays JSON.
fn clean(value: &mut Value, redactor: &Redactor) {
    let cleaned = |text: &str| match redactor.redact(text) {
        std::borrow::Cow::Borrowed(_) => None,
        std::borrow::Cow::Owned(text) => Some(text),
    };
    match value {
        Value::String(text) => {
            if let Some(clean) = cleaned(text) {
                *text = clean;
            }
        }
        Value::Number(number) => {
            if let Some(clean) = cleaned(&number.to_string()) {
                *value = clean.into();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| clean(one, redactor)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|one| clean(one, redactor));
            let named: Vec<_> = fields.keys().filter_map(|key| Some((key.clone(), cleaned(key)?))).collect();
            for (key, clean) in named {
                let field = fields.remove(&key).unwrap_or_default();
                fields.insert(clean, field);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn tried(task_id: TaskId, attempt: u32) -> Try {
        let (message, settings) = (json!({"text": "my key is sk-0123456789"}), json!({}));
        let (agent, at) = ("scout".parse().unwrap(), Utc::now());
        let (kind, grants, library) = ("message".into(), Vec::new(), "ab".into());
        Try { task_id, agent, kind, attempt, message, settings, grants, library, at }
    }

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).unwrap()
    }

    #[test]
    fn a_record_is_read_as_it_was_written_without_secrets_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("records");
        let secrets =
            [secrecy::SecretString::from("sk-0123456789"), secrecy::SecretString::from("1234567890")];
        let (recorder, thread) = Recorder::start(place.clone(), Redactor::of(&secrets)).unwrap();
        let task = TaskId::new();
        for attempt in [1, 2] {
            recorder.begin(tried(task, attempt), 1);
            let answer = json!({"sk-0123456789": [1234567890, "Bearer sk-0123456789", null, 1.5]});
            recorder.call(task, (1, "ask".into()), raw(&json!({"prompt": "p"})), Ok(raw(&answer)));
            recorder.end(task, Ok(raw(&json!({"text": attempt}))));
        }
        recorder.close();
        thread.join().unwrap();
        let record = Record::of(&place, task, None).unwrap();
        assert_eq!((record.tried.attempt, record.lost), (2, false));
        assert_eq!(record.tried.message["text"], "my key is ***");
        assert_eq!(record.calls[0].answer, Ok(json!({"***": ["***", "Bearer ***", null, 1.5]})));
        assert_eq!(record.end, Some(Ok(json!({"text": 2}))));
        assert_eq!(Record::of(&place, task, Some(1)).unwrap().end, Some(Ok(json!({"text": 1}))));
        assert!(matches!(Record::of(&place, TaskId::new(), None), Err(Error::None { .. })));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join(name(task, 1)))), (0o700, 0o600));
    }

    #[test]
    fn what_is_too_long_is_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, thread) = Recorder::start(folder.path().into(), Redactor::default()).unwrap();
        let task = TaskId::new();
        recorder.begin(tried(task, 1), 1);
        let page = raw(&json!("x".repeat(5 << 20)));
        for _ in 0..4 {
            recorder.call(task, (1, "fetch".into()), raw(&json!({})), Ok(page.clone()));
        }
        recorder.end(task, Ok(raw(&json!({}))));
        recorder.close();
        thread.join().unwrap();
        let record = Record::of(folder.path(), task, None).unwrap();
        assert!(record.lost && record.calls.len() < 4 && record.end.is_some(), "{}", record.calls.len());
    }

    #[test]
    fn the_oldest_records_go() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..FILES + 10 {
            fs::write(folder.path().join(name(TaskId::new(), 1)), "").unwrap();
        }
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let (recorder, thread) = Recorder::start(folder.path().into(), Redactor::default()).unwrap();
        recorder.begin(tried(TaskId::new(), 1), 1);
        recorder.close();
        thread.join().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), FILES + 2);
    }

    #[test]
    fn a_host_that_dies_leaves_a_cut_record_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, thread) = Recorder::start(folder.path().into(), Redactor::default()).unwrap();
        let task = TaskId::new();
        recorder.begin(tried(task, 1), 1);
        for _ in 0..4 {
            recorder.call(task, (1, "fetch".into()), raw(&json!({})), Ok(raw(&json!("x".repeat(5 << 20)))));
        }
        recorder.gone(task);
        recorder.close();
        thread.join().unwrap();
        let record = Record::of(folder.path(), task, None).unwrap();
        assert!(record.lost && record.end.is_none());
    }

    #[test]
    fn what_is_kept_never_has_more_bytes_and_what_is_no_record_stays() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = [
            "notes.jsonl",
            "1.1.jsonl",
            &format!("{}.01.jsonl", TaskId::new()),
            &format!("{}.jsonl", TaskId::new()),
        ];
        for file in foreign {
            File::create(folder.path().join(file)).unwrap().set_len(BYTES).unwrap();
        }
        for _ in 0..BYTES / FILE {
            File::create(folder.path().join(name(TaskId::new(), 1))).unwrap().set_len(FILE).unwrap();
        }
        let (recorder, thread) = Recorder::start(folder.path().into(), Redactor::default()).unwrap();
        for _ in 0..4 {
            let task = TaskId::new();
            recorder.begin(tried(task, 1), 1);
            recorder.call(task, (1, "fetch".into()), raw(&json!({})), Ok(raw(&json!("x".repeat(7 << 20)))));
            recorder.gone(task);
        }
        recorder.close();
        thread.join().unwrap();
        let kept: u64 = files(folder.path()).iter().map(|file| file.size).sum();
        assert!(kept <= BYTES && kept > BYTES / 2, "{kept}");
        assert!(foreign.iter().all(|file| folder.path().join(file).exists()));
    }

    #[test]
    fn half_a_line_at_the_end_is_a_loss_and_elsewhere_no_record() {
        let first = serde_json::to_string(&Line::Try(Box::new(tried(TaskId::new(), 1)))).unwrap();
        assert!(Record::parse(&format!("{first}\n{{\"ca")).unwrap().lost);
        assert!(Record::parse(&format!("{first}\n{{\"ca\n\"lost\"")).is_err());
        for text in ["", "\"lost\"", "{}", &format!("{first}\n{first}")] {
            assert!(Record::parse(text).is_err(), "{text}");
        }
    }
}
