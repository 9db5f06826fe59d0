//! Why something about Telegram was not done.

use super::pairing;

/// Why.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A token that cannot be one.
    #[error(
        "{} is no bot's token: it looks like 123456:ABC-DEF…; copy the one that @BotFather gave into .env",
        settings::BOT_TOKEN
    )]
    Token,
    /// There cannot be a client.
    #[error("no client for Telegram: {0}")]
    Client(String),
    /// There is no bot here.
    #[error(
        "there is no bot in this process: write {}=… into .env, where `enabled` in [telegram] is not false, and start the \
         daemon again",
        settings::BOT_TOKEN
    )]
    Off,
    /// The daemon is on its way up.
    #[error("the daemon is starting: try again")]
    Starting,
    /// Whose bot it is is not known yet.
    #[error("Telegram has not told the bot's name yet")]
    Nameless,
    /// Nobody can be let in or shut out in this way.
    #[error(transparent)]
    Refused(#[from] pairing::Refused),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] store::Error),
}
