//! Who answers agents' questions: `providers/*.toml`, `failover.json` and `context-limits.json`, which stand beside
//! `openclaw.toml`. Where there is no folder `providers`, those that are shipped are in effect; a provider without its key
//! is not used.

pub(crate) mod json;
mod load;
mod model;
#[cfg(test)]
mod tests;

pub(crate) use load::load;
pub use load::shipped_providers;
pub use model::{
    ChatModel, ContextLimit, ContextLimits, FailOver, Provider, ProviderKind, Providers, Trigger,
};
