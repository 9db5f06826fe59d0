//! `openclaw replay`

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use settings::{Inputs, Loaded};
use store::task::TaskId;
use supervisor::library::{Libraries, Options as Vault, Trust};
use supervisor::logs::Logs;
use supervisor::process::Program;
use supervisor::record::{self, Record};
use supervisor::replay::{self, Difference, Replayed};

use super::table::{printable, short};
use super::{print, print_json};
use crate::exit::{Code, Failure};

/// Characters that are shown of a value.
const SHOWN: usize = 200;

/// `openclaw replay`
#[derive(Args)]
#[command(
    after_help = "With `providers.record = \"records\"` the daemon keeps what agents are told. A replay starts the agent's library, as it\n\
                  is now, with the recorded settings and message, and answers its calls as they were answered then: nothing\n\
                  is called, nothing is stored, no daemon is needed. What is not recorded fails, and is shown.\n\
                  Exit codes: 0 the same, 1 it differs, 69 nothing is recorded of that task."
)]
pub struct ReplayArgs {
    /// Which task; `openclaw tasks list` shows them
    task: TaskId,
    /// Which of its tries [default: the last]
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// Where the records are [default: providers.record]
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Another library than the agent's
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs it again; fails where it differs.
pub fn run(inputs: &Inputs, args: ReplayArgs) -> Result<(), Failure> {
    let loaded = settings::load(inputs)?;
    let configured = &loaded.settings.providers.record;
    let folder = match &args.record {
        Some(folder) => inputs.cwd.join(folder),
        None if configured.as_os_str().is_empty() => {
            let what =
                "nothing is recorded: set providers.record in openclaw.toml, or name a folder with --record";
            return Err(Failure::new(Code::Unavailable, what));
        }
        None => loaded.paths.home.join(configured),
    };
    let record = Record::of(&folder, args.task, args.attempt)?;
    let library = args.library.as_ref().map(|file| inputs.cwd.join(file));
    let scratch = Scratch::make(&loaded.paths.run)?;
    let (hash, replayed) = again(&loaded, record.clone(), library, &scratch.0)?;
    let same = replayed.differences.is_empty();
    if args.json {
        print_json(&json!({
            "task_id": args.task, "agent": record.tried.agent, "attempt": record.tried.attempt, "same": same,
            "answered": replayed.answered, "differences": replayed.differences, "outcome": outcome(&replayed),
            "recorded_library": record.tried.library, "replayed_library": hash, "calls_lost": record.lost,
            "ended": record.end.is_some(),
        }))?;
    } else {
        print(&printable(&shown(&record, &replayed, &hash).join("\n")))?;
    }
    if same { Ok(()) } else { Err(Failure::new(Code::Failed, "")) }
}

fn again(
    loaded: &Loaded,
    record: Record,
    library: Option<PathBuf>,
    scratch: &Path,
) -> Result<(String, Replayed), Failure> {
    let Loaded { settings, paths, .. } = loaded;
    let name = &record.tried.agent;
    let agent = settings.agents.get(name).cloned().unwrap_or_default();
    let config = agent.supervision(&settings.supervision);
    let configured = library.unwrap_or_else(|| agent.library_file(name));
    let failed = |error: &dyn std::fmt::Display| Failure::of(Code::Io, error);
    // A vault of its own: hosts are started from what was verified and cannot change, and the daemon's stays as it is.
    let vault = Vault { vault: scratch.join("vault"), agents: paths.agents.clone(), keep: 1 };
    let libraries = Libraries::open(vault).map_err(|error| failed(&error))?;
    let trust = Trust::of(config.trust, &agent.pins, &settings.libraries.keys);
    let admitted = libraries.admit(name, &configured, &trust, chrono::Utc::now());
    let hash = admitted.map_err(|why| Failure::of(Code::Failed, &why))?.hash;
    let (lock, workspace) = (scratch.join("lock"), scratch.join("workspace"));
    File::create(&lock).and_then(|_| fs::create_dir(&workspace)).map_err(|error| failed(&error))?;
    let (logs, thread) =
        Logs::start(scratch.join("logs"), loaded.secrets.redactor()).map_err(|error| failed(&error))?;
    let options = replay::Options {
        program: Program::this(),
        lock,
        library: libraries.path(&hash),
        shown: paths.agents.join(&configured),
        workspace,
        uploads: paths.uploads.clone(),
        config,
        logs: logs.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(Code::TryAgain, &error))?;
    let replayed = runtime.block_on(replay::run(record, options));
    logs.close();
    let _ = thread.join();
    Ok((hash.to_string(), replayed.map_err(|error| Failure::of(Code::Failed, &error))?))
}

fn outcome(replayed: &Replayed) -> Value {
    match &replayed.outcome {
        Ok(answer) => json!({ "answer": answer }),
        Err(error) => json!({ "error": error }),
    }
}

fn shown(record: &Record, replayed: &Replayed, hash: &str) -> Vec<String> {
    let tried = &record.tried;
    let told = |value: &Value| short(&value.to_string(), SHOWN);
    let mut lines = vec![format!(
        "{}, try {} of {}: {} calls answered as recorded at {}",
        tried.agent,
        tried.attempt,
        tried.task_id,
        replayed.answered,
        tried.at.format("%F %T UTC")
    )];
    if tried.library != hash {
        let (before, now) = (short(&tried.library, 12), short(hash, 12));
        lines.push(format!("another library: {before} was recorded, {now} is run"));
    }
    if record.lost {
        lines.push("the record is not whole: calls were too long, or too many at once".into());
    }
    if record.end.is_none() {
        lines.push("the recorded try has no end: its host ended, so only the calls are compared".into());
    }
    lines.extend(replayed.differences.iter().map(|difference| match difference {
        Difference::Payload { method, at, recorded, replayed } => {
            format!("{method} asks otherwise at `{at}`: {} was {}", told(replayed), told(recorded))
        }
        Difference::Order { method, payload } => {
            format!("{method} is asked earlier than it was: {}", told(payload))
        }
        Difference::NotRecorded { method, payload } => {
            format!("{method} is asked and has no recorded answer: {}", told(payload))
        }
        Difference::NotAsked { method, payload } => {
            format!("{method} is not asked any more: {}", told(payload))
        }
        Difference::Outcome { at, recorded, replayed } => {
            format!("the answer differs at `{at}`: {} was {}", told(replayed), told(recorded))
        }
    }));
    if replayed.differences.is_empty() {
        lines.push("the same".into());
    }
    lines
}

/// A folder that goes when this ends.
struct Scratch(PathBuf);

impl Scratch {
    fn make(run: &Path) -> Result<Self, Failure> {
        let path = run.join(format!("replay-{}", std::process::id()));
        let failed =
            |error| Failure::new(Code::Io, format!("cannot make the folder {}: {error}", path.display()));
        // What an earlier process of that number left.
        let _ = fs::remove_dir_all(&path);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        DirBuilder::new().mode(0o700).create(path.join("logs")).map_err(failed)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The vault's files are read-only, its folder is not.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl From<record::Error> for Failure {
    fn from(error: record::Error) -> Self {
        let code = match &error {
            record::Error::None { .. } => Code::Unavailable,
            record::Error::Read { .. } => Code::Io,
            record::Error::Malformed { .. } => Code::Failed,
        };
        Self::of(code, &error)
    }
}
