//! `/secret` and `/secrets` (A2–A4, A9, A15).

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jarvis_domain::secret::About;
use jarvis_domain::time::rfc3339;
use jarvis_wire::INDEX_HEADER;
use jarvis_wire::secrets::{
    BatchWrite, BatchWritten, Consistency, DeleteQuery, DeletedSecret, DestroySecret,
    DestroyedSecret, Encoding, ListQuery, ReadQuery, SecretList, SecretValue, Staleness,
    UndeletedSecret, VersionList, WriteSecret, WrittenSecret,
};
use jarvis_wire::text::SecretText;

use crate::api::extract::{self, Asked, IdempotencyKey, asked};
use crate::api::{ApiError, App};
use crate::service::{GotSecret, NewSecret, SecretBytes};

/// Bodies that hold no value: names and numbers.
pub(super) const SMALL_BODY_BYTES: u64 = 64 * 1024;

/// Creates a secret, or adds a version.
#[utoipa::path(post, path = "/secret", params(IdempotencyKey), request_body = WriteSecret, responses((status = 200, body = WrittenSecret)))]
pub(super) async fn write(
    State(app): State<App>,
    request: Request,
) -> Result<Json<WrittenSecret>, ApiError> {
    let limit = app.service.config().limits.max_body_bytes();
    let Asked { caller, body, key } = asked::<WriteSecret>(&app, request, limit).await?;
    let mut written = app.service.write(caller, vec![parse(body)?], key).await?;
    written
        .pop()
        .map(Json)
        .ok_or_else(|| ApiError::invalid("nothing was written"))
}

/// Writes up to 64 secrets, all or none.
#[utoipa::path(post, path = "/secrets/batch", params(IdempotencyKey), request_body = BatchWrite, responses((status = 200, body = BatchWritten)))]
pub(super) async fn batch(
    State(app): State<App>,
    request: Request,
) -> Result<Json<BatchWritten>, ApiError> {
    let limit = app.service.config().limits.max_batch_body_bytes();
    let Asked { caller, body, key } = asked::<BatchWrite>(&app, request, limit).await?;
    let secrets = body
        .writes
        .into_iter()
        .map(parse)
        .collect::<Result<_, _>>()?;
    let results = app.service.write(caller, secrets, key).await?;
    Ok(Json(BatchWritten { results }))
}

/// Reads a secret: the current version, or `?version=N`.
#[utoipa::path(get, path = "/secret/{name}", params(("name" = String, Path), ReadQuery), responses((status = 200, body = SecretValue, headers(("x-jarvis-index" = u64, description = "The log index that the answer was decided at")))))]
pub(super) async fn read(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let name = extract::name(&app, &mut parts).await?;
    let query: ReadQuery = extract::query(&mut parts).await?;
    if query.max_age_ms.is_some() && query.consistency != Some(Consistency::Stale) {
        // Whoever bounds the age expects that there is one.
        return Err(ApiError::invalid(
            "max_age_ms bounds a stale read: add consistency=stale, or leave it out (every other read is up to date)",
        ));
    }
    let got = match query.consistency {
        Some(Consistency::Stale) => {
            app.service
                .get_stale(caller, name, query.version, query.max_age_ms)
                .await?
        }
        _ => app.service.get(caller, name, query.version).await?,
    };
    let index = HeaderValue::from(got.index);
    let mut response = Json(rendered(got)).into_response();
    response.headers_mut().insert(INDEX_HEADER, index);
    response
        .headers_mut()
        .insert("cache-control", HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Lists the names this client may see, never a value.
#[utoipa::path(get, path = "/secrets", params(ListQuery), responses((status = 200, body = SecretList)))]
pub(super) async fn list(
    State(app): State<App>,
    request: Request,
) -> Result<Json<SecretList>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let query: ListQuery = extract::query(&mut parts).await?;
    Ok(Json(app.service.list(caller, &query).await?))
}

/// The versions of one secret, without values.
#[utoipa::path(get, path = "/secret/{name}/versions", params(("name" = String, Path)), responses((status = 200, body = VersionList)))]
pub(super) async fn versions(
    State(app): State<App>,
    request: Request,
) -> Result<Json<VersionList>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let name = extract::name(&app, &mut parts).await?;
    Ok(Json(app.service.versions(caller, name).await?))
}

