//! From a request to its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use tower_service::Service;

use super::connection::Seat;
use super::problem::{self, Problem};
use super::{Door, api, caller, health, metrics};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a client.
const LONGEST_ID: usize = 64;
/// The longest path: none of ours has more than a hundred bytes.
const LONGEST_PATH: usize = 2048;

/// Answers.
pub(crate) async fn answer(seat: &Seat, request: Request<Incoming>) -> Response<Body> {
    let id = request_id(&seat.door, request.headers());
    let began = tokio::time::Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = route(&seat.door, seat.peer.ip(), request).await;
    problem::write(&mut response, &seat.door.redactor);
    let status = response.status();
    seat.door.tally.count(status);
    tracing::debug!(%method, ?path, status = status.as_u16(), took = ?began.elapsed(), ?id, "answered");
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn route(door: &Arc<Door>, from: IpAddr, request: Request<Incoming>) -> Response {
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/healthz" | "/readyz" | "/metrics" | api::OPENAPI if !looks => not_allowed(),
        "/healthz" => health::alive(),
        path @ ("/readyz" | "/metrics" | api::OPENAPI) => {
            match (path, caller::is_known(door, from, &request)) {
                (_, Err(answer)) => *answer,
                ("/readyz", Ok(known)) => health::ready(door, known).await,
                (_, Ok(false)) => caller::unauthorized(door, false),
                ("/metrics", Ok(true)) => metrics::show(door).await,
                (_, Ok(true)) => api::openapi(),
            }
        }
        path if path.len() > LONGEST_PATH => {
            Problem::new(StatusCode::URI_TOO_LONG, "path_too_long", "no path here is that long")
                .into_response()
        }
        path if path.starts_with("/api/") => {
            match caller::admit(door, from, request.method(), request.headers()) {
                Ok(caller) => api(caller, request.map(Body::new)).await,
                Err(answer) => *answer,
            }
        }
        _ => Problem::nothing_here().into_response(),
    }
}

async fn api(caller: caller::Caller, mut request: Request<Body>) -> Response {
    let mut routes = caller.door.routes();
    request.extensions_mut().insert(caller);
    match routes.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn not_allowed() -> Response {
    let mut response = Problem::not_allowed().into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// The client's, where that is a word; else a new one.
fn request_id(door: &Door, headers: &HeaderMap) -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let word = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    if let Some(given) = headers.get(REQUEST_ID).filter(word) {
        return given.clone();
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{:x}-{number:x}", door.since.timestamp_millis());
    // Hexadecimal digits and a hyphen.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-"))
}
