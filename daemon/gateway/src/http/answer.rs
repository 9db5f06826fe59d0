//! From a request to its answer.

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;

use super::connection::Seat;
use super::health;
use super::problem::Problem;
use crate::tokens::Role;

/// What a proxy adds: behind one, everybody comes from this machine.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "cf-connecting-ip"];

/// Answers.
pub(crate) async fn answer(seat: &Seat, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let mut response = match path {
        "/healthz" | "/readyz" if !looks(request.method()) => {
            let mut response =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "use GET").into_response();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        "/healthz" => health::alive(),
        "/readyz" => health::ready(&seat.door, is_known(seat, request.headers())).await,
        _ => Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here").into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn looks(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Whether somebody may see details: a program of this machine that speaks for nobody else, or who has a token.
fn is_known(seat: &Seat, headers: &HeaderMap) -> bool {
    let from_here = seat.peer.ip().to_canonical().is_loopback();
    let for_another = FORWARDED.iter().any(|name| headers.contains_key(*name));
    (from_here && !for_another) || role(seat, headers).is_some()
}

/// What the token of a request lets do.
fn role(seat: &Seat, headers: &HeaderMap) -> Option<Role> {
    let given = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = given.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| seat.door.tokens.role(token.trim_ascii())).flatten()
}
