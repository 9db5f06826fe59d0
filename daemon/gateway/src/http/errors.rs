//! What the desk did not do, as HTTP says it.

use axum::http::StatusCode;

use super::problem::Problem;
use crate::desk;

/// A database that is away is soon back, or not for long.
const SOON: u64 = 2;
/// A full queue is worked off meanwhile.
const LATER: u64 = 5;

impl From<desk::Error> for Problem {
    fn from(error: desk::Error) -> Self {
        let (status, code) = match error {
            desk::Error::Store(error) => return error.into(),
            desk::Error::Supervisor(error) => return error.into(),
            desk::Error::Wrong(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_message"),
            desk::Error::NoSuchAlert(_) => (StatusCode::NOT_FOUND, "no_such_alert"),
            desk::Error::Neighbour(_) => (StatusCode::CONFLICT, "refused_elsewhere"),
            desk::Error::WentBack { .. } => (StatusCode::CONFLICT, "reload_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<supervisor::Error> for Problem {
    fn from(error: supervisor::Error) -> Self {
        use supervisor::Error;
        let (status, code) = match error {
            Error::Store(error) => return error.into(),
            Error::Unknown { .. } => (StatusCode::NOT_FOUND, "unknown_agent"),
            // Work can be left here for an agent that is elsewhere; it is moved where it runs.
            Error::Elsewhere { .. } | Error::StandsBy { .. } => (StatusCode::CONFLICT, "elsewhere"),
            Error::Gone => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Error::Reload(_) => (StatusCode::CONFLICT, "reload_failed"),
            Error::Workspace { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        use store::Error;
        let detail = error.to_string();
        let away = |code, seconds| {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail.clone()).retry_after(seconds)
        };
        match error {
            Error::NoSuchTask(_) => Self::new(StatusCode::NOT_FOUND, "no_such_task", detail),
            Error::WrongState { .. } => Self::new(StatusCode::CONFLICT, "wrong_state", detail),
            Error::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail),
            Error::QueueFull { .. } => away("queue_full", LATER),
            Error::Doubtful(_) => away("doubtful", SOON),
            Error::Closed => away("stopping", SOON),
            _ => away("store_unavailable", SOON),
        }
    }
}
