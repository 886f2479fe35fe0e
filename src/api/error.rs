//! The one map from errors to HTTP (A7).
//!
//! A handler's error travels as an extension of an empty response; the outermost layer knows the request id and writes
//! the body.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jarvis_wire::error::{ErrorBody, ErrorCode};

use crate::service::ServiceError;

/// A request that was not done.
#[derive(Debug, Clone)]
pub struct ApiError(pub(super) ServiceError);

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self(error)
    }
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ServiceError::new(code, message))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// The response with its body.
    pub(super) fn render(&self, request_id: &str) -> Response {
        let error = &self.0;
        let mut body = ErrorBody::new(error.code, error.message.clone(), request_id.to_owned());
        if let Some(actual) = error.actual_version {
            body = body.with_actual_version(actual);
        }
        let status = StatusCode::from_u16(error.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        if let Some(seconds) = error.retry_after_secs.or(retry_after(error.code)) {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        if error.code == ErrorCode::Unauthenticated {
            response.headers_mut().insert(
                "www-authenticate",
                axum::http::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Seconds after which a repetition makes sense, unless the error itself knows better.
const fn retry_after(code: ErrorCode) -> Option<u64> {
    match code {
        ErrorCode::NoLeader | ErrorCode::RateLimited => Some(1),
        ErrorCode::Sealed | ErrorCode::AuditFull => Some(10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_retry_after_is_the_code_s_unless_the_error_knows_better() {
        let seconds = |error: ServiceError| {
            let response = ApiError(error).render("r-1");
            let header = response.headers().get("retry-after");
            header.map(|value| value.to_str().unwrap().to_owned())
        };
        let full = ServiceError::new(ErrorCode::RateLimited, "too many");
        let longer = ServiceError {
            retry_after_secs: Some(60),
            ..full.clone()
        };
        assert_eq!(seconds(full).as_deref(), Some("1"));
        assert_eq!(seconds(longer).as_deref(), Some("60"));
        let never = ServiceError::new(ErrorCode::NotFound, "x does not exist");
        assert_eq!(seconds(never), None);
    }
}
