//! `[security]`: rotation periods, who is believed, where the first policy comes from (F3).

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::reader::Table;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
/// Longest rotation period or grace time: ten years, past which "never" is meant.
const MAX_DAYS: u64 = 3_650;

/// `[security]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityConfig {
    /// Age at which a version is due for rotation (R1). Seeds a new cluster.
    pub rotation: Duration,
    /// How long a version replaced by rotation stays valid (R2). Checked, and not used before the
    /// release that rotates.
    pub grace: Duration,
    /// How often the leader looks for due rotations, beside at every start of its leadership (R1).
    /// Checked, and not used before the release that rotates.
    pub rotation_check_interval: Duration,
    /// Requests without `X-Jarvis-Client` are refused, even with a token.
    pub require_client_id_header: bool,
    /// Requests that do not come from this machine are refused, whatever the listener.
    pub deny_network_remote: bool,
    /// The file that seeds a new cluster's policy (P2). Not read afterwards.
    pub rbac_policy_path: Option<PathBuf>,
    /// The bare client header is believed under I2's conditions.
    pub trust_client_header: bool,
    /// `GET /debug/raft` and `GET /debug/state-hash` are served to administrators.
    pub debug_endpoints: bool,
}

impl SecurityConfig {
    pub(super) fn read(table: &mut Table<'_>) -> Result<Self, ConfigError> {
        let days = |count: u64| Duration::from_secs(count * 86_400);
        Ok(Self {
            rotation: days(table.integer("rotation_days", 90, 1..=MAX_DAYS)?),
            grace: days(table.integer("grace_days", 14, 0..=MAX_DAYS)?),
            rotation_check_interval: table.duration(
                "rotation_check_interval",
                DAY,
                Duration::from_secs(1)..=24 * HOUR,
            )?,
            require_client_id_header: table.boolean("require_client_id_header", false)?,
            deny_network_remote: table.boolean("deny_network_remote", false)?,
            rbac_policy_path: table.path("rbac_policy_path")?,
            trust_client_header: table.boolean("trust_client_header", false)?,
            debug_endpoints: table.boolean("debug_endpoints", false)?,
        })
    }
}
