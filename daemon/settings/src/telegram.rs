//! `[telegram]` and `[routing]`: who may talk with the team, and with which agent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use openclaw_agent_api::AgentName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, address, duration};

/// The secret that is the bot's token.
pub const BOT_TOKEN: &str = "TELEGRAM_BOT_TOKEN";

/// How updates come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TelegramMode {
    /// They are asked for: needs no address that others can reach.
    #[default]
    Polling,
    /// Telegram delivers them.
    Webhook,
}

/// `[telegram]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telegram {
    /// Whether the gateway listens to the bot; without the secret `TELEGRAM_BOT_TOKEN` it does not, and where other keys say
    /// that there is one, it does not start.
    pub enabled: bool,
    /// Where the Bot API is.
    pub api: String,
    /// How updates come.
    pub mode: TelegramMode,
    /// The ids of people who may talk with the team, besides those that `openclaw telegram approve` let in.
    pub allow: Vec<i64>,
    /// The ids of those among them who may also command the daemon: `/restart AGENT`.
    pub operators: Vec<i64>,
    /// The ids of groups in which they may, by mention.
    pub groups: Vec<i64>,
    /// How long a poll stays open when nothing comes.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub poll_timeout: Duration,
    /// Where Telegram reaches the webhook: an `https://` address that leads to `webhook_bind`.
    pub webhook_url: String,
    /// Where the webhook listens.
    #[serde(with = "address")]
    #[schemars(with = "String")]
    pub webhook_bind: SocketAddr,
    /// The largest file that is taken into `uploads`.
    pub max_upload: ByteSize,
    /// The most that `uploads` may hold.
    pub max_uploads: ByteSize,
    /// The ends of names of files that are taken.
    pub upload_types: Vec<String>,
}

impl Default for Telegram {
    fn default() -> Self {
        let types = [
            "csv", "gif", "jpeg", "jpg", "json", "log", "md", "mp3", "mp4", "oga", "ogg", "pdf", "png",
            "toml", "txt", "webp", "xlsx", "yaml", "yml",
        ];
        Self {
            enabled: true,
            api: "https://api.telegram.org".into(),
            mode: TelegramMode::default(),
            allow: Vec::new(),
            operators: Vec::new(),
            groups: Vec::new(),
            // Telegram's own longest; below the minute after which routers forget a silent connection.
            poll_timeout: Duration::from_secs(50),
            webhook_url: String::new(),
            webhook_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8022)),
            // What the Bot API hands out at the most.
            max_upload: ByteSize::mib(20),
            max_uploads: ByteSize::mib(1024),
            upload_types: types.map(str::to_owned).into(),
        }
    }
}

impl Telegram {
    /// A key that says that there is a bot, if one is written.
    pub fn needs_bot(&self) -> Option<&'static str> {
        let keys = [
            ("mode", self.mode == TelegramMode::Webhook),
            ("webhook_url", !self.webhook_url.is_empty()),
            ("allow", !self.allow.is_empty()),
            ("operators", !self.operators.is_empty()),
            ("groups", !self.groups.is_empty()),
        ];
        keys.into_iter().find_map(|(key, written)| written.then_some(key))
    }
}

/// `[routing]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// Who gets what no rule is about.
    #[schemars(with = "String")]
    pub default: AgentName,
    /// The first rule of which all conditions hold says who gets a message.
    pub rules: Vec<Rule>,
}

impl Default for Routing {
    fn default() -> Self {
        // A constant that is a name.
        #[allow(clippy::expect_used, reason = "a constant that is a name")]
        let default = "milkbot".parse().expect("a name");
        Self { default, rules: Vec::new() }
    }
}

/// `[[routing.rules]]`: conditions, of which one that is not written always holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Through which door it came: `telegram` or `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// In which chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<i64>,
    /// Whose message it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<i64>,
    /// Which command it begins with: `/resources`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What its text begins with, whatever the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Who is mentioned in it, without the `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mention: Option<String>,
    /// Who gets it.
    #[schemars(with = "String")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
}
