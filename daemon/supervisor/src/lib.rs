//! Keeps agents alive: policy, driver, host process, wire protocol.

pub mod host;
pub mod orphans;
pub mod policy;
pub mod wire;
