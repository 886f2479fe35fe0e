//! `/sys`: seal, slots, key epochs (X2, X3).

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request, State};
use jarvis_wire::error::ErrorCode;
use jarvis_wire::seal::{AddSlot, EpochRotated, SealStatus, SlotAdded, SlotRemoved, Unseal};

use crate::api::extract::{self, Asked, IdempotencyKey, asked};
use crate::api::secrets::SMALL_BODY_BYTES;
use crate::api::{ApiError, App};
use crate::service::SecretBytes;

/// Whether this node is sealed; with an administrator's credential also the slots.
#[utoipa::path(get, path = "/sys/seal", responses((status = 200, body = SealStatus)))]
pub(super) async fn status(
    State(app): State<App>,
    request: Request,
) -> Result<Json<SealStatus>, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::maybe_caller(&app, &parts).await?;
    Ok(Json(app.service.seal_status(caller).await?))
}

/// Unseals this node with a passphrase, which is itself the credential.
#[utoipa::path(post, path = "/sys/unseal", request_body = Unseal, responses((status = 200, body = SealStatus)))]
pub(super) async fn unseal(
    State(app): State<App>,
    request: Request,
) -> Result<Json<SealStatus>, ApiError> {
    let (_, content) = request.into_parts();
    let body: Unseal = extract::json(&extract::body(content, SMALL_BODY_BYTES).await?)?;
    let passphrase = SecretBytes::new(body.passphrase.expose().as_bytes().to_vec());
    Ok(Json(app.service.unseal(passphrase).await?))
}

/// Seals this node.
#[utoipa::path(post, path = "/sys/seal", responses((status = 200, body = SealStatus)))]
pub(super) async fn seal(
    State(app): State<App>,
    request: Request,
) -> Result<Json<SealStatus>, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    // Goes on when the client does not wait: the trail says that this node is sealed, so it must be.
    let service = app.service.clone();
    let sealing = tokio::spawn(async move { service.seal(caller).await });
    let sealed = sealing
        .await
        .map_err(|_| ApiError::new(ErrorCode::Internal, "sealing was interrupted"))?;
    Ok(Json(sealed?))
}

/// Adds a passphrase slot; repeated under the same Idempotency-Key, the first one is named again.
#[utoipa::path(post, path = "/sys/slots", params(IdempotencyKey), request_body = AddSlot, responses((status = 200, body = SlotAdded)))]
pub(super) async fn add_slot(
    State(app): State<App>,
    request: Request,
) -> Result<Json<SlotAdded>, ApiError> {
    let Asked { caller, body, key } = asked::<AddSlot>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(app.service.add_slot(caller, &body, key).await?))
}

/// Removes a slot; never the last one.
#[utoipa::path(delete, path = "/sys/slots/{slot}", params(("slot" = String, Path), IdempotencyKey), responses((status = 200, body = SlotRemoved)))]
pub(super) async fn remove_slot(
    State(app): State<App>,
    request: Request,
) -> Result<Json<SlotRemoved>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let Path(slot) = Path::<String>::from_request_parts(&mut parts, &app)
        .await
        .map_err(|_| ApiError::invalid("the slot's name in the path is not text"))?;
    let key = extract::idempotency(&app, &parts, b"")?;
    Ok(Json(app.service.remove_slot(caller, &slot, key).await?))
}

/// Starts a new key epoch and re-encrypts versions under it for a few seconds. Until `left` is 0 the same request goes on.
#[utoipa::path(post, path = "/sys/epochs/rotate", params(IdempotencyKey), responses((status = 200, body = EpochRotated)))]
pub(super) async fn rotate_epoch(
    State(app): State<App>,
    request: Request,
) -> Result<Json<EpochRotated>, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let key = extract::idempotency(&app, &parts, b"")?;
    // Goes on when the client does not wait: half a round helps nobody.
    let service = app.service.clone();
    let rotation = tokio::spawn(async move { service.rotate_epoch(caller, key).await });
    let rotated = rotation
        .await
        .map_err(|_| ApiError::new(ErrorCode::Internal, "the rotation was interrupted"))?;
    Ok(Json(rotated?))
}
