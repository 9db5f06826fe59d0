//! Heartbeats without I/O: what an agent's status hash says, and what follows from hearing it or not.

mod beat;
mod judge;

pub use beat::{BadBeat, Beat, Breaker, State, Status};
pub use judge::{Judgement, Look, Verdict};
