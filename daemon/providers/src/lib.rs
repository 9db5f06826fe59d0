//! What agents know of the world: language models (`ask`), search engines (`search`) and pages (`fetch`). The daemon makes
//! the calls, so that agents hold no keys and open no sockets.
//!
//! ```text
//!  Handle::ask ─▶ grant, rate ─▶ policy::decide ─▶ Try(n) ─▶ reserve (store: one transaction) ─▶ HTTP ─▶ answer
//!                                    ▲    │                     │ over budget: refused            │
//!                                    │    ├─▶ Wait(until)                                        ├─▶ Gate, Health
//!                                    │    └─▶ GiveUp(why)                                        └─▶ Service: settle,
//!                                    └───────────── trouble ◀── timeout, 429, 5xx, empty … ◀─────┘     record, notices
//! ```
//!
//! [`policy`] decides and does no I/O: who is tried, when it is tried again, when it is given up. `exchange` carries it
//! out, for `ask` and `search` alike. A try is counted before it is made, and what it used is settled behind it by
//! [`Service`], also where the caller went away; a try of which nobody knows what it used counts as what was reserved.
//!
//! Which answers are what:
//!
//! | the provider | is | the next one is tried |
//! |---|---|---|
//! | 400, 401, 403 | misconfigured | never |
//! | 408, 429, 5xx, time-out, network, nothing that can be used | in trouble | as `failover.json` has it |
//! | 402 and other statuses | misconfigured | if `failover.json` says so |
//! | asked us to wait (`Retry-After`), or its breaker is open | not tried before | at once |
//!
//! A used-up budget is no trigger: the call is refused, lest it goes to whoever has no limit.

mod breaker;
mod budget;
mod chat;
pub mod client;
mod exchange;
mod fetch;
mod health;
mod kept;
pub mod policy;
mod probe;
mod search;
mod service;
mod settlement;

pub use breaker::Unknown;
pub use budget::{Standing, is_past, standings};
pub use chat::{Question, Say};
pub use exchange::Refusal;
pub use health::{Health, Proof};
pub use kept::Keeper;
pub use service::{Answers, Error, Handle, Options, ProviderStatus};
pub use settlement::{Level, Notice, Service};

/// A time, by the daemon's clock.
pub type Time = chrono::DateTime<chrono::Utc>;
