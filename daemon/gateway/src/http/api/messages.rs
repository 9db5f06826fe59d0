//! `POST /api/v1/messages`

use std::time::Duration;

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::super::caller::Caller;
use super::super::input::{Asked, Input};
use super::super::problem::Problem;
use crate::desk::{Message, Sent};
use crate::routing::{Arrival, route};

/// As in the body, for clients that set it for every request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A message to an agent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// To whom; where nobody is named, [routing] says.
    agent: Option<String>,
    /// What is said. Text or data, or both.
    #[schema(min_length = 1)]
    text: Option<String>,
    /// Structured input beside the text.
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    /// Messages of one session are handled in order, one at a time. 1 to 256 bytes without control characters and direction
    /// marks.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]+$"
    )]
    session: Option<String>,
    /// A second message with the same key to the same agent is the first one: it is not delivered again. 1 to 256 bytes
    /// without control characters and direction marks. The header `Idempotency-Key` says the same.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]+$"
    )]
    idempotency_key: Option<String>,
    /// Higher first.
    #[serde(default, deserialize_with = "whole")]
    priority: i32,
}

/// How to answer.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Wait so long for the result: `500ms`, `30s`, `2m`; no longer than [gateway] `max_wait`, and not at all while seven of
    /// eight of [gateway] `max_connections` wait or listen.
    #[param(pattern = "^[0-9]{1,6}(ms|s|m|h)$")]
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
    if new.text.as_ref().is_some_and(String::is_empty) {
        let detail = "`text` is empty: leave it out where `data` says all; nothing was stored";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_message", detail));
    }
    // Where as many wait as may, it is not waited: what is durable keeps.
    let room = wait.and_then(|_| caller.door.stays.clone().try_acquire_owned().ok());
    let text = new.text.unwrap_or_default();
    let arrival = Arrival { channel: "http", chat: None, sender: None, text: &text };
    let message = Message {
        agent: new.agent.unwrap_or_else(|| route(&caller.door.routing, &arrival).0.to_string()),
        text,
        data: new.data,
        session: new.session,
        key: key(new.idempotency_key, &headers)?,
        priority: new.priority,
        wait_ms: wait
            .filter(|_| room.is_some())
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    };
    let desk = &caller.door.within()?.desk;
    let sending = desk.post(message, "http".into()).await?;
    let (sent, existing) = desk.sent(sending, caller.door.finishing()).await?;
    drop(room);
    let status = if sent.has_ended() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = HeaderValue::try_from(format!("/api/v1/tasks/{}", sent.task_id));
    let mut response = (status, Json(Accepted { sent, existing })).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// A number without a fraction, in whichever way it is written: to JSON Schema `3.0` is an integer too.
fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<i32, D::Error> {
    let number = serde_json::Number::deserialize(input)?;
    let integer = number.as_i64().and_then(|number| i32::try_from(number).ok());
    let written = || number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 2_147_483_648.0);
    let whole = integer.or_else(|| written().map(|number| number as i32));
    whole.ok_or_else(|| D::Error::custom("a whole number of 32 bits was expected"))
}

/// `500ms`, `30s`, `2m`, `1h`, and at most `most`: what is waited for keeps, whoever wants to wait longer asks again.
fn patience(text: &str, most: Duration) -> Result<Duration, Problem> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number = digits.parse::<u64>().ok().filter(|_| digits.len() <= 6);
    let wait = number.and_then(|number| match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(60 * number)),
        "h" => Some(Duration::from_secs(3600 * number)),
        _ => None,
    });
    wait.map(|wait| wait.min(most)).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_query",
            "`wait` is no duration: write 500ms, 30s, 2m or 1h",
        )
    })
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
        assert_eq!(patience("2h", most).unwrap(), most);
        for wrong in [
            "",
            "0",
            "30",
            "soon",
            "-1s",
            "1e9s",
            "1d",
            "1s ",
            "1 s",
            "9999999s",
            "999999999999999999999s",
            "s",
            "\u{202e}s03",
        ] {
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
