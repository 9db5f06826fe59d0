//! Which folders to watch, so that nothing can change what a path leads to without an event; and inotify on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use notify::event::AccessKind;
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// The folders that are watched.
pub(super) struct Folders {
    /// None when there is no inotify.
    watcher: Option<RecommendedWatcher>,
    /// By path, and what was there.
    watched: BTreeMap<PathBuf, Identity>,
    warned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    dev: u64,
    inode: u64,
}

/// The kernel's own limit for the links in a path.
const LINKS: usize = 40;

impl Folders {
    /// `nudge` is told of every event but those that our own reading makes.
    pub fn new(nudge: &Arc<Notify>) -> Self {
        let nudge = nudge.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if !matches!(event, Ok(Event { kind: EventKind::Access(AccessKind::Open(_)), .. })) {
                nudge.notify_one();
            }
        });
        let mut folders = Self { watcher: None, watched: BTreeMap::new(), warned: false };
        match watcher {
            Ok(watcher) => folders.watcher = Some(watcher),
            Err(error) => folders.warn(&error),
        }
        folders
    }

    /// Watches what leads to these libraries now. False when not all of it can be watched.
    pub fn follow<'a>(&mut self, agents: &Path, libraries: impl Iterator<Item = &'a PathBuf>) -> bool {
        let mut wanted = BTreeSet::new();
        if let Some(agents) = trace(agents, &mut wanted) {
            wanted.insert(agents);
        }
        for library in libraries {
            trace(&agents.join(library), &mut wanted);
        }
        let Some(watcher) = &mut self.watcher else { return false };
        let found = wanted.into_iter().filter_map(|folder| {
            let meta = fs::metadata(&folder).ok()?;
            Some((folder, Identity { dev: meta.dev(), inode: meta.ino() }))
        });
        let wanted: BTreeMap<PathBuf, Identity> = found.collect();
        // Also one that is at the same path as another was.
        for (folder, _) in self.watched.iter().filter(|(folder, id)| wanted.get(*folder) != Some(*id)) {
            // The kernel has forgotten a folder that was removed, which is an error here and none to us.
            let _ = watcher.unwatch(folder);
        }
        let mut failure = None;
        for folder in wanted.keys() {
            // Again each time: it costs microseconds, and a watch that was lost in a race is back.
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Err(error) if !matches!(error.kind, ErrorKind::PathNotFound) => failure = Some(error),
                _ => {}
            }
        }
        self.watched = wanted;
        if let Some(error) = &failure {
            self.warn(error);
        }
        failure.is_none()
    }

    fn warn(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(%error, "the libraries cannot all be watched with inotify and are looked at every two seconds; raise \
                                    fs.inotify.max_user_watches or max_user_instances");
        }
    }
}

/// Follows `path`, and adds the folder of each link on the way, and that in which it ends or in which something is missing.
/// What it leads to, if it is there.
fn trace(path: &Path, folders: &mut BTreeSet<PathBuf>) -> Option<PathBuf> {
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    let mut ahead: VecDeque<Step> = steps(path).collect();
    while let Some(step) = ahead.pop_front() {
        let name = match step {
            Step::Root => {
                here = "/".into();
                continue;
            }
            Step::Up => {
                here.pop();
                continue;
            }
            Step::To(name) => name,
        };
        let next = here.join(name);
        let kind = fs::symlink_metadata(&next).map(|meta| meta.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => here = next,
            Ok(kind) if kind.is_symlink() && links < LINKS => {
                links += 1;
                let target = fs::read_link(&next);
                folders.insert(here.clone());
                let behind = std::mem::take(&mut ahead);
                ahead = steps(&target.ok()?).chain(behind).collect();
            }
            Ok(kind) if kind.is_file() && ahead.is_empty() => {
                folders.insert(here);
                return Some(next);
            }
            _ => {
                folders.insert(here);
                return None;
            }
        }
    }
    Some(here)
}

enum Step {
    Root,
    Up,
    To(OsString),
}

fn steps(path: &Path) -> impl Iterator<Item = Step> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::To(name.into())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_folder_that_could_change_where_a_path_leads_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for folder in ["agents", "releases/1", "elsewhere"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("releases/1/libx.so"), "").unwrap();
        symlink("../releases/1", root.join("agents/current")).unwrap();
        symlink(root.join("agents/current/libx.so"), root.join("elsewhere/libx.so")).unwrap();
        symlink("loop", root.join("elsewhere/loop")).unwrap();
        let found = |path: &str| {
            let mut folders = BTreeSet::new();
            let end = trace(&root.join(path), &mut folders);
            let names = folders.iter().filter_map(|folder| folder.strip_prefix(&root).ok());
            (names.map(|name| name.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" "), end)
        };
        let end = Some(root.join("releases/1/libx.so"));
        assert_eq!(found("elsewhere/libx.so"), ("agents elsewhere releases/1".into(), end));
        assert_eq!(found("agents/liby.so"), ("agents".into(), None));
        assert_eq!(found("agents/none/liby.so"), ("agents".into(), None));
        assert_eq!(found("agents/current/liby.so"), ("agents releases/1".into(), None));
        assert_eq!(found("elsewhere/loop"), ("elsewhere".into(), None));
        assert_eq!(found("agents"), (String::new(), Some(root.join("agents"))));
    }
}
