//! What the policy hears of, and what it wants done.

use super::{Call, Candidate, Exit, Time, Transition};
use crate::alerts::Level;
use crate::library::{Hash, Verdict};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody wants it up; at boot as well as later.
    Start {
        /// Who.
        actor: String,
    },
    /// Its turn to start has come: at boot, or after a fall of its group.
    Turn,
    /// Somebody wants it down, and it to stay so.
    Stop {
        /// Who.
        actor: String,
    },
    /// The daemon ends.
    Shutdown,
    /// Somebody wants a new host.
    Restart {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Somebody wants it to be left alone for a while.
    OpenBreaker {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Somebody wants its breaker closed for good.
    CloseBreaker {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// The host takes tasks.
    HostReady,
    /// The host has ended.
    HostExited {
        /// How.
        exit: Exit,
    },
    /// The host, or its manifest, can never work like this.
    Refused {
        /// What, why, and what to do.
        why: String,
    },
    /// It does not answer, or a handler does not end.
    Hang {
        /// What was waited for.
        what: String,
    },
    /// A moment that [`next_due`](super::next_due) named has come.
    Due,
    /// A verified library is to be run.
    Candidate(Candidate),
    /// Nobody wants the candidate any more.
    Withdraw {
        /// Why.
        why: String,
    },
    /// The canary takes tasks.
    CanaryReady {
        /// What it calls its version.
        version: Option<String>,
    },
    /// The canary will not take over.
    CanaryEnded {
        /// Why.
        why: String,
        /// Whether the library itself is bad.
        to_blame: bool,
    },
    /// The running one has said what it knows, or why it cannot.
    Snapshot {
        /// Which.
        outcome: Result<(), String>,
    },
    /// The canary has been told what its predecessor knew.
    Restored {
        /// What it made of it.
        outcome: Result<(), String>,
    },
    /// A task has ended.
    TaskEnded {
        /// How.
        call: Call,
    },
    /// It must not run here any more: another process may lead it.
    StandBy {
        /// Why.
        why: String,
    },
    /// A member of its group fell.
    SiblingFell {
        /// Which.
        name: String,
    },
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a host.
    Spawn,
    /// No more tasks; let handlers end by then, and ask the host to stop.
    Drain {
        /// Handlers that run longer are cut off.
        deadline: Time,
    },
    /// SIGTERM, and SIGKILL after the grace, to the process group.
    Kill,
    /// Allow so many tasks at once.
    Limit(u32),
    /// Note it in the history, and save the record.
    Note(Transition),
    /// Tell the group that this member fell.
    Fell,
    /// Start a host of this library beside the running one, without tasks.
    Canary(Hash),
    /// The canary is not wanted any more.
    EndCanary,
    /// No more tasks for the running one; it is to say what it knows.
    HandOver,
    /// Tell the canary that.
    Restore,
    /// The canary is the running one from now on; its predecessor lets handlers end by then, and goes.
    Swap {
        /// Handlers that run longer are cut off.
        deadline: Time,
    },
    /// The running one lets handlers end by then, and goes, while its successor starts.
    Retire {
        /// Handlers that run longer are cut off.
        deadline: Time,
    },
    /// Remember what became of a library.
    Judge {
        /// Which.
        hash: Hash,
        /// What became of it.
        verdict: Verdict,
    },
    /// The candidate is to be offered again.
    Postpone,
    /// Tell whoever waits for the reload.
    Answer(Result<String, String>),
    /// Tell the operator.
    Alert(Level, String),
}
