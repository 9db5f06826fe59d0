//! What went wrong, as RFC 9457 has it: `application/problem+json`.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use settings::Redactor;
use utoipa::ToSchema;

/// A problem. `type` is `about:blank`: the status says which kind it is, `code` the rest.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// The status in words.
    #[schema(value_type = String)]
    title: &'static str,
    /// The status.
    status: u16,
    /// For programs.
    #[schema(value_type = String)]
    code: &'static str,
    /// For people: what failed, why, and what to do.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// What there is to serve is not there yet.
    pub fn starting() -> Self {
        let detail = "the daemon is starting: try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail).retry_after(1)
    }

    /// No such path.
    pub fn nothing_here() -> Self {
        let detail = "there is nothing here: GET /api/v1/openapi.json tells what there is";
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The path is there, and not for this method.
    pub fn not_allowed() -> Self {
        let detail = "not with this method: the header `Allow` tells which";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// Tells when to try again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the answer's problem into it, if it is one: without secrets, whatever error it was made of.
pub(crate) fn write(response: &mut Response, redactor: &Redactor) {
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        // Of the body that it had until now.
        response.headers_mut().remove(CONTENT_LENGTH);
        problem.detail = redactor.redact(&problem.detail).into_owned().into();
        // Numbers and texts only: it cannot fail.
        *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
    }
}
