//! Alerts: the operator is told of what goes wrong, once, and no more often than helps.
//!
//! ```text
//!  supervisor ─┐                      ┌─▶ journal, system:alerts             each, once
//!  bridge     ─┼─▶ Store::report ─▶ a row of `alerts` ─▶ policy::look ──┼─▶ telegram: send (a task, with the row)   critical; again, over
//!  units, cron ┘   by fingerprint,    └─ due_at: when to look next        └─▶ telegram: send, one each period         warnings, repeats
//!                  counted
//! ```
//!
//! What the operator was told is kept in the row, and changes in one transaction with the messages that tell it, under the
//! revision that was read. So each is said once, whoever dies when, and by one of several processes.
//!
//! `policy` (what is said when) and `text` are pure; `service` looks.

mod policy;
mod service;
mod text;

pub use service::{Options, Teller};
