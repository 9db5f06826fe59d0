//! What an agent may reach in the tree of files, for Landlock to enforce and for the daemon to tell what it refuses.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

/// Read by everybody: system libraries, what the allocator, the clock and `available_parallelism` look at, and
/// devices without memory.
pub const SYSTEM: [&str; 16] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/proc/sys/vm/overcommit_memory",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
];
/// Read and written by everybody.
pub const NULL: &str = "/dev/null";
/// A path with more symbolic links in it leads nowhere, as in the kernel.
const LINKS: u32 = 40;
/// So many places are looked at for one call: the agent chooses its paths, and a circle of links in a deep folder
/// would cost seconds.
const LOOKS: u32 = 256;

/// What is left of the looks for one call.
pub struct Budget(u32);

impl Budget {
    /// Of a call that nothing was looked at for.
    pub fn new() -> Self {
        Self(LOOKS)
    }

    /// False: it is spent.
    fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Way {
    /// To a place in the tree.
    To(PathBuf),
    /// To none, as to a pipe, or nobody can tell.
    Nowhere,
    /// It is too long to follow.
    TooLong,
}

/// A place by the name it is known by, and by the one that it has.
#[derive(Clone, Debug)]
struct Place {
    known_as: PathBuf,
    real: PathBuf,
}

impl Place {
    fn new(path: &Path) -> Self {
        let real = path.canonicalize().unwrap_or_else(|_| path.into());
        Self { known_as: path.into(), real }
    }

    /// Whether `path` is on the way to it, or in it.
    fn concerns(&self, path: &Path) -> bool {
        [&self.known_as, &self.real]
            .into_iter()
            .any(|place| place.starts_with(path) || path.starts_with(place))
    }
}

/// The same for every agent.
static EVERYBODYS: LazyLock<Vec<Place>> =
    LazyLock::new(|| SYSTEM.iter().map(|path| Place::new(Path::new(path))).collect());

/// What one host may reach.
#[derive(Debug)]
pub struct Reach {
    read: Vec<Place>,
    write: Vec<Place>,
    own: PathBuf,
}

impl Reach {
    /// Of the host `pid`, which also reads these.
    pub fn new(read: [&Path; 2], workspace: &Path, pid: u32) -> Self {
        let own = PathBuf::from(format!("/proc/{pid}"));
        // The binary itself is read for the names in a panic's backtrace.
        let exe = own.join("exe");
        let read = read.into_iter().chain([own.as_path(), &exe]).map(Place::new).collect();
        Self { read, write: [workspace, Path::new(NULL)].map(Place::new).into(), own }
    }

    /// Whether what `path` leads to is within reach.
    pub fn allows(&self, path: &Path, to_write: bool) -> bool {
        let mut write = self.write.iter();
        let mut read = self.read.iter().chain(EVERYBODYS.iter());
        write.any(|place| path.starts_with(&place.real))
            || (!to_write && read.any(|place| path.starts_with(&place.real)))
    }

    /// Where the host is led by an absolute path.
    ///
    /// Symbolic links are read only in places that are within reach or on the way there: what lies elsewhere could be
    /// a file system that does not answer, and is out of reach whatever it leads to.
    pub fn resolve(&self, path: &Path, thread: u32, follow: bool, budget: &mut Budget) -> Way {
        let mut todo = parts(path);
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = todo.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            let mut next = at.join(&part);
            if next == Path::new("/proc/self") {
                next.clone_from(&self.own);
            } else if next == Path::new("/proc/thread-self") {
                next = self.own.join(format!("task/{thread}"));
            }
            let link = (follow || !todo.is_empty()) && links < LINKS && self.is_near(&next);
            if link && !budget.spend() {
                return Way::TooLong;
            }
            match link.then(|| std::fs::read_link(&next)) {
                Some(Ok(target)) => {
                    links += 1;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    } else if next.starts_with(&self.own) && target.as_os_str().as_bytes().contains(&b'[') {
                        return Way::Nowhere;
                    }
                    todo.extend(parts(&target));
                }
                _ => at = next,
            }
        }
        Way::To(at)
    }

    fn is_near(&self, path: &Path) -> bool {
        path.starts_with("/dev")
            || self.write.iter().chain(&self.read).chain(EVERYBODYS.iter()).any(|place| place.concerns(path))
    }
}

/// The names in a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    let mut parts: Vec<_> = path.components().filter_map(named).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_where_the_kernel_goes() {
        let home = tempfile::tempdir().unwrap();
        let workspace = home.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        symlink("../secret", workspace.join("out")).unwrap();
        symlink("/usr/lib", workspace.join("lib")).unwrap();
        symlink("round", workspace.join("round")).unwrap();
        let read = ["/agents/liba.so", "/uploads"].map(Path::new);
        let reach = Reach::new(read, &workspace, std::process::id());
        let real = home.path().canonicalize().unwrap();
        let led = |path: &Path, follow| match reach.resolve(path, 1, follow, &mut Budget::new()) {
            Way::To(path) => path,
            other => panic!("{other:?}"),
        };
        let resolve = |path: &str| led(&workspace.join(path), true);
        assert_eq!(resolve("out"), real.join("secret"));
        assert_eq!(resolve("a/../b"), real.join("workspace/b"));
        assert_eq!(resolve("../../etc/passwd").file_name().unwrap(), "passwd");
        assert!(reach.allows(&resolve("lib/x.so"), false) && !reach.allows(&resolve("lib/x.so"), true));
        assert!(reach.allows(&resolve("b"), true) && !reach.allows(&resolve("out"), false));
        assert!(!reach.allows(&resolve("/etc/passwd"), false) && reach.allows(&resolve("/dev/null"), true));
        assert_eq!(led(&workspace.join("out"), false), real.join("workspace/out"));
        // A circle ends.
        resolve("round");
        let own = led(Path::new("/proc/self/status"), true);
        assert_eq!(own, PathBuf::from(format!("/proc/{}/status", std::process::id())));
        assert!(reach.allows(&own, false));
        // A way that never ends is given up.
        symlink(".".to_owned() + &"/x/..".repeat(200), workspace.join("long")).unwrap();
        std::fs::create_dir(workspace.join("x")).unwrap();
        let long = workspace.join("long/".repeat(39));
        assert_eq!(reach.resolve(&long, 1, true, &mut Budget::new()), Way::TooLong);
    }
}