/// Deletes a secret; it can be undeleted for a while.
#[utoipa::path(delete, path = "/secret/{name}", params(("name" = String, Path), DeleteQuery, IdempotencyKey), responses((status = 200, body = DeletedSecret)))]
pub(super) async fn delete(
    State(app): State<App>,
    request: Request,
) -> Result<Json<DeletedSecret>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let name = extract::name(&app, &mut parts).await?;
    let query: DeleteQuery = extract::query(&mut parts).await?;
    let key = extract::idempotency(&app, &parts, b"")?;
    Ok(Json(
        app.service.delete(caller, name, query.cas, key).await?,
    ))
}

/// Brings a deleted secret back.
#[utoipa::path(post, path = "/secret/{name}/undelete", params(("name" = String, Path), IdempotencyKey), responses((status = 200, body = UndeletedSecret)))]
pub(super) async fn undelete(
    State(app): State<App>,
    request: Request,
) -> Result<Json<UndeletedSecret>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = extract::caller(&app, &parts).await?;
    let name = extract::name(&app, &mut parts).await?;
    let key = extract::idempotency(&app, &parts, b"")?;
    Ok(Json(app.service.undelete(caller, name, key).await?))
}

/// Destroys versions for good: those in the body, or all.
#[utoipa::path(post, path = "/secret/{name}/destroy", params(("name" = String, Path), IdempotencyKey), request_body = DestroySecret, responses((status = 200, body = DestroyedSecret)))]
pub(super) async fn destroy(
    State(app): State<App>,
    request: Request,
) -> Result<Json<DestroyedSecret>, ApiError> {
    let (mut parts, content) = request.into_parts();
    let name = extract::name(&app, &mut parts).await?;
    let request = Request::from_parts(parts, content);
    let Asked { caller, body, key } =
        asked::<DestroySecret>(&app, request, SMALL_BODY_BYTES).await?;
    Ok(Json(
        app.service
            .destroy(caller, name, body.versions, key)
            .await?,
    ))
}

fn parse(write: WriteSecret) -> Result<NewSecret, ApiError> {
    let name = extract::parse_name(&write.name)?;
    let binary = write.encoding == Some(Encoding::Base64);
    let value = if binary {
        STANDARD.decode(write.value.expose()).map_err(|_| {
            ApiError::invalid("the value is not base64 (standard alphabet, with padding)")
        })?
    } else {
        write.value.expose().as_bytes().to_vec()
    };
    let about = About {
        description: write.description,
        owner: write.owner,
        kind: write.secret_type,
    };
    Ok(NewSecret {
        name,
        value: SecretBytes::new(value),
        binary,
        cas: write.cas,
        about,
    })
}

fn rendered(got: GotSecret) -> SecretValue {
    let GotSecret {
        name,
        value,
        version,
        stale_age_ms,
        ..
    } = got;
    let text = std::str::from_utf8(value.expose())
        .ok()
        .filter(|_| !version.value.binary);
    let (text, encoding) = match text {
        Some(text) => (text.to_owned(), None),
        None => (STANDARD.encode(value.expose()), Some(Encoding::Base64)),
    };
    SecretValue {
        name: name.to_string(),
        value: SecretText::new(text),
        encoding,
        kid: version.kid.clone(),
        version: version.number,
        created_at: rfc3339(version.created),
        expires_at: rfc3339(version.expires),
        stale: stale_age_ms.map(|age_ms| Staleness { age_ms }),
    }
}
