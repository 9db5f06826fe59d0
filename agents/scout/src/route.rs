//! What becomes of what was found, by how sure it is: a mission, a person, or the archive. What is said to have happened is only
//! what the daemon confirmed.

use openclaw_agent_api::chrono::{DateTime, Utc};
use openclaw_agent_api::context::{AlertLevel, Proposed};
use openclaw_agent_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Characters of a mission's title: what the daemon takes.
const TITLE: usize = 500;

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// It is kept, and nobody is told.
    Archive,
    /// The operator is told.
    Person,
    /// A mission is proposed.
    Mission,
}

impl Route {
    /// By confidence; what is no number is kept.
    pub fn of(confidence: f64, settings: &Settings) -> Self {
        if confidence >= settings.high {
            Self::Mission
        } else if confidence >= settings.medium {
            Self::Person
        } else {
            Self::Archive
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The same for the same.
    pub id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Until when it is good.
    pub expires_at: DateTime<Utc>,
    /// How sure it is.
    pub confidence: f64,
    /// In a sentence or two.
    pub text: String,
}

/// Sends it there; answers, for people, what was done. The same again is known to the daemon by its id.
///
/// # Errors
/// What to say where it reached nobody.
pub fn send(ctx: &Context, found: &Found, route: Route) -> Result<String, String> {
    match route {
        Route::Archive => Ok("It is archived.".into()),
        Route::Person => person(ctx, found, ""),
        Route::Mission => {
            // A title is short; all of it stands beside it.
            let mission = json!({
                "title": cut(&found.text, TITLE), "text": found.text, "id": found.id, "confidence": found.confidence,
                "expires_at": found.expires_at,
            });
            match ctx.propose_mission(mission) {
                Ok(Proposed { id, status, known: true }) => {
                    Ok(format!("It is known already, as mission {id}: {status}."))
                }
                Ok(Proposed { id, .. }) => Ok(format!("It is proposed as mission {id}.")),
                Err(error) => {
                    let why = format!("no mission could be proposed ({error})");
                    let said = |told: String| format!("There is no mission of it: {error}. {told}");
                    person(ctx, found, &why).map(said).map_err(said)
                }
            }
        }
    }
}

fn person(ctx: &Context, found: &Found, why: &str) -> Result<String, String> {
    let text = if why.is_empty() { found.text.clone() } else { format!("{}; {why}", found.text) };
    match ctx.raise(&found.id, AlertLevel::Warning, &text) {
        Ok(()) => Ok("The operator is told.".into()),
        Err(error) => Err(format!("Nobody could be told, it is archived: {error}")),
    }
}

/// The text, of at most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
