//! The watchdog chain: whether systemd is told that this process is well. Pure.
//!
//! ```text
//! timer fired on time ─┐
//! supervisor answered ─┼─▶ ping        any of them missing ─▶ no ping ─▶ systemd restarts the unit
//! store answered ──────┤
//! its one agent lives, ┘
//! or is lawfully down
//! ```
//!
//! Each is a question that was answered since the last ping, never a flag that was left standing. Idle loops answer too.
//! An agent that is down by its policy (backoff, an open breaker, stopped, refused) is no fault of this process.

use std::fmt;
use std::time::Duration;

/// What was seen since the last ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// By how much the runtime's timer was late.
    pub late: Duration,
    /// Each loop that was asked, and how long its answer took; none: it has not answered in time.
    pub loops: Vec<(&'static str, Option<Duration>)>,
    /// In a unit that is one agent: how that stands.
    pub agent: Option<(String, Life)>,
}

/// How an agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is meant to answer, and last did so long ago; past `most` its supervisor would have ended it.
    Up {
        /// Since its last proof.
        age: Duration,
        /// The oldest that a proof may be.
        most: Duration,
    },
    /// Its policy has it down, or on its way.
    Down,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Tell systemd.
    Ping,
    /// Do not.
    Withhold(Reason),
}

/// Why systemd is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The timer.
    Late(Duration),
    /// A loop.
    Silent(&'static str),
    /// The agent.
    Agent {
        /// Which.
        name: String,
        /// Since its last proof.
        age: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(by) => write!(f, "the runtime's timer was {by:.1?} late"),
            Self::Silent(name) => write!(f, "{name} has not answered"),
            Self::Agent { name, age } => {
                write!(f, "{name} has proved nothing for {age:.0?}, and nobody has ended it")
            }
        }
    }
}

/// How it asks, of the time that systemd gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between a ping and the next questions.
    pub rest: Duration,
    /// After a ping was withheld.
    pub soon: Duration,
    /// How long an answer may take.
    pub patience: Duration,
    /// How late the timer may be.
    pub late: Duration,
}

impl Pace {
    /// Whoever answers within its patience is always in time: rest, lateness and patience are below the whole.
    pub fn of(watchdog: Duration) -> Self {
        Self { rest: watchdog / 4, soon: watchdog / 16, patience: watchdog / 2, late: watchdog / 8 }
    }
}

/// Whether systemd is told.
pub fn decide(evidence: &Evidence, pace: Pace) -> Verdict {
    if evidence.late > pace.late {
        return Verdict::Withhold(Reason::Late(evidence.late));
    }
    let silent = |(_, took): &&(_, Option<Duration>)| took.is_none_or(|took| took > pace.patience);
    if let Some((name, _)) = evidence.loops.iter().find(silent) {
        return Verdict::Withhold(Reason::Silent(name));
    }
    match &evidence.agent {
        Some((name, Life::Up { age, most })) if age > most => {
            Verdict::Withhold(Reason::Agent { name: name.clone(), age: *age })
        }
        _ => Verdict::Ping,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loops(took: Option<Duration>) -> Vec<(&'static str, Option<Duration>)> {
        vec![("the supervisor", Some(Duration::ZERO)), ("the store", took)]
    }

    proptest! {
        #[test]
        fn a_ping_needs_every_proof(late in 0u64..20_000, took in proptest::option::of(0u64..40_000),
                                    age in 0u64..40_000, up: bool, alone: bool) {
            let pace = Pace::of(Duration::from_secs(60));
            let (late, took) = (Duration::from_millis(late), took.map(Duration::from_millis));
            let (age, most) = (Duration::from_millis(age), Duration::from_secs(20));
            let life = if up { Life::Up { age, most } } else { Life::Down };
            let agent = alone.then(|| ("atlas".to_owned(), life));
            let well = late <= pace.late
                && took.is_some_and(|took| took <= pace.patience)
                && !(alone && up && age > most);
            let verdict = decide(&Evidence { late, loops: loops(took), agent }, pace);
            prop_assert_eq!(verdict == Verdict::Ping, well);
        }

        /// The slowest who is still well is in time.
        #[test]
        fn who_is_well_is_never_restarted(seconds in 1u64..3600) {
            let watchdog = Duration::from_secs(seconds);
            let pace = Pace::of(watchdog);
            prop_assert!(pace.rest + pace.late + pace.patience < watchdog);
        }
    }

    #[test]
    fn the_reason_names_who_is_silent() {
        let pace = Pace::of(Duration::from_secs(60));
        let evidence = Evidence { late: Duration::ZERO, loops: loops(None), agent: None };
        let Verdict::Withhold(reason) = decide(&evidence, pace) else { panic!("it was pinged") };
        assert_eq!(reason.to_string(), "the store has not answered");
    }
}
