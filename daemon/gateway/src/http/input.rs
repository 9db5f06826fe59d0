//! What a request brings: a body, a query, a part of its path. Whatever is wrong with it is a problem.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::caller::Caller;
use super::problem::Problem;

/// A JSON document.
pub(crate) struct Input<T>(pub T);

impl<T: DeserializeOwned> FromRequest<()> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, (): &()) -> Result<Self, Problem> {
        is_json(request.headers())?;
        let bytes = whole(request).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON document, or nothing.
pub(crate) struct Maybe<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<()> for Maybe<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, (): &()) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let bytes = whole(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        json?;
        let document: Option<T> = parse(&bytes)?;
        Ok(Self(document.unwrap_or_default()))
    }
}

/// What stands behind the `?`.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<()> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &()) -> Result<Self, Problem> {
        let Query(asked) = Query::from_request_parts(parts, state).await.map_err(|rejection| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_query", rejection.body_text())
        })?;
        Ok(Self(asked))
    }
}

/// The part of the path that names something.
pub(crate) struct Named(pub String);

impl FromRequestParts<()> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &()) -> Result<Self, Problem> {
        let Path(name) =
            Path::from_request_parts(parts, state).await.map_err(|rejection: PathRejection| {
                Problem::new(StatusCode::BAD_REQUEST, "invalid_path", rejection.body_text())
            })?;
        Ok(Self(name))
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "send `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let Json(document) = Json::from_bytes(bytes).map_err(malformed)?;
    // serde takes a list for an object, by the order of its fields, which nobody is promised.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let detail = "send an object, not a list";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", detail));
    }
    Ok(document)
}

fn malformed(rejection: JsonRejection) -> Problem {
    let status = match rejection {
        JsonRejection::JsonDataError(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, "malformed", rejection.body_text())
}

/// The whole body, within the bounds.
async fn whole(request: Request) -> Result<Bytes, Problem> {
    let caller: &Caller = request.extensions().get().ok_or_else(Problem::starting)?;
    let (limit, time) = (caller.door.settings.max_body, caller.door.settings.request_timeout);
    let too_large = || {
        let detail = format!("the body is over [gateway] `max_body`, {limit}: send less, or raise it");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    let told = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if told.is_some_and(|told: u64| told > limit.bytes()) {
        return Err(too_large());
    }
    let most = usize::try_from(limit.bytes()).unwrap_or(usize::MAX);
    match timeout(time, read(request.into_body(), most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "broken_body", format!("the body broke off: {error}")))
        }
        Err(_) => Err(late(time)),
    }
}

fn late(time: Duration) -> Problem {
    let time = settings::units::text(time);
    let detail = format!("the body has not arrived within [gateway] `request_timeout`, {time}");
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_late", detail)
}

/// The body, or none when it is longer than `most`.
async fn read(body: Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut body = std::pin::pin!(body);
    let mut whole = Vec::new();
    loop {
        let frame = std::future::poll_fn(|context| http_body::Body::poll_frame(body.as_mut(), context)).await;
        let Some(frame) = frame else { return Ok(Some(whole.into())) };
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > most {
                return Ok(None);
            }
            whole.extend_from_slice(&data);
        }
    }
}
