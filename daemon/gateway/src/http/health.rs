//! `/healthz` and `/readyz`: open to everybody, details to those of this machine or with a token.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Door;
use crate::readiness::{Readiness, judge};

/// Whoever asks wants to know now.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process's loop turns: this answer is made by it.
pub(crate) fn alive() -> Response {
    let mut response = Response::new(Body::from("{\"status\":\"alive\"}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    #[serde(flatten)]
    why: Why,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Why {
    Told(Readiness),
    /// The parts did not tell.
    Silent {
        failing: [&'static str; 1],
        reason: String,
    },
    Stranger {},
}

/// Whether work that is left here now is done.
pub(crate) async fn ready(door: &Door, known: bool) -> Response {
    let told = match door.whole() {
        Some(whole) => tokio::time::timeout(PATIENCE, whole.parts())
            .await
            .unwrap_or_else(|_| Err(format!("it has not told how its agents stand within {PATIENCE:?}")))
            .map(|parts| judge(parts, whole.now())),
        None => Err("the daemon is starting".into()),
    };
    let ready = told.as_ref().is_ok_and(|readiness| readiness.ready);
    let why = match told {
        _ if !known => Why::Stranger {},
        Ok(readiness) => Why::Told(readiness),
        Err(reason) => Why::Silent { failing: ["supervisor"], reason },
    };
    let (status, code) =
        if ready { ("ready", StatusCode::OK) } else { ("not_ready", StatusCode::SERVICE_UNAVAILABLE) };
    (code, Json(Ready { status, why })).into_response()
}
