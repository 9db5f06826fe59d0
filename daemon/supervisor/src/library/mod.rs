//! The libraries: from a file in the agents folder, which anything may happen to, to a copy in the vault, which hosts are
//! started from and nothing happens to.
//!
//! ```text
//!  agents/libX.so ─▶ verify (place, owner, mode) ─▶ elf (whole?) ─▶ hash, copy ─▶ trust (pin, signature) ─▶ vault
//!        ▲                                                                                                    │
//!        └── watch: whose stamp differs from what the vault has seen ◀────────────────────────────────────────┘
//! ```
//!
//! All but [`watch`] blocks on files: call it where that disturbs nobody.

mod copy;
pub mod elf;
pub mod hash;
mod manifest;
pub mod sign;
mod stamp;
#[cfg(test)]
mod tests;
pub mod trust;
mod vault;
mod verify;
pub mod watch;

pub use hash::Hash;
pub use manifest::{Entry, Verdict};
pub use stamp::Stamp;
pub use trust::{PublicKey, Trust};
pub use vault::{Admitted, Libraries, Options};
pub use verify::Refusal;
