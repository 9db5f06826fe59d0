//! Alerts, as people and programs ask about them.

use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::alert::{Alert, Change, Level, News, Which};
use store::backend::NewEvent;
use supervisor::alerts;
use utoipa::ToSchema;

use super::{Desk, Error};

/// What stands for all open alerts.
pub const ALL: &str = "all";

/// Something that somebody reports: `openclaw alert raise`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    /// How much it matters; none: it is over.
    pub level: Option<Level>,
    /// What happened; what is beyond 1000 characters is cut off.
    pub text: String,
    /// About whom.
    pub source: AgentName,
    /// The fingerprint; by default made of source and text.
    pub key: Option<String>,
}

/// Where it was put: `openclaw alert raise --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Raised {
    /// The fingerprint.
    pub key: String,
}

/// How many alerts somebody knows of now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Acknowledged {
    /// So many.
    pub acknowledged: u64,
}

impl Raise {
    /// Its fingerprint, in which nothing else's text can pass for it.
    pub fn key(&self) -> String {
        let made = || {
            use sha2::{Digest, Sha256};
            let hash = Sha256::digest(self.text.trim());
            let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("{}:{short}", self.source)
        };
        self.key.as_ref().map_or_else(made, |key| format!("{}:{key}", self.source))
    }
}

impl Desk {
    /// Takes a report; durable when this returns.
    ///
    /// # Errors
    /// It says nothing, or cannot be stored now: then it is kept in memory, and stored once it can be.
    pub async fn raise(&self, raise: Raise) -> Result<Raised, Error> {
        if raise.text.trim().is_empty() {
            return Err(Error::Wrong(
                "an alert without a text tells nobody anything: say what happened".into(),
            ));
        }
        let key = raise.key();
        let news = raise.level.map_or(News::Over, |level| News::Wrong(level, 1));
        let report = alerts::report(news, raise.source, key.clone(), &raise.text, self.clock.now());
        let key = report.key.clone();
        self.store.report(report);
        self.store.turned().await?;
        match self.store.health().error {
            None => Ok(Raised { key }),
            Some(error) => Err(Error::Store(store::Error::Away(format!(
                "{error}; the alert is kept in memory, and stored once it can be"
            )))),
        }
    }

    /// Alerts, those that happened last first.
    ///
    /// # Errors
    /// They cannot be read now.
    pub async fn alerts(&self, limit: u32) -> Result<Vec<Alert>, Error> {
        Ok(self.store.alerts(limit).await?)
    }

    /// Somebody knows of an alert, by its id or fingerprint, or of [`ALL`]. Durable when this returns.
    ///
    /// # Errors
    /// No such alert is open.
    pub async fn acknowledge(&self, which: &str, actor: &str) -> Result<Acknowledged, Error> {
        let (id, at) = (which.trim_start_matches('#').parse(), self.clock.now());
        let wanted = match (which, id) {
            (ALL, _) => Which::All,
            (_, Ok(id)) => Which::Id(id),
            (key, Err(_)) => Which::Key(key.into()),
        };
        let all = wanted == Which::All;
        let change = Change::Acknowledge { which: wanted, actor: actor.into(), at };
        let acknowledged = self.store.change_alerts(change).await?;
        if acknowledged == 0 && !all {
            return Err(Error::NoSuchAlert(which.into()));
        }
        tracing::info!(which, actor, acknowledged, "alerts are acknowledged");
        if let (Ok(agent), true) = ("openclaw".parse(), acknowledged > 0) {
            let payload = json!({"which": which, "actor": actor, "acknowledged": acknowledged}).to_string();
            self.store.event(NewEvent { agent, kind: "alert.acknowledged", payload, at });
        }
        Ok(Acknowledged { acknowledged })
    }
}
