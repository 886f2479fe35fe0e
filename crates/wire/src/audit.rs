//! The audit trail over HTTP: `GET /audit` answers the trail's lines as they are (X4).

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Content type of the answer: one JSON object per line.
pub const AUDIT_CONTENT_TYPE: &str = "application/x-ndjson";

/// Query of `GET /audit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// First sequence number wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
    /// Most lines in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The last so many lines, instead of `from_seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
}
