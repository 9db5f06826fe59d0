//! Missions, as people decide on them: at the command line, or through MilkBot.

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use store::alert::{News, Report};
use store::mission::{Change, Decision, LISTED_MISSIONS, Mission, Outcome, Status};
use store::{Clock, Store};
use supervisor::alerts::{self, Level};

use crate::exit::{Code, Failure};

/// The fewest digits that name a mission.
const PREFIX: usize = 4;

/// What people type of an id.
pub fn short(mission: &Mission) -> String {
    mission.id.simple().to_string().chars().take(8).collect()
}

/// The operator is told that one waits.
pub fn waits(mission: &Mission, now: DateTime<Utc>) -> Report {
    let (id, by, title) = (short(mission), &mission.proposal.by, &mission.title);
    let text = format!("{by} proposes a mission: {title} (/approve {id}, or /reject {id})");
    alerts::report(News::Wrong(Level::Warning, 1), by.clone(), key(mission), &text, now)
}

fn key(mission: &Mission) -> String {
    format!("{}:mission:{}", mission.proposal.by, mission.id)
}

/// A person has decided on the mission whose id begins so.
///
/// # Errors
/// There is none or more than one, it is decided already, or past its time; those of the store. Nothing was changed then.
pub async fn decide(
    store: &Store,
    prefix: &str,
    verdict: Status,
    actor: String,
    reason: String,
    clock: Clock,
) -> Result<Mission, Failure> {
    let id = find(&store.missions(LISTED_MISSIONS).await?, prefix)?.id;
    let wrong = |why: String| Failure::new(Code::Usage, why);
    let decision = Decision { actor, at: clock.now(), reason };
    match store.change_mission(Change::Decide { id, verdict, decision }).await? {
        Outcome::Done(mission) => {
            let text = format!("{} is {verdict}", mission.title);
            let source: AgentName = mission.proposal.by.clone();
            store.report(alerts::report(News::Over, source, key(&mission), &text, clock.now()));
            Ok(mission)
        }
        Outcome::Already(mission) => {
            let decision = mission.proposal.decision.as_ref();
            let by = decision.map(|d| format!(" by {} at {}", d.actor, d.at.format("%F %T UTC")));
            let (id, status, by) = (short(&mission), &mission.status, by.unwrap_or_default());
            Err(wrong(format!("the mission {id} was {status} already{by}: nothing was changed")))
        }
        Outcome::Expired(mission) => {
            let at = mission.proposal.expires_at.unwrap_or_default().format("%F %T UTC");
            let id = short(&mission);
            Err(wrong(format!(
                "the mission {id} was good until {at}: it can only be rejected; nothing was changed"
            )))
        }
        Outcome::Unknown | Outcome::TooMany => Err(wrong("that mission is no longer there".into())),
    }
}

/// The one mission whose id begins so.
///
/// # Errors
/// There is none, or more than one.
pub fn find<'m>(missions: &'m [Mission], prefix: &str) -> Result<&'m Mission, Failure> {
    let shown = prefix.escape_debug();
    let wrong = |why: String| Failure::new(Code::Usage, why);
    let digits: String = prefix.to_lowercase().chars().filter(|c| *c != '-').collect();
    if digits.len() < PREFIX || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(wrong(format!(
            "`{shown:.40}` names no mission: write {PREFIX} digits of its id at least; `/missions` or `openclaw missions list` \
             shows them"
        )));
    }
    let mut fits = missions.iter().filter(|one| one.id.simple().to_string().starts_with(&digits));
    match (fits.next(), fits.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(wrong(format!("there is no mission whose id begins with `{shown:.40}`"))),
        _ => Err(wrong(format!("more than one mission begins with `{shown:.40}`: write more of its id"))),
    }
}
