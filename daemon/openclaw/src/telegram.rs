//! The bot as a part of this process: made with the gateway, before any work starts.

use std::time::Duration;

use gateway::telegram::{Error, Handle, Options, Service, Verdict};
use secrecy::SecretString;
use settings::{BOT_TOKEN, Paths, Secrets, Settings, TelegramMode};
use store::Clock;

use crate::components::{self, Components};
use crate::exit::{Code, Failure};
use crate::status::{Board, Component, Evidence};

/// Makes the bot, where this process has a gateway and there is a token.
///
/// # Errors
/// The token is none, or missing where the settings say that there is a bot; the webhook's port cannot be had.
pub fn open(
    settings: &Settings,
    secrets: &Secrets,
    components: &Components,
    paths: &Paths,
    clock: Clock,
) -> Result<Option<(Service, Handle)>, Failure> {
    if !components.services.contains(&components::Service::Gateway) {
        return Ok(None);
    }
    let Some(token) = token(settings, secrets)? else { return Ok(None) };
    // Whoever speaks to it needs the secret that Telegram shows, wherever they come from.
    let listener = match settings.telegram.mode {
        TelegramMode::Webhook => Some(gateway::bind_guarded(settings.telegram.webhook_bind)?),
        TelegramMode::Polling => None,
    };
    let options = Options {
        settings: settings.telegram.clone(),
        routing: settings.routing.clone(),
        token: token.clone(),
        listener,
        uploads: paths.uploads.clone(),
        lease: settings.tasks.lease.max(Duration::from_secs(1)),
        clock,
    };
    Ok(Some(Service::new(options)?))
}

/// The bot's token; none where no bot is meant to be.
fn token<'s>(settings: &Settings, secrets: &'s Secrets) -> Result<Option<&'s SecretString>, Failure> {
    let (telegram, chats) = (&settings.telegram, !settings.alerts.chats.is_empty());
    let wrong = |message: String| Err(Failure::new(Code::Config, message));
    let needed = match telegram.needs_bot() {
        Some(key) if telegram.enabled => Some(format!("`{key}` in [telegram]")),
        _ => chats.then(|| "`chats` in [alerts]".to_owned()),
    };
    let write = format!("write the token that @BotFather gave you into .env as {BOT_TOKEN}=…");
    match (telegram.enabled, secrets.get(BOT_TOKEN), secrets.empty(BOT_TOKEN), needed) {
        (true, Some(token), ..) => Ok(Some(token)),
        (true, None, Some(at), _) => {
            wrong(format!("{BOT_TOKEN} is empty ({at}): {write}, or take the variable out"))
        }
        (true, None, None, Some(key)) => {
            wrong(format!("{key} needs a bot, and {BOT_TOKEN} is missing: {write}, or take the key out"))
        }
        (false, .., Some(key)) => wrong(format!(
            "{key} needs a bot, and [telegram] says `enabled = false`: take one of the two out; {BOT_TOKEN} is its token"
        )),
        (.., None) => Ok(None),
    }
}

impl Board {
    /// The bot, if there is one here.
    pub fn telegram(&self) -> Option<Component> {
        let (health, verdict, reason) = self.telegram.as_ref()?.health();
        let mode = match health.mode {
            TelegramMode::Polling => "long polling",
            TelegramMode::Webhook => "a webhook",
        };
        let what = match (health.mode, health.completed_at) {
            (_, None) => "has proved nothing yet",
            (TelegramMode::Polling, _) => "completed a getUpdates",
            (TelegramMode::Webhook, _) => "Telegram said that it delivers",
        };
        let stand = match verdict {
            Verdict::Ok => ("ready", "ok"),
            Verdict::Degraded => ("backoff", "degraded"),
            Verdict::Failed => ("backoff", "failed"),
            Verdict::Unknown if health.completed_at.is_none() => ("starting", "unknown"),
            Verdict::Unknown => ("ready", "unknown"),
        };
        let evidence = Evidence { what: what.into(), at: health.completed_at };
        let bot = health.bot.map_or_else(|| "a bot".into(), |name| format!("@{name}"));
        Some(self.service("telegram", stand, evidence, health.since, reason, format!("{bot} by {mode}")))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Token => Code::Config,
            Error::Client(_) => Code::Failed,
            Error::Off | Error::Starting | Error::Nameless => Code::Unavailable,
            Error::Refused(_) => Code::Usage,
            Error::Store(_) => Code::TryAgain,
        };
        Self::of(code, &error)
    }
}
