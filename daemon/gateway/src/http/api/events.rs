//! `GET /api/v1/events`: what is stored in `agent_events`, as server-sent events that can be taken up again:
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream;
use serde::Deserialize;
use store::Store;
use store::backend::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::IntoParams;

use super::super::caller::Caller;
use super::super::input::Asked;
use super::super::problem::Problem;
use super::super::{Door, Drain};

const LAST_EVENT_ID: &str = "last-event-id";
/// Events that are read at once.
const PAGE: u32 = 256;
/// A listener looks no oftener than this...
const PACE: Duration = Duration::from_millis(100);
/// ...and no rarer, for other processes' events; those of this one wake it.
const LOOK: Duration = Duration::from_secs(1);
/// Without events, a comment so often: proxies cut off who is silent.
const ALIVE: Duration = Duration::from_secs(15);
/// A transaction takes no longer from an id to its commit, unless it is being lost.
const UNSETTLED: TimeDelta = TimeDelta::seconds(2);

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// After the event of this id, as the header `Last-Event-ID`; 0 for all that is kept. By default, and where no event has
    /// that id yet, what comes from now on.
    #[param(minimum = 0)]
    after: Option<i64>,
}

/// Listen to what happens: transitions, alerts, the ends of tasks. Each event's `id` can be sent as `Last-Event-ID` to go on
/// after it; events that have been pruned meanwhile are gone.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", params(From),
    responses(
        (status = 200, description = "A stream that does not end by itself: `id`, `event` (what happened), and as `data` an \
            object with `id`, `agent`, `kind`, `payload` and `at`", body = String, content_type = "text/event-stream"),
    )
)]
pub(crate) async fn listen(
    caller: Caller,
    Asked(from): Asked<From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let door = &caller.door;
    let store = door.within()?.desk.store.clone();
    let room = |of: &Arc<Semaphore>| {
        of.clone().try_acquire_owned().map_err(|_| {
            let detail = "as many listen or wait as [gateway] `max_listeners` and `max_connections` allow: try again later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", detail).retry_after(10)
        })
    };
    let room = [room(&door.listeners)?, room(&door.stays)?];
    let asked = match (last(&headers)?, from.after) {
        // A client that comes back says where it was, whatever address it was given first.
        (Some(last), _) => Some(last),
        (None, Some(after)) if after >= 0 => Some(after),
        (None, Some(_)) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "`after` is 0 or more"));
        }
        (None, None) => None,
    };
    let newest = store.last_event().await?;
    // An id beyond is of another database: whoever waited for its events would hear nothing for long.
    let after = asked.unwrap_or(newest).min(newest);
    let now = Instant::now();
    let listener = Listener {
        door: door.clone(),
        store,
        after,
        looked: now - PACE,
        spoke: now,
        begun: false,
        _room: room,
    };
    let stream = stream::unfold(listener, |mut listener| async {
        listener.next().await.map(|text| (Ok::<_, std::convert::Infallible>(text), listener))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

fn last(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(given) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number = given.to_str().ok().and_then(|text| text.parse::<i64>().ok()).filter(|id| *id >= 0);
    number.map(Some).ok_or_else(|| {
        let detail = "`Last-Event-ID` is the `id` of an event of this stream: a number";
        Problem::new(StatusCode::BAD_REQUEST, "invalid_last_event_id", detail)
    })
}

/// Somebody who listens; it reads no further than is taken.
struct Listener {
    door: Arc<Door>,
    store: Store,
    after: i64,
    looked: Instant,
    spoke: Instant,
    begun: bool,
    _room: [OwnedSemaphorePermit; 2],
}

impl Listener {
    /// What is to be sent next; none once the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.begun, true) {
            // So that the head is sent at once, and with it a pause before coming back.
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        let (mut drain, mut commits) = (self.door.drain.clone(), self.store.commits());
        let text = async {
            loop {
                sleep_until(self.looked + PACE).await;
                self.looked = Instant::now();
                commits.mark_unchanged();
                // A database that is away: it is asked again, and nothing is missed.
                let found = self.store.events_after(self.after, PAGE).await.unwrap_or_default();
                let events = settled(found.into(), self.after, self.door.clock.now());
                if let Some(last) = events.back() {
                    self.after = last.id;
                    return told(&events);
                }
                if self.spoke.elapsed() >= ALIVE {
                    return Bytes::from_static(b": alive\n\n");
                }
                let _ = timeout(LOOK, commits.changed()).await;
            }
        };
        let text = tokio::select! {
            text = text => text,
            _ = drain.wait_for(|drain| *drain != Drain::Open) => return None,
        };
        self.spoke = Instant::now();
        Some(text)
    }
}

/// The events up to the first gap that may still be filled: ids are given before they are committed, so that a later one
/// may be seen first. Nobody who takes up after an id misses one below it.
fn settled(mut events: VecDeque<Event>, after: i64, now: DateTime<Utc>) -> VecDeque<Event> {
    let mut expected = after.saturating_add(1);
    let mut kept = 0;
    for event in &events {
        if event.id != expected && now - event.at < UNSETTLED {
            break;
        }
        expected = event.id.saturating_add(1);
        kept += 1;
    }
    events.truncate(kept);
    events
}

fn told(events: &VecDeque<Event>) -> Bytes {
    let mut text = String::new();
    for event in events {
        // JSON has no line breaks; what kind it is comes from the daemon, never from outside. Writing cannot fail.
        let data = serde_json::to_string(event).unwrap_or_default();
        let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.kind);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(id: i64, age: i64) -> Event {
        let at = DateTime::UNIX_EPOCH - TimeDelta::milliseconds(age);
        let payload = serde_json::json!({"text": "two\nlines"});
        Event { id, agent: "a".into(), kind: "agent.alert".into(), payload, at }
    }

    fn ids(events: Vec<Event>, after: i64) -> Vec<i64> {
        settled(events.into(), after, DateTime::UNIX_EPOCH).iter().map(|event| event.id).collect()
    }

    #[test]
    fn a_fresh_gap_is_waited_for_and_an_old_one_is_not() {
        assert_eq!(ids(vec![event(4, 0), event(5, 0)], 3), [4, 5]);
        assert_eq!(ids(vec![event(4, 0), event(6, 0), event(7, 0)], 3), [4]);
        assert_eq!(ids(vec![event(5, 0)], 3), Vec::<i64>::new());
        assert_eq!(ids(vec![event(5, 2000), event(9, 1999), event(10, 0)], 3), [5]);
        assert_eq!(ids(vec![event(900, 10_000), event(1000, 5000), event(1001, 0)], 0), [900, 1000, 1001]);
    }

    #[test]
    fn an_event_is_three_lines_and_an_empty_one() {
        let text = told(&VecDeque::from([event(7, 0)]));
        let lines: Vec<_> = std::str::from_utf8(&text).unwrap().lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1], lines[3]), (4, "id: 7", "event: agent.alert", ""));
        assert!(lines[2].starts_with("data: {") && lines[2].contains("two\\nlines"), "{}", lines[2]);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_a_beginning(
            steps in prop::collection::vec((1..4_i64, 0..4000_i64), 0..20),
        ) {
            let mut id = 0;
            let events: Vec<_> = steps.iter().map(|(step, age)| { id += step; event(id, *age) }).collect();
            let kept = ids(events.clone(), 0);
            let all: Vec<_> = events.iter().map(|event| event.id).collect();
            prop_assert_eq!(&all[..kept.len()], &kept[..]);
        }
    }
}
