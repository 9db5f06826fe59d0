//! Sees that a library is new. An event of the file system is only a nudge: whether there is something to tell, the
//! stamps decide, which are also taken now and then without a nudge, since events get lost.

mod folders;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::stamp::Stamp;
use super::vault::Libraries;
use folders::Folders;
use settle::{Settle, Told};

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The agents folder, absolute.
    pub agents: PathBuf,
    /// How long a library must stand still.
    pub settle: Duration,
    /// Whether to tell of libraries that belong to nobody.
    pub discover: bool,
}

/// The agents' libraries as they are configured: absolute, or relative to the agents folder.
pub type Watched = Arc<BTreeMap<AgentName, PathBuf>>;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// There is a library that the vault has not seen, and it stands still: once per stamp.
    Settled {
        /// Whose.
        agent: AgentName,
    },
    /// So there is in the agents folder, but it is nobody's.
    Discovered {
        /// Whose it would be.
        name: AgentName,
        /// Its name in the agents folder.
        file: PathBuf,
    },
    /// A library is not there any more: once, until it is back, which is told as settled.
    Gone {
        /// Whose.
        agent: AgentName,
    },
}

/// One task: it ends when nobody listens any more, or nobody says what is to be watched.
pub struct Watch {
    options: Options,
    libraries: Arc<Libraries>,
    watched: watch::Receiver<Watched>,
    told: mpsc::Sender<Sighting>,
    known: BTreeMap<AgentName, Settle>,
    strangers: BTreeMap<AgentName, Settle>,
}

/// Without events: they may be lost, their queue may overflow, and network file systems have none.
const POLL: Duration = Duration::from_secs(30);
/// Without inotify.
const BLIND: Duration = Duration::from_secs(2);
/// A copy under way makes thousands of events.
const PACE: Duration = Duration::from_millis(10);
/// Files of the agents folder that are looked at: nobody has so many agents.
const FILES: usize = 4096;

impl Watch {
    /// A watch that waits to be run.
    pub fn new(
        options: Options,
        libraries: Arc<Libraries>,
        watched: watch::Receiver<Watched>,
        told: mpsc::Sender<Sighting>,
    ) -> Self {
        Self { options, libraries, watched, told, known: BTreeMap::new(), strangers: BTreeMap::new() }
    }

    /// Looks whenever there is reason to, and tells what it sees.
    pub async fn run(mut self) {
        let nudge = Arc::new(Notify::new());
        let mut folders = Folders::new(&nudge);
        loop {
            let watched = self.watched.borrow_and_update().clone();
            let (options, libraries) = (self.options.clone(), self.libraries.clone());
            let looked = tokio::task::spawn_blocking(move || {
                // First the watches, then the look: what comes between them makes an event.
                let blind = !folders.follow(&options.agents, watched.values());
                let sight = Sight::take(&options, &watched, &libraries);
                (folders, blind, sight)
            });
            let Ok((followed, blind, sight)) = looked.await else {
                tracing::error!("a defect of the daemon: new libraries are not seen any more; restart it");
                return;
            };
            folders = followed;
            let looked_at = Instant::now();
            for sighting in self.judge(sight, looked_at) {
                if self.told.send(sighting).await.is_err() {
                    return;
                }
            }
            let poll = looked_at + if blind { BLIND } else { POLL };
            let settles = self.known.values().chain(self.strangers.values());
            let due = settles.filter_map(|settle| settle.due(self.options.settle)).fold(poll, Instant::min);
            tokio::select! {
                () = nudge.notified() => sleep_until(looked_at + PACE).await,
                () = sleep_until(due) => {}
                changed = self.watched.changed() => if changed.is_err() { return },
                () = self.told.closed() => return,
            }
        }
    }

    fn judge(&mut self, sight: Sight, now: Instant) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        self.known.retain(|name, _| sight.known.iter().any(|(known, ..)| known == name));
        for (agent, stamp, seen) in sight.known {
            let known = self.known.entry(agent.clone()).or_default();
            match known.look(stamp, seen.as_ref(), now, self.options.settle) {
                Some(Told::Settled) => sightings.push(Sighting::Settled { agent }),
                Some(Told::Gone) => sightings.push(Sighting::Gone { agent }),
                None => {}
            }
        }
        self.strangers.retain(|name, _| sight.strangers.iter().any(|(stranger, ..)| stranger == name));
        for (name, file, stamp) in sight.strangers {
            let stranger = self.strangers.entry(name.clone()).or_default();
            if let Some(Told::Settled) = stranger.look(Some(stamp), None, now, self.options.settle) {
                sightings.push(Sighting::Discovered { name, file });
            }
        }
        sightings
    }
}

/// All that is to be seen at one moment.
struct Sight {
    /// Each agent's library as it stands, and as the vault has seen it.
    known: Vec<(AgentName, Option<Stamp>, Option<Stamp>)>,
    strangers: Vec<(AgentName, PathBuf, Stamp)>,
}

impl Sight {
    fn take(options: &Options, watched: &BTreeMap<AgentName, PathBuf>, libraries: &Libraries) -> Self {
        let look = |(name, file): (&AgentName, &PathBuf)| {
            (name.clone(), Stamp::of(&options.agents.join(file)), libraries.seen(name))
        };
        let strangers = if options.discover { strangers(&options.agents, watched) } else { Vec::new() };
        Self { known: watched.iter().map(look).collect(), strangers }
    }
}

/// The libraries in the agents folder that are nobody's. Links are not counted: what they lead to has a name of its own.
fn strangers(agents: &Path, watched: &BTreeMap<AgentName, PathBuf>) -> Vec<(AgentName, PathBuf, Stamp)> {
    let canonical = |file: &PathBuf| fs::canonicalize(agents.join(file)).ok();
    let theirs: BTreeSet<PathBuf> = watched.values().filter_map(canonical).collect();
    let files = fs::read_dir(agents).into_iter().flatten().take(FILES).flatten();
    let stranger = |file: fs::DirEntry| {
        let name = named(file.file_name().to_str()?)?;
        let regular = file.file_type().is_ok_and(|kind| kind.is_file());
        let free = !watched.contains_key(&name) && !theirs.contains(&fs::canonicalize(file.path()).ok()?);
        (regular && free).then_some(())?;
        Some((name, file.file_name().into(), Stamp::of(&file.path())?))
    };
    files.filter_map(stranger).collect()
}

/// Whose library `lib<name>.so` would be, if nobody said otherwise; with `_` for `-`, so that no two files are the same
/// agent's.
fn named(file: &str) -> Option<AgentName> {
    let name = file.strip_prefix("lib")?.strip_suffix(".so")?;
    let name = Some(name.replace('_', "-")).filter(|_| !name.contains('-'))?;
    // A component's name is no agent's.
    if settings::SERVICES.contains(&name.as_str()) { None } else { name.parse().ok() }
}
