//! `/debug`: for tests and support; administrators only, off by default.

use axum::Json;
use axum::extract::{Request, State};
use jarvis_wire::health::StateHash;

use crate::api::extract;
use crate::api::{ApiError, App};

/// Raft's own metrics as text.
#[utoipa::path(get, path = "/debug/raft", responses((status = 200, body = String)))]
pub(super) async fn raft(State(app): State<App>, request: Request) -> Result<String, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    Ok(app.service.raft_metrics(caller).await?)
}

/// The state's hash and the trail's head: equal on all nodes at equal index.
#[utoipa::path(get, path = "/debug/state-hash", responses((status = 200, body = StateHash)))]
pub(super) async fn state_hash(
    State(app): State<App>,
    request: Request,
) -> Result<Json<StateHash>, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    Ok(Json(app.service.state_hash(caller).await?))
}
