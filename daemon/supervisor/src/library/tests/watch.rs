//! Against the real inotify. What is told once is shown by what is told next.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{atlas, library, now, open};
use crate::library::watch::{Options, Sighting, Watch, Watched};
use crate::library::{Libraries, Stamp, Trust};

const SETTLE: Duration = Duration::from_millis(60);
/// Far below the poll: what comes within it came by an event.
const SOON: Duration = Duration::from_secs(10);

struct Room {
    dir: TempDir,
    libraries: Arc<Libraries>,
    watched: watch::Sender<Watched>,
    told: mpsc::Receiver<Sighting>,
    _tasks: JoinSet<()>,
}

impl Room {
    fn new(file: &str, discover: bool, prepare: impl FnOnce(&Path)) -> Self {
        Self::with(SETTLE, file, discover, prepare)
    }

    /// With the agent atlas, whose library is `file`; `prepare` makes the agents folder.
    fn with(settle: Duration, file: &str, discover: bool, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let libraries = Arc::new(open(dir.path()));
        let agents = dir.path().join("agents");
        let _ = libraries.admit(&atlas(), Path::new(file), &Trust::Any, now());
        let (watched, changes) = watch::channel(of(&[("atlas", file)]));
        let (tell, told) = mpsc::channel(8);
        let options = Options { agents, settle, discover };
        let mut tasks = JoinSet::new();
        tasks.spawn(Watch::new(options, libraries.clone(), changes, tell).run());
        Self { dir, libraries, watched, told, _tasks: tasks }
    }

