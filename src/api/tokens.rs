//! `/tokens` and `/certificates` (I1).

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request, State};
use jarvis_wire::tokens::{
    CreateToken, CreatedToken, RevokeCertificate, RevokedCertificate, RevokedToken, TokenList,
};

use crate::api::extract::{self, Asked, IdempotencyKey, asked};
use crate::api::secrets::SMALL_BODY_BYTES;
use crate::api::{ApiError, App};

/// Makes a token; its secret half is in this answer only, and in the answers to its repetitions under the same
/// Idempotency-Key.
#[utoipa::path(post, path = "/tokens", params(IdempotencyKey), request_body = CreateToken, responses((status = 200, body = CreatedToken)))]
pub(super) async fn create(
    State(app): State<App>,
    request: Request,
) -> Result<Json<CreatedToken>, ApiError> {
    let Asked { caller, body, key } = asked::<CreateToken>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(app.service.create_token(caller, &body, key).await?))
}

/// Every token, without its secret half.
#[utoipa::path(get, path = "/tokens", responses((status = 200, body = TokenList)))]
pub(super) async fn list(
    State(app): State<App>,
    request: Request,
) -> Result<Json<TokenList>, ApiError> {
    let (parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    Ok(Json(app.service.tokens(caller).await?))
}

/// Revokes a token.
#[utoipa::path(delete, path = "/tokens/{id}", params(("id" = String, Path), IdempotencyKey), responses((status = 200, body = RevokedToken)))]
pub(super) async fn revoke(
    State(app): State<App>,
    request: Request,
) -> Result<Json<RevokedToken>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let Path(id) = Path::<String>::from_request_parts(&mut parts, &app)
        .await
        .map_err(|_| ApiError::invalid("the token's id in the path is not text"))?;
    let key = extract::idempotency(&app, &parts, b"")?;
    Ok(Json(app.service.revoke_token(caller, &id, key).await?))
}

/// Revokes a client certificate.
#[utoipa::path(post, path = "/certificates/revoke", params(IdempotencyKey), request_body = RevokeCertificate, responses((status = 200, body = RevokedCertificate)))]
pub(super) async fn revoke_certificate(
    State(app): State<App>,
    request: Request,
) -> Result<Json<RevokedCertificate>, ApiError> {
    let Asked { caller, body, key } =
        asked::<RevokeCertificate>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(
        app.service.revoke_certificate(caller, &body, key).await?,
    ))
}
