//! The one shape of an error answer, and the list of codes (A7).
//!
//! A definite error speaks of this attempt only; [`ErrorCode::UnknownOutcome`] alone says that the request may have
//! happened.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of every error answer (A7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The code that programs read.
    pub error: ErrorCode,
    /// One or two sentences for people; never holds a secret's value.
    pub message: String,
    /// The request's `X-Request-Id`, or one that the server drew.
    pub request_id: String,
    /// With `conflict`: the version that the name has now (0 = none), so that a failed compare-and-set is not blind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_version: Option<u64>,
}

impl ErrorBody {
    /// An error without further fields.
    #[must_use]
    pub fn new(
        error: ErrorCode,
        message: impl Into<String>,
        request_id: impl Into<String>,
    ) -> Self {
        Self {
            error,
            message: message.into(),
            request_id: request_id.into(),
            actual_version: None,
        }
    }

    /// Adds the version that a failed compare-and-set found.
    #[must_use]
    pub fn with_actual_version(mut self, actual_version: u64) -> Self {
        self.actual_version = Some(actual_version);
        self
    }
}

/// What went wrong, as programs read it (A7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Bad JSON, type, name, or a missing field: 400.
    InvalidRequest,
    /// No credential, or a bad one: 401.
    Unauthenticated,
    /// The policy says no, or a header contradicts the token: 403.
    NotAuthorized,
    /// No such name or version: 404.
    NotFound,
    /// A compare-and-set found another version: 409.
    Conflict,
    /// The idempotency key was used for another request: 409.
    IdempotencyKeyReused,
    /// The body or value is over its limit: 413.
    TooLarge,
    /// Too many requests: 429.
    RateLimited,
    /// A fault of the server: 500.
    Internal,
    /// This node has no keys: 503.
    Sealed,
    /// No leader within the request's deadline: 503.
    NoLeader,
    /// The audit trail has no room, and nothing is answered unaudited: 503.
    AuditFull,
    /// It may have happened; repeat with the same idempotency key: 504.
    UnknownOutcome,
    /// The vault is at its limit: 507.
    QuotaExceeded,
}

impl ErrorCode {
    /// Every code, in the order of its HTTP status.
    pub const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::NotAuthorized,
        Self::NotFound,
        Self::Conflict,
        Self::IdempotencyKeyReused,
        Self::TooLarge,
        Self::RateLimited,
        Self::Internal,
        Self::Sealed,
        Self::NoLeader,
        Self::AuditFull,
        Self::UnknownOutcome,
        Self::QuotaExceeded,
    ];

    /// The code as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthenticated => "unauthenticated",
            Self::NotAuthorized => "not_authorized",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
            Self::Sealed => "sealed",
            Self::NoLeader => "no_leader",
            Self::AuditFull => "audit_full",
            Self::UnknownOutcome => "unknown_outcome",
            Self::QuotaExceeded => "quota_exceeded",
        }
    }

    /// The HTTP status that goes with the code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::NotAuthorized => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::IdempotencyKeyReused => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Sealed | Self::NoLeader | Self::AuditFull => 503,
            Self::UnknownOutcome => 504,
            Self::QuotaExceeded => 507,
        }
    }

    /// Reads a code; `None` for one that this build does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_every_code_reads_back_from_its_json_and_its_text() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), code);
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
        }
        assert_eq!(ErrorCode::parse("teapot"), None);
    }

    #[test]
    fn a7_the_body_has_exactly_the_promised_fields() {
        let plain = ErrorBody::new(ErrorCode::NotFound, "no secret named x", "r-1");
        assert_eq!(
            serde_json::to_value(&plain).unwrap(),
            serde_json::json!({"error": "not_found", "message": "no secret named x", "request_id": "r-1"})
        );
        let conflict = ErrorBody::new(ErrorCode::Conflict, "m", "r-2").with_actual_version(7);
        assert_eq!(
            serde_json::to_value(&conflict).unwrap()["actual_version"],
            7
        );
    }
}
