//! What an agent does by itself: a task per slot. Slots are counted from the Unix epoch and are the task's dedupe
//! key, so a restart within a slot neither misses nor doubles it. A slot that passed while nothing ran is not made up
//! for: the next one is near.

use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::kinds;
use openclaw_agent_api::manifest::Schedule;
use store::clock::Clock;
use store::task::{NewTask, TaskId};
use store::{Error, Store};

/// Submits the slot that `now` lies in, and waits for its end and then for the next slot: of each schedule at most
/// one task exists, however long it takes.
///
/// # Errors
/// Those of the store; the caller tries again.
pub async fn slot(store: &Store, clock: Clock, agent: &AgentName, schedule: &Schedule) -> Result<(), Error> {
    let (task, next) = task(agent, schedule, clock.now());
    let (_, ended) = store.submit_and_watch(task).await?;
    // An error says that the engine no longer watches: the next slot is a fresh start.
    let _ = ended.await;
    clock.sleep_until(next).await;
    Ok(())
}

fn task(agent: &AgentName, schedule: &Schedule, now: DateTime<Utc>) -> (NewTask, DateTime<Utc>) {
    let every = i64::try_from(schedule.every_seconds).unwrap_or(i64::MAX).max(1);
    let slot = now.timestamp() - now.timestamp().rem_euclid(every);
    let name = &schedule.name;
    let begin = DateTime::from_timestamp(slot, 0).unwrap_or(now);
    let task = NewTask {
        id: TaskId::new(),
        queue: agent.clone(),
        kind: kinds::TICK.into(),
        payload: serde_json::json!({ "text": name }).to_string(),
        session: Some(format!("schedule:{name}")),
        dedupe_key: Some(format!("schedule:{name}:{slot}")),
        priority: 0,
        // The next slot is the retry.
        max_attempts: 1,
        run_at: None,
        source: "schedule".into(),
    };
    (task, begin + Duration::from_secs(every.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slot_has_one_key_and_ends_where_the_next_begins() {
        let agent: AgentName = "atlas".parse().unwrap();
        let schedule = Schedule { name: "check".into(), every_seconds: 60, when: None };
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let (first, next) = task(&agent, &schedule, at(120));
        let (same, _) = task(&agent, &schedule, at(179));
        let (other, _) = task(&agent, &schedule, next);
        assert_eq!(first.dedupe_key, same.dedupe_key);
        assert_ne!(first.dedupe_key, other.dedupe_key);
        assert_eq!(next, at(180));
    }
}
