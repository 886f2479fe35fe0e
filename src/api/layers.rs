//! What happens around every handler: request id, limits, metrics, the body of an error.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::DATE;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jarvis_wire::REQUEST_ID_HEADER;
use jarvis_wire::error::ErrorCode;

use crate::api::extract::Connection;
use crate::api::{ApiError, App};
use crate::config::Network;
use crate::limits::{ClientPermit, Reason};
use crate::service::{ServiceError, limited};

/// Where a proxy says whose request it passes on.
const FORWARDED_FOR_HEADER: &str = "x-forwarded-for";
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
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = match refuse_remote(&app, &request) {
        Some(error) => ApiError::from(error).into_response(),
        None => next.run(request).await,
    };
    let mut response = finish(&app, response, &id);
    drop(permit);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    if let Some(date) = app.date() {
        response.headers_mut().insert(DATE, date);
    }
    let took = node.monotonic().saturating_sub(started);
    let status = response.status().as_u16();
    let route = route.as_ref().map(MatchedPath::as_str);
    app.metrics
        .http_request(method.as_str(), route, status, took);
    tracing::debug!(
        request_id = &*id.0,
        method = method.as_str(),
        route = route.unwrap_or("none"),
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
    if let Some(reason) = error.refused {
        // The others were counted for the trail by the bucket that refused them.
        let is_uncounted = matches!(
            reason,
            Reason::Overloaded | Reason::Remote | Reason::Unauthenticated
        );
        if is_uncounted {
            app.limits.count(reason, client);
        }
        app.metrics.refused(reason);
        return error;
    }
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
fn refuse_remote(app: &App, request: &Request) -> Option<ServiceError> {
    let config = app.service.config();
    if !config.security.deny_network_remote {
        return None;
    }
    let remote = request.extensions().get::<Connection>()?.remote?.ip();
    let caller = caller_behind(&config.server.trusted_proxies, remote, request.headers());
    let is_local = caller.is_some_and(|address| address.to_canonical().is_loopback());
    (!is_local).then(|| ServiceError {
        refused: Some(Reason::Remote),
        ..ServiceError::new(ErrorCode::NotAuthorized, Reason::Remote.message())
    })
}

/// Whose request this is. Each proxy appends the address it was called from, so that the list is believed from its end,
/// and for as long as a trusted proxy speaks (F1). `None`: a trusted one names somebody by something else than an
/// address.
fn caller_behind(trusted: &[Network], remote: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR_HEADER)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .collect();
    let mut caller = remote;
    for hop in hops.into_iter().rev() {
        if !is_trusted(caller) {
            break;
        }
        caller = hop.trim().parse().ok()?;
    }
    Some(caller)
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
        None => format!("{:016x}", app.number_request()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(remote: &str, passed_on: &[&'static str]) -> Option<IpAddr> {
        let trusted: Vec<Network> = ["127.0.0.1", "10.0.0.0/8"]
            .into_iter()
            .filter_map(Network::parse)
            .collect();
        let mut headers = HeaderMap::new();
        for value in passed_on {
            headers.append(FORWARDED_FOR_HEADER, HeaderValue::from_static(value));
        }
        caller_behind(&trusted, remote.parse().unwrap(), &headers)
    }

    #[test]
    fn f1_a_proxy_s_word_counts_only_where_it_is_trusted() {
        let is = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        // Nobody in between.
        assert_eq!(caller("127.0.0.1", &[]), is("127.0.0.1"));
        assert_eq!(caller("192.0.2.1", &[]), is("192.0.2.1"));
        // A stranger may say what he likes.
        assert_eq!(caller("192.0.2.1", &["127.0.0.1"]), is("192.0.2.1"));
        // A trusted one tells whom it saw; what stands before that was told to it.
        assert_eq!(caller("127.0.0.1", &["192.0.2.1"]), is("192.0.2.1"));
        assert_eq!(
            caller("127.0.0.1", &["127.0.0.1, 192.0.2.1"]),
            is("192.0.2.1")
        );
        // A chain of trusted ones, also in several headers.
        assert_eq!(
            caller("127.0.0.1", &["127.0.0.1, 192.0.2.1", "10.1.2.3"]),
            is("192.0.2.1")
        );
        assert_eq!(caller("10.0.0.1", &["127.0.0.1"]), is("127.0.0.1"));
        for unknown in ["unknown", "", "192.0.2.1:80, _hidden"] {
            assert_eq!(caller("127.0.0.1", &[unknown]), None, "{unknown}");
        }
    }
}
