//! `/certificates`: client certificates of the cluster CA (I1). Revocation is in [`tokens`](super::tokens).

use axum::Json;
use axum::extract::{Request, State};
use jarvis_wire::certificates::{CreateCertificate, CreatedCertificate};

use crate::api::extract::{Asked, asked};
use crate::api::secrets::SMALL_BODY_BYTES;
use crate::api::{ApiError, App};

/// Certifies a client's key.
#[utoipa::path(post, path = "/certificates", request_body = CreateCertificate, responses((status = 200, body = CreatedCertificate)))]
pub(super) async fn create(
    State(app): State<App>,
    request: Request,
) -> Result<Json<CreatedCertificate>, ApiError> {
    let Asked { caller, body, .. } =
        asked::<CreateCertificate>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(app.service.create_certificate(caller, &body).await?))
}
