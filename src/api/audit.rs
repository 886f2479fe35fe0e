//! `/audit`: the trail's lines as they are.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use jarvis_wire::audit::{AUDIT_CONTENT_TYPE, AuditQuery};

use crate::api::extract;
use crate::api::{ApiError, App};

/// A part of the audit trail: the newest events, or those from a sequence number on.
#[utoipa::path(get, path = "/audit", params(AuditQuery), responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub(super) async fn trail(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let query: AuditQuery = extract::query(&mut parts).await?;
    let lines = app.service.trail(caller, &query).await?;
    Ok(([("content-type", AUDIT_CONTENT_TYPE)], lines).into_response())
}
