//! What Scout keeps: what was found, until it is no longer good or there is too much of it.

use std::sync::{Mutex, PoisonError};

use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::route::{self, Found, Route};

const KEY: &str = "found";
/// What is kept at the most; the oldest give way.
const KEPT: usize = 200;
/// How long it can be read after its end.
const READABLE: TimeDelta = TimeDelta::days(30);

/// Something that was found, and where it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What.
    #[serde(flatten)]
    pub found: Found,
    /// Where.
    pub route: Route,
    /// It did not get there: the same is sent again.
    #[serde(default)]
    pub unsent: bool,
}

/// All that is kept. Memory is the truth; what could not be kept there lasts as long as this process.
#[derive(Default)]
pub struct Archive {
    // Handlers run side by side: one at a time reads, changes and writes. Holds what memory has not.
    unkept: Mutex<Option<Vec<Kept>>>,
}

impl Archive {
    /// Sends what is new where it belongs, and keeps it; answers what became of each. What is the same, and still good, is not
    /// new. It is sent first: what a death repeats the daemon knows by its id, and what was kept unsent nobody would hear of.
    pub fn send(&self, ctx: &Context, found: &[(Found, Route)]) -> Vec<Result<String, String>> {
        if found.is_empty() {
            return Vec::new();
        }
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        let held = unkept.is_some();
        let mut list = unkept.take().unwrap_or_else(|| load(ctx));
        let send = |found: &Found, route| route::send(ctx, found, route);
        let done = add(&mut list, found, ctx.now(), send);
        if (held || done.iter().any(Option::is_some))
            && let Err(error) = ctx.memory().set(KEY, &list)
        {
            ctx.warn(format!("what was found is kept by this process alone: {error}"));
            *unkept = Some(list);
        }
        done.into_iter().map(|done| done.unwrap_or_else(|| Ok("It is known already.".into()))).collect()
    }

    /// All that is kept, newest first.
    pub fn all(&self, ctx: &Context) -> Vec<Kept> {
        let unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        let list = unkept.clone().unwrap_or_else(|| load(ctx));
        list.into_iter().rev().collect()
    }
}

fn load(ctx: &Context) -> Vec<Kept> {
    ctx.memory().get(KEY).map(Option::unwrap_or_default).unwrap_or_else(|error| {
        ctx.warn(format!("what was found before is not known: {error}"));
        Vec::new()
    })
}

/// What became of each, nothing of what is known.
fn add(
    list: &mut Vec<Kept>,
    found: &[(Found, Route)],
    now: DateTime<Utc>,
    send: impl Fn(&Found, Route) -> Result<String, String>,
) -> Vec<Option<Result<String, String>>> {
    list.retain(|kept| now.signed_duration_since(kept.found.expires_at) < READABLE);
    let done = found.iter().map(|(found, route)| {
        let same = |kept: &Kept| kept.found.id == found.id && kept.found.expires_at > now;
        if list.iter().any(|kept| same(kept) && !kept.unsent) {
            return None;
        }
        list.retain(|kept| !same(kept));
        let done = send(found, *route);
        list.push(Kept { found: found.clone(), route: *route, unsent: done.is_err() });
        Some(done)
    });
    let done = done.collect();
    list.drain(..list.len().saturating_sub(KEPT));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: usize, at: DateTime<Utc>) -> (Found, Route) {
        let expires_at = at + TimeDelta::hours(1);
        let found = Found { id: id.to_string(), at, expires_at, confidence: 0.5, text: "t".into() };
        (found, Route::Archive)
    }

    /// Which of these are new.
    fn add(list: &mut Vec<Kept>, found: &[(Found, Route)], now: DateTime<Utc>) -> Vec<bool> {
        let done = super::add(list, found, now, |_, _| Ok("sent".into()));
        done.iter().map(Option::is_some).collect()
    }

    #[test]
    fn what_reached_nobody_is_sent_again_and_kept_once() {
        let now: DateTime<Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
        let mut list = Vec::new();
        for reached in [false, false, true] {
            let sent = |_: &Found, _| if reached { Ok("told".into()) } else { Err("away".into()) };
            let told = if reached { Ok("told".to_owned()) } else { Err("away".to_owned()) };
            assert_eq!(super::add(&mut list, &[found(1, now)], now, sent), [Some(told)]);
            assert_eq!((list.len(), list[0].unsent), (1, !reached));
        }
        assert_eq!(add(&mut list, &[found(1, now)], now), [false]);
    }

    #[test]
    fn the_same_is_new_again_only_once_it_is_no_longer_good() {
        let now: DateTime<Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
        let mut list = Vec::new();
        assert_eq!(add(&mut list, &[found(1, now), found(1, now), found(2, now)], now), [true, false, true]);
        let later = now + TimeDelta::minutes(59);
        assert_eq!(add(&mut list, &[found(1, later)], later), [false]);
        let past = now + TimeDelta::hours(1);
        assert_eq!(add(&mut list, &[found(1, past)], past), [true]);
        let far = now + TimeDelta::days(31);
        assert_eq!(add(&mut list, &[found(3, far)], far), [true]);
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn there_is_a_most_that_is_kept() {
        let now: DateTime<Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
        let mut list = Vec::new();
        let many: Vec<_> = (0..KEPT + 50).map(|id| found(id, now)).collect();
        add(&mut list, &many, now);
        assert_eq!((list.len(), list[0].found.id.as_str()), (KEPT, "50"));
    }
}
