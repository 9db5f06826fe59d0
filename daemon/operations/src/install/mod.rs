//! `openclaw install`: a plan is made of settings (pure), and carried out. Whoever only wants to see it prints it.
//!
//! ```text
//! plan ──> apply ──> (units restarted) ──> Journal::end
//!            │              │ they do not start
//!            │ fails        v
//!            └────────> restore ──> Journal::end
//! ```
//! An interrupted run leaves the journal; the next one goes on from it.

mod apply;
mod error;
mod files;
mod plan;
mod record;
mod remove;
mod systemctl;
#[cfg(test)]
mod tests;

pub use apply::{Applied, apply, claim, restore};
pub use error::Error;
pub use plan::{Content, Edited, LAYOUT, Plan, Request, Step, plan};
pub use record::{Copies, Journal, Record, Was, manager};
pub use remove::uninstall;
pub use systemctl::{active, running, systemctl, unknown};
