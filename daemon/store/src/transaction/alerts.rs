//! Alerts are reported, and something is done with them.

use chrono::TimeDelta;
use serde_json::json;

use super::{Moment, Statements, submit};
use crate::Error;
use crate::alert::{Change, News, Report};
use crate::backend::{ALERT, Applied, NewEvent};

/// Each report that is news is an event as well. Answers how many are.
pub(super) async fn report(
    db: &mut impl Statements,
    reports: &[Report],
    cooldown: TimeDelta,
    moment: &Moment,
) -> Result<u64, Error> {
    let mut events = Vec::new();
    for report in reports {
        let Report { key, source, news, text, at } = report;
        let payload = match news {
            News::Wrong(level, count) => {
                json!({"level": level, "agent": source, "text": text, "at": at, "key": key, "count": count})
            }
            News::Over => {
                json!({"level": "info", "agent": source, "text": text, "at": at, "key": key, "over": true})
            }
        };
        if db.report(report, cooldown, moment).await? {
            let (agent, payload) = (source.clone(), payload.to_string());
            events.push(NewEvent { agent, kind: ALERT, payload, at: *at });
        }
    }
    if !events.is_empty() {
        db.history(&[], &events, moment).await?;
    }
    Ok(events.len() as u64)
}

/// Answers how many alerts have changed.
pub(super) async fn change(
    db: &mut impl Statements,
    change: &Change,
    cooldown: TimeDelta,
    moment: &Moment,
    applied: &mut Applied,
) -> Result<u64, Error> {
    match change {
        Change::Report(reports) => report(db, reports, cooldown, moment).await,
        Change::Acknowledge { which, actor, at } => {
            db.acknowledge(which, actor, moment.of(*at), moment.now).await
        }
        Change::Tell { alerts, messages } => {
            for told in alerts {
                if db.alert_revision(told.id).await? != Some(told.revision) {
                    return Ok(0);
                }
            }
            let tasks: Vec<_> = messages.iter().collect();
            if !submit::stored(db, &tasks).await?.is_empty() {
                return Ok(0);
            }
            for told in alerts {
                db.tell(told, moment).await?;
            }
            if !tasks.is_empty() {
                submit::submit(db, &tasks, moment).await?;
                applied.followed.extend(messages.iter().map(|task| task.queue.clone()));
            }
            Ok(alerts.len() as u64)
        }
        Change::Delivered(alerts) => {
            let mut known = 0;
            for (id, at) in alerts {
                known += db.delivered(*id, moment.of(*at)).await?;
            }
            Ok(known)
        }
    }
}
