//! Fail points: named places at which a debug build dies or stands still if it is told to.
//!
//! `OPENCLAW_FAILPOINT=complete.committed` ends the process there, as a power cut would; `complete.committed:3` at the
//! third time; `wedge@store.turn` has whoever comes there wait for ever: the task, where it can wait, else its thread.
//! `…?FILE` counts no arrival before that file is there, and takes it away with the one that it is for: whoever is started
//! in place of the one that was wedged goes on. The whole is `[wedge@]NAME[:N][?FILE]`, and several are separated by commas.
//! A release build has none of this: [`reach`] and [`reach_now`] are empty there.

/// The boundaries of a task's way: submit → claim → deliver → handle → complete → follow-up, and what goes on beside it.
/// The crash sweep in `tests/` has the process die at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// A new task is taken from the inbox: nothing is stored, nobody was told.
    SubmitTaken,
    /// Its row is written, and not committed.
    SubmitWritten,
    /// It is committed, and who sent it does not know.
    SubmitCommitted,
    /// A lease is written, and not committed.
    ClaimWritten,
    /// It is committed, and the worker does not have the task.
    ClaimCommitted,
    /// The worker has the task, its host does not. Who sent it may have been told.
    Delivering,
    /// The host was sent the task: its handler may run.
    Delivered,
    /// The handler has ended and its effect is done: the store does not know.
    Handled,
    /// The result is taken from the inbox: nothing is stored.
    CompleteTaken,
    /// The result, its outcome, event and follow-ups are written, and not committed.
    CompleteWritten,
    /// They are committed, and nobody who waits was told.
    CompleteCommitted,
    /// A follow-up is written with the result that leads to it, and not committed.
    FollowUpWritten,
    /// A follow-up is committed: it may be leased already, and nobody works on it.
    FollowUpCommitted,
    /// Leases are about to be renewed.
    RenewTaken,
    /// Leases are renewed, and who holds them does not know.
    RenewCommitted,
    /// Lost leases are taken back, and that is not committed.
    SweepWritten,
    /// Lost leases are taken back: nobody has been told.
    SweepCommitted,
    /// What an earlier life had leased is freed, and that is not committed.
    RecoverWritten,
    /// It is freed: the daemon has not begun to work.
    RecoverCommitted,
    /// The store's engine begins a turn.
    StoreTurn,
    /// The supervisor begins a turn.
    SupervisorTurn,
    /// Whoever drives one agent's host begins a turn: wedged there, it is a worker that stalls and does not renew.
    InstanceTurn,
}

impl Boundary {
    /// Each with its name.
    pub const ALL: [(Self, &str); 22] = [
        (Self::SubmitTaken, "submit.taken"),
        (Self::SubmitWritten, "submit.written"),
        (Self::SubmitCommitted, "submit.committed"),
        (Self::ClaimWritten, "claim.written"),
        (Self::ClaimCommitted, "claim.committed"),
        (Self::Delivering, "delivering"),
        (Self::Delivered, "delivered"),
        (Self::Handled, "handled"),
        (Self::CompleteTaken, "complete.taken"),
        (Self::CompleteWritten, "complete.written"),
        (Self::CompleteCommitted, "complete.committed"),
        (Self::FollowUpWritten, "follow_up.written"),
        (Self::FollowUpCommitted, "follow_up.committed"),
        (Self::RenewTaken, "renew.taken"),
        (Self::RenewCommitted, "renew.committed"),
        (Self::SweepWritten, "sweep.written"),
        (Self::SweepCommitted, "sweep.committed"),
        (Self::RecoverWritten, "recover.written"),
        (Self::RecoverCommitted, "recover.committed"),
        (Self::StoreTurn, "store.turn"),
        (Self::SupervisorTurn, "supervisor.turn"),
        (Self::InstanceTurn, "instance.turn"),
    ];
}

#[cfg(debug_assertions)]
pub use armed::{is_armed, reach, reach_now};

#[cfg(debug_assertions)]
mod armed {
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Boundary;

    /// What to do, where, and at which time there.
    #[derive(Debug, PartialEq, Eq)]
    struct Armed {
        wedge: bool,
        at: Boundary,
        time: u32,
        once: Option<PathBuf>,
    }

