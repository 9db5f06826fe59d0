//! `/api/v1/tasks`

use axum::Json;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use store::task::{Filter, Task, TaskId, TaskState};
use utoipa::{IntoParams, ToSchema};

use super::super::caller::Caller;
use super::super::input::{Asked, Named};
use super::super::problem::Problem;
use crate::desk::Sent;

/// Tasks of a list where nothing is said, and at the most.
const LISTED: u32 = 50;
const MOST: u32 = 1000;

/// Which tasks.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only of this agent.
    agent: Option<String>,
    /// Only in this state: `queued`, `leased`, `done`, `failed`, `cancelled`.
    #[param(value_type = Option<State>)]
    state: Option<TaskState>,
    /// Only of this session.
    session: Option<String>,
    /// At most so many, newest first: 1 to 1000, 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Where a task is in its life.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for `TaskState` in the description")]
pub(crate) enum State {
    Queued,
    Leased,
    Done,
    Failed,
    Cancelled,
}

/// A task: its row, for people.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for `Task` in the description, which a test compares")]
pub(crate) struct TaskShown {
    /// Which.
    #[schema(format = "uuid")]
    id: String,
    /// The agent.
    queue: String,
    /// What the agent is called with: `message` or `tick`.
    kind: String,
    /// Where it is in its life.
    state: State,
    /// Its session.
    session: Option<String>,
    /// Its idempotency key.
    dedupe_key: Option<String>,
    /// Higher first.
    priority: i32,
    /// Tries so far.
    attempts: u32,
    /// Tries before it is a dead letter.
    max_attempts: u32,
    /// Not before this.
    run_at: DateTime<Utc>,
    /// What was asked; in a list the beginning of its text.
    payload: serde_json::Value,
    /// What was answered; not in a list.
    result: Option<serde_json::Value>,
    /// What failed last; in a list its beginning.
    error: Option<String>,
    /// Who sent it.
    source: String,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// When it changed last.
    updated_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// Tasks, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tasks {
    #[schema(value_type = Vec<TaskShown>)]
    tasks: Vec<Task>,
}

/// List tasks, newest first: without results, with the beginnings of texts and errors.
#[utoipa::path(
    get, path = "/api/v1/tasks", tag = "tasks", params(Which),
    responses(
        (status = 200, description = "The tasks", body = Tasks),
    )
)]
pub(crate) async fn list(caller: Caller, Asked(which): Asked<Which>) -> Result<Json<Tasks>, Problem> {
    let limit = which.limit.unwrap_or(LISTED);
    if !(1..=MOST).contains(&limit) {
        let detail = format!("`limit` is 1 to {MOST}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    let desk = &caller.door.within()?.desk;
    if let Some(agent) = &which.agent {
        desk.supervisor.agent(agent)?;
    }
    let filter = Filter { queue: which.agent, state: which.state, session: which.session, limit };
    Ok(Json(Tasks { tasks: desk.store.tasks(&filter).await? }))
}

/// One task, with its result.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "Its id", format = "uuid")),
    responses(
        (status = 200, description = "The task", body = TaskShown),
    )
)]
pub(crate) async fn show(caller: Caller, Named(id): Named) -> Result<Json<Task>, Problem> {
    Ok(Json(caller.door.within()?.desk.store.task(read(&id)?).await?))
}

/// Queue a failed or cancelled task anew.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/retry", tag = "tasks",
    params(("id" = String, Path, description = "Its id", format = "uuid")),
    responses(
        (status = 200, description = "How it stands now", body = Sent),
        (status = 409, description = "It is neither failed nor cancelled", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn retry(caller: Caller, Named(id): Named) -> Result<Json<Sent>, Problem> {
    let (id, desk) = (read(&id)?, &caller.door.within()?.desk);
    desk.store.retry(id).await?;
    tracing::info!(task_id = %id, actor = caller.actor, "queued anew");
    Ok(Json(desk.standing(id).await?))
}

/// Cancel a queued task.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/cancel", tag = "tasks",
    params(("id" = String, Path, description = "Its id", format = "uuid")),
    responses(
        (status = 200, description = "How it stands now", body = Sent),
        (status = 409, description = "It is not queued", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel(caller: Caller, Named(id): Named) -> Result<Json<Sent>, Problem> {
    let (id, desk) = (read(&id)?, &caller.door.within()?.desk);
    desk.store.cancel(id).await?;
    tracing::info!(task_id = %id, actor = caller.actor, "cancelled");
    Ok(Json(desk.standing(id).await?))
}

fn read(id: &str) -> Result<TaskId, Problem> {
    id.parse().map_err(|_| {
        let detail = "that is no task's id: POST /api/v1/messages and GET /api/v1/tasks tell them";
        Problem::new(StatusCode::NOT_FOUND, "no_such_task", detail)
    })
}
