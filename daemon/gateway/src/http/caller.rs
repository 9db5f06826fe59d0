//! Who asks, and what that lets do.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::Door;
use super::problem::Problem;
use crate::tokens::{OPERATOR, Role};

/// What a proxy adds: behind one, everybody comes from this machine.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "cf-connecting-ip"];

/// Somebody whose token is good. What handlers are given.
#[derive(Clone)]
pub(crate) struct Caller {
    pub door: Arc<Door>,
    /// For histories: `operator over HTTP from 127.0.0.1`.
    pub actor: String,
}

impl FromRequestParts<()> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, (): &()) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(Problem::starting)
    }
}

/// What a request brings.
enum Shown {
    Nothing,
    Wrong,
    Good(Role),
}

fn shown(door: &Door, headers: &HeaderMap) -> Shown {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(first), None) = (given.next(), given.next()) else {
        return if headers.contains_key(AUTHORIZATION) { Shown::Wrong } else { Shown::Nothing };
    };
    let token = first.as_bytes().split_at_checked(7);
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    match token.and_then(|(_, token)| door.tokens.role(token.trim_ascii())) {
        Some(role) => Shown::Good(role),
        None => Shown::Wrong,
    }
}

/// Whether somebody may see details: a program of this machine that speaks for nobody else, or who has a token. Who shows a
/// wrong one is answered as everywhere: they would learn here at any rate which are good.
pub(crate) fn is_known<B>(door: &Door, from: IpAddr, request: &Request<B>) -> Result<bool, Box<Response>> {
    let headers = request.headers();
    match shown(door, headers) {
        Shown::Good(_) => Ok(true),
        Shown::Wrong => Err(Box::new(wrong(door, from))),
        Shown::Nothing => {
            let for_another = FORWARDED.iter().any(|name| headers.contains_key(*name));
            Ok(from.to_canonical().is_loopback() && !for_another && is_for_here(request))
        }
    }
}

/// Whether a request is for `localhost` or an address: any other name may be a page's own, whose server has led it to this
/// machine so that the page's visitors ask us (DNS rebinding).
fn is_for_here<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let told = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().ok().and_then(|host| host.parse::<Authority>().ok())),
        (Some(_), Some(_)) => Some(None),
    };
    let is_ours = |host: &str| {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
    };
    let named = request.uri().host().is_none_or(is_ours);
    named && told.is_none_or(|host| host.is_some_and(|host| is_ours(host.host())))
}

/// A wrong token: told so, and after too many to wait.
fn wrong(door: &Door, from: IpAddr) -> Response {
    let mut limits = door.limits.lock().unwrap_or_else(PoisonError::into_inner);
    let told = |wait| too_many("too_many_bad_tokens", "wrong tokens, too many of them", wait);
    limits.refuse(from, Instant::now()).map_or_else(told, |()| unauthorized(door, true))
}

/// Lets a request in, or answers it: looking needs any token, doing the operator's.
pub(crate) fn admit(
    door: &Arc<Door>,
    from: IpAddr,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Box<Response>> {
    let needed = if matches!(*method, Method::GET | Method::HEAD) { Role::Read } else { Role::Operator };
    let role = match shown(door, headers) {
        Shown::Good(role) => role,
        Shown::Nothing => return Err(Box::new(unauthorized(door, false))),
        Shown::Wrong => return Err(Box::new(wrong(door, from))),
    };
    let told =
        |wait| Box::new(too_many("rate_limited", "more requests a second than [gateway] `rate`", wait));
    let mut limits = door.limits.lock().unwrap_or_else(PoisonError::into_inner);
    limits.serve(role, Instant::now()).map_err(told)?;
    drop(limits);
    if role < needed {
        let detail = format!("this token lets look, not do: use {OPERATOR}");
        return Err(Box::new(Problem::new(StatusCode::FORBIDDEN, "read_only_token", detail).into_response()));
    }
    Ok(Caller { door: door.clone(), actor: format!("operator over HTTP from {}", from.to_canonical()) })
}

/// Nothing, or a wrong token, was shown.
pub(super) fn unauthorized(door: &Door, wrong: bool) -> Response {
    let (code, detail, challenge) = if !door.tokens.any() {
        let detail = format!(
            "the API is closed: this daemon has no token. Make one with `openssl rand -hex 32`, write it into .env as \
             {OPERATOR}=…, restart the daemon, and send it as `Authorization: Bearer …`"
        );
        ("no_token_configured", detail.into(), "Bearer realm=\"openclaw\"")
    } else if wrong {
        let challenge = "Bearer realm=\"openclaw\", error=\"invalid_token\"";
        ("invalid_token", "that is no token of this daemon".into(), challenge)
    } else {
        (
            "unauthorized",
            format!("send `Authorization: Bearer …` with {OPERATOR}").into(),
            "Bearer realm=\"openclaw\"",
        )
    };
    let detail: std::borrow::Cow<'static, str> = detail;
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, code, detail).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn too_many(code: &'static str, what: &'static str, wait: Duration) -> Response {
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    let detail = format!("{what}: try again in {seconds} s");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(seconds).into_response()
}