    /// With the times at which somebody came there.
    static ARMED: LazyLock<Vec<(Armed, AtomicU32)>> = LazyLock::new(|| {
        let Ok(asked) = std::env::var("OPENCLAW_FAILPOINT") else { return Vec::new() };
        let Some(armed) = read_all(&asked) else {
            // A test that arms nothing would prove nothing.
            die(&format!("OPENCLAW_FAILPOINT={asked}: there is no such fail point\n"));
        };
        armed.into_iter().map(|armed| (armed, AtomicU32::new(0))).collect()
    });

    fn read_all(asked: &str) -> Option<Vec<Armed>> {
        asked.split(',').map(read).collect()
    }

    fn read(asked: &str) -> Option<Armed> {
        let (wedge, rest) = asked.strip_prefix("wedge@").map_or((false, asked), |rest| (true, rest));
        let (rest, once) = rest.split_once('?').map_or((rest, None), |(rest, file)| (rest, Some(file)));
        let once = once.map(PathBuf::from);
        if once.as_ref().is_some_and(|file| !file.is_absolute()) {
            return None;
        }
        let (name, time) = rest.split_once(':').unwrap_or((rest, "1"));
        let (at, _) = Boundary::ALL.into_iter().find(|(_, known)| *known == name)?;
        Some(Armed { wedge, at, time: time.parse().ok().filter(|time| *time > 0)?, once })
    }

    fn die(said: &str) -> ! {
        let _ = std::io::stderr().write_all(said.as_bytes());
        std::process::abort()
    }

    /// Whether something is to happen there, sooner or later.
    pub fn is_armed(at: Boundary) -> bool {
        ARMED.iter().any(|(armed, _)| armed.at == at)
    }

    /// Whether whoever comes here is to wait for ever. Does not return where it is to die.
    fn wedged(at: Boundary) -> bool {
        let Some((armed, times)) = ARMED.iter().find(|(armed, _)| armed.at == at) else { return false };
        if armed.once.as_ref().is_some_and(|file| !file.exists()) {
            return false;
        }
        // Whoever comes after one that was wedged goes on.
        if times.fetch_add(1, Ordering::Relaxed) + 1 != armed.time {
            return false;
        }
        if let Some(file) = &armed.once {
            let _ = std::fs::remove_file(file);
        }
        if !armed.wedge {
            die(&format!("fail point {at:?} is reached: the process dies\n"));
        }
        let _ =
            std::io::stderr().write_all(format!("fail point {at:?} is reached: it is wedged\n").as_bytes());
        true
    }

    /// A task is here. Dies or never returns if told to.
    pub async fn reach(at: Boundary) {
        if wedged(at) {
            std::future::pending::<()>().await;
        }
    }

    /// As [`reach`], where nothing can be waited for: wedged, the thread stands still.
    pub fn reach_now(at: Boundary) {
        if wedged(at) {
            loop {
                std::thread::park();
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_asked_for_is_read_or_refused() {
            let armed = |wedge, at, time| Some(Armed { wedge, at, time, once: None });
            assert_eq!(read("handled"), armed(false, Boundary::Handled, 1));
            assert_eq!(read("claim.written:7"), armed(false, Boundary::ClaimWritten, 7));
            assert_eq!(read("wedge@store.turn:2"), armed(true, Boundary::StoreTurn, 2));
            let once = armed(true, Boundary::SupervisorTurn, 3)
                .map(|armed| Armed { once: Some("/a?b".into()), ..armed });
            assert_eq!(read("wedge@supervisor.turn:3?/a?b"), once);
            let several = read_all("wedge@store.turn:2,handled");
            assert_eq!(
                several,
                armed(true, Boundary::StoreTurn, 2).zip(read("handled")).map(|(a, b)| vec![a, b])
            );
            assert_eq!(read_all("handled,"), None);
            let wrong = [
                "",
                "handled:",
                "handled:0",
                "handled:x",
                "wedge",
                "wedge@",
                "Handled",
                "handled?",
                "handled?a",
            ];
            for wrong in wrong {
                assert_eq!(read(wrong), None, "{wrong}");
            }
        }

        #[test]
        fn every_boundary_has_one_name() {
            for (index, (at, name)) in Boundary::ALL.into_iter().enumerate() {
                let before = &Boundary::ALL[..index];
                assert!(before.iter().all(|(other, known)| *other != at && *known != name), "{name}");
            }
        }
    }
}

/// Nothing is armed in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn is_armed(_: Boundary) -> bool {
    false
}

/// Nothing happens here in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub async fn reach(_: Boundary) {}

/// Nothing happens here in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reach_now(_: Boundary) {}