    fn simple() -> Self {
        Self::new("libatlas.so", false, |dir| fs::create_dir(dir.join("agents")).unwrap())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    async fn next(&mut self) -> Sighting {
        timeout(SOON, self.told.recv()).await.unwrap().unwrap()
    }

    /// That the library is told as settled, as it stands now; then the vault has seen it.
    async fn settled(&mut self, file: &str, content: &[u8]) {
        assert_eq!(self.next().await, Sighting::Settled { agent: atlas() });
        assert_eq!(fs::read(self.path("agents").join(file)).unwrap(), content);
        self.admit(file);
    }

    fn admit(&self, file: &str) {
        self.libraries.admit(&atlas(), Path::new(file), &Trust::Any, now()).unwrap();
        assert_eq!(self.libraries.seen(&atlas()), Stamp::of(&self.path("agents").join(file)));
    }

    /// What is told next is that the library is gone: nothing was told twice.
    async fn ends(mut self, file: &str) {
        fs::remove_file(self.path("agents").join(file)).unwrap();
        assert_eq!(self.next().await, Sighting::Gone { agent: atlas() });
    }
}

fn of(agents: &[(&str, &str)]) -> Watched {
    let agents = agents.iter().map(|(name, file)| (name.parse::<AgentName>().unwrap(), file.into()));
    Arc::new(agents.collect::<BTreeMap<_, PathBuf>>())
}

#[tokio::test]
async fn a_copy_and_a_copy_over_it() {
    let mut room = Room::simple();
    for content in [library(b"one"), library(b"two"), library(b"three")] {
        fs::write(room.path("new.so"), &content).unwrap();
        fs::copy(room.path("new.so"), room.path("agents/libatlas.so")).unwrap();
        room.settled("libatlas.so", &content).await;
    }
    room.ends("libatlas.so").await;
}

#[tokio::test]
async fn a_move_and_a_hard_link() {
    let mut room = Room::simple();
    fs::write(room.path("one.so"), library(b"one")).unwrap();
    fs::rename(room.path("one.so"), room.path("agents/libatlas.so")).unwrap();
    room.settled("libatlas.so", &library(b"one")).await;
    fs::write(room.path("two.so"), library(b"two")).unwrap();
    fs::remove_file(room.path("agents/libatlas.so")).unwrap();
    fs::hard_link(room.path("two.so"), room.path("agents/libatlas.so")).unwrap();
    let first = room.next().await;
    // It may have been seen while it was not there.
    if first == (Sighting::Gone { agent: atlas() }) {
        room.settled("libatlas.so", &library(b"two")).await;
    } else {
        room.admit("libatlas.so");
    }
    room.ends("libatlas.so").await;
}

#[tokio::test]
async fn a_file_that_grows_is_told_when_it_is_whole() {
    // Long enough for a busy machine to write the next part within.
    let settle = Duration::from_secs(1);
    let mut room =
        Room::with(settle, "libatlas.so", false, |dir| fs::create_dir(dir.join("agents")).unwrap());
    let whole = library(&[7; 5000]);
    let mut file =
        OpenOptions::new().create_new(true).append(true).open(room.path("agents/libatlas.so")).unwrap();
    for part in whole.chunks(1000) {
        file.write_all(part).unwrap();
        tokio::time::sleep(settle / 4).await;
    }
    drop(file);
    room.settled("libatlas.so", &whole).await;
    room.ends("libatlas.so").await;
}

#[tokio::test]
async fn a_link_to_a_release_is_switched() {
    let mut room = Room::new("current/libatlas.so", false, |dir| {
        for release in ["1", "2"] {
            fs::create_dir_all(dir.join("agents").join(release)).unwrap();
            fs::write(dir.join("agents").join(release).join("libatlas.so"), library(release.as_bytes()))
                .unwrap();
        }
        symlink("1", dir.join("agents/current")).unwrap();
    });
    for release in ["2", "1", "2"] {
        // As `ln -sfn` does it.
        symlink(release, room.path("agents/new")).unwrap();
        fs::rename(room.path("agents/new"), room.path("agents/current")).unwrap();
        room.settled("current/libatlas.so", &library(release.as_bytes())).await;
    }
    // Within the release that is current now.
    fs::write(room.path("agents/2/libatlas.so"), library(b"in place")).unwrap();
    room.settled("current/libatlas.so", &library(b"in place")).await;
    room.ends("current/libatlas.so").await;
}

#[tokio::test]
async fn the_agents_folder_itself_is_switched_removed_and_made_again() {
    let mut room = Room::new("libatlas.so", false, |dir| {
        for release in ["1", "2"] {
            fs::create_dir_all(dir.join("releases").join(release)).unwrap();
            fs::write(dir.join("releases").join(release).join("libatlas.so"), library(release.as_bytes()))
                .unwrap();
        }
        symlink("releases/1", dir.join("agents")).unwrap();
    });
    symlink("releases/2", room.path("new")).unwrap();
    fs::rename(room.path("new"), room.path("agents")).unwrap();
    room.settled("libatlas.so", &library(b"2")).await;
    fs::remove_file(room.path("agents")).unwrap();
    assert_eq!(room.next().await, Sighting::Gone { agent: atlas() });
    fs::create_dir(room.path("agents")).unwrap();
    fs::write(room.path("agents/libatlas.so"), library(b"3")).unwrap();
    room.settled("libatlas.so", &library(b"3")).await;
    fs::remove_dir_all(room.path("agents")).unwrap();
    assert_eq!(room.next().await, Sighting::Gone { agent: atlas() });
    fs::create_dir(room.path("agents")).unwrap();
    fs::write(room.path("agents/libatlas.so"), library(b"4")).unwrap();
    room.settled("libatlas.so", &library(b"4")).await;
    room.ends("libatlas.so").await;
}

#[tokio::test]
async fn what_nobody_takes_is_told_once() {
    let mut room = Room::simple();
    fs::write(room.path("agents/libatlas.so"), library(b"one")).unwrap();
    assert_eq!(room.next().await, Sighting::Settled { agent: atlas() });
    // With `reload = "manual"` nobody admits it. A signature that comes later is news.
    fs::write(room.path("agents/libatlas.so.minisig"), "x").unwrap();
    assert_eq!(room.next().await, Sighting::Settled { agent: atlas() });
    room.ends("libatlas.so").await;
}

#[tokio::test]
async fn what_is_there_at_the_start_is_told_unless_the_vault_has_seen_it() {
    let prepare = |dir: &Path| {
        fs::create_dir(dir.join("agents")).unwrap();
        fs::write(dir.join("agents/libatlas.so"), library(b"one")).unwrap();
        fs::write(dir.join("agents/libscout.so"), library(b"two")).unwrap();
    };
    let mut room = Room::new("libatlas.so", false, prepare);
    room.watched.send(of(&[("atlas", "libatlas.so"), ("scout", "libscout.so")])).unwrap();
    assert_eq!(room.next().await, Sighting::Settled { agent: "scout".parse().unwrap() });
    room.ends("libatlas.so").await;
}

#[tokio::test]
async fn a_library_of_nobody_is_discovered_where_that_is_wanted() {
    let mut room = Room::new("libatlas.so", true, |dir| fs::create_dir(dir.join("agents")).unwrap());
    fs::create_dir(room.path("agents/libfolder.so")).unwrap();
    symlink("../new.so", room.path("agents/liblink.so")).unwrap();
    for odd in ["libAtlas.so", "lib.so", "scout.so", "libscout.so.tmp", "libscout.so.minisig"] {
        fs::write(room.path("agents").join(odd), library(b"odd")).unwrap();
    }
    fs::write(room.path("agents/libmy_agent.so"), library(b"one")).unwrap();
    let name: AgentName = "my-agent".parse().unwrap();
    let discovered = Sighting::Discovered { name, file: "libmy_agent.so".into() };
    assert_eq!(room.next().await, discovered);
    fs::write(room.path("agents/libmy_agent.so"), library(b"two")).unwrap();
    assert_eq!(room.next().await, discovered);
    // From now on it is somebody's.
    room.watched.send(of(&[("atlas", "libatlas.so"), ("my-agent", "libmy_agent.so")])).unwrap();
    assert!(matches!(room.next().await, Sighting::Settled { agent } if agent.as_str() == "my-agent"));
    fs::write(room.path("agents/libatlas.so"), library(b"atlas")).unwrap();
    room.settled("libatlas.so", &library(b"atlas")).await;
    room.ends("libatlas.so").await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let Room { told, watched, mut _tasks, dir: _dir, .. } = Room::simple();
    drop(told);
    timeout(SOON, _tasks.join_next()).await.unwrap().unwrap().unwrap();
    drop(watched);
}
