//! `/api/v1/budgets`

use axum::Json;
use chrono::{DateTime, Utc};
use providers::Standing;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::caller::Caller;
use super::super::problem::Problem;

/// What a budget is counted in.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for a text in the description")]
pub(crate) enum BudgetUnit {
    Requests,
    Usd,
}

/// What may be used up of providers in a period, and what has been.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for `Standing` in the description, which a test compares")]
pub(crate) struct BudgetShown {
    /// Whose, at which provider, in which period, of what.
    budget: String,
    /// The period: a day as `2026-11-28`, or a month as `2026-11`, of UTC.
    period: String,
    /// What it is counted in.
    unit: BudgetUnit,
    /// Used in that.
    used: f64,
    /// What calls that are under way may use.
    reserved: f64,
    /// The most.
    limit: f64,
    /// Of it, used and reserved.
    percent: f64,
    /// When the next period begins.
    until: DateTime<Utc>,
}

/// Every budget.
#[derive(Serialize, ToSchema)]
pub(crate) struct Budgets {
    #[schema(value_type = Vec<BudgetShown>)]
    budgets: Vec<Standing>,
}

/// Show how each budget of provider calls stands.
#[utoipa::path(
    get, path = "/api/v1/budgets", tag = "budgets",
    responses(
        (status = 200, description = "The budgets", body = Budgets),
    )
)]
pub(crate) async fn list(caller: Caller) -> Result<Json<Budgets>, Problem> {
    Ok(Json(Budgets { budgets: caller.door.within()?.desk.budgets().await? }))
}
