//! Typed configuration, secrets and paths of the daemon.

mod agents;
mod alerts;
mod database;
mod difference;
mod document;
mod dotenv;
mod explain;
pub mod load;
pub mod mistakes;
pub mod model;
mod overrides;
pub mod paths;
pub mod process;
mod providers;
mod rates;
mod redaction;
pub mod redis;
pub mod secrets;
pub mod show;
mod telegram;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod units;
mod validate;

pub use agents::Agents;
pub use alerts::Alerts;
pub use database::{DatabasePlace, PASSWORD as DATABASE_PASSWORD, place as database_place};
pub use difference::difference;
pub use load::{BUILT_IN, Inputs, Loaded, Origin, load};
pub use mistakes::{LoadError, Mistake, Mistakes, Place, nearest};
pub use model::*;
pub use paths::{Paths, ProcessPaths};
pub use process::ProcessName;
pub use providers::{
    ChatModel, ContextLimit, ContextLimits, FailOver, Provider, ProviderKind, Providers, Trigger,
    shipped_providers,
};
pub use rates::{Rate, Rates};
pub use redaction::Redactor;
pub use redis::{RedisAt, RedisUrl};
pub use secrets::{Secrets, Source as SecretSource};
pub use show::{schema, show};
pub use telegram::{BOT_TOKEN, Routing, Rule, Telegram, TelegramMode};
pub use trust::{PublicKey, Sha256};
pub use validate::log_filter;
