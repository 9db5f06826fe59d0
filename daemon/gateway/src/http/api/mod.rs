//! `/api/v1`: what the command line can do, for programs elsewhere.

mod agents;
mod alerts;
mod budgets;
mod document;
mod events;
mod messages;
mod tasks;
mod whole;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::problem::Problem;

/// Where the description of all this is.
pub(crate) const OPENAPI: &str = "/api/v1/openapi.json";

/// Who answers what.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/api/v1/messages", post(messages::send))
        .route("/api/v1/tasks", get(tasks::list))
        .route("/api/v1/tasks/{id}", get(tasks::show))
        .route("/api/v1/tasks/{id}/retry", post(tasks::retry))
        .route("/api/v1/tasks/{id}/cancel", post(tasks::cancel))
        .route("/api/v1/agents", get(agents::list))
        .route("/api/v1/agents/{name}", get(agents::show))
        .route("/api/v1/agents/{name}/start", post(agents::start))
        .route("/api/v1/agents/{name}/stop", post(agents::stop))
        .route("/api/v1/agents/{name}/restart", post(agents::restart))
        .route("/api/v1/agents/{name}/reload", post(agents::reload))
        .route("/api/v1/agents/{name}/rollback", post(agents::rollback))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/{id}/ack", post(alerts::ack))
        .route("/api/v1/budgets", get(budgets::list))
        .route("/api/v1/events", get(events::listen))
        .route("/api/v1/openclaw/status", get(whole::status))
        .fallback(|| async { Problem::nothing_here() })
        .method_not_allowed_fallback(|| async { Problem::not_allowed() })
}

/// The description, made anew for each who asks: few do.
pub(crate) fn openapi() -> Response {
    match document::json() {
        Ok(json) => {
            let mut response = Response::new(Body::from(json));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
            Problem::new(status, "failed", error.to_string()).into_response()
        }
    }
}
