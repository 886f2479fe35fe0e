//! `[audit]`: how long the trail is kept, and how often it is signed (F6, X4).

use std::time::Duration;

use super::error::ConfigError;
use super::reader::Table;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECONDS_PER_DAY: u64 = 86_400;

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// The trail may take this many bytes before its oldest segments are retired.
    pub keep_bytes: u64,
    /// Segments older than this are retired; `None` keeps them until `keep_bytes`.
    pub keep: Option<Duration>,
    /// Nothing is retired that was not exported.
    pub require_export: bool,
    /// A node signs the chain's head after this many events …
    pub checkpoint_events: u64,
    /// … or after this time, if there was any event.
    pub checkpoint_interval: Duration,
    /// With less than this free on the trail's disk, and nothing to retire, accesses answer
    /// `audit_full` (A7).
    pub min_free_bytes: u64,
}

impl AuditConfig {
    pub(super) fn read(table: &mut Table<'_>) -> Result<Self, ConfigError> {
        let keep_days = table.integer("keep_days", 0, 0..=36_500)?;
        let checkpoint_secs = table.integer("checkpoint_secs", 10, 1..=3_600)?;
        Ok(Self {
            // At least a few segments of 4 MiB, so that retirement has something to choose from.
            keep_bytes: table.bytes("keep_bytes", 8 * GIB, 64 * MIB..=1_048_576 * GIB)?,
            keep: (keep_days > 0).then(|| Duration::from_secs(keep_days * SECONDS_PER_DAY)),
            require_export: table.boolean("require_export", false)?,
            checkpoint_events: table.integer("checkpoint_events", 1_000, 1..=1_000_000)?,
            checkpoint_interval: Duration::from_secs(checkpoint_secs),
            min_free_bytes: table.bytes("min_free_bytes", 256 * MIB, 0..=1_024 * GIB)?,
        })
    }
}
