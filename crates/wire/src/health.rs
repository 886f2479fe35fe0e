//! Health and debugging over HTTP (A1, C10).

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Answer to `GET /healthz` (A1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The server's build.
    pub version: String,
    /// Seconds since the process started.
    pub uptime_secs: u64,
    /// Live names in the vault.
    pub secrets_count: u64,
}

/// Query of `GET /readyz` (C10).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadyQuery {
    /// Present (also without a value): list the checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<String>,
    /// `stale`: ready enough to serve stale reads.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// Answer to `GET /debug/state-hash`: equal on nodes that applied the same index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateHash {
    /// The last applied index.
    pub index: u64,
    /// Hash of all records at that index, in hexadecimal.
    pub hash: String,
    /// Sequence number of the last audit event.
    pub audit_seq: u64,
    /// Head of the audit chain, in hexadecimal.
    pub audit_head: String,
}
