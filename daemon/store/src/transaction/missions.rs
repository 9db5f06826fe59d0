//! Missions are proposed and decided on.

use serde_json::json;

use super::{Moment, Statements};
use crate::Error;
use crate::backend::NewEvent;
use crate::mission::{Change, DECIDED, Mission, Outcome, PROPOSED, Proposal, Status, WAITING_MISSIONS};

/// Carries a change out; what is done is an event as well.
pub(super) async fn change(
    db: &mut impl Statements,
    change: &Change,
    moment: &Moment,
) -> Result<Outcome, Error> {
    match change {
        Change::Propose { id, title, proposal } => {
            if let Some(mission) = db.mission(*id).await? {
                return Ok(Outcome::Already(mission));
            }
            if db.waiting_missions().await? >= WAITING_MISSIONS {
                return Ok(Outcome::TooMany);
            }
            let (created_at, status) = (moment.now, Status::Proposed.as_str().to_owned());
            let (title, proposal) = (title.clone(), proposal.clone());
            let mission = Mission { id: *id, title, status, proposal, created_at, updated_at: created_at };
            db.add_mission(&mission).await?;
            tell(db, PROPOSED, &mission, moment).await?;
            Ok(Outcome::Done(mission))
        }
        Change::Decide { id, verdict, decision } => {
            let Some(before) = db.mission(*id).await? else { return Ok(Outcome::Unknown) };
            if before.status != Status::Proposed.as_str() {
                return Ok(Outcome::Already(before));
            }
            let over = before.proposal.expires_at.is_some_and(|at| at <= decision.at);
            if over && *verdict == Status::Approved {
                return Ok(Outcome::Expired(before));
            }
            let proposal = Proposal { decision: Some(decision.clone()), ..before.proposal };
            let status = verdict.as_str().to_owned();
            let mission = Mission { status, proposal, updated_at: moment.now, ..before };
            db.keep_mission(&mission, *verdict == Status::Rejected).await?;
            tell(db, DECIDED, &mission, moment).await?;
            Ok(Outcome::Done(mission))
        }
    }
}

async fn tell(
    db: &mut impl Statements,
    kind: &'static str,
    mission: &Mission,
    moment: &Moment,
) -> Result<(), Error> {
    let Mission { id, title, status, proposal, .. } = mission;
    let payload = json!({"id": id, "title": title, "status": status, "decision": proposal.decision});
    let (agent, at) = (proposal.by.clone(), moment.told());
    db.history(&[], &[NewEvent { agent, kind, payload: payload.to_string(), at }], moment).await
}
