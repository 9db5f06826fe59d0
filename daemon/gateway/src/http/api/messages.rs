//! `POST /api/v1/messages`

use std::time::Duration;

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::super::caller::Caller;
use super::super::input::{Asked, Input};
use super::super::problem::Problem;
use crate::desk::{Message, Sent};

/// Who is meant where nobody is named: the front desk.
const FRONT_DESK: &str = "milkbot";
/// As in the body, for clients that set it for every request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A message to an agent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// To whom; `milkbot` by default.
    agent: Option<String>,
    /// What is said. Text or data, or both.
    #[serde(default)]
    text: String,
    /// Structured input beside the text.
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    /// Messages of one session are handled in order, one at a time. 1 to 256 bytes without control characters.
    session: Option<String>,
    /// A second message with the same key to the same agent is the first one: it is not delivered again. 1 to 256 bytes
    /// without control characters. The header `Idempotency-Key` says the same.
    idempotency_key: Option<String>,
    /// Higher first.
    #[serde(default)]
    priority: i32,
}

/// How to answer.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Wait so long for the result: `30s`, at most [gateway] `max_wait`.
    wait: Option<String>,
}

/// What became of a message.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    #[serde(flatten)]
    sent: Sent,
    /// Whether it had been there before, under the same key.
    existing: bool,
}

/// Deliver a message. It is durable before this is answered.
#[utoipa::path(
    post, path = "/api/v1/messages", tag = "messages", params(Wait), request_body = NewMessage,
    responses(
        (status = 200, description = "It has ended: `done` with its result, `failed` with its error, or `cancelled`", body = Accepted),
        (status = 202, description = "It is durable, and has not ended yet", body = Accepted,
            headers(("location" = String, description = "Where its task is"))),
        (status = 507, description = "The disk is full", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn send(
    caller: Caller,
    Asked(asked): Asked<Wait>,
    headers: HeaderMap,
    Input(new): Input<NewMessage>,
) -> Result<Response, Problem> {
    let wait = asked.wait.map(|text| patience(&text, caller.door.settings.max_wait)).transpose()?;
    let message = Message {
        agent: new.agent.unwrap_or_else(|| FRONT_DESK.into()),
        text: new.text,
        data: new.data,
        session: new.session,
        key: key(new.idempotency_key, &headers)?,
        priority: new.priority,
        wait_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    };
    let desk = &caller.door.within()?.desk;
    let sending = desk.post(message, "http".into()).await?;
    let (sent, existing) = desk.sent(sending, caller.door.finishing()).await?;
    let status = if sent.has_ended() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = HeaderValue::try_from(format!("/api/v1/tasks/{}", sent.task_id));
    let mut response = (status, Json(Accepted { sent, existing })).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn patience(text: &str, most: Duration) -> Result<Duration, Problem> {
    let wrong = |why: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", why);
    let wait = settings::units::parse(text).map_err(|why| wrong(format!("`wait`: {why}")))?;
    if wait <= most {
        return Ok(wait);
    }
    let most = settings::units::text(most);
    Err(wrong(format!("`wait` is at most [gateway] `max_wait`, {most}; the task keeps: ask for it later")))
}

/// The key, which the body and the header must not say differently.
fn key(body: Option<String>, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let wrong = |why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_message", why);
    let Some(header) = headers.get(IDEMPOTENCY_KEY) else { return Ok(body) };
    let header = header.to_str().map_err(|_| wrong("the header `Idempotency-Key` is no ASCII text"))?;
    match body {
        Some(body) if body != header => {
            Err(wrong("`idempotency_key` and the header differ: send one of them"))
        }
        _ => Ok(Some(header.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_duration_within_the_bound() {
        let most = Duration::from_secs(120);
        assert_eq!(patience("30s", most).unwrap(), Duration::from_secs(30));
        assert_eq!(patience("2m", most).unwrap(), most);
        for wrong in ["", "30", "soon", "-1s", "2m 1s", "1e9s", "\u{202e}s03"] {
            assert!(patience(wrong, most).is_err(), "{wrong}");
        }
    }

    #[test]
    fn body_and_header_say_the_same_key() {
        let mut headers = HeaderMap::new();
        assert_eq!(key(Some("a".into()), &headers).unwrap().as_deref(), Some("a"));
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("b"));
        assert_eq!(key(None, &headers).unwrap().as_deref(), Some("b"));
        assert_eq!(key(Some("b".into()), &headers).unwrap().as_deref(), Some("b"));
        assert!(key(Some("a".into()), &headers).is_err());
    }
}
