//! Answers the calls of one host that its filter holds, and tells of violations. As with its other streams, an agent
//! that makes too many of them waits.
//!
//! On a thread of its own, where it may block: what a call costs here, its paths and the memory that they stand in, the
//! agent chooses, and only itself may wait for that.

use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::judge::{Verdict, judge};
use super::listener::{Answer, Listener, Look, Notice};
use super::reach::Reach;
use super::tally::Tally;
use crate::instance::{Log, SharedVitals, vitals};

/// Calls of one host that are answered in a second: more than an agent that works with files makes, at some 10 µs
/// each a tenth of a core.
const CALLS_PER_SECOND: u32 = 10_000;
/// How long violations that were not said may stay so.
const SAID: Duration = Duration::from_secs(1);

/// One host, watched.
pub struct Watch {
    /// Where its calls wait.
    pub listener: Listener,
    /// Its number.
    pub host: u32,
    /// What it may reach.
    pub reach: Reach,
    /// Which version of Landlock judges its files.
    pub landlock: Option<i32>,
    /// What many of its violations are called.
    pub called: &'static str,
    /// Where its violations go.
    pub log: Log,
    /// Where they are counted.
    pub shared: SharedVitals,
}

/// What was said of a host.
struct Said {
    tally: Tally,
    /// That one of its paths was too long.
    too_long: bool,
}

impl Watch {
    /// Runs until the host has ended.
    pub fn run(self) {
        let mut said = Said { tally: Tally::new(), too_long: false };
        let (mut calls, mut began) = (0, Instant::now());
        loop {
            match self.listener.wait(said.tally.owes().then_some(SAID)) {
                Ok(Look::Notice(notice)) => self.noticed(&notice, &mut said),
                Ok(Look::Nothing) => {
                    self.say_unsaid(said.tally.unsaid());
                    continue;
                }
                // Without a listener the host's calls fail.
                Ok(Look::Over) | Err(_) => break,
            }
            calls += 1;
            if began.elapsed() >= Duration::from_secs(1) {
                (calls, began) = (0, Instant::now());
            } else if calls >= CALLS_PER_SECOND && self.listener.rest(began + Duration::from_secs(1)).is_err()
            {
                break;
            }
        }
        self.say_unsaid(said.tally.unsaid());
    }

    /// The answer comes first: the agent waits for it, and for nothing else.
    fn noticed(&self, notice: &Notice, said: &mut Said) {
        let verdict = match self.change_mode(notice) {
            Some(answer) => return self.listener.answer(notice, answer),
            None => judge(notice, &self.reach, self.landlock),
        };
        // What was read is of this call only while it waits.
        let true_of_it = self.listener.waits(notice);
        match verdict {
            Verdict::Fine => self.listener.answer(notice, Answer::GoOn),
            Verdict::TooLong => {
                self.listener.answer(notice, Answer::GoOn);
                if !std::mem::replace(&mut said.too_long, true) {
                    self.log.violation("refused or not: a path too long to follow".into());
                }
            }
            Verdict::Refused(what) => {
                self.listener.answer(notice, Answer::Fail(Errno::EPERM));
                self.violated(format!("refused: {what}"), &mut said.tally);
            }
            Verdict::Beyond { lacks, what, there } => {
                self.listener.answer(notice, Answer::GoOn);
                // It may be on a file system that does not answer: then this agent's next call waits, and nothing else.
                if true_of_it && there.symlink_metadata().is_ok() {
                    let line = match lacks {
                        None => format!("refused: {what}"),
                        Some(lacks) => format!("not refused, this kernel has no {lacks}: {what}"),
                    };
                    self.violated(line, &mut said.tally);
                }
            }
        }
    }

    fn violated(&self, line: String, tally: &mut Tally) {
        vitals(&self.shared).violations += 1;
        if let Some(unsaid) = tally.count(&line, Instant::now()) {
            self.say_unsaid(unsaid);
            self.log.violation(line);
        }
    }

    fn say_unsaid(&self, unsaid: u64) {
        if unsaid > 0 {
            self.log.violation(format!("{unsaid} more {}", self.called));
        }
    }

    /// `fchmod` of a file in the workspace, which copying a file needs, is done for the agent on the daemon's own
    /// descriptor of it: between a look and the agent's own call it could become another file.
    fn change_mode(&self, notice: &Notice) -> Option<Answer> {
        if notice.call != libc::SYS_fchmod {
            return None;
        }
        let host = pidfd_open(Pid::from_raw(i32::try_from(self.host).ok()?)?, PidfdFlags::empty()).ok()?;
        let file = pidfd_getfd(&host, notice.args[0] as i32, PidfdGetfdFlags::empty()).ok()?;
        // Only then was it this host's.
        if !self.listener.waits(notice) {
            return None;
        }
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        let file = File::from(file);
        if !self.reach.allows(&path, true) || !file.metadata().ok()?.is_file() {
            return None;
        }
        let mode = Permissions::from_mode(notice.args[1] as u32 & 0o777);
        Some(match file.set_permissions(mode) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Fail(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EPERM))),
        })
    }
}
