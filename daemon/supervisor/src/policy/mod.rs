//! What to do about an agent: pure decisions over plain data, with the time and the jitter passed in.
//!
//! ```text
//!             Start              HostReady               HostExited(any)
//!  Stopped ─────────▶ Starting ────────────▶ Ready ────────────────────▶ Backoff{until,attempt}
//!   ▲   ▲                │  Due: too long     │  Stop / Restart / Hang /      │ Due      │ restarts past
//!   │   │                │  HostExited        │  breaker trips                ▼          ▼ `intensity`
//!   │   └─ Stop ─────────┼────────────────────┤                           Starting    Open{until}
//!   │                    ▼                    ▼                                          │ Due
//!   └──────────── Refused{why}          Draining{deadline,next}                     HalfOpen{probe}
//!                 (no retry)              HostExited: next                 stable ─▶ Ready, breaker closed
//!                                                                          any failure ─▶ Open, longer
//! ```
//!
//! [`decide()`] changes a [`Record`] and answers [`Action`]s, which the driver carries out. The record is saved as
//! JSON: what an agent did before outlives the agent's process and the daemon's.

pub mod decide;
pub mod event;
pub mod exit;
pub mod group;
pub mod lead;
pub mod reload;
pub mod retry;
pub mod state;

pub use limits::{Breaker, Bucket as Budget, Call, Opened, Time};

pub use decide::{Context, decide, next_due};
pub use event::{Action, Event};
pub use exit::{Exit, ExitClass};
pub use reload::{Back, Candidate, Installed, Phase, Probation, Reload};
pub use state::{Desired, Next, Probe, Record, State, StopReason, Transition};

#[cfg(test)]
mod tests;
