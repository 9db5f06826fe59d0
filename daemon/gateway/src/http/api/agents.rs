//! `/api/v1/agents`

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use supervisor::submission::misleads;
use utoipa::ToSchema;

use super::super::caller::Caller;
use super::super::input::{Maybe, Named};
use super::super::problem::Problem;
use super::whole::document;
use crate::desk::{Action, Reloaded, Settled};
use crate::status::Component;

/// The agents.
#[derive(Serialize, ToSchema)]
pub(crate) struct Agents {
    agents: Vec<Component>,
}

/// Why an agent is restarted.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Why {
    /// For its history: 1 to 200 characters, none of them a control character or a direction mark.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]+$"
    )]
    reason: Option<String>,
}

/// What to go back to.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BackTo {
    /// How the library's SHA-256 begins; the last good one by default.
    to: Option<String>,
}

/// The longest reason: a history is no diary.
const REASON: usize = 200;

/// Every agent as it stands.
#[utoipa::path(
    get, path = "/api/v1/agents", tag = "agents",
    responses(
        (status = 200, description = "The agents", body = Agents),
    )
)]
pub(crate) async fn list(caller: Caller) -> Result<Json<Agents>, Problem> {
    let parts = document(&caller).await?.components;
    Ok(Json(Agents { agents: parts.into_iter().filter(|part| part.kind == "agent").collect() }))
}

/// One agent as it stands.
#[utoipa::path(
    get, path = "/api/v1/agents/{name}", tag = "agents",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The agent", body = Component),
    )
)]
pub(crate) async fn show(caller: Caller, Named(name): Named) -> Result<Json<Component>, Problem> {
    let mut parts = document(&caller).await?.components.into_iter();
    if let Some(found) = parts.find(|part| part.kind == "agent" && part.name == name) {
        return Ok(Json(found));
    }
    let name = caller.door.within()?.desk.supervisor.agent(&name)?;
    let detail = format!("`{name}` is run by no process of this home that answers");
    Err(Problem::new(StatusCode::NOT_FOUND, "elsewhere", detail))
}

async fn act(
    caller: &Caller,
    name: &str,
    action: Action,
    reason: Option<String>,
) -> Result<Json<Settled>, Problem> {
    let desk = &caller.door.within()?.desk;
    tracing::info!(agent = ?name, ?action, actor = caller.actor, "asked for over HTTP");
    Ok(Json(desk.act(name, action, reason, caller.actor.clone()).await?))
}

/// Bring an agent up, or let its open breaker try at once; answered when it has settled.
#[utoipa::path(
    post, path = "/api/v1/agents/{name}/start", tag = "agents",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "How it stands now", body = Settled),
    )
)]
pub(crate) async fn start(caller: Caller, Named(name): Named) -> Result<Json<Settled>, Problem> {
    act(&caller, &name, Action::Start, None).await
}

/// Bring an agent down, and leave it so, also when the daemon restarts; answered when it has settled.
#[utoipa::path(
    post, path = "/api/v1/agents/{name}/stop", tag = "agents",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "How it stands now", body = Settled),
    )
)]
pub(crate) async fn stop(caller: Caller, Named(name): Named) -> Result<Json<Settled>, Problem> {
    act(&caller, &name, Action::Stop, None).await
}

/// Give an agent a new process; answered when it has settled.
#[utoipa::path(
    post, path = "/api/v1/agents/{name}/restart", tag = "agents", request_body(content = Option<Why>),
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "How it stands now", body = Settled),
    )
)]
pub(crate) async fn restart(
    caller: Caller,
    Named(name): Named,
    Maybe(why): Maybe<Why>,
) -> Result<Json<Settled>, Problem> {
    let odd =
        |reason: &String| !(1..=REASON).contains(&reason.chars().count()) || reason.chars().any(misleads);
    if why.reason.as_ref().is_some_and(odd) {
        let detail = format!("a `reason` has 1 to {REASON} characters, none of them a control character");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_reason", detail));
    }
    act(&caller, &name, Action::Restart, why.reason).await
}

/// Run the file that the agents folder has for an agent now; answered with the verdict.
#[utoipa::path(
    post, path = "/api/v1/agents/{name}/reload", tag = "agents",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "What was done", body = Reloaded),
        (status = 409, description = "What ran goes on running, and why", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn reload(caller: Caller, Named(name): Named) -> Result<Json<Reloaded>, Problem> {
    let desk = &caller.door.within()?.desk;
    tracing::info!(agent = ?name, actor = caller.actor, "a reload is asked for over HTTP");
    Ok(Json(desk.reload(&name, caller.actor.clone()).await?))
}

/// Run an older library of an agent again; answered with the verdict.
#[utoipa::path(
    post, path = "/api/v1/agents/{name}/rollback", tag = "agents", request_body(content = Option<BackTo>),
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "What was done", body = Reloaded),
        (status = 409, description = "What ran goes on running, and why", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn rollback(
    caller: Caller,
    Named(name): Named,
    Maybe(back): Maybe<BackTo>,
) -> Result<Json<Reloaded>, Problem> {
    let desk = &caller.door.within()?.desk;
    tracing::info!(agent = ?name, actor = caller.actor, "a rollback is asked for over HTTP");
    Ok(Json(desk.rollback(&name, back.to, caller.actor.clone()).await?))
}
