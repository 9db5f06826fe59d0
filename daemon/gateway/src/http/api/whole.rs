//! `GET /api/v1/openclaw/status`

use axum::Json;
use axum::http::StatusCode;

use super::super::caller::Caller;
use super::super::problem::Problem;
use crate::status::Document;

/// The whole as it stands: every component and agent, with what it last proved.
#[utoipa::path(
    get, path = "/api/v1/openclaw/status", tag = "status",
    responses(
        (status = 200, description = "The status document", body = Document),
    )
)]
pub(crate) async fn status(caller: Caller) -> Result<Json<Document>, Problem> {
    document(&caller).await.map(Json)
}

/// The status document.
pub(crate) async fn document(caller: &Caller) -> Result<Document, Problem> {
    let document = caller.door.within()?.whole.home().await;
    document.map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", why))
}
