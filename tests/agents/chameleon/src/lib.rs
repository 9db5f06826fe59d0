//! A test agent of which any number of versions are made without a compiler: what it is stands in a static that
//! `openclaw_tests::variant` overwrites in a copy of the file, as `VERSION;BEHAVIOUR`.
//!
//! | text | what happens |
//! |---|---|
//! | `echo TEXT` | replies `vVERSION TEXT`, as all replies begin |
//! | `count SESSION` | counts in memory, and replies how often it did for SESSION |
//! | `total` | replies how often it did for all |
//! | `append PATH LINE` | appends LINE to PATH in one write: an effect that can be counted |
//! | `hold PATH` | replies `held` once PATH exists |
//! | `die` | SIGABRT, when that is its behaviour; else it replies `lives` |
//!
//! Snapshots carry the counts. The behaviours are those of `Behaviour`.

mod behaviour;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::{Deserialize, Serialize};

use behaviour::{Behaviour, abort, pace, segfault, stuck};

/// As long as there is room for, and found in a file by its beginning.
const LENGTH: usize = 128;
const BEGINNING: &[u8] = b"CHAMELEON-MARKER:";
const SKIPPED: usize = BEGINNING.len();

/// What this copy is. Aligned, so that it is found without looking everywhere.
#[repr(C, align(128))]
pub struct Marker([u8; LENGTH]);

/// Overwritten in copies of the file.
// The name is nobody else's, so it cannot take another symbol's place.
#[unsafe(no_mangle)]
#[used]
pub static CHAMELEON_MARKER: Marker = Marker(marked(b"0;good"));

const fn marked(text: &[u8]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let mut at = 0;
    while at < SKIPPED + text.len() {
        bytes[at] = if at < SKIPPED { BEGINNING[at] } else { text[at - SKIPPED] };
        at += 1;
    }
    bytes
}

/// Version and behaviour, as they stand in the file now and not when it was compiled.
fn identity() -> (u32, Option<Behaviour>) {
    let marker = (&raw const CHAMELEON_MARKER).cast::<u8>();
    // SAFETY: every offset is within the static.
    let text = (SKIPPED..LENGTH).map(|at| unsafe { marker.add(at).read_volatile() });
    let text: Vec<u8> = text.take_while(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&text);
    let (version, behaviour) = text.split_once(';').unwrap_or((&text, ""));
    (version.parse().unwrap_or_default(), serde_json::from_value(behaviour.into()).ok())
}

/// What is handed to a successor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    total: u64,
    sessions: BTreeMap<String, u64>,
}

/// The agent.
pub struct Chameleon {
    version: u32,
    behaviour: Behaviour,
    counts: Mutex<Counts>,
}

impl Agent for Chameleon {
    fn describe() -> Manifest {
        let (version, behaviour) = identity();
        let what = behaviour.map_or("unknown".into(), |behaviour| format!("{behaviour:?}"));
        let manifest = Manifest::new(&format!("Version {version}, {what}."));
        let name = if behaviour == Some(Behaviour::Impostor) { "somebody-else".into() } else { name() };
        let manifest = manifest.named(&name);
        if behaviour == Some(Behaviour::Needy) { manifest.needs("memory") } else { manifest }
    }

    fn create(_settings: Value) -> Result<Self> {
        let (version, behaviour) = identity();
        let behaviour = behaviour.ok_or_else(|| AgentError::failed("it has no behaviour that is known"))?;
        match behaviour {
            Behaviour::CreateRefuses => return Err(AgentError::failed("told to refuse its settings")),
            Behaviour::CreateHangs => stuck(),
            Behaviour::CreatePanics => panic!("told to panic in create"),
            Behaviour::CreateSegfaults => segfault(),
            _ => {}
        }
        Ok(Self { version, behaviour, counts: Mutex::default() })
    }

    fn start(&self, _ctx: &Context) -> Result<()> {
        match self.behaviour {
            Behaviour::StartFails => Err(AgentError::failed("told to fail at the start")),
            Behaviour::DiesAfterReady => behaviour::die_soon().map_err(Into::into),
            _ => Ok(()),
        }
    }

    fn handle(&self, _ctx: &Context, message: &Message) -> Result<Reply> {
        match self.behaviour {
            Behaviour::Errors => return Err(AgentError::failed("told to fail each message")),
            Behaviour::Slow => wait_for(Path::new("released")),
            _ => {}
        }
        let (word, rest) = first(message.text.trim());
        let said = match word {
            "echo" => rest.to_owned(),
            "count" => self.count(rest).to_string(),
            "total" => self.lock().total.to_string(),
            "append" => {
                let (path, line) = first(rest);
                append(path, line)?;
                "appended".into()
            }
            "hold" => {
                wait_for(Path::new(rest));
                "held".into()
            }
            "die" if self.behaviour == Behaviour::Mortal => abort(),
            "die" => "lives".into(),
            other => return Err(AgentError::invalid(format!("`{other}` is nothing this agent can do"))),
        };
        Ok(Reply::text(format!("v{} {said}", self.version)))
    }

    fn snapshot(&self) -> Result<Value> {
        match self.behaviour {
            Behaviour::SnapshotFails => Err(AgentError::failed("told to give no snapshot")),
            Behaviour::SnapshotHangs => stuck(),
            _ => Ok(serde_json::to_value(&*self.lock())?),
        }
    }

    fn restore(&self, snapshot: Value) -> Result<()> {
        match self.behaviour {
            Behaviour::RestoreRefuses => return Err(AgentError::failed("told to refuse the snapshot")),
            Behaviour::RestoreHangs => stuck(),
            Behaviour::RestorePanics => panic!("told to panic in restore"),
            Behaviour::RestoreSegfaults => segfault(),
            _ => {}
        }
        *self.lock() = serde_json::from_value(snapshot)?;
        Ok(())
    }
}

impl Chameleon {
    fn count(&self, session: &str) -> u64 {
        let mut counts = self.lock();
        counts.total += 1;
        let count = counts.sessions.entry(session.into()).or_default();
        *count += 1;
        *count
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a host of an agent called `chameleon-…`, that name: one library plays many agents. A host's last argument is its
/// agent's name.
fn name() -> String {
    let name = std::env::args().next_back().filter(|name| name.starts_with("chameleon-"));
    name.unwrap_or_else(|| "chameleon".into())
}

/// Returns once the file is there.
fn wait_for(path: &Path) {
    while !path.exists() {
        pace();
    }
}

/// Appends `line` in one write, so that lines of several processes never mix.
fn append(path: &str, line: &str) -> Result<()> {
    let line = format!("{line}\n");
    let written = OpenOptions::new().append(true).create(true).open(path)?.write(line.as_bytes())?;
    if written < line.len() {
        return Err(AgentError::failed(format!("only {written} of {} bytes went to {path}", line.len())));
    }
    Ok(())
}

/// The first word, and what follows the one space after it, as it is.
fn first(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

export_agent!(Chameleon);

#[cfg(test)]
mod tests;
