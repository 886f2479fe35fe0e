//! What happens around every handler: request id, limits, metrics, the body of an error.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use jarvis_wire::REQUEST_ID_HEADER;
use jarvis_wire::error::ErrorCode;

use crate::api::extract::Connection;
use crate::api::{ApiError, App};
use crate::limits::{ClientPermit, Reason};
use crate::service::{ServiceError, limited};

/// Longest request id taken over from a client, characters.
const MAX_REQUEST_ID: usize = jarvis_domain::limits::MAX_REQUEST_ID_BYTES;

/// The id of this request: the client's own, or a new one (A11: for tracing only).
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// Holds a client's permit until its answer is made.
#[derive(Clone, Default)]
pub(super) struct PermitSlot(pub(super) Arc<OnceLock<ClientPermit>>);

/// The outermost layer.
pub(super) async fn around(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let node = app.service.node();
    let started = node.monotonic();
    let id = RequestId(request_id(&app, request.headers()));
    request.extensions_mut().insert(id.clone());
    let permit = PermitSlot::default();
    request.extensions_mut().insert(permit.clone());
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let response = match refuse_remote(&app, &request) {
        Some(error) => error.render(&id.0),
        None => next.run(request).await,
    };
    let mut response = finish(&app, response, &id);
    drop(permit);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    let took = node.monotonic().saturating_sub(started);
    let status = response.status().as_u16();
    app.metrics
        .http_request(method.as_str(), route.as_deref(), status, took);
    tracing::debug!(
        request_id = &*id.0,
        method = method.as_str(),
        route = route.as_deref().unwrap_or("none"),
        status,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

/// Writes the body of an error, and counts refusals where floods are counted (I3).
fn finish(app: &App, mut response: Response, id: &RequestId) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    let error = judge(app, error.0);
    if error.code == ErrorCode::Internal {
        tracing::error!(
            request_id = &*id.0,
            message = error.message,
            "a request failed inside the server"
        );
    }
    ApiError::from(error).render(&id.0)
}

/// What never reached the log is counted, and slowed when there is too much of it.
fn judge(app: &App, error: ServiceError) -> ServiceError {
    let client = error.client.as_deref();
    let reason = match error.code {
        ErrorCode::Unauthenticated => match app.limits.unauthenticated() {
            Ok(()) => Reason::Unauthenticated,
            Err(flood) => {
                app.metrics.refused(flood);
                return limited(flood);
            }
        },
        ErrorCode::Sealed => Reason::Sealed,
        ErrorCode::NoLeader => Reason::NoLeader,
        ErrorCode::AuditFull => Reason::AuditFull,
        _ => return error,
    };
    app.limits.count(reason, client);
    app.metrics.refused(reason);
    error
}

/// `deny_network_remote`: nobody from elsewhere, whatever the listener.
fn refuse_remote(app: &App, request: &Request) -> Option<ApiError> {
    if !app.service.config().security.deny_network_remote {
        return None;
    }
    let remote = request.extensions().get::<Connection>()?.remote?;
    let denied = !remote.ip().is_loopback();
    denied.then(|| {
        ApiError::new(
            ErrorCode::NotAuthorized,
            "this node takes local requests only (deny_network_remote)",
        )
    })
}

fn request_id(app: &App, headers: &HeaderMap) -> Arc<str> {
    let given = headers
        .get(REQUEST_ID_HEADER)
        .and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| {
        !id.is_empty()
            && id.len() <= MAX_REQUEST_ID
            && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match given.filter(is_plain) {
        Some(id) => id.into(),
        None => {
            let mut bytes = [0; 8];
            app.service.node().env().random.fill(&mut bytes);
            hex::encode(bytes).into()
        }
    }
}
