//! The heartbeat bridge: watches every agent of every process by its status hash, and tells what it thinks of each.
//!
//! ```text
//!  agent:<name>:status ─▶ look ─▶ decide ─┬─▶ agent:heartbeat         one message per agent and look
//!  who there should be ─────────▶ (pure)  ├─▶ agent_heartbeats        each change of a verdict, and a sample a minute
//!                                         ├─▶ alerts                  down, and back
//!                                         └─▶ Handle                  the verdicts as they stand
//!  agent:heartbeat-bridge:status ◀─ its own beat ─▶ Watchman (in the gateway's process) ─▶ alerts
//! ```
//!
//! Every process may run one. All of them look, so that each has verdicts to show and can take over at once; the one
//! that leads (by a lease in the store, as an agent's name is led) publishes, writes, alerts and beats.

mod decide;
mod error;
mod handle;
mod lead;
mod look;
mod service;
mod standing;
#[cfg(test)]
mod tests;
mod watchman;

pub use decide::{Alarm, Effects, Look, Row, Seen, Signal, State, decide};
pub use error::Error;
pub use handle::{Handle, Report};
pub use service::{Options, Service, start};
pub use standing::{Evidence, Standing};
pub use watchman::{Watched, Watchman};

/// The bridge's own name: of its key, its lead, its alerts. No agent can be called so.
pub const NAME: &str = "heartbeat-bridge";
