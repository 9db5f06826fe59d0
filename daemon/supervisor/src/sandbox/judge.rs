//! What a call that waits is about: refused, or a file operation within reach or not.

use std::path::{Path, PathBuf};

use nix::libc;

use super::calls;
use super::listener::Notice;
use super::reach::{Budget, Reach, Way};

/// What is to become of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is refused; what for.
    Refused(String),
    /// Landlock lets it through, or finds nothing there.
    Fine,
    /// Landlock refuses it, if that path leads anywhere: then this was a violation.
    Beyond {
        /// Where the kernel has nothing that refuses it: what it lacks. Then it was a violation that went through.
        lacks: Option<&'static str>,
        /// What was tried.
        what: String,
        /// What must be there for it.
        there: PathBuf,
    },
    /// Landlock decides, and nobody here knows how.
    TooLong,
}

/// One path that a call works on.
struct Touch {
    /// What is tried with it.
    verb: &'static str,
    /// The argument with the folder that it begins at, where there is one.
    folder: Option<usize>,
    /// The argument with the path.
    path: usize,
    /// More than reading.
    writes: bool,
    /// It need not be there.
    makes: bool,
    /// A symbolic link at its end is followed.
    follows: bool,
}

/// Judges a call of the host, whose paths are within `reach` or not, and held by that version of Landlock.
pub fn judge(notice: &Notice, reach: &Reach, landlock: Option<i32>) -> Verdict {
    if !calls::is_noticed(notice.call) {
        return Verdict::Refused(refused(notice));
    }
    let mut budget = Budget::new();
    for touch in touches(notice) {
        let path = match named(notice, &touch, reach, &mut budget) {
            Way::To(path) => path,
            Way::Nowhere => continue,
            Way::TooLong => return Verdict::TooLong,
        };
        if !reach.allows(&path, touch.writes) {
            let what = format!("{} {}", touch.verb, path.display());
            let there = if touch.makes { path.parent().unwrap_or(Path::new("/")).into() } else { path };
            return Verdict::Beyond { lacks: lacks(notice.call, landlock), what, there };
        }
    }
    Verdict::Fine
}

/// What of Landlock this call is not judged for want of.
fn lacks(call: i64, landlock: Option<i32>) -> Option<&'static str> {
    match landlock {
        None => Some("landlock"),
        // Renaming it refuses without knowing it, in all folders.
        Some(..3) if call == libc::SYS_truncate => Some("landlock of truncating (abi 3)"),
        Some(_) => None,
    }
}

fn refused(notice: &Notice) -> String {
    let name = calls::name(notice.call);
    let program = match notice.call {
        libc::SYS_execve => notice.path(0),
        libc::SYS_execveat => notice.path(1),
        _ => None,
    };
    match program {
        Some(program) => format!("{name}(2) of {}", program.display()),
        None => format!("{name}(2)"),
    }
}

/// Where a path of a call leads.
fn named(notice: &Notice, touch: &Touch, reach: &Reach, budget: &mut Budget) -> Way {
    let Some(path) = notice.path(touch.path) else { return Way::Nowhere };
    let whole = if path.is_absolute() {
        path
    } else {
        let thread = notice.thread;
        let folder = touch.folder.map_or(libc::AT_FDCWD, |arg| notice.args[arg] as i32);
        let base = match folder {
            libc::AT_FDCWD => format!("/proc/{thread}/cwd"),
            number => format!("/proc/{thread}/fd/{number}"),
        };
        let Ok(base) = std::fs::read_link(base) else { return Way::Nowhere };
        base.join(path)
    };
    reach.resolve(&whole, notice.thread, touch.follows, budget)
}

fn touches(notice: &Notice) -> Vec<Touch> {
    let changes =
        |verb, folder, path| Touch { verb, folder, path, writes: true, makes: false, follows: false };
    let makes = |verb, folder, path| Touch { makes: true, ..changes(verb, folder, path) };
    match notice.call {
        libc::SYS_openat => opens(notice.args[2], Some(0), 1),
        libc::SYS_mkdirat => vec![makes("making", Some(0), 1)],
        libc::SYS_unlinkat => vec![changes("removing", Some(0), 1)],
        libc::SYS_renameat | libc::SYS_renameat2 => {
            vec![changes("renaming", Some(0), 1), makes("renaming to", Some(2), 3)]
        }
        libc::SYS_linkat => vec![changes("linking", Some(0), 1), makes("linking to", Some(2), 3)],
        libc::SYS_symlinkat => vec![makes("making", Some(1), 2)],
        libc::SYS_truncate => vec![Touch { follows: true, ..changes("truncating", None, 0) }],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => opens(notice.args[1], None, 0),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => opens((libc::O_CREAT | libc::O_WRONLY) as u64, None, 0),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir => vec![makes("making", None, 0)],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rmdir | libc::SYS_unlink => vec![changes("removing", None, 0)],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename => vec![changes("renaming", None, 0), makes("renaming to", None, 1)],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link => vec![changes("linking", None, 0), makes("linking to", None, 1)],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink => vec![makes("making", None, 1)],
        _ => Vec::new(),
    }
}

fn opens(flags: u64, folder: Option<usize>, path: usize) -> Vec<Touch> {
    let flags = flags as i32;
    if flags & libc::O_PATH != 0 {
        // It gives nothing away but a place, as `stat` does.
        return Vec::new();
    }
    let makes = flags & libc::O_CREAT != 0;
    let writes = makes || flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
    let verb = if writes { "writing" } else { "opening" };
    vec![Touch { verb, folder, path, writes, makes, follows: flags & libc::O_NOFOLLOW == 0 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_cannot_judge_is_not_said_to_be_refused() {
        assert_eq!(lacks(libc::SYS_openat, None), Some("landlock"));
        assert_eq!(lacks(libc::SYS_truncate, Some(2)), Some("landlock of truncating (abi 3)"));
        assert_eq!((lacks(libc::SYS_truncate, Some(3)), lacks(libc::SYS_openat, Some(1))), (None, None));
    }
}
