//! `/cluster` (L2).

use axum::Json;
use axum::extract::{Request, State};
use jarvis_wire::cluster::{
    ClusterStatus, CreateJoinToken, CreatedJoinToken, LeaderTransferred, TransferLeader,
};

use crate::api::extract::{self, Asked, IdempotencyKey, asked};
use crate::api::secrets::SMALL_BODY_BYTES;
use crate::api::{ApiError, App};

/// Every node: role, term, last log, applied, lag, sealed, version.
#[utoipa::path(get, path = "/cluster/status", responses((status = 200, body = ClusterStatus)))]
pub(super) async fn status(
    State(app): State<App>,
    request: Request,
) -> Result<Json<ClusterStatus>, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    Ok(Json(app.service.cluster_status(caller).await?))
}

/// Hands leadership over.
#[utoipa::path(post, path = "/cluster/transfer-leader", params(IdempotencyKey), request_body = TransferLeader, responses((status = 200, body = LeaderTransferred)))]
pub(super) async fn transfer_leader(
    State(app): State<App>,
    request: Request,
) -> Result<Json<LeaderTransferred>, ApiError> {
    let Asked { caller, body, key } =
        asked::<TransferLeader>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(app.service.transfer_leader(caller, &body, key).await?))
}

/// Makes a join token; it is in this answer only, and in the answers to its repetitions under the same Idempotency-Key.
#[utoipa::path(post, path = "/cluster/join-token", params(IdempotencyKey), request_body = CreateJoinToken, responses((status = 200, body = CreatedJoinToken)))]
pub(super) async fn join_token(
    State(app): State<App>,
    request: Request,
) -> Result<Json<CreatedJoinToken>, ApiError> {
    let Asked { caller, body, key } =
        asked::<CreateJoinToken>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(
        app.service.create_join_token(caller, &body, key).await?,
    ))
}
