//! `/api/v1/alerts`

use axum::Json;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use store::alert::Alert;
use utoipa::{IntoParams, ToSchema};

use super::super::caller::Caller;
use super::super::input::{Asked, Named};
use super::super::problem::Problem;
use crate::desk::Acknowledged;

/// Alerts of a list where nothing is said, and at the most.
const LISTED: u32 = 50;
const MOST: u32 = 1000;

/// Which alerts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// At most so many, those that happened last first: 1 to 1000, 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// How much an alert matters.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for `Level` in the description")]
pub(crate) enum AlertLevel {
    Info,
    Warning,
    Critical,
}

/// Something that goes wrong, from its first occurrence until it is over.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for `Alert` in the description, which a test compares")]
pub(crate) struct AlertShown {
    /// Which.
    id: i64,
    /// How much it matters: the worst that was reported.
    level: AlertLevel,
    /// About whom.
    source: String,
    /// What happened last, in a sentence.
    text: String,
    /// The fingerprint: what has the same one is the same.
    key: String,
    /// Occurrences.
    count: u32,
    /// The first.
    created_at: DateTime<Utc>,
    /// The last.
    last_at: DateTime<Utc>,
    /// When somebody said that they know.
    acked_at: Option<DateTime<Utc>>,
    /// Who.
    acked_by: Option<String>,
    /// The task of the last message about it.
    #[schema(format = "uuid")]
    message: Option<String>,
    /// When the last message about it arrived.
    delivered_at: Option<DateTime<Utc>>,
    /// Why that message never arrives, where that is so.
    undelivered: Option<String>,
    /// When it was over.
    resolved_at: Option<DateTime<Utc>>,
    /// How, in a sentence.
    resolution: Option<String>,
}

/// Alerts, those that happened last first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alerts {
    #[schema(value_type = Vec<AlertShown>)]
    alerts: Vec<Alert>,
}

/// List alerts, those that happened last first.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts", params(Which),
    responses(
        (status = 200, description = "The alerts", body = Alerts),
    )
)]
pub(crate) async fn list(caller: Caller, Asked(which): Asked<Which>) -> Result<Json<Alerts>, Problem> {
    let limit = which.limit.unwrap_or(LISTED);
    if !(1..=MOST).contains(&limit) {
        let detail = format!("`limit` is 1 to {MOST}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    Ok(Json(Alerts { alerts: caller.door.within()?.desk.alerts(limit).await? }))
}

/// Say that you know of an alert: nobody is reminded of it.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/ack", tag = "alerts",
    params(("id" = String, Path, description = "Its id or fingerprint, or `all` for all that are open")),
    responses(
        (status = 200, description = "How many are acknowledged", body = Acknowledged),
    )
)]
pub(crate) async fn ack(caller: Caller, Named(id): Named) -> Result<Json<Acknowledged>, Problem> {
    Ok(Json(caller.door.within()?.desk.acknowledge(&id, &caller.actor).await?))
}
