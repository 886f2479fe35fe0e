//! `/policy` (P1–P3).

use axum::Json;
use axum::extract::{Request, State};
use jarvis_wire::policy::{
    ApplyPolicy, ExplainPolicy, PolicyApplied, PolicyDocument, PolicyExplanation,
};

use crate::api::extract::{self, Asked, IdempotencyKey, asked};
use crate::api::secrets::SMALL_BODY_BYTES;
use crate::api::{ApiError, App};

/// A policy text may be as long as the reader takes, and JSON escapes some of it.
const POLICY_BODY_BYTES: u64 = 2 * 1024 * 1024;

/// The policy in force.
#[utoipa::path(get, path = "/policy", responses((status = 200, body = PolicyDocument)))]
pub(super) async fn show(
    State(app): State<App>,
    request: Request,
) -> Result<Json<PolicyDocument>, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    Ok(Json(app.service.policy(caller).await?))
}

/// Replaces the policy, or says whether it would change.
#[utoipa::path(put, path = "/policy", params(IdempotencyKey), request_body = ApplyPolicy, responses((status = 200, body = PolicyApplied)))]
pub(super) async fn apply(
    State(app): State<App>,
    request: Request,
) -> Result<Json<PolicyApplied>, ApiError> {
    let Asked { caller, body, key } =
        asked::<ApplyPolicy>(&app, request, POLICY_BODY_BYTES).await?;
    Ok(Json(app.service.apply_policy(caller, &body, key).await?))
}

/// Says why a client may or may not do something.
#[utoipa::path(post, path = "/policy/explain", request_body = ExplainPolicy, responses((status = 200, body = PolicyExplanation)))]
pub(super) async fn explain(
    State(app): State<App>,
    request: Request,
) -> Result<Json<PolicyExplanation>, ApiError> {
    let Asked { caller, body, .. } =
        asked::<ExplainPolicy>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(app.service.explain(caller, &body).await?))
}
