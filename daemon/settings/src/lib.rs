//! Typed configuration, secrets and paths of the daemon.

pub mod model;
pub mod units;

pub use model::*;
